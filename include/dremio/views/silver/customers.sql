-- Cleaned customers, one row per customer.
select
    customer_id,
    customer_name,
    email,
    phone,
    address,
    city,
    state,
    zip_code,
    created_at,
    updated_at
from lake.datalake.silver.customers."version=v2".customers_cleaned
