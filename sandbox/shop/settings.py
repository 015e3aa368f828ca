"""What a load of the shop is told: scale, last day, and where the database and the drop zone are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from sandbox.serving import fail, required, var_dir

GENERATOR_VERSION: Final = "1"
"""Goes up with every change of what the generator makes, so that an older shop is loaded again."""

STAMP_FILE: Final = "stamp.json"
DEFAULT_SCALE: Final = "0.1"
SMALLEST_SCALE: Final = 0.001
LARGEST_SCALE: Final = 100.0


class ShopError(Exception):
    """The shop could not be generated or loaded; the message says what to do next."""


@dataclass(frozen=True)
class Stamp:
    """What a shop's data follows from: two shops with the same stamp hold the same rows."""

    scale: str
    last_day: date

    def as_json(self) -> str:
        """Return the stamp as the JSON text that is kept beside the data and in the database."""
        return json.dumps(
            {"generator": GENERATOR_VERSION, "last_day": self.last_day.isoformat(), "scale": self.scale}, sort_keys=True
        )


@dataclass(frozen=True)
class ShopSettings:
    """Everything a load needs to know.

    Attributes:
        stamp: scale and last day.
        directory: where the generator works and where the payments and the partner's files stay.
        postgres_dsn: the shop's database.
        s3_endpoint: address of the S3 server.
        s3_access_key: its access key.
        s3_secret_key: its secret key.
        s3_region: its region.
        dropzone_bucket: the bucket in which the partner leaves the files.
    """

    stamp: Stamp
    directory: Path
    postgres_dsn: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_region: str
    dropzone_bucket: str

    @property
    def files_directory(self) -> Path:
        """The partner's folder of CSV files."""
        return self.directory / "files" / "returns"

    @property
    def payments_path(self) -> Path:
        """The Parquet file that the payment provider serves."""
        return self.directory / "payments.parquet"

    @property
    def stamp_path(self) -> Path:
        """The file that says what the payments and the CSV files were made from."""
        return self.directory / STAMP_FILE


def from_environment() -> ShopSettings:
    """Read the settings of a load from the environment.

    Raises:
        SystemExit: with code 2 and one line, if a variable is missing or cannot be read.
    """
    directory = var_dir("shop")
    return ShopSettings(
        stamp=wanted_stamp(directory, os.environ),
        directory=directory,
        postgres_dsn=required("SOURCE_POSTGRES_DSN"),
        s3_endpoint=required("S3_ENDPOINT"),
        s3_access_key=required("S3_ACCESS_KEY"),
        s3_secret_key=required("S3_SECRET_KEY"),
        s3_region=required("S3_REGION"),
        dropzone_bucket=required("S3_DROPZONE_BUCKET"),
    )


def wanted_stamp(directory: Path, environment: Mapping[str, str]) -> Stamp:
    """Return the stamp of the shop that is asked for.

    Args:
        directory: where the shop keeps its files; a last day that nobody chose is remembered there.
        environment: ``SANDBOX_SCALE`` and ``SHOP_LAST_DAY``; both may be missing.

    Raises:
        SystemExit: with code 2 and one line, if a variable cannot be read.
    """
    scale = _scale(environment.get("SANDBOX_SCALE") or DEFAULT_SCALE)
    return Stamp(scale=scale, last_day=_last_day(environment.get("SHOP_LAST_DAY", ""), directory / "last_day"))


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file so that a reader sees either the old or the new one, also after a crash.

    Args:
        path: the file; its directory exists.
        text: the whole content.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def _scale(raw: str) -> str:
    try:
        scale = float(raw)
    except ValueError:
        fail(f"SANDBOX_SCALE={raw!r} is not a number. Use 0.1 for 150 000 orders, 1 for 1 500 000.")
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        fail(f"SANDBOX_SCALE={raw} is outside {SMALLEST_SCALE:g}..{LARGEST_SCALE:g}. Use 0.1 for 150 000 orders.")
    return f"{scale:g}"


def _last_day(raw: str, remembered: Path) -> date:
    """The day the shop's calendar ends on: the one asked for, else the one remembered, else today (then remembered)."""
    origin = "SHOP_LAST_DAY"
    if not raw and remembered.exists():
        raw, origin = remembered.read_text(encoding="utf-8").strip(), str(remembered)
    if raw:
        try:
            return date.fromisoformat(raw)
        except ValueError:
            fail(f"{origin} says {raw!r}, which is not a date like 2026-01-31.")
    # The shop's changes end at 01:00 on its last day: before one o'clock that day's rows would lie in the future.
    today = (datetime.now(UTC) - timedelta(hours=1)).date()
    write_atomically(remembered, f"{today.isoformat()}\n")
    return today
