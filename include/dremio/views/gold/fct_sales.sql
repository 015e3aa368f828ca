-- What was sold per day, state, segment and status. order_month and weekday save dashboards a time grain.
select
    order_date,
    region,
    state,
    value_segment,
    status,
    amount,
    order_count,
    refund_amount,
    net_amount,
    week_ending,
    cast(date_trunc('month', order_date) as date) as order_month,
    case dayofweek(order_date)
        when 1 then '7 Sun'
        when 2 then '1 Mon'
        when 3 then '2 Tue'
        when 4 then '3 Wed'
        when 5 then '4 Thu'
        when 6 then '5 Fri'
        else '6 Sat'
    end as weekday
from lake.datalake.gold.sales
