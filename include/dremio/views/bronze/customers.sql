-- Today's picture of customers: the newest full extract.
select loads.*
from lake.datalake.bronze.postgres.customers as loads
where loads.dir0 = (select max(folders.dir0) from lake.datalake.bronze.postgres.customers as folders)
