"""The loop of micro-batches when it is ended from outside; Dremio and Superset have no part in that."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from lakehouse import live
from lakehouse.config import load_streams

from tests.sandbox.airbyte.services import wait_until

from .conftest import Shop


def test_a_loop_that_is_killed_cancels_the_sync_it_waits_for(
    shop: Shop, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_charts(*_: Any) -> None:
        return None

    monkeypatch.setattr(live, "refresh_bronze_metadata", lambda **_: [])
    monkeypatch.setattr(live.compaction, "compact_day", lambda *_, **__: [])
    monkeypatch.setattr(live, "Lake", SimpleNamespace(from_connection=lambda: None))
    monkeypatch.setattr("dremio_provider.hooks.dremio.DremioHook", lambda *_: nullcontext())
    monkeypatch.setattr(live._MicroBatches, "_open_charts", no_charts)
    shop.open.clear()
    source = load_streams().source("postgres_cdc")
    waiting: list[Any] = []

    def killed_loop() -> None:
        with live._MicroBatches(source, shop.connection, "board", ["gold.t"]) as loop:
            waiting.append(loop._reader.submit(loop._sync))
            wait_until(shop.jobs, "a job")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_loop()
    assert type(waiting[0].exception(0)).__name__ == "SyncStopped"
    assert shop.ended() == ["cancelled"]
