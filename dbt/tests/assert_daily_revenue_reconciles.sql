-- The daily aggregate and the orders it was built from must agree to the cent and to the order.
with orders as (
    select
        sum(amount) as amount,
        count(*) as order_count
    from {{ ref('fct_orders') }}
),

daily as (
    select
        sum(amount) as amount,
        sum(order_count) as order_count
    from {{ ref('fct_daily_revenue') }}
)

select
    orders.amount as orders_amount,
    daily.amount as daily_amount,
    orders.order_count as orders_count,
    daily.order_count as daily_count
from orders
cross join daily
where
    orders.amount <> daily.amount
    or orders.order_count <> daily.order_count
