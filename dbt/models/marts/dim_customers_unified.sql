{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ unified_rows('customers', ref('dim_customers_hot'), ref('dim_customers_cold')) }}
