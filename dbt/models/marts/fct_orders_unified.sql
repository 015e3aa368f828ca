{{ config(materialized='view', dremio_space='gold', tags='change_data') }}

{{ unified_rows(
    'orders', ref('fct_orders_hot'), ref('fct_orders_cold'),
    more_columns=["cast(date_trunc('minute', updated_at) as timestamp) as updated_minute"]
) }}
