"""What to run, as data: the files under ``include/config``, read, checked and typed.

Read on every DAG parse, so neither Airflow nor pyarrow is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lakehouse.files import ConfigError, include_dir, parse, read_yaml, unreadable
from lakehouse.plan import Plan
from lakehouse.retention import Retention, SyncMode
from lakehouse.tuning import Tuning

__all__ = [
    "Column", "ConfigError", "Dashboard", "Reflection", "Source", "Stream", "Streams",
    "include_dir", "load_dashboards", "load_plan", "load_reflections", "load_streams",
]  # fmt: skip

ARROW_TYPES = (
    "int32", "int64", "float64", "string", "bool", "date32", "timestamp[us]", "timestamp[ms]", "decimal(p,s)",
)  # fmt: skip
SCHEDULES = {"small": "*/15 * * * *", "large": "0 */6 * * *"}
"""When the sources of a frequency are synced, as cron expressions; a dimension's is the nightly plan's own."""

_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(_Strict):
    """One column of a stream's contract.

    Args:
        type: Arrow type in bronze, one of ``ARROW_TYPES``.
        nullable: Whether a null is allowed.
    """

    type: str
    nullable: bool = True

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        match = _DECIMAL.fullmatch(value)
        if match and 1 <= int(match[1]) <= 38 and int(match[2]) <= int(match[1]):
            return value
        if value in ARROW_TYPES[:-1]:
            return value
        raise ValueError(f"is no column type; allowed: {', '.join(ARROW_TYPES)} with 1 <= p <= 38 and s <= p")


class Stream(_Strict):
    """One stream of a source and its contract.

    Args:
        name: Name of the stream, as Airbyte knows it.
        sync_mode: "full_refresh" (a sync is the whole snapshot), "incremental" (a sync adds what changed, found by the
            cursor) or "cdc" (a sync adds the changes that the database's log holds, deletes among them).
        key: Columns that name a record.
        cursor: Column that orders the versions of a record; required for incremental streams. Change data has none: the
            log orders it.
        columns: Column name -> contract, in the order of bronze.
        on_new_column: What becomes of a column that is not in the contract: "take" (bronze gets it, reported), "ignore"
            (left out) or "refuse" (what landed goes to quarantine).
        on_type_change: What becomes of a column that arrives as another type than the contract's: "widen" (taken when
            every value becomes the contract's type without loss) or "refuse" (only a type that always does).
        cold: Table in Dremio with the latest versions of change data; what it has not merged stays in bronze. Without
            it all does.
        retention: How long the lake keeps what it brings.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    sync_mode: SyncMode
    key: tuple[str, ...] = Field(min_length=1)
    cursor: str | None = None
    columns: dict[str, Column] = Field(min_length=1)
    on_new_column: Literal["take", "ignore", "refuse"] = "take"
    on_type_change: Literal["widen", "refuse"] = "widen"
    cold: str | None = Field(default=None, pattern=r"^\w+(\.\w+)+$")
    retention: Retention = Retention()

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, dict):
            return {name: {"type": spec} if isinstance(spec, str) else spec for name, spec in value.items()}
        return value

    @model_validator(mode="after")
    def _names_are_columns(self) -> Stream:
        for what, names in (("key", self.key), ("cursor", (self.cursor,) if self.cursor else ())):
            for name in names:
                if name not in self.columns:
                    allowed = ", ".join(self.columns)
                    raise ValueError(f"{what} {name!r} is no column of the contract; allowed: {allowed}")
        if self.sync_mode == "incremental" and self.cursor is None:
            raise ValueError(f"an incremental stream needs a cursor; allowed: {', '.join(self.columns)}")
        if self.sync_mode == "cdc" and self.cursor is not None:
            raise ValueError(f"cursor {self.cursor!r}: change data is ordered by the database's log; leave it out")
        if self.sync_mode != "cdc" and self.cold is not None:
            raise ValueError(f"cold {self.cold!r}: only change data is merged into a cold table; leave it out")
        return self

    @model_validator(mode="after")
    def _nothing_is_lost(self) -> Stream:
        self.retention.resolved(self.sync_mode)
        return self


