-- The latest version of every order, one row per order.
select
    order_id,
    customer_id,
    order_date,
    amount,
    status,
    updated_at
from lake.datalake.silver.orders."version=v2".orders_cleaned
