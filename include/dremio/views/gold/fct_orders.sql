-- Orders with a value as they stand now, one row per order. order_month saves dashboards a time grain.
select
    order_id,
    customer_id,
    order_date,
    amount,
    status,
    updated_at,
    cast(date_trunc('month', order_date) as date) as order_month
from lake.datalake.gold.orders
