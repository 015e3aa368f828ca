-- fct_orders is built from what changed; an order that slipped below its watermark would be missing for good. When this
-- fails, `dbt run --select fct_orders --full-refresh` repairs the table.
select
    orders.order_id,
    orders.updated_at
from {{ ref('stg_orders') }} as orders
left join {{ ref('fct_orders') }} as facts
    on orders.order_id = facts.order_id
where
    orders.amount > 0
    and facts.order_id is null
