-- Every change of customers that was landed, one folder per day on which syncs landed. Syncs have ascending numbers.
select
    changes.*,
    cast(changes._airbyte_meta.sync_id as bigint) as sync_id
from lake.datalake.bronze.cdc.postgres.customers as changes
