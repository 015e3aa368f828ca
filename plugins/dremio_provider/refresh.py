"""Asking Dremio for the refresh of reflections, taking it back, and remembering it across the tries of a task."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dremio_provider.anchors import Target, find_anchors
from dremio_provider.exceptions import DremioJobFailedError, DremioNotFoundError, DremioTerminalError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import display_path, quote_path
from dremio_provider.reflection_sets import lost_columns
from dremio_provider.reflections import RUNNING_REFRESHES_SQL, Baseline, ReflectionStatus, Watch, refresh_jobs

STATE_KEY = "dremio_reflection_refresh"
# Part of what the community edition answers to ALTER .. REFRESH REFLECTIONS.
_NOT_SUPPORTED = "command is not supported"


@dataclass
class RefreshRequest:
    """What a task has asked for: kept in Airflow's task state, so that the next try finds it.

    :param baselines: What was before.
    :param requested_at: Unix time.
    """

    baselines: list[Baseline]
    requested_at: float

    def keep(self, context: Any) -> None:
        """Write it to the task's state, where this Airflow has one."""
        store = context.get("task_state_store")
        if store is not None:
            baselines = [baseline.to_dict() for baseline in self.baselines]
            store.set(STATE_KEY, {"requested_at": self.requested_at, "baselines": baselines})

    @classmethod
    def recall(cls, context: Any, targets: Sequence[Target], max_age: float) -> RefreshRequest | None:
        """What an earlier try has asked for; None when there is nothing, when it asked for other reflections, or when
        that is longer ago than ``max_age`` seconds."""
        store = context.get("task_state_store")
        kept = store.get(STATE_KEY) if store is not None else None
        if not isinstance(kept, dict) or time.time() - float(kept["requested_at"]) > max_age:
            return None
        baselines = [Baseline(**baseline) for baseline in kept["baselines"]]
        if {b.reflection_id for b in baselines} != {t.reflection_id for t in targets}:
            return None
        return cls(baselines, float(kept["requested_at"]))

    @staticmethod
    def forget(context: Any) -> None:
        """Whoever asks next, asks anew."""
        store = context.get("task_state_store")
        if store is not None:
            store.delete(STATE_KEY)

    def unnoticed(self, hook: DremioHook) -> set[str]:
        """Ids of the reflections on which nothing has happened since: neither is a refresh running, nor has one ended.
        The request was lost, or its refresh was cancelled."""
        found = set()
        for baseline in self.baselines:
            status = ReflectionStatus.from_api(hook.get_reflection(baseline.reflection_id))
            happened = Watch(baseline, self.requested_at).advanced(status)
            if not (happened or status.active or status.failure_count > baseline.failure_count):
                found.add(baseline.reflection_id)
        return found


def request_refresh(hook: DremioHook, targets: Sequence[Target], edition: str, tables: Mapping[str, str]) -> None:
    """Ask for the refresh; returns as soon as Dremio has taken it.

    :param edition: ``enterprise`` refreshes each reflection, ``community`` what is built from the tables.
    :param tables: ``{id: path}`` of the anchor tables, for the community edition.
    :raises DremioTerminalError: The server has another edition than the connection says.
    """
    if edition == "community":
        for table_id in tables:
            hook.refresh_dataset_by_id(table_id)
        return
    by_statement: dict[str, str] = {}
    for target in targets:
        try:
            hook.refresh_reflection(target.reflection_id)
        except DremioNotFoundError:
            # An older Enterprise server has no such call, but the statement.
            kind = "TABLE" if target.dataset_type == "PHYSICAL_DATASET" else "VIEW"
            by_statement[target.dataset] = f"ALTER {kind} {quote_path(target.dataset)} REFRESH REFLECTIONS"
    for statement in by_statement.values():
        _alter(hook, statement)


def _alter(hook: DremioHook, statement: str) -> None:
    try:
        hook.run_sql(statement)
    except DremioJobFailedError as error:
        if _NOT_SUPPORTED not in str(error):
            raise
        raise DremioTerminalError(
            "This Dremio is of the community edition, which refreshes reflections only through their tables.",
            asked=statement,
            address=hook.address,
            received=error.message,
            check=f"edition of the operator and of the Airflow connection {hook.settings.conn_id!r}: "
            "community, or auto to ask the server.",
        ) from error


def anchor_tables(
    hook: DremioHook, targets: Sequence[Target], named: Sequence[str] | None
) -> tuple[dict[str, str], list[Target]]:
    """The tables below these reflections.

    :param named: Paths, where Dremio's own record is not wanted.
    :returns: ``{id: path}``, and the reflections about whose tables Dremio has no record.
    """
    if named:
        return {hook.dataset_id(path): display_path(path) for path in named}, []
    anchors = find_anchors(hook, targets)
    tables = {table_id: path for found in anchors.values() for table_id, path in found.items()}
    return tables, [target for target in targets if not anchors[target.reflection_id]]


def refuse_without_record(hook: DremioHook, unrecorded: Sequence[Target], available: Collection[str]) -> None:
    """A reflection that accelerates has been refreshed before, and so must have a record of its tables; a new one needs
    none, Dremio starts its first refresh by itself.

    :param available: Ids of the reflections that accelerate.
    :raises DremioTerminalError: Dremio does not say which tables to refresh.
    """
    unknown = [f"{target.dataset}.{target.name}" for target in unrecorded if target.reflection_id in available]
    if unknown:
        raise DremioTerminalError(
            f"Dremio does not say which tables these reflections are built from: {', '.join(unknown)}.",
            asked="sys.reflection_dependencies",
            address=hook.address,
            check="name the tables in the operator's argument anchors.",
        )


def explain_dead_end(hook: DremioHook, baseline: Baseline) -> str:
    """Why a refresh cannot help, with the columns that the dataset has lost where that is the reason."""
    reason = str(baseline.dead_end)
    dataset = hook.get_dataset(baseline.dataset, missing_ok=True)
    lost = lost_columns(dataset, hook.get_reflection(baseline.reflection_id)) if dataset else ""
    return f"{reason}; {baseline.dataset} no longer has {lost}" if lost else reason


def cancel_refreshes(hook: DremioHook, reflection_ids: Iterable[str]) -> list[str]:
    """Cancel the running refreshes of these reflections.

    A refresh that Dremio has taken but not begun cannot be taken back. One that is cancelled leaves the reflection with
    the data it had.

    :returns: Ids of the cancelled jobs.
    """
    jobs = refresh_jobs(hook.execute_sql(RUNNING_REFRESHES_SQL, timeout=30).rows, reflection_ids)
    for job_id, reflection_id in jobs:
        try:
            hook.request("POST", cancel_path(job_id, reflection_id), idempotent=True)
        except DremioNotFoundError:
            hook.cancel_job(job_id)
    return [job_id for job_id, _ in jobs]


def cancel_path(job_id: str, reflection_id: str) -> str:
    """The call that cancels the job that builds a reflection."""
    return f"/api/v3/job/{quote(job_id, safe='')}/reflection/{quote(reflection_id, safe='')}/cancel"
