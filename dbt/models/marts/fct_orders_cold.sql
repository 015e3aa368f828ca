{{ config(
    file='orders_cold',
    localsort_by='order_id',
    materialized='incremental',
    incremental_strategy='merge',
    unique_key='order_id',
    on_schema_change='fail'
) }}

with {{ latest_versions(
    changes=ref('stg_postgres_cdc__orders'),
    cold=this if is_incremental() else none,
    key=['order_id'],
    columns=['customer_id', 'order_date', 'amount', 'status', 'updated_at'],
    text_columns=['status']
) }}

-- A row that is gone stays as a mark: a merge can take no row out. What a run did not change is not written again.
select
    order_id,
    customer_id,
    order_date,
    amount,
    status,
    updated_at,
    _ab_cdc_lsn,
    _ab_cdc_sequence,
    sync_id,
    is_gone as is_deleted
from latest
where is_change = 1 or is_gone > is_deleted
