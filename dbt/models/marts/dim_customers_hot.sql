{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ hot_changes('customers', ref('stg_postgres_cdc__customers'), ref('dim_customers_cold')) }}
