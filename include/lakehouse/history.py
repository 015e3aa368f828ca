"""Run history in PostgreSQL: the state of every Airbyte connection, every dbt invocation, every warmed chart,
every micro-batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse import archive, connections, metadata_store
from lakehouse.airbyte import ConfigApi
from lakehouse.dbt_results import DbtInvocation, log_lines, newest_results, read_invocation
from lakehouse.lake import Lake

if TYPE_CHECKING:
    from lakehouse.live import MicroBatch

_log = logging.getLogger(__name__)

_UPSERT_STATE = """
    INSERT INTO airbyte_state (connection_id, state, updated_at)
    VALUES (%s, %s, NOW())
    ON CONFLICT (connection_id) DO UPDATE SET state = EXCLUDED.state, updated_at = EXCLUDED.updated_at
    WHERE airbyte_state.state IS DISTINCT FROM EXCLUDED.state
"""
_UPSERT_RUN = """
    INSERT INTO dbt_run_history
        (run_id, project_name, started_at, completed_at, status, models_run, tests_run, metadata)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (run_id) DO UPDATE SET
        project_name = EXCLUDED.project_name, started_at = EXCLUDED.started_at, completed_at = EXCLUDED.completed_at,
        status = EXCLUDED.status, models_run = EXCLUDED.models_run, tests_run = EXCLUDED.tests_run,
        metadata = EXCLUDED.metadata
"""
_UPSERT_MICRO_BATCH = """
    INSERT INTO micro_batch_history
        (source, job_id, dag_id, run_id, changes, first_lsn, last_lsn, newest_commit, asked_at, shown_at, sync_seconds,
         load_seconds, metadata_seconds, warm_seconds, oldest_seconds, late, slot_lag_bytes)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (source, job_id) DO UPDATE SET
        (dag_id, run_id, changes, first_lsn, last_lsn, newest_commit, asked_at, shown_at, sync_seconds, load_seconds,
         metadata_seconds, warm_seconds, oldest_seconds, late, slot_lag_bytes)
        = (EXCLUDED.dag_id, EXCLUDED.run_id, EXCLUDED.changes, EXCLUDED.first_lsn, EXCLUDED.last_lsn,
           EXCLUDED.newest_commit, EXCLUDED.asked_at, EXCLUDED.shown_at, EXCLUDED.sync_seconds, EXCLUDED.load_seconds,
           EXCLUDED.metadata_seconds, EXCLUDED.warm_seconds, EXCLUDED.oldest_seconds, EXCLUDED.late,
           EXCLUDED.slot_lag_bytes)
"""
MICRO_BATCH_DAYS = 30
"""Days that micro-batches are kept: a loop under load makes more than fifty thousand a day."""
_FORGET_MICRO_BATCHES = "DELETE FROM micro_batch_history WHERE shown_at < %s - make_interval(days => %s)"
_FORGET_WARMING = "DELETE FROM chart_warming_history WHERE dag_id = %s AND run_id = %s"
_INSERT_WARMING = """
    INSERT INTO chart_warming_history
        (dag_id, run_id, position, warmed_at, dashboard, chart, chart_id, dataset, superset_user, cold_ms, warm_ms,
         row_count, hit, reason, message)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_WARMING_FIELDS = (
    "dashboard", "chart", "chart_id", "dataset", "user", "cold_ms", "warm_ms", "rows", "hit", "reason", "message",
)  # fmt: skip


def record_airbyte_state(connection_id: str) -> bool:
    """Keep the sync state of one connection in ``airbyte_state``.

    Args:
        connection_id: The Airbyte connection, a UUID.

    Returns:
        Whether the state is another one than what was kept.

    Raises:
        AirbyteError: When Airbyte cannot be asked.
        MetadataStoreError: When PostgreSQL cannot be reached.
    """
    with ConfigApi.from_connection() as api:
        state = api.state(connection_id)
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(_UPSERT_STATE, (connection_id, json.dumps(state)))
        changed = cursor.rowcount > 0
    return changed


