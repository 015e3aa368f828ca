{{ config(
    object_storage_path='datalake.silver.payments.version=v2',
    file='payments_cleaned',
    partition_by='truncate(1000000, order_id)',
    localsort_by='order_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_payments') }}
),

-- The provider is read in full each night: only the newest answer counts.
newest as (
    select loads.* from source as loads
    where loads.dir0 = (select max(folders.dir0) from source as folders)
),

-- JSON brings amounts and times as text, times as 2026-01-02T03:04:05Z.
typed as (
    select
        payment_id,
        cast(order_id as bigint) as order_id,
        cast(amount as decimal(12, 2)) as amount,
        upper(trim(currency)) as currency,
        lower(trim("method")) as payment_method,
        lower(trim(status)) as status,
        cast(replace(substr(cast(created_at as varchar), 1, 19), 'T', ' ') as timestamp) as created_at
    from newest
    where payment_id is not null
)

select * from typed
