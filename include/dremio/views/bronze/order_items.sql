-- Every version of every order line that was landed.
select *
from lake.datalake.bronze.postgres.order_items
