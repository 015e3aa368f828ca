"""The servers of this package that stand in for Airbyte, Dremio, Elasticsearch and the payment provider."""

from __future__ import annotations

import sys

from sandbox.processes import Command
from sandbox.services import Service, answers
from sandbox.settings import REPOSITORY, Settings

_SERVERS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    # name: address setting, health path, ports, needs
    "airbyte": ("AIRBYTE_URL", "/api/public/v1/health", ("airbyte", "airbyte_config"), ("postgres", "s3")),
    "dremio": ("DREMIO_URL", "/apiv2/server_status", ("dremio", "dremio_flight"), ("s3",)),
    "elasticsearch": ("ELASTICSEARCH_URL", "/", ("elasticsearch",), ()),
    "payment_provider": ("PAYMENT_PROVIDER_URL", "/health", ("payment_provider",), ("postgres",)),
}


def services(settings: Settings) -> list[Service]:
    """Return the services of this package's own servers."""
    return [_service(settings, name) for name in _SERVERS]


def _service(settings: Settings, name: str) -> Service:
    address, path, ports, needs = _SERVERS[name]
    argv = (sys.executable, "-m", f"sandbox.{name}")
    return Service(
        name=name,
        command=lambda: Command(argv, settings.child_environment(), REPOSITORY),
        address=settings[address],
        ready=answers(settings[address] + path),
        ports=tuple(settings.port(port) for port in ports),
        needs=needs,
        deadline=60,
        stop_seconds=6,
    )
