"""The loop of micro-batches when it is ended from outside; Dremio and Superset have no part in that."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from lakehouse import live
from lakehouse.config import load_streams
from lakehouse.metadata_store import LockLost

from tests.sandbox.airbyte.services import wait_until

from .conftest import Shop


class _Lock:
    """Stands where the loop's lock is; it is lost as soon as somebody says so."""

    lost = False

    def check(self) -> None:
        if self.lost:
            raise LockLost("somebody else may be at it")


@pytest.fixture
def without_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lake, no Dremio, no Superset."""

    async def no_charts(*_: Any) -> None:
        return None

    monkeypatch.setattr(live, "refresh_bronze_metadata", lambda **_: [])
    monkeypatch.setattr(live.compaction, "compact_day", lambda *_, **__: [])
    monkeypatch.setattr(live, "Lake", SimpleNamespace(from_connection=lambda: None))
    monkeypatch.setattr("dremio_provider.hooks.dremio.DremioHook", lambda *_: nullcontext())
    monkeypatch.setattr(live._MicroBatches, "_open_charts", no_charts)


def a_loop(shop: Shop, lock: _Lock) -> Any:
    source = load_streams().source("postgres_cdc")
    return live._MicroBatches(source, shop.connection, "board", ["gold.t"], lock)  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_others")
def test_a_loop_that_has_lost_its_lock_writes_nothing_any_more(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []
    lock = _Lock()
    monkeypatch.setattr(live, "load_changes", lambda _, job_id, **__: loaded.append(job_id))
    monkeypatch.setattr(live, "COMPACT_BATCHES", 1)
    with a_loop(shop, lock) as loop:
        loop._load(1, live.Summary())
        loop._compact()
        lock.lost = True
        monkeypatch.setattr(live.compaction, "compact_day", lambda *_, **__: pytest.fail("it merges files"))
        for step in (lambda: loop._load(2, live.Summary()), loop._compact):
            with pytest.raises(LockLost):
                step()
    assert loaded == [1]


def test_a_catch_up_whose_lock_is_lost_during_its_sync_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = _Lock()

    def lost_meanwhile(*_: Any, **__: Any) -> SimpleNamespace:
        lock.lost = True
        return SimpleNamespace(job_id=1)

    monkeypatch.setattr(live.metadata_store, "exclusive", lambda *_, **__: nullcontext(lock))
    monkeypatch.setattr(live, "public_api", lambda: None)
    monkeypatch.setattr(live, "run_sync", lost_meanwhile)
    monkeypatch.setattr(live, "load_changes", lambda *_: pytest.fail("it loads"))
    with pytest.raises(LockLost):
        live.catch_up("postgres_cdc", "connection")


@pytest.mark.usefixtures("without_others")
def test_a_loop_that_is_killed_cancels_the_sync_it_waits_for(shop: Shop, api: Any) -> None:
    shop.open.clear()
    waiting: list[Any] = []

    def killed_loop() -> None:
        with a_loop(shop, _Lock()) as loop:
            waiting.append(loop._reader.submit(loop._sync))
            wait_until(shop.jobs, "a job")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_loop()
    assert type(waiting[0].exception(0)).__name__ == "SyncStopped"
    assert shop.ended() == ["cancelled"]