class Source(_Strict):
    """One source system: how often it is synced, where its syncs land and where bronze keeps them.

    Args:
        name: Name of the source.
        connection: Name of its Airbyte connection.
        frequency: How often it is synced: "small" (every 15 minutes), "large" (every 6 hours), "dimension" (daily) or
            "live" (without a pause; change data). It is the source's, because Airbyte syncs a connection as a whole.
        stage: Stage of the plan that extracts it every night; None: the nightly batch has no part in it.
        format: What a landing object becomes: "parquet" (a date partition), "jsonl" (one JSON answer) or "csv".
        landing: Key prefix of the landing objects, without the stream.
        bronze: Key prefix in bronze, without the stream.
        tuning: How its syncs are tuned.
        streams: Stream name -> stream.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    connection: str
    frequency: Literal["small", "large", "dimension", "live"] = "dimension"
    stage: str | None = None
    format: Literal["parquet", "jsonl", "csv"]
    landing: str = Field(pattern=r"^[^/].*[^/]$")
    bronze: str = Field(pattern=r"^[^/].*[^/]$")
    tuning: Tuning = Tuning()
    streams: dict[str, Stream] = Field(min_length=1)

    @field_validator("streams", mode="before")
    @classmethod
    def _names_from_keys(cls, value: object) -> object:
        return _with_names(value)

    @model_validator(mode="after")
    def _snapshots_of_the_batch_stay(self) -> Source:
        snapshots = [stream.name for stream in self.streams.values() if stream.sync_mode == "full_refresh"]
        if self.stage is not None and self.frequency in ("small", "large") and snapshots:
            raise ValueError(
                f"frequency {self.frequency!r}: a sync by day replaces the snapshot of {', '.join(snapshots)} that the "
                "nightly batch may be loading; allowed: dimension, incremental streams only, or no stage"
            )
        return self

    @model_validator(mode="after")
    def _files_are_all_read(self) -> Source:
        for stream in self.streams.values() if self.format == "csv" else ():
            if isinstance(stream.retention.bronze, int):
                raise ValueError(
                    f"streams.{stream.name}.retention.bronze {stream.retention.bronze!r}: of format csv every file is "
                    "read, the old ones too; allowed: forever"
                )
        return self

    @model_validator(mode="after")
    def _change_data_is_live(self) -> Source:
        modes = {stream.sync_mode for stream in self.streams.values()}
        if ("cdc" in modes) != (self.frequency == "live"):
            raise ValueError(f"frequency {self.frequency!r} with sync_mode {', '.join(sorted(modes))}: cdc is live")
        if "cdc" in modes and (modes != {"cdc"} or self.format != "parquet" or self.stage is not None):
            raise ValueError("a source of change data has cdc streams only, format parquet and no stage of the batch")
        return self

    def stream(self, name: str) -> Stream:
        """Return one stream; raises KeyError listing the known ones when there is none of that name."""
        if name not in self.streams:
            raise KeyError(f"source {self.name!r} has no stream {name!r}; it has {', '.join(self.streams)}")
        return self.streams[name]

    def keeps(self, stream: Stream) -> Retention:
        """Return how long the lake keeps what one of its streams brings, every value given."""
        kept = stream.retention.resolved(stream.sync_mode)
        return kept.model_copy(update={"bronze": "forever"}) if self.format == "csv" else kept


class Streams(_Strict):
    """Every source of ``streams.yml``.

    Args:
        sources: Source name -> source.
    """

    sources: dict[str, Source] = Field(min_length=1)

    @field_validator("sources", mode="before")
    @classmethod
    def _names_from_keys(cls, value: object) -> object:
        return _with_names(value)

    def source(self, name: str) -> Source:
        """Return one source; raises KeyError listing the known ones when there is none of that name."""
        if name not in self.sources:
            raise KeyError(f"there is no source {name!r} in streams.yml; it has {', '.join(self.sources)}")
        return self.sources[name]

    @property
    def nightly(self) -> list[Source]:
        """The sources that the nightly batch extracts."""
        return [source for source in self.sources.values() if source.stage is not None]

    @property
    def by_day(self) -> dict[Literal["small", "large", "dimension"], list[Source]]:
        """The sources that a DAG of their frequency syncs, by frequency; without those that need no other DAG.

        The nightly batch syncs the sources of its stages once a day, and change data is synced without a pause.
        """
        classes: dict[Literal["small", "large", "dimension"], list[Source]] = {}
        for source in self.sources.values():
            if source.frequency != "live" and not (source.frequency == "dimension" and source.stage):
                classes.setdefault(source.frequency, []).append(source)
        return classes

    def for_stage(self, stage_id: str) -> list[Source]:
        """Return the sources that one stage of the plan extracts."""
        return [source for source in self.sources.values() if source.stage == stage_id]


class ReflectionDimension(_Strict):
    """One dimension of an aggregation reflection: its column and, for timestamps, its granularity."""

    name: str
    granularity: Literal["DATE", "NORMAL"] | None = None


class ReflectionMeasure(_Strict):
    """One measure of an aggregation reflection: its column and what is computed of it."""

    name: str
    functions: tuple[Literal["SUM", "COUNT", "MIN", "MAX", "APPROX_COUNT_DISTINCT"], ...] = Field(min_length=1)


class Reflection(_Strict):
    """One declared Dremio reflection.

    Args:
        name: Its name, unique for its dataset.
        dataset: Dotted path of its anchor dataset.
        type: "raw" (``display`` columns) or "aggregation" (``dimensions`` and ``measures``).
        partition_by: Columns it is partitioned by.
        sort_by: Columns it is sorted by.
        enabled: Whether Dremio maintains it.
    """

    name: str = Field(min_length=1)
    dataset: str = Field(min_length=1)
    type: Literal["raw", "aggregation"]
    display: tuple[str, ...] = ()
    dimensions: tuple[ReflectionDimension, ...] = ()
    measures: tuple[ReflectionMeasure, ...] = ()
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    enabled: bool = True

    @field_validator("dimensions", mode="before")
    @classmethod
    def _short_dimensions(cls, value: object) -> object:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _fits_its_type(self) -> Reflection:
        if self.type == "raw" and (not self.display or self.dimensions or self.measures):
            raise ValueError("a raw reflection has display columns, and neither dimensions nor measures")
        if self.type == "aggregation" and (self.display or not (self.dimensions or self.measures)):
            raise ValueError("an aggregation reflection has dimensions or measures, and no display columns")
        return self


class Dashboard(_Strict):
    """One dashboard that is warmed after a run.

    Args:
        slug: Its slug in Superset.
        title: What people call it.
        roles: Superset roles whose cache entries differ by row-level security, each a role or the list of roles that
            such a person has together; empty: one pass is enough.
        charts: Names of the charts to warm; None: all of them.
    """

    slug: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str | None = None
    roles: tuple[str | tuple[str, ...], ...] = ()
    charts: tuple[str, ...] | None = None


def _with_names(value: object) -> object:
    if isinstance(value, dict):
        return {name: {**body, "name": name} if isinstance(body, dict) else body for name, body in value.items()}
    return value


@lru_cache(maxsize=32)
def _load(kind: str, path: Path, stamp: tuple[int, int]) -> Any:
    """Load one file; ``stamp`` (mtime in ns, size in bytes) makes a changed file a new cache entry."""
    data = read_yaml(path)
    if kind == "plan":
        return parse(Plan, data, path)
    if kind == "streams":
        return parse(Streams, data, path)
    if kind == "reflections":
        return [parse(Reflection, item, path) for item in _items(data, "reflections", path)]
    return [parse(Dashboard, item, path) for item in _items(data, "dashboards", path)]


def _items(data: object, name: str, path: Path) -> Sequence[object]:
    items = data.get(name) if isinstance(data, dict) else data
    if not isinstance(items, list):
        raise ConfigError(f"{path}: (top level): expected a list, or a mapping with the key {name!r} that holds one")
    return items


def _cached(kind: str) -> Any:
    path = include_dir() / "config" / f"{kind}.yml"
    try:
        stat = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return _load(kind, path, (stat.st_mtime_ns, stat.st_size))


def load_plan() -> Plan:
    """Return the plan of ``config/plan.yml``; raises ConfigError."""
    return _cached("plan")  # type: ignore[no-any-return]  # _load returns one type for each kind


def load_streams() -> Streams:
    """Return the sources and contracts of ``config/streams.yml``; raises ConfigError."""
    return _cached("streams")  # type: ignore[no-any-return]  # _load returns one type for each kind


def load_reflections() -> list[Reflection]:
    """Return the reflections of ``config/reflections.yml``; raises ConfigError."""
    return list(_cached("reflections"))


def load_dashboards() -> list[Dashboard]:
    """Return the dashboards of ``config/dashboards.yml``; raises ConfigError."""
    return list(_cached("dashboards"))
