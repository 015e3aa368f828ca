{{ config(
    file='customers_cold',
    localsort_by='customer_id',
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='customer_id',
    on_schema_change='append_new_columns',
    full_refresh=false,
    tags='change_data'
) }}

{{ cold_versions('customers', ref('stg_postgres_cdc__customers')) }}
