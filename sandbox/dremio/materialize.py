"""The reflection manager: builds what reflections define, again when it is asked for or due, and says how that went."""

# ruff: noqa: S608 - names are quoted, and writing SQL is what this module is for

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from sandbox.dremio.accelerator import Accelerator, unusable
from sandbox.dremio.catalog import Catalog, quoted
from sandbox.dremio.entities import Column, Table, View, new_id, now_millis
from sandbox.dremio.errors import CancelledError, StatementError, ValidationError
from sandbox.dremio.jobs import Job, Jobs
from sandbox.dremio.lineage import Versions
from sandbox.dremio.plan import Plan
from sandbox.dremio.planner import Planner
from sandbox.dremio.reflections import MAX_FAILURES, Reflections
from sandbox.dremio.refresh_policy import RefreshPolicies
from sandbox.dremio.rollup_measures import stored_columns
from sandbox.dremio.scan import identifier

logger = logging.getLogger(__name__)

Json = dict[str, Any]

WAKE_SECONDS = 10.0
BACK_OFF_MINUTES = (1, 2, 5, 15, 30, 60, 120, 240)
RETIRED_MILLIS = 5_000
"""How long rows are kept that are out of use, for queries that were planned but have not begun."""
KEPT_MATERIALIZATIONS = 50


