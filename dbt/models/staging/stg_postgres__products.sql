{{ config(
    object_storage_path='datalake.silver.products.version=v2',
    file='products_cleaned',
    partition_by='truncate(100000, product_id)',
    localsort_by='product_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_products') }}
),

-- Products are extracted in full: only the newest date folder counts.
newest as (
    select loads.* from source as loads
    where loads.dir0 = (select max(folders.dir0) from source as folders)
),

cleaned as (
    select
        product_id,
        trim(name) as product_name,
        trim(brand) as brand,
        trim(category) as category,
        cast(price as decimal(12, 2)) as price,
        created_at,
        updated_at
    from newest
    where product_id is not null
)

select * from cleaned
