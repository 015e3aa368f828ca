-- More than a tenth of the revenue of the last thirty days with orders was refunded; about a twentieth is usual.
{{ config(severity='warn') }}

with newest as (
    select max(order_date) as newest_date from {{ ref('fct_daily_revenue') }}
),

thirty_days as (
    select
        sum(revenue.amount) as amount,
        sum(revenue.refund_amount) as refund_amount
    from {{ ref('fct_daily_revenue') }} as revenue
    cross join newest
    where {{ days_between('revenue.order_date', 'newest.newest_date') }} < 30
)

select
    amount,
    refund_amount
from thirty_days
where refund_amount > 0.1 * amount
