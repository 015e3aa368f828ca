{{ config(materialized='view', dremio_space='silver', tags='change_data') }}

{{ change_log('orders', source('bronze', 'raw_orders_changes')) }}
