-- Every version of every order that was landed.
select *
from lake.datalake.bronze.postgres.orders
