-- Everything that was landed of order_items, one folder per load.
select *
from lake.datalake.bronze.postgres.order_items
