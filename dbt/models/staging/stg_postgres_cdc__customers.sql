{{ config(materialized='view', dremio_space='silver', tags='change_data') }}

{{ change_log('customers', source('bronze', 'raw_customers_changes')) }}
