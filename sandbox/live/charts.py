"""Looking at a chart as a browser does: the same request, unforced, again and again."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

from sandbox.settings import SandboxError, Settings

DASHBOARD: Final = "daily-revenue"
CHART: Final = "Orders by status"
COLUMN: Final = "newest_version"
LOOK_SECONDS: Final = 0.25
_LOGIN_SECONDS = 600  # a token lasts 15 minutes


class ChartWatch(threading.Thread):
    """Asks for the chart's data four times a second and notes which marker it shows.

    Args:
        settings: Where Superset is, and who logs in.

    Raises:
        SandboxError: If Superset has no such chart.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="chart", daemon=True)
        self.seen: list[tuple[float, datetime]] = []
        self.looks = self.hits = 0
        self.looked = 0.0
        self.error = ""
        self._address = settings["SUPERSET_URL"]
        self._login = {"username": settings["SUPERSET_USER"], "password": settings["SUPERSET_PASSWORD"]}
        self._http = httpx.Client(base_url=self._address, timeout=60, trust_env=False)
        self._logged_in = 0.0
        self._stopped = threading.Event()
        self._body = self._request_body()

    @property
    def marker(self) -> datetime:
        """The newest marker that was seen."""
        return self.seen[-1][1] if self.seen else datetime.min

    def stop(self) -> None:
        """End."""
        self._stopped.set()
        self.join()
        self._http.close()

    def run(self) -> None:
        """Look."""
        while not self._stopped.is_set():
            began = time.monotonic()
            try:
                self.look()
            except (httpx.HTTPError, KeyError, ValueError) as error:
                # A look that fails is one look less; whether what it would have shown was shown, the next one tells.
                self.error = f"{type(error).__name__}: {error}"
            self._stopped.wait(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))

    def look(self) -> None:
        """Look once; raises httpx.HTTPError."""
        answer = self._ask("POST", "/api/v1/chart/data", json=self._body).json()["result"][0]
        self.looked = moment = time.time()
        self.looks += 1
        self.hits += bool(answer["is_cached"])
        marker = max((_moment(row[COLUMN]) for row in answer["data"] if row[COLUMN] is not None), default=datetime.min)
        if marker > self.marker:
            self.seen.append((moment, marker))

    def _request_body(self) -> dict[str, Any]:
        try:
            charts = self._ask("GET", f"/api/v1/dashboard/{DASHBOARD}/charts").json()["result"]
            found = next((chart for chart in charts if chart["slice_name"] == CHART), None)
            if found is None:
                raise SandboxError(
                    f"Dashboard {DASHBOARD} has no chart {CHART!r}. The DAG platform_setup brings the dashboards."
                )
            saved = self._ask("GET", f"/api/v1/chart/{found['id']}").json()["result"]["query_context"]
        except httpx.HTTPError as error:
            raise SandboxError(f"Cannot ask Superset at {self._address}: {error}. See `make status`.") from error
        return {**json.loads(saved), "force": False}

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        if time.monotonic() - self._logged_in > _LOGIN_SECONDS or not self._logged_in:
            login = {**self._login, "provider": "db", "refresh": False}
            token = self._http.post("/api/v1/security/login", json=login).raise_for_status().json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
            self._logged_in = time.monotonic()
        return self._http.request(method, path, **options).raise_for_status()


def _moment(value: float | str) -> datetime:
    """A timestamp in chart data: milliseconds since 1970, or text."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).replace(tzinfo=None)
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None) + timedelta(milliseconds=round(value))
