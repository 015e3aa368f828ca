"""The reflection manager: builds what reflections define, again when it is asked for or due, and says how that went."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path as FilePath
from typing import Any

import pyarrow as pa

from sandbox.dremio.catalog import Catalog, quoted
from sandbox.dremio.engine import Running, result_columns
from sandbox.dremio.entities import HOUR_MILLIS, Source, Table, View, new_id, now_millis
from sandbox.dremio.errors import CancelledError, StatementError, ValidationError
from sandbox.dremio.jobs import Jobs
from sandbox.dremio.planner import Planner
from sandbox.dremio.reflections import MAX_FAILURES, Reflections
from sandbox.dremio.scan import identifier
from sandbox.dremio.types import arrow_type
from sandbox.dremio.writer import TableWriter

logger = logging.getLogger(__name__)

Json = dict[str, Any]

WAKE_SECONDS = 10.0
BACK_OFF_MINUTES = (1, 2, 5, 15, 30, 60, 120, 240)
NEVER_EXPIRES = 1000 * 365 * 24 * HOUR_MILLIS
KEPT_MATERIALIZATIONS = 50


class Manager:
    """Runs in a thread of its own.

    Args:
        reflections: what is to be built.
        catalog: holds the datasets.
        planner: translates the queries that build.
        jobs: every build is a job.
        folder: where materializations lie, ``<reflection>/<materialization>/*.parquet``.
    """

    def __init__(
        self, reflections: Reflections, catalog: Catalog, planner: Planner, jobs: Jobs, folder: FilePath
    ) -> None:
        self._reflections = reflections
        self._catalog = catalog
        self._planner = planner
        self._jobs = jobs
        self._folder = folder
        self._requests: dict[str, int] = {}
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode-reflection")
        self._thread = threading.Thread(target=self._loop, name="reflections", daemon=True)
        self._lock = threading.Lock()
        reflections.wake = self._woken.set
        reflections.discarded = self._discard
        self._recover()

    def start(self) -> None:
        """Begin to work."""
        self._woken.set()
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is being built now, which is cancelled with the jobs."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=4)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def request(self, table: Table) -> None:
        """Have the reflections built again that stand on a table, directly or through views."""
        with self._lock:
            self._requests[table.key] = now_millis()
        self._woken.set()

    def _recover(self) -> None:
        for materialization in self._reflections.materializations:
            if materialization["state"] == "RUNNING":
                failed = {"state": "FAILED", "failure_msg": "The server was stopped.", "finished": now_millis()}
                self._reflections.record({**materialization, **failed})
        used = set()
        for reflection in self._reflections.all():
            current = reflection["_state"]["current"]
            used.add((reflection["id"], current))
            if reflection["_state"]["refresh"] in ("PENDING", "RUNNING"):
                self._reflections.note(reflection["id"], refresh="")
        for entry in self._folder.glob("*/*"):
            if (entry.parent.name, entry.name) not in used:
                shutil.rmtree(entry, ignore_errors=True)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(WAKE_SECONDS)
            self._woken.clear()
            if self._stopped.is_set():
                return
            try:
                self.work()
            except Exception:
                logger.exception("the reflection manager goes on after an error")

    def work(self) -> None:
        """Build everything that is due, one after the other."""
        with self._lock:
            requests, self._requests = self._requests, {}
        due = []
        for reflection in self._reflections.all():
            if self._due(reflection, requests):
                self._reflections.note(reflection["id"], refresh="PENDING")
                due.append(reflection["id"])
        for identifier_ in due:
            if self._stopped.is_set():
                return
            self._build(identifier_)

    def _due(self, reflection: Json, requests: dict[str, int]) -> bool:
        state = reflection["_state"]
        if not reflection["enabled"] or state["refresh"] == "GIVEN_UP" or config_status(reflection, self._catalog):
            return False
        if requests and set(requests) & set(self.dependencies(reflection)):
            return True
        moment = now_millis()
        if state.get("retry_at"):
            return int(state["retry_at"]) <= moment
        if state["current"] is None:
            return True
        policy = policy_of(self._catalog, self.dependencies(reflection))
        fetched = int(state.get("last_data_fetch") or 0)
        return policy["activePolicyType"] == "PERIOD" and fetched + int(policy["refreshPeriodMs"]) <= moment

    def dependencies(self, reflection: Json) -> list[str]:
        """Return the keys of the tables a reflection's data comes from."""
        dataset = self._catalog.by_id(reflection["datasetId"])
        if isinstance(dataset, Table):
            return [dataset.key]
        if isinstance(dataset, View):
            try:
                plan = self._planner.plan(f"SELECT * FROM {quoted(dataset.path)}")
            except StatementError:
                return list(reflection["_state"].get("dependencies") or [])
            return [table.key for table in plan.tables.values()]
        return []

    def _build(self, reflection_id: str) -> None:
        reflection = self._reflections.note(reflection_id, refresh="RUNNING")
        if reflection is None:
            return
        started = now_millis()
        materialization: Json = {
            "id": new_id(), "reflection_id": reflection_id, "created": started, "state": "RUNNING",
            "failure_msg": "", "rows": 0, "bytes": 0, "finished": None, "expires": None, "job_id": None,
        }  # fmt: skip
        target = self._folder / reflection_id / materialization["id"]
        try:
            dataset = self._catalog.by_id(reflection["datasetId"])
            if not isinstance(dataset, View | Table):
                raise ValidationError("The dataset is gone.")
            text, order = refresh_sql(reflection, dataset)
            self._reflections.record(materialization)
            with self._jobs.internal(f"REFRESH REFLECTION '{reflection_id}' AS '{materialization['id']}'") as job:
                materialization["job_id"] = job.id
                assert job.running is not None
                rows, tables = self._write(job.running, text, order, target)
                job.rows = rows
            size = sum(file.stat().st_size for file in target.glob("*.parquet"))
            self._succeed(reflection, materialization, started, rows, size, tables)
        except (StatementError, CancelledError, pa.ArrowInvalid) as error:
            shutil.rmtree(target, ignore_errors=True)
            self._fail(reflection, materialization, error)

    def _write(self, running: Running, text: str, order: str, target: FilePath) -> tuple[int, list[Table]]:
        plan = self._planner.plan(text)
        sql = f"SELECT * FROM ({plan.sql}) AS rows_{order}"
        with running.connection() as cursor:
            columns = result_columns(cursor.sql(sql))
            schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns])
            writer = TableWriter(target, schema, "snappy", self._pool)
            written = writer.write((("", batch) for batch in running.stream_on(cursor, sql, columns)), running.check)
        return sum(item.rows for item in written), list(plan.tables.values())

    def _succeed(
        self, reflection: Json, materialization: Json, started: int, rows: int, size: int, tables: list[Table]
    ) -> None:
        moment = now_millis()
        policy = policy_of(self._catalog, [table.key for table in tables])
        expires = moment + NEVER_EXPIRES if policy["neverExpire"] else moment + int(policy["gracePeriodMs"])
        done = {
            "state": "DONE",
            "rows": rows,
            "bytes": size,
            "finished": moment,
            "expires": expires,
            "fetched": started,
        }
        self._reflections.record({**materialization, **done})
        previous = reflection["_state"]["current"]
        changed = self._reflections.note(
            reflection["id"],
            refresh="",
            failures=0,
            last_failure="",
            retry_at=0,
            current=materialization["id"],
            last_data_fetch=started,
            dependencies=[table.key for table in tables],
        )
        if changed is None:
            shutil.rmtree(self._folder / reflection["id"], ignore_errors=True)
            return
        for old in [m for m in self._reflections.materializations if m["id"] == previous]:
            self._reflections.record({**old, "state": "DELETED"})
            shutil.rmtree(self._folder / reflection["id"] / old["id"], ignore_errors=True)
        own = [m for m in self._reflections.materializations if m["reflection_id"] == reflection["id"]]
        for old in own[:-KEPT_MATERIALIZATIONS]:
            self._reflections.drop_materialization(old["id"])

    def _fail(self, reflection: Json, materialization: Json, error: Exception) -> None:
        message = error.message if isinstance(error, StatementError) else str(error) or "Query cancelled by user"
        moment = now_millis()
        self._reflections.record({**materialization, "state": "FAILED", "failure_msg": message, "finished": moment})
        failures = int(reflection["_state"]["failures"]) + 1
        wait = BACK_OFF_MINUTES[min(failures, len(BACK_OFF_MINUTES)) - 1]
        self._reflections.note(
            reflection["id"],
            refresh="GIVEN_UP" if failures >= MAX_FAILURES else "",
            failures=failures,
            last_failure=message,
            retry_at=moment + wait * 60_000,
        )

    def _discard(self, reflection: Json) -> None:
        shutil.rmtree(self._folder / str(reflection["id"]), ignore_errors=True)


