"""A scripted HTTP server, for states that a healthy service does not show on demand."""

from __future__ import annotations

import gc
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.providers.certificate import Certificate


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    raw: bytes | None = None


Handler = Callable[[Request], Reply]


class ScriptedServer:
    """Answers (method, path) with what the test lined up; the last answer of a line repeats."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._lines: dict[tuple[str, str], list[Reply | Handler]] = defaultdict(list)
        self._lock = threading.Lock()
        outer = self

        class _Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One packet an answer: headers and body apart cost 40 ms each.
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                """Keep the test output clean."""

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                try:
                    body = json.loads(raw) if raw else None
                except ValueError:
                    body = raw
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    {k.lower(): v for k, v in self.headers.items()},
                    body,
                )
                reply = outer.answer(request)
                if reply.delay:
                    threading.Event().wait(reply.delay)
                payload = reply.raw or (b"" if reply.body is None else json.dumps(reply.body).encode())
                self.send_response(reply.status)
                self.send_header("content-length", str(len(payload)))
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def on(self, method: str, path: str, *replies: Reply | Handler) -> None:
        self._lines[(method, path)] = list(replies)

    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            line = self._lines.get((request.method, request.path))
            if not line:
                return Reply(404, {"errorMessage": f"Could not find {request.path}", "moreInfo": ""})
            step = line.pop(0) if len(line) > 1 else line[0]
        return step if isinstance(step, Reply) else step(request)

    def count(self, method: str, path: str) -> int:
        return sum(1 for request in self.requests if (request.method, request.path) == (method, path))

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def encrypted(server: ScriptedServer, certificate: Certificate) -> ScriptedServer:
    """The scripted server, behind TLS."""
    server._http.socket = certificate.context.wrap_socket(server._http.socket, server_side=True)
    return server


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


class FakeTaskInstance:
    """Collects what a task pushes to XCom, and has what its previous run left there."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}
        self.previous: Any = None

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *, task_ids: str, include_prior_dates: bool) -> Any:
        assert task_ids
        assert include_prior_dates
        return self.previous


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": FakeTaskInstance()}


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_waiting_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are real in production and zero here; what is repeated, and how often, stays."""
    from types import SimpleNamespace

    import tenacity.nap

    monkeypatch.setattr(tenacity.nap, "time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def quiet_memory() -> Iterator[None]:
    """Keeps the collector from going through what pytest and Airflow have in memory: that is not what is measured."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
