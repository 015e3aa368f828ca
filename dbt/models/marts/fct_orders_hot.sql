{{ config(materialized='view', dremio_space='gold') }}

with changes as (
    select * from {{ ref('stg_postgres_cdc__orders') }}
),

-- What cold does not have yet stays hot, however old it is: nights without a run leave no gap.
boundary as (
    select coalesce(max(sync_id), 0) as sync_id
    from {{ ref('fct_orders_cold') }}
)

select
    changes.order_id,
    changes.customer_id,
    changes.order_date,
    changes.amount,
    changes.status,
    changes.updated_at,
    changes._ab_cdc_lsn,
    changes._ab_cdc_sequence,
    changes.sync_id,
    changes.committed_at,
    cast(date_trunc('minute', changes.committed_at) as timestamp) as committed_minute,
    changes.is_deleted,
    changes.is_truncation
from changes
cross join boundary
where
    changes.load_folder >= 'date=' || cast(cast(date_sub(current_date, {{ var('hot_days') }}) as date) as varchar)
    or changes.sync_id >= boundary.sync_id
