"""The Config API of a real Airbyte takes the same application token as the public one; on loopback it takes none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest
from lakehouse.airbyte import AirbyteError, ConfigApi


class Gate(BaseHTTPRequestHandler):
    """Gives a token for the right secret and answers only to those who bring it."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/public/v1/applications/token":
            right = parse_qs(body.decode()).get("client_secret") == ["right"]
            self.answer(200 if right else 401, {"access_token": "issued"} if right else {"message": "no"})
        elif self.headers.get("Authorization") == "Bearer issued":
            self.answer(200, {"job": json.loads(body)})
        else:
            self.answer(401, {"message": "Unauthorized"})

    def answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep the tests' output to the tests."""


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_login_is_turned_into_a_token(address):
    with ConfigApi(address, "client", "right") as api:
        assert api.job(7) == {"job": {"id": 7}}


def test_without_a_login_no_token_is_asked_for(address):
    with ConfigApi(address) as api, pytest.raises(AirbyteError, match="401"):
        api.job(7)


def test_a_wrong_secret_is_named_by_its_connection_and_not_shown(address):
    with ConfigApi(address, "client", "wrong-secret") as api, pytest.raises(AirbyteError) as caught:
        api.job(7)
    assert "airbyte_config" in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
