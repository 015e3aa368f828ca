{{ config(file='daily_revenue', partition_by=['"year"', '"month"', '"day"']) }}

with orders as (
    select * from {{ ref('fct_orders') }}
),

reported_returns as (
    select * from {{ ref('stg_partner_files__returns') }}
),

payments as (
    select * from {{ ref('stg_payment_provider__payments') }}
),

returns_per_order as (
    select
        order_id,
        count(*) as refund_count,
        sum(refund_amount) as refund_amount
    from reported_returns
    group by order_id
),

captured_per_order as (
    select
        order_id,
        sum(amount) as captured_amount
    from payments
    where status = 'captured'
    group by order_id
),

daily as (
    select
        orders.order_date,
        cast(sum(orders.amount) as decimal(18, 2)) as amount,
        count(*) as order_count,
        count(distinct orders.customer_id) as customer_count,
        cast(
            sum(case when orders.status = 'completed' then orders.amount else 0 end) as decimal(18, 2)
        ) as completed_amount,
        cast(coalesce(sum(captured_per_order.captured_amount), 0) as decimal(18, 2)) as captured_amount,
        cast(coalesce(sum(returns_per_order.refund_count), 0) as bigint) as refund_count,
        cast(coalesce(sum(returns_per_order.refund_amount), 0) as decimal(18, 2)) as refund_amount
    from orders
    left join returns_per_order
        on orders.order_id = returns_per_order.order_id
    left join captured_per_order
        on orders.order_id = captured_per_order.order_id
    group by orders.order_date
),

partitioned as (
    select
        order_date,
        amount,
        order_count,
        customer_count,
        completed_amount,
        captured_amount,
        refund_count,
        refund_amount,
        cast(amount - refund_amount as decimal(18, 2)) as net_amount,
        cast(extract(year from order_date) as integer) as "year",
        cast(extract(month from order_date) as integer) as "month",
        cast(extract(day from order_date) as integer) as "day"
    from daily
)

select * from partitioned
