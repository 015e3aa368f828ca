{{ config(file='customer_lifetime_value', localsort_by='customer_id') }}

with customer_orders as (
    select * from {{ ref('int_customer_orders') }}
),

metrics as (
    select
        customer_id,
        customer_name,
        email,
        count(distinct order_id) as total_orders,
        cast(sum(amount) as decimal(18, 2)) as lifetime_value,
        cast(avg(amount) as double) as average_order_value,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date,
        cast({{ days_between('min(order_date)', 'max(order_date)') }} as integer) as customer_lifespan_days
    from customer_orders
    where status = 'completed'
    group by customer_id, customer_name, email
)

select * from metrics
