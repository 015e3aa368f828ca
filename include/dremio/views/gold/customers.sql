-- Customers with what they are worth, one row per customer.
select
    customer_id,
    customer_name,
    email,
    phone,
    address,
    city,
    state,
    region,
    zip_code,
    created_at,
    updated_at,
    first_order_date,
    last_order_date,
    total_orders,
    lifetime_value,
    value_segment
from lake.datalake.gold.customers
