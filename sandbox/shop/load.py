"""Load the shop: generate it, fill PostgreSQL, leave the partner's files and the provider's payments."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.shop import database, files
from sandbox.shop.settings import ShopSettings, write_atomically

if TYPE_CHECKING:
    from sandbox.shop.generate import Shop


def load(settings: ShopSettings) -> bool:
    """Make sure that the shop of these settings is in place.

    Running it again changes nothing, also nothing that people changed in the shop since. Another scale or last day
    loads everything anew.

    Args:
        settings: scale, last day and addresses.

    Returns:
        whether anything had to be loaded.

    Raises:
        ShopError: if a step failed. What was there before is then still there.
    """
    wanted = settings.stamp.as_json()
    in_database = database.loaded_stamp(settings.postgres_dsn) == wanted
    if in_database and _local_stamp(settings) == wanted:
        repaired = files.upload(settings, only_missing=True)
        _say(f"already loaded (scale {settings.stamp.scale}, last day {settings.stamp.last_day}), nothing to do")
        if repaired:
            _say(f"put {repaired} missing files back into the drop zone {settings.dropzone_bucket}")
        return False
    _load_everything(settings, wanted, in_database=in_database)
    return True


def _load_everything(settings: ShopSettings, wanted: str, *, in_database: bool) -> None:
    # DuckDB and Arrow are not needed to find out that there is nothing to do.
    from sandbox.shop.generate import generate_tpch, open_shop

    started = time.monotonic()
    _say(f"loading at scale {settings.stamp.scale}, last day {settings.stamp.last_day}")
    # The stamp goes first: if this load dies, the next one must not take the files for complete.
    settings.stamp_path.unlink(missing_ok=True)
    work = settings.directory / "work"
    tpch = settings.directory / "tpch"
    for directory in (work, tpch):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    try:
        generate_tpch(settings.stamp.scale, tpch)
        _say(f"TPC-H generated in {time.monotonic() - started:.1f} s")
        step = time.monotonic()
        with open_shop(tpch, settings.stamp.last_day, work) as shop:
            _say(f"shop made in {time.monotonic() - step:.1f} s")
            _write_local(settings, shop)
            if in_database:
                _say("PostgreSQL holds this shop already, its tables stay as they are")
            else:
                database.load(settings.postgres_dsn, shop, wanted, _report)
    finally:
        # Scratch of this load only; at scale 1 it is more than the database itself.
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(tpch, ignore_errors=True)
    uploaded = files.upload(settings, only_missing=False)
    _say(f"{uploaded} files uploaded to the drop zone {settings.dropzone_bucket}")
    write_atomically(settings.stamp_path, wanted + "\n")
    _say(f"done in {time.monotonic() - started:.1f} s")


def _write_local(settings: ShopSettings, shop: Shop) -> None:
    started = time.monotonic()
    temporary = settings.payments_path.with_suffix(".tmp")
    rows = shop.write_payments(temporary)
    temporary.replace(settings.payments_path)
    _report("payments", rows, time.monotonic() - started)
    started = time.monotonic()
    _report("returns", files.write(shop, settings.files_directory), time.monotonic() - started)


def _local_stamp(settings: ShopSettings) -> str | None:
    """The stamp of the payments and the CSV files, or None if one of them is missing."""
    if not (settings.payments_path.is_file() and files.complete(settings.files_directory)):
        return None
    path: Path = settings.stamp_path
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _report(table: str, rows: int, seconds: float) -> None:
    rate = f", {rows / seconds:,.0f} rows/s" if seconds > 0 and table != "indexes" else ""
    _say(f"{table}: {rows:,} {'' if table == 'indexes' else 'rows '}in {seconds:.1f} s{rate}")


def _say(line: str) -> None:
    print(f"shop: {line}", flush=True)
