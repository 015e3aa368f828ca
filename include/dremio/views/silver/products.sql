-- Products, one row per product.
select
    product_id,
    product_name,
    brand,
    category,
    price,
    created_at,
    updated_at
from lake.datalake.silver.products."version=v2".products_cleaned
