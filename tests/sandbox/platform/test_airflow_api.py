"""Asking Airflow while the machine sleeps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandbox.airflow_api import AirflowClient
from sandbox.settings import SandboxError


class Server:
    """Leaves the first request without an answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                server.asked.append(self.command)
                if len(server.asked) == 1:
                    server.over.wait(10)
                body = b'{"state": "running", "dag_run_id": "manual__1"}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.over.set()
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def client(server: Server) -> Iterator[AirflowClient]:
    address = f"http://127.0.0.1:{server.http.server_port}"
    settings = {"AIRFLOW_URL": address, "AIRFLOW_USER": "admin", "AIRFLOW_PASSWORD": "secret"}
    with AirflowClient(settings, timeout=0.2) as made:
        yield made


def test_an_answer_that_a_pause_has_cost_is_asked_for_again(server: Server, client: AirflowClient) -> None:
    assert client.run("daily_batch", "manual__1")["state"] == "running"
    assert server.asked == ["GET", "GET"]


def test_a_run_is_not_started_twice(server: Server, client: AirflowClient) -> None:
    with pytest.raises(SandboxError, match="does not answer POST /api/v2/dags/daily_batch/dagRuns: timed out"):
        client.trigger("daily_batch", None)
    assert server.asked == ["POST"]
