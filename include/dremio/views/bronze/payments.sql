-- The provider's newest answer.
select loads.*
from lake.datalake.bronze.api.payments as loads
where loads.dir0 = (select max(folders.dir0) from lake.datalake.bronze.api.payments as folders)
