{{ config(materialized='view', dremio_space='silver') }}

with source as (
    select * from {{ source('bronze', 'raw_orders_changes') }}
),

changes as (
    select
        order_id,
        customer_id,
        order_date,
        cast(amount as decimal(12, 2)) as amount,
        status,
        updated_at,
        _ab_cdc_lsn,
        _ab_cdc_sequence,
        sync_id,
        {{ iso_timestamp('_ab_cdc_updated_at') }} as committed_at,
        case when _ab_cdc_deleted_at is null then 0 else 1 end as is_deleted,
        case
            when
                _ab_cdc_deleted_at is not null
                and order_id is null
                and customer_id is null
                and order_date is null
                and amount is null
                and status is null
                and updated_at is null
                then 1
            else 0
        end as is_truncation,
        dir0 as load_folder
    from source
)

select * from changes