class Manager:
    """Runs in a thread of its own.

    Args:
        reflections: what is to be built.
        catalog: holds the datasets.
        planner: translates the queries that build.
        jobs: every build is a job.
        accelerator: takes the rows.
        versions: says what a build was made from.
        clock: returns the time in milliseconds since 1970.
    """

    def __init__(
        self,
        reflections: Reflections,
        catalog: Catalog,
        planner: Planner,
        jobs: Jobs,
        accelerator: Accelerator,
        versions: Versions,
        clock: Callable[[], int] = now_millis,
    ) -> None:
        self._reflections = reflections
        self._catalog = catalog
        self._planner = planner
        self._jobs = jobs
        self._accelerator = accelerator
        self._versions = versions
        self.clock = clock
        self._tables: set[str] = set()
        self._retired: dict[tuple[str, str], int] = {}
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reflections", daemon=True)
        self._lock = threading.Lock()
        reflections.wake = self._woken.set
        reflections.retired = self._retire
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

    def request(self, dataset: Table | View) -> None:
        """Have reflections built again: a view's own; for a table all that stand on it, directly or through views.

        Args:
            dataset: the table or view.
        """
        if isinstance(dataset, View):
            self._reflections.request([str(reflection["id"]) for reflection in self._reflections.of(dataset.id)])
            return
        with self._lock:
            self._tables.add(dataset.key)
        self._woken.set()

    def _recover(self) -> None:
        kept = self._accelerator.kept()
        for materialization in self._reflections.materializations:
            if materialization["state"] == "RUNNING":
                failed = {"state": "FAILED", "failure_msg": "The server was stopped.", "finished": self.clock()}
                self._reflections.record({**materialization, **failed})
        used = set()
        for reflection in self._reflections.all():
            state = reflection["_state"]
            build = (reflection["id"], state["current"])
            if state["current"] is not None and build not in kept:
                self._reflections.note(reflection["id"], current=None)
            used.add(build)
            if state["refresh"] in ("PENDING", "RUNNING"):
                self._reflections.note(reflection["id"], refresh="")
        self._accelerator.drop(kept - used)

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(RETIRED_MILLIS / 1000 if self._retired else WAKE_SECONDS)
            self._woken.clear()
            if self._stopped.is_set():
                return
            try:
                self.work()
            except Exception:
                logger.exception("the reflection manager goes on after an error")

    def work(self) -> None:
        """Build everything that is due, one after the other, and delete what is out of use."""
        with self._lock:
            tables, self._tables = self._tables, set()
            gone = [build for build, since in self._retired.items() if since + RETIRED_MILLIS <= self.clock()]
            for build in gone:
                del self._retired[build]
        self._accelerator.drop(gone)
        requested = self._reflections.take_requests()
        due = []
        for reflection in self._reflections.all():
            if self._due(reflection, tables, requested):
                self._reflections.note(reflection["id"], refresh="PENDING")
                due.append(str(reflection["id"]))
        for reflection_id in due:
            if self._stopped.is_set():
                return
            self._build(reflection_id)

    def _due(self, reflection: Json, tables: set[str], requested: set[str]) -> bool:
        state = reflection["_state"]
        if not reflection["enabled"] or state["refresh"] == "GIVEN_UP" or config_status(reflection, self._catalog):
            return False
        if reflection["id"] in requested or (tables and tables & set(self.dependencies(reflection))):
            return True
        moment = self.clock()
        if state.get("retry_at"):
            return int(state["retry_at"]) <= moment
        if state["current"] is None:
            return True
        policies = self.policies(reflection)
        following = policies.next_refresh(int(state.get("last_data_fetch") or 0))
        if following is not None and following <= moment:
            return True
        return policies.on_data_changes and self.is_stale(reflection)

    def is_stale(self, reflection: Json) -> bool:
        """Return whether a reflection has no rows, or rows that are no longer those of its dataset."""
        current = self._reflections.current(reflection, self.clock())
        dataset = self._catalog.by_id(reflection["datasetId"])
        if current is None or not isinstance(dataset, View | Table):
            return current is None
        try:
            return bool(self._seen(self._planner.lineage(dataset)) != current["versions"])
        except StatementError:
            return True

    def _seen(self, plan: Plan) -> dict[str, str]:
        return {entity.id: self._versions.of(entity) for entity in (*plan.tables.values(), *plan.views.values())}

    def policies(self, reflection: Json) -> RefreshPolicies:
        """Return the refresh policies that hold for a reflection."""
        return RefreshPolicies(self._catalog, self.dependencies(reflection))

    def dependencies(self, reflection: Json) -> list[str]:
        """Return the keys of the tables a reflection's data comes from."""
        dataset = self._catalog.by_id(reflection["datasetId"])
        if isinstance(dataset, View | Table):
            try:
                return [table.key for table in self._planner.lineage(dataset).tables.values()]
            except StatementError:
                return list(reflection["_state"].get("dependencies") or [])
        return []

    def _build(self, reflection_id: str) -> None:
        reflection = self._reflections.note(reflection_id, refresh="RUNNING")
        if reflection is None:
            return
        materialization: Json = {
            "id": new_id(), "reflection_id": reflection_id, "created": self.clock(), "state": "RUNNING",
            "failure_msg": "", "rows": 0, "bytes": 0, "finished": None, "expires": None, "job_id": None,
            "tag": reflection["tag"], "first": reflection["_state"]["current"] is None,
        }  # fmt: skip
        try:
            dataset = self._catalog.by_id(reflection["datasetId"])
            if not isinstance(dataset, View | Table):
                raise ValidationError("The dataset is gone.")
            self._reflections.record(materialization)
            with self._jobs.internal(f"REFRESH REFLECTION '{reflection_id}' AS '{materialization['id']}'") as job:
                materialization["job_id"] = job.id
                tables = self._write(job, reflection, materialization, dataset)
                job.rows = materialization["rows"]
            self._succeed(reflection, materialization, tables)
        except (StatementError, CancelledError) as error:
            self._retire(reflection_id, materialization["id"])
            self._fail(reflection, materialization, error)

    def _write(self, job: Job, reflection: Json, materialization: Json, dataset: View | Table) -> list[str]:
        """Write the rows and note what they are in the materialization; return the keys of the tables they are from."""
        assert job.running is not None
        plan = self._planner.plan(f"SELECT * FROM {quoted(dataset.path)}", accelerate=False)
        with job.running.connection() as cursor:
            relation = cursor.sql(plan.sql)
            columns = [Column(n, str(kind)) for n, kind in zip(relation.columns, relation.types, strict=True)]
            query = refresh_sql(reflection, plan.sql, columns)
            rows, size = self._accelerator.build(cursor, reflection["id"], materialization["id"], query)
        answers = plan.stable and not plan.volatile and not unusable(columns)
        materialization |= {
            "rows": rows,
            "bytes": size,
            "versions": self._seen(plan),
            "columns": [[column.name, column.type] for column in columns] if answers else [],
        }
        return [table.key for table in plan.tables.values()]

    def _succeed(self, reflection: Json, materialization: Json, tables: list[str]) -> None:
        started = int(materialization["created"])
        expires = RefreshPolicies(self._catalog, tables).expiry(started)
        done = {"state": "DONE", "finished": self.clock(), "expires": expires, "fetched": started}
        wanted = self._reflections.succeeded(
            reflection["id"],
            {**materialization, **done},
            refresh="",
            failures=0,
            last_failure="",
            retry_at=0,
            last_data_fetch=started,
            dependencies=tables,
        )
        if not wanted:
            self._reflections.record({**materialization, **done, "state": "CANCELED"})
            self._retire(reflection["id"], materialization["id"])
            self._reflections.note(reflection["id"], refresh="")
            self._woken.set()
        own = [m for m in self._reflections.materializations if m["reflection_id"] == reflection["id"]]
        for old in own[:-KEPT_MATERIALIZATIONS]:
            self._reflections.drop_materialization(old["id"])

    def _fail(self, reflection: Json, materialization: Json, error: Exception) -> None:
        message = error.message if isinstance(error, StatementError) else str(error) or "Query cancelled by user"
        moment = self.clock()
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

    def _retire(self, reflection_id: str, materialization_id: str) -> None:
        with self._lock:
            self._retired[(reflection_id, materialization_id)] = self.clock()


