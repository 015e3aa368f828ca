"""Operator that fills Superset's cache with what the first visitor will ask, and proves that it hits."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator, conf

from superset_provider.connection import DEFAULT_CONN_ID
from superset_provider.exceptions import (
    SupersetConfigurationError,
    SupersetTerminalError,
    SupersetTransientError,
    SupersetWarmingError,
)
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.lineage import selected_lineage
from superset_provider.links import SupersetDashboardLink
from superset_provider.triggers.warm_dashboard import SupersetWarmDashboardTrigger
from superset_provider.warmer.engine import Warming, client_options, server_time
from superset_provider.warmer.outcomes import FailurePolicy, Report
from superset_provider.warmer.pages import PageLoader
from superset_provider.warmer.request import WarmRequest
from superset_provider.warmer.selection import Selected, Selection, select

if TYPE_CHECKING:
    from airflow.sdk import Context

T = TypeVar("T")
RESULT_KEY = "return_value"
STATE_KEY = "superset_warming_since"
MOST_CONCURRENCY = 16


class SupersetWarmDashboardOperator(BaseOperator):
    """Ask for everything that a browser asks when somebody opens the dashboards, in parallel and slowest first; then
    ask again, and accept only an answer out of the cache that this warm-up has put there.

    Tags, owners and datasets narrow each other and find published dashboards; dashboards and permalinks come on top.
    Killing the task gives up the queries that are being asked; Superset has no way to take them back from the database.

    :param dashboards: Slugs, uuids or ids.
    :param permalinks: Addresses or keys of permalinks: a dashboard with other filter values or tabs than its own.
    :param tags: Dashboards with one of these tags.
    :param owners: Dashboards that belong to one of these people: e-mail address, full name or id.
    :param datasets: Dashboards with a chart on one of these: ``schema.table``, ``database.schema.table``, uuid or id.
    :param superset_conn_id: Airflow connection of type ``superset``.
    :param as_users: Airflow connections of further users whose row-level security gives them cache entries of their
        own. What they share with another user is not asked again.
    :param roles: The same without a connection: for each entry (a role, or a list of roles) a service user with exactly
        these roles, made for the warm-up and deactivated after it. Needs a connection with the role Admin.
    :param concurrency: Cold queries at the same time, 1 to 16; more than the threads of Superset gain nothing.
    :param query_timeout: Seconds one query may take; a slower one is cut and named, the others go on.
    :param timeout: Seconds for all of it.
    :param verify: Whether to prove the hits.
    :param only_stale: Leave alone what the cache has, unless the dataset has been changed since, the data has
        (``changed_since``), or its time range is relative and the entry is of an earlier day (UTC).
    :param changed_since: When the data changed last, ISO text or datetime, UTC without a zone; for ``only_stale``. By
        default the newest asset event that has triggered the run, where there is one.
    :param fresh_for: Seconds every entry has to last beyond the warm-up, for example until the next one.
    :param on_failure: ``fail`` or ``warn`` (in the log) when too many queries are not warm.
    :param max_failures: So many do not matter.
    :param max_failure_share: Nor does this share of all queries, 0.0 to 1.0.
    :param option_row_limit: Superset's NATIVE_FILTER_DEFAULT_ROW_LIMIT, if it was changed there.
    :param deferrable: Warm in the triggerer instead of in a worker.
    """

    template_fields: Sequence[str] = (
        "dashboards", "permalinks", "tags", "owners", "datasets", "as_users", "roles", "changed_since",
        "superset_conn_id",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(
        ("dashboards", "permalinks", "tags", "owners", "datasets", "as_users", "roles"), "json"
    )
    ui_color = "#cfe8d5"
    operator_extra_links = (SupersetDashboardLink(),)

    def __init__(
        self,
        *,
        dashboards: Sequence[str | int] = (),
        permalinks: Sequence[str] = (),
        tags: Sequence[str] = (),
        owners: Sequence[str | int] = (),
        datasets: Sequence[str | int] = (),
        superset_conn_id: str = DEFAULT_CONN_ID,
        as_users: Sequence[str] = (),
        roles: Sequence[str | Sequence[str]] = (),
        concurrency: int = 4,
        query_timeout: float = 300.0,
        timeout: float = 1800.0,
        verify: bool = True,
        only_stale: bool = False,
        changed_since: str | datetime | None = None,
        fresh_for: float = 0.0,
        on_failure: str = "fail",
        max_failures: int = 0,
        max_failure_share: float = 0.0,
        option_row_limit: int = 1000,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dashboards = dashboards
        self.permalinks = permalinks
        self.tags = tags
        self.owners = owners
        self.datasets = datasets
        self.superset_conn_id = superset_conn_id
        self.as_users = as_users
        self.roles = roles
        self.concurrency = concurrency
        self.query_timeout = query_timeout
        self.timeout = timeout
        self.verify = verify
        self.only_stale = only_stale
        self.changed_since = changed_since
        self.fresh_for = fresh_for
        self.on_failure = on_failure
        self.max_failures = max_failures
        self.max_failure_share = max_failure_share
        self.option_row_limit = option_row_limit
        self.deferrable = deferrable
        self._killed = False
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Warm the dashboards.

        :returns: ``{"queries", "warm", "failed", "already_warm", "seconds", "charts": [{"dashboard", "chart",
            "chart_id", "kind", "dataset", "user", "cold_ms", "warm_ms", "rows", "shared", "hit", "reason", "message"}],
            ..}``, the failed first, then the slowest, at most 500. It is in XCom also when the task fails.
        :raises SupersetWarmingError: Names every chart that is not warm, with its dataset and the reason.
        """
        deadline = time.time() + self.timeout
        selection = self._selection()
        begun = self._wait_for(self._begin(selection, deadline, context))
        if isinstance(begun, WarmRequest):
            self.defer(
                trigger=SupersetWarmDashboardTrigger(begun.to_dict()),
                method_name="execute_complete",
                # The trigger ends by itself; this only catches a triggerer that is gone.
                timeout=timedelta(seconds=max(0.0, deadline - time.time()) + 60),
            )
        return self._conclude(begun.to_dict(), context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Judge what the trigger reported; result and errors as for :meth:`execute`."""
        if event["status"] == "error":
            kind = SupersetTransientError if event["transient"] else SupersetTerminalError
            raise kind(f"The warm-up in the triggerer ended early. {event['message']}")
        return self._conclude(event["result"], context)

    def on_kill(self) -> None:
        """Start no further query and give up those that are being asked."""
        self._killed = True
        if self._running is not None:
            loop, task = self._running
            loop.call_soon_threadsafe(task.cancel)

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """From the tables to the dashboards that were warmed."""
        return selected_lineage(self.superset_conn_id, self._selection())

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        async def cancellable() -> T:
            task = asyncio.current_task()
            assert task is not None
            self._running = asyncio.get_running_loop(), task
            if self._killed:
                task.cancel()
            return await work

        try:
            return asyncio.run(cancellable())
        except asyncio.CancelledError:
            raise SupersetTransientError(
                "Warming was ended by a kill.", check="nothing: start the task again."
            ) from None
        finally:
            self._running = None

    async def _begin(self, selection: Selection, deadline: float, context: Context) -> WarmRequest | Report:
        """Find the dashboards, and warm them unless the triggerer is to do that."""
        async with SupersetAsyncHook(
            self.superset_conn_id, **client_options(self.concurrency, self.query_timeout)
        ) as hook:
            loader = PageLoader(hook)
            ahead = () if self.deferrable else selection.dashboards
            selected, now, _ = await asyncio.gather(
                select(hook, selection), server_time(hook), loader.read_ahead(ahead)
            )
            request = self._request(selected, now, deadline, context)
            if self.deferrable:
                return request
            loader.know(selected.dashboards)
            return await Warming(request, hook, self.log, now, loader).run()

    def _request(self, selected: Selected, now: datetime, deadline: float, context: Context) -> WarmRequest:
        SupersetDashboardLink.persist(context, selected.url)
        changed = self._changed_since(context)
        return WarmRequest(
            superset_conn_id=self.superset_conn_id,
            pages=selected.pages,
            deadline=deadline,
            as_users=tuple(self.as_users),
            roles=tuple((role,) if isinstance(role, str) else tuple(role) for role in self.roles),
            service_user=self._service_user(),
            concurrency=self.concurrency,
            query_timeout=self.query_timeout,
            verify=self.verify,
            only_stale=self.only_stale,
            changed_since=changed.isoformat() if changed else None,
            fresh_for=self.fresh_for,
            since=self._since(now, context),
            option_row_limit=self.option_row_limit,
            durations=self._durations(context),
        )

    def _since(self, now: datetime, context: Context) -> str | None:
        """From when on entries were made for this task: by an earlier try, or by a triggerer that another one takes
        over from. None where nothing can have been made yet.

        :param now: What Superset's clock says.
        """
        store = context.get("task_state_store")
        kept = store.get(STATE_KEY) if store is not None else None
        if isinstance(kept, str) and now - datetime.fromisoformat(kept) < timedelta(seconds=2 * self.timeout):
            self.log.info("An earlier try has warmed from %s on: what it did is not asked again", kept)
            return kept
        if store is not None:
            store.set(STATE_KEY, now.isoformat())
        return now.isoformat() if self.deferrable else None

    def _selection(self) -> Selection:
        self._policy().check(self.task_id)
        selection = Selection(
            dashboards=tuple(self.dashboards),
            permalinks=tuple(self.permalinks),
            tags=tuple(self.tags),
            owners=tuple(self.owners),
            datasets=tuple(self.datasets),
        )
        if selection.empty or not 1 <= self.concurrency <= MOST_CONCURRENCY:
            raise SupersetConfigurationError(
                f"Task {self.task_id!r} has concurrency {self.concurrency!r} and names "
                f"{'no dashboard' if selection.empty else 'dashboards'}.",
                check=f"a concurrency from 1 to {MOST_CONCURRENCY}, and at least one of dashboards, permalinks, tags, "
                "owners and datasets.",
            )
        return selection

    def _policy(self) -> FailurePolicy:
        return FailurePolicy(self.on_failure, self.max_failures, self.max_failure_share)

    def _service_user(self) -> str:
        """One name for each task: two tasks must not take the password from each other."""
        return f"airflow_warm_up_{hashlib.sha256(f'{self.dag_id}/{self.task_id}'.encode()).hexdigest()[:8]}"

    def _durations(self, context: Context) -> dict[str, float]:
        """How long each query took in an earlier run."""
        previous = context["ti"].xcom_pull(task_ids=self.task_id, include_prior_dates=True)
        return dict(previous.get("durations") or {}) if isinstance(previous, Mapping) else {}

    def _changed_since(self, context: Context) -> datetime | None:
        """When the data changed last, as far as anybody has said."""
        given = self.changed_since
        if not given:
            groups = (context.get("triggering_asset_events") or {}).values()
            return max((event.timestamp for group in groups for event in group), default=None)
        try:
            found = given if isinstance(given, datetime) else datetime.fromisoformat(given)
        except ValueError as error:
            raise SupersetConfigurationError(
                f"Task {self.task_id!r} has changed_since {given!r}.",
                check="a time in ISO format, for example 2026-11-01T01:00:00+00:00.",
            ) from error
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        failed, queries = result["failed"], result["queries"]
        self.log.info(
            "%s of %s queries are warm, %s of them were already; %.1f s",
            result["warm"], queries, result["already_warm"], result["seconds"],
        )  # fmt: skip
        for sentence in result["failures"]:
            self.log.warning("Not warm: %s", sentence)
        policy, store = self._policy(), context.get("task_state_store")
        if store is not None and not (failed and result["transient"]):
            store.delete(STATE_KEY)
        if not policy.exceeded(failed, queries) or policy.on_failure == "warn":
            return result
        context["ti"].xcom_push(key=RESULT_KEY, value=result)
        # When each of them may be gone at the next try, the task may be tried again.
        kind = SupersetTransientError if result["transient"] else SupersetWarmingError
        raise kind(
            f"{failed} of {queries} queries are not warm. {'; '.join(result['failures'])}",
            check="each chart in Superset; a query that fails there cannot be warmed.",
            details={"failures": [chart for chart in result["charts"] if chart["reason"]]},
        )
