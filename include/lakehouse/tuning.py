"""How a source is tuned, and which setting of Airbyte's each knob is.

The knobs are those of the architecture. With some connectors Airbyte has no setting for some of them: those are refused
and not taken silently.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Configuration = dict[str, Any]


class TuningError(ValueError):
    """A knob that the connector at hand does not have; the message begins with its name."""


class Tuning(BaseModel):
    """The knobs of one source; one that is not given is left to Airbyte.

    Args:
        batch_size: Records that are read at once, or buffered between the database's log and the sync.
        parallel_workers: Requests that the source makes at a time.
        timeout_minutes: After which the sync task cancels the sync.
        max_retries: How often the sync task is tried again.
        compression: Of the files that land.
        buffer_size_mb: Row group that is built in memory before it is written, in MiB.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int | None = Field(default=None, ge=1)
    parallel_workers: int | None = Field(default=None, ge=1, le=64)
    timeout_minutes: float = Field(default=60, gt=0)
    max_retries: int = Field(default=3, ge=0)
    compression: Literal["none", "snappy", "gzip", "lzo", "brotli", "lz4", "zstd"] | None = None
    buffer_size_mb: int | None = Field(default=None, ge=1)


def tuned_source(configuration: Mapping[str, Any], tuning: Tuning) -> Configuration:
    """Return a source's configuration with the knobs set that its connector has.

    Args:
        configuration: As declared, with its ``sourceType``.
        tuning: The knobs.

    Raises:
        TuningError: When the connector has no such setting.
    """
    changed = copy.deepcopy(dict(configuration))
    kind = str(changed.get("sourceType"))
    if tuning.batch_size is not None:
        _set_batch_size(changed, kind, tuning.batch_size)
    if tuning.parallel_workers is not None:
        if kind != "mysql":
            raise TuningError(
                f"parallel_workers: {tuning.parallel_workers}: source-{kind} has no such setting: it decides itself. "
                "Allowed with: mysql, REST manifests"
            )
        changed["max_db_connections"] = tuning.parallel_workers
    return changed


def _set_batch_size(configuration: Configuration, kind: str, size: int) -> None:
    replication = configuration.get("replication_method") or {}
    if kind == "mongodb-v2":
        place = configuration
    elif kind in ("postgres", "mssql") and replication.get("method") == "CDC":
        place = replication
    else:
        raise TuningError(
            f"batch_size: {size}: source-{kind} without change data has no such setting: it sizes its fetches by its "
            "memory. Allowed with: postgres and mssql CDC, mongodb-v2, REST manifests"
        )
    if not 1000 <= size <= 10_000:
        raise TuningError(f"batch_size: {size}: source-{kind} buffers changes (queue_size); allowed: 1000 to 10000")
    place["queue_size"] = size


def tuned_manifest(manifest: Mapping[str, Any], tuning: Tuning) -> Configuration:
    """Return a low-code connector with the knobs set: page size and concurrency.

    Args:
        manifest: As declared.
        tuning: The knobs.

    Raises:
        TuningError: When no stream of it has pages of a size that can be chosen.
    """
    changed = copy.deepcopy(dict(manifest))
    if tuning.parallel_workers is not None:
        changed["concurrency_level"] = {"type": "ConcurrencyLevel", "default_concurrency": tuning.parallel_workers}
    if tuning.batch_size is not None:
        paged = 0
        for stream in changed["streams"]:
            paginator = stream.get("retriever", {}).get("paginator") or {}
            if "page_size_option" in paginator:
                paginator["pagination_strategy"]["page_size"] = tuning.batch_size
                paged += 1
        if not paged:
            raise TuningError(f"batch_size: {tuning.batch_size}: no stream of the manifest has a page_size_option")
    return changed


def tuned_destination(configuration: Mapping[str, Any], tuning: Tuning) -> Configuration:
    """Return a destination's configuration with the knobs set that its format has.

    Args:
        configuration: As declared, with its ``destinationType``.
        tuning: The knobs.

    Raises:
        TuningError: When the destination or its format has no such setting.
    """
    changed = copy.deepcopy(dict(configuration))
    given = {name: getattr(tuning, name) for name in ("compression", "buffer_size_mb")}
    given = {name: value for name, value in given.items() if value is not None}
    form: Any = changed.get("format")
    if given and not isinstance(form, dict):
        name, value = next(iter(given.items()))
        raise TuningError(f"{name}: {value!r}: destination-{changed.get('destinationType')} writes no files")
    kind = str((form or {}).get("format_type"))
    if tuning.compression is not None:
        _set_compression(form, kind, tuning.compression)
    if tuning.buffer_size_mb is not None:
        if kind != "Parquet":
            raise TuningError(
                f"buffer_size_mb: {tuning.buffer_size_mb}: {kind} has no row groups. Allowed with: Parquet"
            )
        form["block_size_mb"] = tuning.buffer_size_mb
    return changed


def _set_compression(form: Any, kind: str, compression: str) -> None:
    if kind == "Parquet":
        form["compression_codec"] = "UNCOMPRESSED" if compression == "none" else compression.upper()
        return
    names = {"none": "No Compression", "gzip": "GZIP"}
    if kind not in ("JSONL", "CSV") or compression not in names:
        raise TuningError(f"compression: {compression!r}: {kind} cannot be written so; allowed: none, gzip")
    form["compression"] = {"compression_type": names[compression]}
