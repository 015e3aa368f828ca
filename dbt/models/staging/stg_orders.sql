{{ config(
    object_storage_path='datalake.silver.orders.version=v2',
    file='orders_cleaned',
    partition_by='truncate(100000, order_id)',
    localsort_by='order_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_orders') }}
),

keyed as (
    select
        order_id,
        customer_id,
        order_date,
        cast(amount as decimal(12, 2)) as amount,
        lower(trim(status)) as status,
        updated_at,
        _airbyte_extracted_at as extracted_at,
        dir0 as load_folder
    from source
    where
        order_id is not null
        and customer_id is not null
),

-- Orders are extracted incrementally: each change of an order arrives as another row with a later updated_at, and a
-- row can land twice when a sync is repeated. The last two sort columns only decide between such repetitions.
ranked as (
    select
        order_id,
        customer_id,
        order_date,
        amount,
        status,
        updated_at,
        row_number() over (
            partition by order_id
            order by updated_at desc, extracted_at desc, load_folder desc
        ) as version_rank
    from keyed
),

latest as (
    select
        order_id,
        customer_id,
        order_date,
        amount,
        status,
        updated_at
    from ranked
    where version_rank = 1
)

select * from latest
