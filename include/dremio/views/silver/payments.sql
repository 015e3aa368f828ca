-- Payments of the provider, one row per payment.
select
    payment_id,
    order_id,
    amount,
    currency,
    payment_method,
    status,
    created_at
from lake.datalake.silver.payments."version=v2".payments_cleaned
