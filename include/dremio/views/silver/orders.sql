-- Orders with the customer who placed them, one row per order with a known customer.
select
    customer_id,
    customer_name,
    email,
    order_id,
    order_date,
    amount,
    status
from lake.datalake.silver.orders."version=v2".orders_enriched
