{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ hot_changes('orders', ref('stg_postgres_cdc__orders'), ref('fct_orders_cold')) }}
