"""What the DAGs that extract are made of: sync a source, keep its log, load it to bronze, show it to Dremio."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import task
from lakehouse.config import Source
from lakehouse.dag_parts import FromTheSource
from lakehouse.services import require

from lakehouse_airbyte.operators import AirbyteRunSyncOperator

BATCH_DATE = "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"
"""The day a run belongs to. A run triggered by hand may have no logical date; the template then lacks the name."""

_STALLED_SHARE = 0.25


def sync_source(source: Source, **arguments: Any) -> AirbyteRunSyncOperator:
    """Return the task that runs a source's Airbyte connection to its end, tuned as ``config/streams.yml`` says.

    :param source: The source.
    :param arguments: More arguments of the operator.
    """
    timeout = timedelta(minutes=source.tuning.timeout_minutes)
    return AirbyteRunSyncOperator(
        task_id=f"sync_{source.connection}",
        airbyte_conn_id="airbyte_default",
        config_conn_id="airbyte_config",
        connection_id=f"{{{{ var.json.airbyte_connections.{source.connection} }}}}",
        wait_seconds=1,
        timeout=timeout.total_seconds(),
        stalled_after=_STALLED_SHARE * timeout.total_seconds(),
        execution_timeout=timeout + timedelta(minutes=5),
        retries=source.tuning.max_retries,
        pre_execute=FromTheSource(require("airbyte_default")),
        **arguments,
    )


@task(pre_execute=require("airbyte_config", "elasticsearch_default", "lake_s3"))
def record_syncs(connections: list[str]) -> list[dict[str, Any]]:
    """Keep what the syncs said and where they stopped: log lines in Elasticsearch and the lake, state in PostgreSQL."""
    from lakehouse.syncs import record_latest_sync

    return [record_latest_sync(connection) for connection in connections]


@task(pre_execute=require("lake_s3", "airbyte_config", "metadata_postgres"))
def write_partitions(source: str, job_id: int, batch_date: str) -> list[dict[str, Any]]:
    """Turn what a sync landed, to the last row that Airbyte counts, into the canonical bronze files of the day."""
    from datetime import date

    from lakehouse.bronze import load_sync
    from lakehouse.metadata_store import exclusive

    # Two DAGs may load one source; the one that comes second finds what the first has made of the day.
    with exclusive(f"bronze {source}"):
        return [load.to_dict() for load in load_sync(source, int(job_id), date.fromisoformat(batch_date))]


@task(pre_execute=require("dremio_default"))
def show_to_dremio(source: str | None = None) -> list[dict[str, Any]]:
    """Tell Dremio about the new files (invisible to it until then) and point the bronze views at them.

    Of one source, or of all: a source may be there before any other is, and Dremio refuses views of what is not.
    """
    from lakehouse.config import load_streams
    from lakehouse.setup import dremio

    streams = load_streams().source(source).streams if source is not None else None
    views = [name for stream in streams for name in (stream, f"raw_{stream}")] if streams is not None else None
    changes = [*dremio.refresh_bronze_metadata(source=source), *dremio.apply_views("bronze", views)]
    return [change.to_dict() for change in changes]
