-- Returns reported by the partner, one row per return.
select
    return_id,
    order_id,
    return_date,
    reason,
    refund_amount
from lake.datalake.silver.returns."version=v2".returns_cleaned
