{{ config(
    object_storage_path='datalake.silver.customers.version=v2',
    file='customers_cleaned',
    partition_by='truncate(100000, customer_id)',
    localsort_by='customer_id'
) }}

with source as (
    select * from {{ source('bronze', 'raw_customers') }}
),

-- Customers are extracted in full: every date folder is a complete picture, only the newest one counts.
newest as (
    select loads.* from source as loads
    where loads.dir0 = (select max(folders.dir0) from source as folders)
),

cleaned as (
    select
        customer_id,
        trim(upper(name)) as customer_name,
        lower(email) as email,
        phone,
        address,
        city,
        state,
        zip_code,
        created_at,
        updated_at
    from newest
    where customer_id is not null
)

select * from cleaned
