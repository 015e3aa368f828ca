-- Everything that was landed of customers, one folder per load.
select *
from lake.datalake.bronze.postgres.customers
