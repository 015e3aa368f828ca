-- Today's picture of products: the newest full extract.
select loads.*
from lake.datalake.bronze.postgres.products as loads
where loads.dir0 = (select max(folders.dir0) from lake.datalake.bronze.postgres.products as folders)
