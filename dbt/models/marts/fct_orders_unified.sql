{{ config(materialized='view', dremio_space='gold') }}

with {{ latest_versions(
    changes=ref('fct_orders_hot'),
    cold=ref('fct_orders_cold'),
    key=['order_id'],
    columns=['customer_id', 'order_date', 'amount', 'status', 'updated_at'],
    text_columns=['status']
) }}

select
    order_id,
    customer_id,
    order_date,
    amount,
    status,
    updated_at,
    cast(date_trunc('minute', updated_at) as timestamp) as updated_minute
from latest
where is_gone = 0
