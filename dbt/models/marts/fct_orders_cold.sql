{{ config(
    file='orders_cold',
    localsort_by='order_id',
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='order_id',
    on_schema_change='append_new_columns',
    full_refresh=false,
    tags='change_data'
) }}

{{ cold_versions('orders', ref('stg_postgres_cdc__orders')) }}
