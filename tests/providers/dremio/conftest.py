"""A scripted Dremio: login, SQL jobs and reflections that pass through the states a test lines up."""

from __future__ import annotations

import itertools
import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dremio_provider.hooks.dremio import DremioHook

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.providers.dremio.real import RealDremio, running_dremio

USER, PASSWORD = "airflow", "s3cr3t-pass"
NEVER = "1969-12-31T23:59:59.999Z"
T1, T2, T3 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z", "2026-11-03T01:00:00.000Z"
NAMES = {"customers": "aaaaaaaa-0000-0000-0000-000000000001", "orders": "aaaaaaaa-0000-0000-0000-000000000002"}


def status(
    refresh: str = "MANUAL",
    availability: str = "AVAILABLE",
    combined: str = "CAN_ACCELERATE",
    fetch: str = T1,
    failures: int = 0,
    message: str = "",
    config: str = "OK",
    finished: str | None = None,
) -> dict[str, Any]:
    body = {
        "config": config,
        "refresh": refresh,
        "availability": availability,
        "combinedStatus": combined,
        "failureCount": failures,
        "lastFailureMessage": message,
        "lastDataFetch": fetch,
        "expiresAt": NEVER,
    }
    return body if finished is None else {**body, "lastRefreshFinished": finished}


class ScriptedDremio:
    """What both editions answer; a refresh moves each reflection along its line of states."""

    def __init__(self, server: Any, reply: Any) -> None:
        self.server, self.reply = server, reply
        self.tokens: list[str] = []
        self.valid: set[str] = set()
        self.reflections: dict[str, dict[str, Any]] = {}
        self.before: dict[str, list[dict[str, Any] | None]] = {}
        self.after: dict[str, list[dict[str, Any] | None]] = {}
        self.refreshed: list[str] = []
        self.cancelled: list[str] = []
        self.tables: dict[str, list[dict[str, Any]]] = {
            "sys.reflections": [],
            "sys.reflection_dependencies": [],
            "sys.materializations": [],
        }
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.sql: list[str] = []
        self._ids = itertools.count(1)
        server.on("POST", "/apiv2/login", self._login)
        server.on("GET", "/apiv2/server_status", reply(200, "OK"))
        self.guard("POST", "/api/v3/sql", self._submit)
        self.guard("GET", "/api/v3/catalog", lambda request: reply(200, {"data": []}))

    def guard(self, method: str, path: str, handler: Any) -> None:
        """Answer only who is logged in."""

        def guarded(request: Any) -> Any:
            token = request.headers.get("authorization", "").removeprefix("_dremio")
            if token not in self.valid:
                return self.reply(401, {"errorMessage": "User is not logged in", "moreInfo": ""})
            return handler(request)

        self.server.on(method, path, guarded)

    def answer(self, method: str, path: str, *bodies: Any) -> None:
        line = iter(bodies)
        last: list[Any] = []

        def handler(_: Any) -> Any:
            body = next(line, None) if not last or last[0] is not bodies[-1] else last[0]
            last[:] = [body]
            return body if isinstance(body, self.reply) else self.reply(200, body)

        self.guard(method, path, handler)

    def _login(self, request: Any) -> Any:
        if request.body != {"userName": USER, "password": PASSWORD}:
            return self.reply(401, {"errorMessage": "Login failed: invalid username or password", "moreInfo": ""})
        token = f"token{next(self._ids)}"
        self.tokens.append(token)
        self.valid.add(token)
        return self.reply(200, {"token": token, "userName": USER})

    def _submit(self, request: Any) -> Any:
        statement = request.body["sql"]
        self.sql.append(statement)
        job_id = f"job-{next(self._ids)}"
        rows = next((rows for name, rows in self.tables.items() if f"FROM {name}" in statement), [])
        self.job(job_id, [{"jobState": "COMPLETED", "rowCount": len(rows)}], rows)
        return self.reply(200, {"id": job_id})

    def job(self, job_id: str, states: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
        """A job that passes through ``states`` and then has ``rows``."""
        self.answer("GET", f"/api/v3/job/{job_id}", *states)

        def page(request: Any) -> Any:
            offset, limit = int(request.query["offset"][0]), int(request.query["limit"][0])
            if limit > 500:
                return self.reply(400, {"errorMessage": "limit can not exceed 500 rows"})
            schema = [{"name": name, "type": {"name": "VARCHAR"}} for name in (rows[0] if rows else {})]
            return self.reply(200, {"rowCount": len(rows), "schema": schema, "rows": rows[offset : offset + limit]})

        def cancel(_: Any) -> Any:
            self.cancelled.append(job_id)
            return self.reply(204)

        self.guard("GET", f"/api/v3/job/{job_id}/results", page)
        self.guard("POST", f"/api/v3/job/{job_id}/cancel", cancel)

    def entity(self, path: str, entity_id: str, kind: str) -> None:
        """A dataset of the catalog."""
        body = {"id": entity_id, "path": path.split("."), "type": kind, "entityType": "dataset"}
        self.answer("GET", "/api/v3/catalog/by-path/" + path.replace(".", "/"), body)
        self.answer("GET", f"/api/v3/catalog/{entity_id}", body)

    def reflection(
        self,
        name: str,
        dataset: str,
        before: list[dict[str, Any] | None],
        after: list[dict[str, Any] | None],
        *,
        kind: str = "VIRTUAL_DATASET",
        enabled: bool = True,
        anchors: tuple[str, ...] = ("table-1",),
    ) -> str:
        """A reflection that shows ``before`` until a refresh was asked for and then ``after``, each look one step."""
        rid = f"rrrrrrrr-0000-0000-0000-{len(self.reflections) + 1:012d}"
        dataset_id = f"dataset-{dataset}"
        self.entity(dataset, dataset_id, kind)
        self.reflections[rid] = {
            "id": rid,
            "name": name,
            "datasetId": dataset_id,
            "type": "RAW",
            "tag": "1",
            "enabled": enabled,
        }
        self.before[rid], self.after[rid] = list(before), list(after)
        self.tables["sys.reflections"].append({"reflection_id": rid, "reflection_name": name})
        self.tables["sys.reflection_dependencies"] += [
            {
                "reflection_id": rid,
                "dependency_id": table,
                "dependency_type": "DATASET",
                "dependency_path": f"lake.{table}",
            }
            for table in anchors
        ]
        for table in anchors:
            self.entity(f"lake.{table}", table, "PHYSICAL_DATASET")
            self._refreshable(table)
        if kind == "PHYSICAL_DATASET":
            self._refreshable(dataset_id)

        def listed(_: Any) -> Any:
            found = [r for r in self.reflections.values() if r["datasetId"] == dataset_id]
            return self.reply(200, {"data": found})

        self.guard("GET", f"/api/v3/dataset/{dataset_id}/reflection", listed)

        def look(_: Any) -> Any:
            line = self.after[rid] if self.refreshed else self.before[rid]
            state = line.pop(0) if len(line) > 1 else line[0]
            if state is None:
                return self.reply(404, {"errorMessage": f"reflection with id {rid} not found"})
            return self.reply(200, {**self.reflections[rid], "status": state})

        self.guard("GET", f"/api/v3/reflection/{rid}", look)
        return rid

    def _refreshable(self, entity_id: str) -> None:
        def refresh(_: Any) -> Any:
            self.refreshed.append(entity_id)
            return self.reply(204)

        self.guard("POST", f"/api/v3/catalog/{entity_id}/refresh", refresh)

    def enterprise(self) -> None:
        """Offer what only the Enterprise edition has."""
        self.answer("GET", "/api/v3/reflection/summary", {"data": []})
        for rid in self.reflections:

            def refresh(_: Any, rid: str = rid) -> Any:
                self.refreshed.append(rid)
                return self.reply(200, {})

            self.guard("POST", f"/api/v3/reflection/{rid}/refresh", refresh)


@pytest.fixture
def dremio(server: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> ScriptedDremio:
    set_connection(monkeypatch, server.port)
    return ScriptedDremio(server, reply)


def set_connection(monkeypatch: pytest.MonkeyPatch, port: int, **changes: Any) -> None:
    connection = {
        "conn_type": "dremio",
        "host": "127.0.0.1",
        "port": port,
        "login": USER,
        "password": PASSWORD,
        "extra": {"flight_port": 1, "tls": False, "edition": "community"},
        **changes,
    }
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(connection))


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the Airflow connection: ``connect(port, **changes)``."""
    return lambda port, **changes: set_connection(monkeypatch, port, **changes)


@pytest.fixture
def state() -> Any:
    """Builds a reflection's status."""
    return status


@pytest.fixture
def password() -> str:
    return PASSWORD


@pytest.fixture(scope="session")
def real_dremio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealDremio]:
    """A running Dremio; no connection is set, see ``connected``."""
    with running_dremio(tmp_path_factory.mktemp("dremio")) as running:
        yield running


@pytest.fixture
def connected(real_dremio: RealDremio, monkeypatch: pytest.MonkeyPatch) -> RealDremio:
    """A running Dremio that the default connection leads to."""
    monkeypatch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(real_dremio.connection))
    return real_dremio


@pytest.fixture(scope="module")
def real_hook(real_dremio: RealDremio) -> Iterator[DremioHook]:
    """A hook for the running Dremio; while a test module uses it, the default connection leads there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DREMIO_DEFAULT", json.dumps(real_dremio.connection))
        with DremioHook(poll_interval=0.1, log_sql=False) as opened:
            yield opened


@pytest.fixture(scope="session")
def lake(real_dremio: RealDremio) -> Iterator[str]:
    """A source of this run alone, as SQL writes the folder in it where tables can be made."""
    name = f"lake_{secrets.token_hex(4)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_DREMIO_LAKE", json.dumps(real_dremio.connection))
        with DremioHook("dremio_lake") as hook:
            source = hook.create_catalog_entity(real_dremio.source(name))
            yield f'"{name}"."{real_dremio.bucket}"'
            hook.delete_catalog_entity(source["id"])
