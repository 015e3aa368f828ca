"""The payment provider over the wire, in a process of its own."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).parents[3]
TOKEN = "tests-token"
REAL_PORT = 8070
PAYMENTS = 2500
FIRST_MOMENT = dt.datetime(2026, 1, 1)
IDS = [f"pay_{number:08d}" for number in range(1, PAYMENTS + 1)]


def write_payments(path: Path, count: int, row_group: int = 700) -> None:
    """Payments 1 to ``count``; number n was created n minutes after the first moment."""
    moments = [FIRST_MOMENT + dt.timedelta(minutes=number) for number in range(1, count + 1)]
    table = pa.table(
        {
            "payment_id": [f"pay_{number:08d}" for number in range(1, count + 1)],
            "order_id": [number * 10 - 9 for number in range(1, count + 1)],
            "amount": pa.array(
                [decimal.Decimal(number) / 100 for number in range(1, count + 1)], type=pa.decimal128(12, 2)
            ),
            "currency": ["USD"] * count,
            "method": ["card"] * count,
            "status": ["captured"] * count,
            "created_at": pa.array(moments, type=pa.timestamp("us")),
        }
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary, row_group_size=row_group)
    temporary.replace(path)


@dataclass(frozen=True)
class Provider:
    """A running provider."""

    url: str
    var: Path
    process: subprocess.Popen[str]

    @property
    def payments(self) -> Path:
        return self.var / "shop" / "payments.parquet"

    def get(self, token: str = TOKEN, **parameters: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{self.url}/v1/payments", params=parameters, headers=headers, timeout=10)

    def patient_get(self, **parameters: object) -> httpx.Response:
        """As a caller does it that comes back after a throttled or failed request."""
        for _ in range(5):
            response = self.get(**parameters)
            if response.status_code not in (429, 500):
                return response
        raise AssertionError("five throttled or failed requests in a row")

    def walk(self, limit: int, **parameters: object) -> list[dict[str, object]]:
        payments: list[dict[str, object]] = []
        cursor: dict[str, object] = {}
        while True:
            response = self.patient_get(limit=limit, **cursor, **parameters)
            assert response.status_code == 200, response.text
            page = response.json()
            payments.extend(page["data"])
            if not page["has_more"]:
                assert page["next_cursor"] is None
                return payments
            assert len(page["data"]) == limit
            cursor = {"starting_after": page["next_cursor"]}


def start(var: Path, **environment: str) -> Provider:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PATH": os.environ["PATH"],
        "SANDBOX_PORT_OFFSET": str(port - REAL_PORT),
        "SANDBOX_VAR": str(var),
        "PAYMENT_PROVIDER_TOKEN": TOKEN,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox.payment_provider"],
        cwd=REPOSITORY,
        env=settings | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Provider(f"http://127.0.0.1:{port}", var, process)


def wait_until_healthy(provider: Provider) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert provider.process.poll() is None, "the provider ended"
        try:
            if httpx.get(f"{provider.url}/health", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the provider is not healthy")


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Provider]]:
    """Start providers that the test itself stops, or that end with it."""
    providers: list[Provider] = []

    def launch_one(**environment: str) -> Provider:
        providers.append(start(tmp_path, **environment))
        return providers[-1]

    yield launch_one
    for provider in providers:
        provider.process.kill()
        provider.process.communicate(timeout=10)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A provider over 2500 payments in four row groups; tests only read it."""
    var = tmp_path_factory.mktemp("provider")
    write_payments(var / "shop" / "payments.parquet", PAYMENTS)
    running = start(var)
    try:
        wait_until_healthy(running)
        yield running
    finally:
        running.process.terminate()
        running.process.communicate(timeout=10)


def test_a_payment_looks_as_promised(provider):
    page = provider.patient_get(limit=1).json()
    assert page == {
        "data": [
            {
                "payment_id": "pay_00000001",
                "order_id": 1,
                "amount": "0.01",
                "currency": "USD",
                "method": "card",
                "status": "captured",
                "created_at": "2026-01-01T00:01:00Z",
            }
        ],
        "has_more": True,
        "next_cursor": "pay_00000001",
    }


