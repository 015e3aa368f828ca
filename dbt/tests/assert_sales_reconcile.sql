-- The sales by state, segment and status, and the orders they were built from, must agree to the cent and to the order.
with orders as (
    select
        sum(amount) as amount,
        count(*) as order_count
    from {{ ref('fct_orders') }}
),

sales as (
    select
        sum(amount) as amount,
        sum(order_count) as order_count
    from {{ ref('fct_sales') }}
)

select
    orders.amount as orders_amount,
    sales.amount as sales_amount,
    orders.order_count as orders_count,
    sales.order_count as sales_count
from orders
cross join sales
where
    orders.amount <> sales.amount
    or orders.order_count <> sales.order_count
