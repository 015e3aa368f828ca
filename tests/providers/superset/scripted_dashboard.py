"""A dashboard on the scripted Superset, with a cache whose flaws a test chooses."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any


class ScriptedDashboard:
    """Dashboard ``sales`` with charts 1 to ``charts``, each with a query of its own, and Superset's cache behind them.

    :param superset: The scripted server.
    :param charts: How many.
    :param same_query: Whether all charts ask the same.
    """

    def __init__(self, superset: Any, charts: int = 1, *, same_query: bool = False) -> None:
        self.superset = superset
        self.keeps = True
        self.delay: Callable[[int], float] = lambda chart: 0.0
        self.entry: Callable[[dict[str, Any], int], dict[str, Any]] = lambda entry, reads: entry
        self.forced: list[int] = []
        self.most_at_once = 0
        self.rows = b'[{"a": 1}]'
        self.reading: Callable[[str], None] = lambda path: None
        self._at_once = 0
        self._lock = threading.Lock()
        self._cache: dict[int, dict[str, Any]] = {}
        self._reads = itertools.count()
        numbers = range(1, charts + 1)
        board = {
            "id": 4,
            "slug": "sales",
            "dashboard_title": "Sales",
            "url": "/superset/dashboard/sales/",
            "json_metadata": "{}",
            "position_json": "{}",
        }
        self._get("dashboard/sales", board)
        self._get("dashboard/4", board)
        for name in ("4", "sales"):
            self._get(f"dashboard/{name}/charts", [{"id": number} for number in numbers])
            self._get(f"dashboard/{name}/datasets", [{"id": 1, "table_name": "orders", "schema": "gold"}])
        self._get("me/", {"username": "admin"})
        for number in numbers:
            query = {"columns": ["a"], "row_limit": 1 if same_query else number}
            context = {"datasource": {"id": 1, "type": "table"}, "queries": [query]}
            chart = {"slice_name": f"Chart {number}", "query_context": json.dumps(context)}
            self._get(f"chart/{number}", chart)
        superset.guard("POST", "/api/v1/chart/data", self.chart_data)

    def _get(self, path: str, result: Any) -> None:
        def read(_: Any) -> Any:
            self.reading(path)
            return self.superset.reply(200, {"result": result})

        self.superset.guard("GET", f"/api/v1/{path}", read)

    def chart_data(self, request: Any) -> Any:
        """Answer as Superset does: from the cache, or slowly; one query after the other."""
        force = bool(request.body["force"])
        entries = [self._entry(int(query["row_limit"]), force) for query in request.body["queries"]]
        # The rows are JSON already: writing many of them would hold up the event loop of the test's own process.
        results = b", ".join(json.dumps(entry).encode()[:-1] + b', "data": ' + self.rows + b"}" for entry in entries)
        return self.superset.reply(200, raw=b'{"result": [' + results + b"]}")

    def _entry(self, number: int, force: bool) -> dict[str, Any]:
        entry = None if force else self._cache.get(number)
        if entry is None:
            with self._lock:
                self.forced.append(number)
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
            time.sleep(self.delay(number))
            with self._lock:
                self._at_once -= 1
            now = datetime.now(UTC).replace(microsecond=0)
            entry = {
                "cache_key": f"k{number}",
                "is_cached": None,
                "queried_dttm": now.isoformat(),
                "cache_timeout": 3600,
                "rowcount": 1,
            }
            if self.keeps:
                self._cache[number] = {**entry, "is_cached": True, "cached_dttm": now.replace(tzinfo=None).isoformat()}
        return self.entry(dict(entry), next(self._reads))

    def age(self, seconds: float, *charts: int) -> None:
        """Make the entries of these charts, or of all, older."""
        for entry in [entry for chart, entry in self._cache.items() if chart in (charts or self._cache)]:
            at = datetime.fromtimestamp(datetime.fromisoformat(entry["queried_dttm"]).timestamp() - seconds, UTC)
            entry.update(queried_dttm=at.isoformat(), cached_dttm=at.replace(tzinfo=None).isoformat())
