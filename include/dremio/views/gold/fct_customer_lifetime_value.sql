-- What completed orders add up to, one row per customer with at least one.
select
    customer_id,
    customer_name,
    email,
    total_orders,
    lifetime_value,
    average_order_value,
    first_order_date,
    last_order_date,
    customer_lifespan_days
from lake.datalake.gold.customer_lifetime_value
