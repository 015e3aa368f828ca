{{ config(
    file='customer_metrics',
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='append_new_columns',
    full_refresh=false,
    partition_by=['"snapshot"'],
    pre_hook="{{ delete_snapshot(this) }}"
) }}

{%- set snapshot = "cast('" ~ snapshot_date() ~ "' as date)" %}

with customers as (
    select * from {{ ref('dim_customers') }}
),

customer_orders as (
    select * from {{ ref('int_customer_orders') }}
),

per_customer as (
    select
        customer_id,
        count(*) as total_orders,
        sum(case when status = 'completed' then 1 else 0 end) as completed_orders,
        sum(case when status = 'returned' then 1 else 0 end) as returned_orders,
        sum(case when status = 'cancelled' then 1 else 0 end) as cancelled_orders,
        max(order_date) as last_order_date
    from customer_orders
    group by customer_id
),

snapshot_rows as (
    select
        customers.customer_id,
        customers.customer_name,
        customers.state,
        customers.region,
        customers.value_segment,
        customers.lifetime_value,
        per_customer.last_order_date,
        coalesce(per_customer.total_orders, 0) as total_orders,
        cast(coalesce(per_customer.completed_orders, 0) as bigint) as completed_orders,
        cast(coalesce(per_customer.returned_orders, 0) as bigint) as returned_orders,
        cast(coalesce(per_customer.cancelled_orders, 0) as bigint) as cancelled_orders,
        cast({{ days_between('per_customer.last_order_date', snapshot) }} as integer) as days_since_last_order,
        {{ snapshot }} as "snapshot"
    from customers
    left join per_customer
        on customers.customer_id = per_customer.customer_id
)

select * from snapshot_rows
