{{ config(
    object_storage_path='datalake.silver.order_items.version=v2',
    file='order_items_cleaned',
    partition_by='truncate(100000, order_id)',
    localsort_by='order_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_order_items') }}
),

keyed as (
    select
        order_id,
        line_number,
        product_id,
        quantity,
        cast(unit_price as decimal(12, 2)) as unit_price,
        cast(discount as decimal(4, 2)) as discount,
        cast(amount as decimal(12, 2)) as amount,
        updated_at,
        _airbyte_extracted_at as extracted_at,
        dir0 as load_folder
    from source
    where
        order_id is not null
        and line_number is not null
),

-- Extracted incrementally like the orders: the latest version of each line wins.
ranked as (
    select
        order_id,
        line_number,
        product_id,
        quantity,
        unit_price,
        discount,
        amount,
        updated_at,
        row_number() over (
            partition by order_id, line_number
            order by updated_at desc, extracted_at desc, load_folder desc
        ) as version_rank
    from keyed
),

latest as (
    select
        order_id,
        line_number,
        product_id,
        quantity,
        unit_price,
        discount,
        amount,
        updated_at
    from ranked
    where version_rank = 1
)

select * from latest
