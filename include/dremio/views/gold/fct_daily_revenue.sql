-- Revenue per day, one row per order_date. order_month saves dashboards a time grain.
select
    order_date,
    amount,
    order_count,
    customer_count,
    completed_amount,
    captured_amount,
    refund_count,
    refund_amount,
    net_amount,
    "year",
    "month",
    "day",
    cast(date_trunc('month', order_date) as date) as order_month
from lake.datalake.gold.daily_revenue
