-- Every answer of the payment provider, one folder per load.
select *
from lake.datalake.bronze.api.payments