def refresh_sql(reflection: Json, dataset: View | Table) -> tuple[str, str]:
    """Return the query that builds a reflection, in Dremio's SQL, and the ORDER BY clause that sorts its files.

    An aggregation has the dimensions under their names, ``__count`` for the number of rows and each measure as
    ``<column>__<FUNCTION>``.
    """
    kinds = {column.name: column.type for column in dataset.columns}
    sort = [identifier(field["name"]) for field in reflection.get("sortFields", [])]
    order = f" ORDER BY {', '.join(sort)}" if sort else ""
    place = quoted(dataset.path)
    if reflection["type"] == "RAW":
        names = ", ".join(identifier(field["name"]) for field in reflection["displayFields"])
        return f"SELECT {names} FROM {place}", order
    items, groups = [], []
    for field in reflection.get("dimensionFields", []):
        name = identifier(field["name"])
        by_day = field["granularity"] == "DATE" and kinds[field["name"]] == "TIMESTAMP"
        expression = f"CAST({name} AS DATE)" if by_day else name
        items.append(f"{expression} AS {name}")
        groups.append(expression)
    items.append('COUNT(*) AS "__count"')
    for field in reflection.get("measureFields", []):
        for function in field["measureTypeList"]:
            call = "NDV" if function == "APPROX_COUNT_DISTINCT" else function
            alias = identifier(f"{field['name']}__{function}")
            items.append(f"{call}({identifier(field['name'])}) AS {alias}")
    grouped = f" GROUP BY {', '.join(groups)}" if groups else ""
    return f"SELECT {', '.join(items)} FROM {place}{grouped}", order


