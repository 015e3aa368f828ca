{{ config(file='customers', localsort_by='customer_id') }}

with customers as (
    select * from {{ ref('stg_customers') }}
),

lifetime_value as (
    select * from {{ ref('fct_customer_lifetime_value') }}
),

-- The key breaks ties, so that a rebuild puts every customer into the same fifth.
ranked as (
    select
        customer_id,
        total_orders,
        lifetime_value,
        first_order_date,
        last_order_date,
        ntile(5) over (order by lifetime_value desc, customer_id asc) as value_fifth
    from lifetime_value
),

enriched as (
    select
        customers.customer_id,
        customers.customer_name,
        customers.email,
        customers.phone,
        customers.address,
        customers.city,
        customers.state,
        {{ census_region('customers.state') }} as region,
        customers.zip_code,
        customers.created_at,
        customers.updated_at,
        ranked.first_order_date,
        ranked.last_order_date,
        coalesce(ranked.total_orders, 0) as total_orders,
        cast(coalesce(ranked.lifetime_value, 0) as decimal(18, 2)) as lifetime_value,
        case
            when ranked.value_fifth is null then 'none'
            when ranked.value_fifth = 1 then 'high'
            when ranked.value_fifth <= 3 then 'medium'
            else 'low'
        end as value_segment
    from customers
    left join ranked
        on customers.customer_id = ranked.customer_id
)

select * from enriched
