"""The record of a bronze partition: what it is made of, written when everything it names is in place."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import pyarrow as pa

from lakehouse.config import Source, Stream
from lakehouse.lake import Lake

_AREA = "bronze/manifests"


@dataclass(frozen=True)
class PartitionObject:
    """One object of a partition: its key, its rows and its size in bytes."""

    key: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class PartitionManifest:
    """What one partition is made of.

    Args:
        source: The source.
        stream: The stream.
        date: The date of the partition, "YYYY-MM-DD".
        jobs: Sync job -> how many rows it had landed, of every job that the partition holds.
        objects: The objects.
        taken: Keys of the landing area and the quarantine whose rows the objects hold.
        columns: Column -> type, of Parquet partitions.
        new_columns: Which of them are not in the contract.
        arrow_schema: The columns once more, as an Arrow IPC message in base64, from which types can be read back.
    """

    source: str
    stream: str
    date: str
    jobs: dict[int, int] = field(default_factory=dict)
    objects: tuple[PartitionObject, ...] = ()
    taken: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    new_columns: tuple[str, ...] = ()
    arrow_schema: str = ""

    def schema(self) -> pa.Schema:
        """Return the columns as an arrow schema; an empty one for a partition that is not Parquet."""
        return read_back(self.arrow_schema) if self.arrow_schema else pa.schema([])

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes) -> PartitionManifest:
        """Read a stored manifest."""
        values: dict[str, Any] = json.loads(body)
        values["jobs"] = {int(job): rows for job, rows in values["jobs"].items()}
        values["objects"] = tuple(PartitionObject(**item) for item in values["objects"])
        values["taken"] = tuple(values["taken"])
        values["new_columns"] = tuple(values["new_columns"])
        return cls(**values)


def described(schema: pa.Schema) -> dict[str, Any]:
    """Return what a manifest says of columns: the values of ``columns`` and ``arrow_schema``."""
    return {
        "columns": {field.name: str(field.type) for field in schema},
        "arrow_schema": base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode(),
    }


def read_back(arrow_schema: str) -> pa.Schema:
    """Return the columns that ``described`` wrote as ``arrow_schema``."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(arrow_schema)))


class PartitionManifests:
    """The manifests of one stream's partitions.

    Args:
        lake: The lake.
        source: The source.
        stream: One of its streams.
    """

    def __init__(self, lake: Lake, source: Source, stream: Stream) -> None:
        self._lake = lake
        self._prefix = f"{_AREA}/{source.name}/{stream.name}/date="

    def key(self, day: date) -> str:
        """Return the key of a partition's manifest."""
        return f"{self._prefix}{day.isoformat()}.json"

    def days(self) -> list[date]:
        """Return the dates of the partitions that have a manifest, in order."""
        names = (item.key.removeprefix(self._prefix) for item in self._lake.list(self._prefix))
        return [date.fromisoformat(name.removesuffix(".json")) for name in names]

    def read(self, day: date) -> PartitionManifest:
        """Return the manifest of a partition; raises LakeError when it has none."""
        return PartitionManifest.from_json(self._lake.get(self.key(day)))

    def write(self, manifest: PartitionManifest) -> None:
        """Put a manifest in place."""
        self._lake.put(self.key(date.fromisoformat(manifest.date)), manifest.to_json(), "application/json")
