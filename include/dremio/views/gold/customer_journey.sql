-- How far customers have come: a customer is in every stage that was reached. One row per stage, state and segment.
with stages as (
    select
        'Registered' as stage,
        0 as minimum_orders
    union all
    select
        'Ordered' as stage,
        1 as minimum_orders
    union all
    select
        '5+ orders' as stage,
        5 as minimum_orders
    union all
    select
        '10+ orders' as stage,
        10 as minimum_orders
    union all
    select
        '20+ orders' as stage,
        20 as minimum_orders
)

select
    stages.stage,
    customers.region,
    customers.state,
    customers.value_segment,
    count(*) as customer_count
from lake.datalake.gold.customers as customers
inner join stages
    on customers.total_orders >= stages.minimum_orders
group by
    stages.stage,
    customers.region,
    customers.state,
    customers.value_segment
