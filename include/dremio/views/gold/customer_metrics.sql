-- How each customer stands in the newest snapshot, one row per customer.
select
    metrics.customer_id,
    metrics.customer_name,
    metrics.state,
    metrics.region,
    metrics.value_segment,
    metrics.lifetime_value,
    metrics.last_order_date,
    metrics.total_orders,
    metrics.completed_orders,
    metrics.returned_orders,
    metrics.cancelled_orders,
    metrics.days_since_last_order,
    metrics."snapshot" as snapshot_date,
    case
        when metrics.days_since_last_order <= 7 then '1 week'
        when metrics.days_since_last_order <= 30 then '30 days'
        when metrics.days_since_last_order <= 90 then '90 days'
        when metrics.days_since_last_order > 90 then 'longer ago'
        else 'never'
    end as last_order_within
from lake.datalake.gold.customer_metrics as metrics
where metrics."snapshot" = (select max(days."snapshot") from lake.datalake.gold.customer_metrics as days)