def config_status(reflection: Json, catalog: Catalog) -> str:
    """Return ``INVALID`` if the dataset lacks a field of the reflection, else the empty string."""
    dataset = catalog.by_id(reflection["datasetId"])
    if not isinstance(dataset, View | Table):
        return "INVALID"
    known = {column.name.lower() for column in dataset.columns}
    lists = ("displayFields", "dimensionFields", "measureFields", "sortFields", "partitionFields")
    fields = [str(field["name"]).lower() for name in lists for field in reflection.get(name, [])]
    return "" if all(name in known for name in fields) else "INVALID"


def policy_of(catalog: Catalog, tables: list[str]) -> Json:
    """Return the refresh policy that holds for data from these tables: the most eager of the tables' policies."""
    policies = [_table_policy(catalog, key) for key in tables]
    if not policies:
        return dict(_DEFAULT_POLICY)
    periodic = [policy for policy in policies if policy["activePolicyType"] == "PERIOD"]
    chosen = min(periodic, key=lambda policy: int(policy["refreshPeriodMs"])) if periodic else policies[0]
    return {**chosen, "gracePeriodMs": min(int(policy["gracePeriodMs"]) for policy in policies)}


def _table_policy(catalog: Catalog, key: str) -> Json:
    table = catalog.get((key,))
    own = table.policy if isinstance(table, Table) else {}
    source = catalog.source_of(table.path) if table is not None else None
    settings = source.settings if isinstance(source, Source) else {}
    inherited = {
        "activePolicyType": settings.get("accelerationActivePolicyType"),
        "refreshPeriodMs": settings.get("accelerationRefreshPeriodMs"),
        "gracePeriodMs": settings.get("accelerationGracePeriodMs"),
        "neverExpire": settings.get("accelerationNeverExpire"),
    }
    if settings.get("accelerationNeverRefresh"):
        inherited["activePolicyType"] = "NEVER"
    if own.get("neverRefresh"):
        own = {**own, "activePolicyType": "NEVER"}
    return _DEFAULT_POLICY | {n: v for n, v in inherited.items() if v} | {n: v for n, v in own.items() if v is not None}


_DEFAULT_POLICY: Json = {
    "activePolicyType": "PERIOD",
    "refreshPeriodMs": HOUR_MILLIS,
    "gracePeriodMs": 3 * HOUR_MILLIS,
    "neverExpire": False,
}
