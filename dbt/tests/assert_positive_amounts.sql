-- Nothing with a zero or negative amount may count as revenue. Staging keeps such orders (they are real rows of the
-- source), fct_orders does not.
select *
from {{ ref('fct_orders') }}
where amount <= 0
