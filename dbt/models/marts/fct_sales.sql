{{ config(file='sales', partition_by='month(order_date)', localsort_by='order_date') }}

with orders as (
    select * from {{ ref('fct_orders') }}
),

customers as (
    select * from {{ ref('dim_customers') }}
),

reported_returns as (
    select * from {{ ref('stg_partner_files__returns') }}
),

refund_per_order as (
    select
        order_id,
        sum(refund_amount) as refund_amount
    from reported_returns
    group by order_id
),

newest as (
    select max(order_date) as newest_date from orders
),

grouped as (
    select
        orders.order_date,
        customers.region,
        customers.state,
        customers.value_segment,
        orders.status,
        cast(sum(orders.amount) as decimal(18, 2)) as amount,
        count(*) as order_count,
        cast(coalesce(sum(refund_per_order.refund_amount), 0) as decimal(18, 2)) as refund_amount
    from orders
    left join customers
        on orders.customer_id = customers.customer_id
    left join refund_per_order
        on orders.order_id = refund_per_order.order_id
    group by
        orders.order_date,
        customers.region,
        customers.state,
        customers.value_segment,
        orders.status
),

-- The newest day is still growing: seven whole days are counted back from the day before it.
aged as (
    select
        grouped.*,
        {{ days_between('grouped.order_date', 'newest.newest_date') }} - 1 as days_before_last_whole_day
    from grouped
    cross join newest
),

final as (
    select
        order_date,
        region,
        state,
        value_segment,
        status,
        amount,
        order_count,
        refund_amount,
        cast(amount - refund_amount as decimal(18, 2)) as net_amount,
        case
            when days_before_last_whole_day >= 0
                then cast(date_add(order_date, cast(mod(days_before_last_whole_day, 7) as integer)) as date)
        end as week_ending
    from aged
)

select * from final
