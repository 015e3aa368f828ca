{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ hot_changes('order_items', ref('stg_postgres_cdc__order_items'), ref('fct_order_items_cold')) }}
