"""Log lines in the lake: one gzip of JSON lines for each sync and each dbt invocation, by service and date."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from lakehouse.lake import Lake


def log_key(service: str, at: datetime, name: str) -> str:
    """Return the key of a log object.

    Args:
        service: "airbyte" or "dbt".
        at: When what it tells of began.
        name: What it tells of.
    """
    return f"logs/{service}/date={at:%Y-%m-%d}/{name}.json.gz"


def store(lake: Lake, key: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write log lines as one object; the same lines give the same bytes.

    Args:
        lake: The lake.
        key: What ``log_key`` returned.
        lines: JSON objects.
    """
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True, default=str) + "\n" for line in lines)
    # Without the time in the header, which gzip writes by default: the same lines, the same object.
    lake.put(key, gzip.compress(text.encode(), compresslevel=6, mtime=0), "application/gzip")
