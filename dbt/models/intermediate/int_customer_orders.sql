{{ config(
    object_storage_path='datalake.silver.orders.version=v2',
    file='orders_enriched',
    partition_by='truncate(10000, customer_id)',
    localsort_by='customer_id'
) }}

with customers as (
    select * from {{ ref('stg_customers') }}
),

orders as (
    select * from {{ ref('stg_orders') }}
),

joined as (
    select
        customers.customer_id,
        customers.customer_name,
        customers.email,
        orders.order_id,
        orders.order_date,
        orders.amount,
        orders.status
    from customers
    inner join orders
        on customers.customer_id = orders.customer_id
)

select * from joined
