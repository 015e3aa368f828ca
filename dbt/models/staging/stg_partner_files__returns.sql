{{ config(
    object_storage_path='datalake.silver.returns.version=v2',
    file='returns_cleaned',
    partition_by='truncate(1000000, order_id)',
    localsort_by='order_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_returns') }}
),

-- CSV files carry text only; an empty field is an empty string, not NULL.
typed as (
    select
        nullif(trim(return_id), '') as return_id,
        cast(nullif(trim(order_id), '') as bigint) as order_id,
        cast(substr(trim(returned_at), 1, 10) as date) as return_date,
        nullif(lower(trim(reason)), '') as reason,
        cast(nullif(trim(refund_amount), '') as decimal(12, 2)) as refund_amount
    from source
),

-- A partner may deliver the same return in two batches; the later date wins.
ranked as (
    select
        return_id,
        order_id,
        return_date,
        reason,
        refund_amount,
        row_number() over (partition by return_id order by return_date desc, refund_amount desc) as version_rank
    from typed
    where
        return_id is not null
        and order_id is not null
),

latest as (
    select
        return_id,
        order_id,
        return_date,
        reason,
        refund_amount
    from ranked
    where version_rank = 1
)

select * from latest