def refresh_sql(reflection: Json, dataset: str, columns: list[Column]) -> str:
    """Return DuckDB's query for the rows of a reflection, in the order in which they are to lie.

    Args:
        reflection: the definition.
        dataset: DuckDB's query for the rows of the dataset.
        columns: the dataset's columns, with DuckDB's types.
    """
    laid_out = [str(field["name"]) for name in ("partitionFields", "sortFields") for field in reflection.get(name, [])]
    if reflection["type"] == "RAW":
        names = ", ".join(identifier(field["name"]) for field in reflection["displayFields"])
        order = ", ".join(identifier(name) for name in laid_out)
        return f"SELECT {names} FROM ({dataset}) AS dataset" + (f" ORDER BY {order}" if order else "")
    stored = list(stored_columns(reflection, {column.name.lower(): column.type for column in columns}))
    items = ", ".join(f"{expression} AS {identifier(name)}" for name, expression, _ in stored)
    dimensions = [(name, expression) for name, expression, is_dimension in stored if is_dimension]
    if not dimensions:
        # Without a row in the dataset there is none here: an aggregate over nothing is not an aggregate over zero.
        return f"SELECT {items} FROM ({dataset}) AS dataset HAVING count(*) > 0"
    groups = ", ".join(expression for _, expression in dimensions)
    first = [f"dimension.{name}" for name in laid_out]
    names_ = [name for name, _ in dimensions]
    order = ", ".join(identifier(n) for n in dict.fromkeys([n for n in first if n in names_] + names_))
    return f"SELECT {items} FROM ({dataset}) AS dataset GROUP BY {groups} ORDER BY {order}"


def config_status(reflection: Json, catalog: Catalog) -> str:
    """Return ``INVALID`` if the dataset lacks a field of the reflection, else the empty string."""
    dataset = catalog.by_id(reflection["datasetId"])
    if not isinstance(dataset, View | Table):
        return "INVALID"
    known = {column.name.lower() for column in dataset.columns}
    lists = ("displayFields", "dimensionFields", "measureFields", "sortFields", "partitionFields")
    fields = [str(field["name"]).lower() for name in lists for field in reflection.get(name, [])]
    return "" if all(name in known for name in fields) else "INVALID"
