{{ config(materialized='view', dremio_space='silver', tags='change_data') }}

{{ change_log('order_items', source('bronze', 'raw_order_items_changes')) }}
