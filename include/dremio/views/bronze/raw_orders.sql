-- Everything that was landed of orders, one folder per load.
select *
from lake.datalake.bronze.postgres.orders
