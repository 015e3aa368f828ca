{{ config(
    file='orders',
    partition_by='month(order_date)',
    localsort_by='order_date',
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='order_id',
    on_schema_change='sync_all_columns',
    post_hook="{{ delete_orders_without_value(this) }}"
) }}

with orders as (
    select * from {{ ref('stg_orders') }}
),

with_value as (
    select
        order_id,
        customer_id,
        order_date,
        amount,
        status,
        updated_at
    from orders
    where amount > 0
)

select new_orders.* from with_value as new_orders
{% if is_incremental() %}
    -- Only what is new or changed. Equal timestamps are taken again: two orders can change at the same moment and
    -- arrive in two syncs, and merging a row twice changes nothing. An empty table takes everything.
    where new_orders.updated_at >= (
        select coalesce(max(known_orders.updated_at), cast('1970-01-01 00:00:00' as timestamp))
        from {{ this }} as known_orders
    )
{% endif %}
