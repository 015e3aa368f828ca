-- The latest version of every order line, one row per order and line number.
select
    order_id,
    line_number,
    product_id,
    quantity,
    unit_price,
    discount,
    amount,
    updated_at
from lake.datalake.silver.order_items."version=v2".order_items_cleaned