@pytest.mark.parametrize("limit", [500, 499, 313])
def test_walking_the_pages_gives_every_payment_once_and_in_order(provider, limit):
    assert [payment["payment_id"] for payment in provider.walk(limit)] == IDS


@settings(max_examples=30)
@given(after=st.integers(0, PAYMENTS), limit=st.integers(1, 500))
def test_a_page_is_the_slice_behind_its_cursor(provider, after, limit):
    cursor = {"starting_after": IDS[after - 1]} if after else {}
    page = provider.patient_get(limit=limit, **cursor).json()
    assert [payment["payment_id"] for payment in page["data"]] == IDS[after : after + limit]
    assert page["has_more"] == (after + limit < PAYMENTS)


def test_created_after_leaves_older_payments_out(provider):
    late = provider.walk(500, created_after="2026-01-02T00:00:00Z")
    assert [payment["payment_id"] for payment in late] == IDS[24 * 60 :]
    zone = provider.walk(500, created_after="2026-01-02T01:00:00+01:00")
    assert zone == late
    assert provider.walk(500, created_after="2027-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "header",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": "Bearer"}],
    ids=["none", "wrong", "other_scheme", "empty"],
)
def test_without_the_token_nothing_is_said(provider, header):
    response = httpx.get(f"{provider.url}/v1/payments", headers=header, timeout=10)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "authentication_error"
    assert TOKEN not in response.text


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 0},
        {"limit": 501},
        {"limit": "many"},
        {"starting_after": "pay_99999999"},
        {"starting_after": "nonsense"},
        {"starting_after": "pay_00000001x"},
        {"created_after": "yesterday"},
    ],
    ids=lambda parameters: "_".join(f"{name}_{value}" for name, value in parameters.items()),
)
def test_a_bad_request_is_told_what_is_wrong(provider, parameters):
    response = provider.patient_get(**parameters)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request"
    assert next(iter(parameters)) in error["message"]


def test_every_error_has_one_shape(provider):
    for response in (
        httpx.get(f"{provider.url}/v1/refunds", timeout=10),
        httpx.post(f"{provider.url}/v1/payments", timeout=10),
        httpx.get(f"{provider.url}/v1/payments", timeout=10),
    ):
        assert response.status_code in (404, 405, 401)
        assert set(response.json()) == {"error"}
        assert set(response.json()["error"]) == {"type", "message"}


def test_throttling_and_failures_come_by_count(launch):
    provider = launch()
    write_payments(provider.payments, 3)
    wait_until_healthy(provider)
    answers = []
    for _ in range(46):
        assert provider.get(token="wrong").status_code == 401  # not counted
        answers.append(provider.get(limit=3))
    statuses = [answer.status_code for answer in answers]
    expected = [500 if n % 23 == 0 else 429 if n % 7 == 0 else 200 for n in range(1, 47)]
    assert statuses == expected
    throttled = answers[6]
    assert int(throttled.headers["retry-after"]) >= 0
    assert throttled.json()["error"]["type"] == "rate_limit_exceeded"
    assert answers[22].json()["error"]["type"] == "internal_error"


def test_a_shop_loaded_anew_is_served_without_a_restart(launch):
    provider = launch()
    wait_until_healthy(provider)
    missing = provider.patient_get()
    assert missing.status_code == 503
    assert "not loaded" in missing.json()["error"]["message"]
    write_payments(provider.payments, 3)
    assert len(provider.walk(10)) == 3
    write_payments(provider.payments, 5)
    assert len(provider.walk(10)) == 5


def test_a_missing_token_ends_the_start_with_one_line(launch):
    provider = launch(PAYMENT_PROVIDER_TOKEN="")
    output, _ = provider.process.communicate(timeout=60)
    assert provider.process.returncode == 2
    assert "PAYMENT_PROVIDER_TOKEN" in output
    assert len(output.strip().splitlines()) == 1


def test_sigterm_ends_it_cleanly(launch):
    provider = launch()
    wait_until_healthy(provider)
    provider.process.terminate()
    output, _ = provider.process.communicate(timeout=60)
    assert provider.process.returncode == 0
    assert "Traceback" not in output