def record_dbt_invocation(project_dir: str, context: Any = None, **_: Any) -> None:
    """Keep one dbt invocation in the run history and its log in the lake: a callback for Cosmos operators.

    Cosmos calls it after dbt has ended, well or badly, and before it raises. What goes wrong here is logged and does
    not fail the dbt task: history must not stop the data.

    Args:
        project_dir: The folder dbt ran in.
        context: The Airflow context of the task.
    """
    folder = Path(project_dir)
    if newest_results(folder) is None:
        _log.warning("dbt history: %s has no results of a dbt command in target/: not recorded", folder)
        return
    try:
        invocation = load_dbt_invocation(folder, context)
    except Exception:
        _log.warning("dbt history: the invocation in %s could not be recorded", folder, exc_info=True)
    else:
        _log.info("dbt history: %s recorded as %s", invocation.run_id, invocation.status)


def load_dbt_invocation(project_dir: Path, context: Any = None) -> DbtInvocation:
    """Keep one dbt invocation in ``dbt_run_history`` and its log in the lake; doing it again changes nothing.

    Args:
        project_dir: The folder dbt ran in.
        context: The Airflow context of the task, when there is one.

    Returns:
        What was recorded.

    Raises:
        ValueError: When dbt's results cannot be read.
        MetadataStoreError: When PostgreSQL cannot be reached.
    """
    invocation = read_invocation(project_dir, _airflow_ids(context))
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(
            _UPSERT_RUN,
            (
                invocation.run_id,
                invocation.project_name,
                invocation.started_at,
                invocation.completed_at,
                invocation.status,
                invocation.models_run,
                invocation.tests_run,
                json.dumps(invocation.metadata),
            ),
        )
    key = archive.log_key("dbt", invocation.started_at, invocation.run_id)
    archive.store(Lake.from_connection(), key, log_lines(project_dir, invocation, _secrets()))
    return invocation


def record_warming(result: Mapping[str, Any] | None, dag_id: str, run_id: str) -> int:
    """Keep what became of each query of a warm-up in ``chart_warming_history``; the last try of a run counts.

    Args:
        result: What SupersetWarmDashboardOperator left in XCom; None when it did not get that far.
        dag_id: The DAG that warmed.
        run_id: Its run.

    Returns:
        How many queries were recorded.

    Raises:
        MetadataStoreError: When PostgreSQL cannot be reached.
    """
    charts = (result or {}).get("charts", [])
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        (dag_id, run_id, position, now, *(chart[name] for name in _WARMING_FIELDS))
        for position, chart in enumerate(charts)
    ]
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(_FORGET_WARMING, (dag_id, run_id))
        cursor.executemany(_INSERT_WARMING, rows)
    return len(rows)


def record_micro_batch(batch: MicroBatch, dag_id: str, run_id: str, slot_lag: int) -> None:
    """Keep one micro-batch in ``micro_batch_history``; one that is shown again after a kill has its last time there.
    What is older than :data:`MICRO_BATCH_DAYS` goes.

    Args:
        batch: The micro-batch.
        dag_id: The DAG whose loop it was.
        run_id: Its run.
        slot_lag: Bytes of its log that the source had written and nobody had confirmed, as last measured.

    Raises:
        MetadataStoreError: When PostgreSQL cannot be reached.
    """
    loaded, seconds = batch.loaded, batch.seconds
    commit = loaded.newest_commit and loaded.newest_commit.astimezone(UTC).replace(tzinfo=None)
    row = (
        batch.source, loaded.job_id, dag_id, run_id, loaded.rows, loaded.first_lsn, loaded.last_lsn, commit,
        batch.asked_at.replace(tzinfo=None), batch.shown_at.replace(tzinfo=None), seconds["sync"], seconds["load"],
        seconds["metadata"], seconds["warm"], batch.oldest_seconds, batch.late, slot_lag,
    )  # fmt: skip
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        cursor.execute(_UPSERT_MICRO_BATCH, row)
        cursor.execute(_FORGET_MICRO_BATCHES, (batch.shown_at.replace(tzinfo=None), MICRO_BATCH_DAYS))


def _airflow_ids(context: Any) -> dict[str, Any]:
    """Return which task of which run it was; an empty dict outside Airflow."""
    task = (context or {}).get("task_instance") or (context or {}).get("ti")
    if task is None:
        return {}
    names = ("dag_id", "run_id", "task_id", "try_number", "map_index")
    return {name: getattr(task, name, None) for name in names}


def _secrets() -> list[str]:
    """Return what must not stand in a kept log: dbt's debug log shows what the adapter was given."""
    try:
        password = connections.get("dremio_default").password
    except connections.ConnectionMissing:
        return []
    return [password] if password else []
