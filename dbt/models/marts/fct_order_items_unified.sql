{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ unified_rows('order_items', ref('fct_order_items_hot'), ref('fct_order_items_cold')) }}
