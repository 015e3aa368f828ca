-- Everything that was landed of products, one folder per load.
select *
from lake.datalake.bronze.postgres.products
