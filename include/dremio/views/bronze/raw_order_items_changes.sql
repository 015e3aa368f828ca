-- Every change of order_items that was landed, one folder per day on which syncs landed. Syncs have ascending numbers.
select
    changes.*,
    cast(changes._airbyte_meta.sync_id as bigint) as sync_id
from lake.datalake.bronze.cdc.postgres.order_items as changes
