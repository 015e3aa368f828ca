"""The commit record of a load of change data: one small object a job, written when everything it names is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from lakehouse.change_files import WrittenChanges
from lakehouse.config import Source
from lakehouse.lake import Lake
from lakehouse.manifests import described, read_back

_DIGITS = 12


@dataclass(frozen=True)
class ChangeObject(WrittenChanges):
    """One object of bronze that holds changes of one stream.

    Args:
        key: Its key.
        stream: The stream.
        bytes: Its size.
    """

    key: str
    stream: str
    bytes: int


@dataclass(frozen=True)
class Held:
    """A stream whose changes do not fit its contract and wait in quarantine.

    Args:
        message: What does not fit, and what to do.
        objects: Keys in quarantine.
    """

    message: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class ChangeManifest:
    """What one load made of what had landed.

    Args:
        source: The source.
        job_id: The sync job.
        objects: What bronze holds now, by stream.
        taken: Keys of the landing area and the quarantine whose rows ``objects`` hold, or that ``held`` has copied.
        held: Stream -> what waits in quarantine.
    """

    source: str
    job_id: int
    objects: tuple[ChangeObject, ...] = ()
    taken: tuple[str, ...] = ()
    held: dict[str, Held] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes) -> ChangeManifest:
        """Read a stored manifest."""
        values: dict[str, Any] = json.loads(body)
        values["objects"] = tuple(ChangeObject(**item) for item in values["objects"])
        values["taken"] = tuple(values["taken"])
        values["held"] = {
            stream: Held(item["message"], tuple(item["objects"])) for stream, item in values["held"].items()
        }
        return cls(**values)


class ChangeManifests:
    """The manifests of one source.

    Args:
        lake: The lake.
        source: The source.
    """

    def __init__(self, lake: Lake, source: Source) -> None:
        self._lake = lake
        self._prefix = f"{source.bronze}/_manifests/"

    def key(self, job_id: int) -> str:
        """Return the key of a job's manifest; keys sort as job ids do."""
        return f"{self._prefix}{padded(job_id)}.json"

    def job_ids(self, first: int) -> list[int]:
        """Return the jobs that have a manifest, from one on, in order.

        Args:
            first: The smallest job id of interest.
        """
        found = self._lake.list(self._prefix, after=self.key(first - 1))
        return [int(item.name.removesuffix(".json")) for item in found]

    def read(self, job_id: int) -> ChangeManifest:
        """Return the manifest of a job; raises LakeError when it has none."""
        return ChangeManifest.from_json(self._lake.get(self.key(job_id)))

    def write(self, manifest: ChangeManifest) -> None:
        """Commit a load."""
        self._lake.put(self.key(manifest.job_id), manifest.to_json(), "application/json")

    def taken(self, keys: Iterable[str], job_ids: Iterable[int]) -> set[str]:
        """Return which objects another load has taken already, and only a kill has left where they are.

        Args:
            keys: Objects of the landing area and the quarantine.
            job_ids: The jobs whose manifests may name them.
        """
        open_keys = set(keys)
        found: set[str] = set()
        for manifest in self._newest_first(job_ids):
            if not open_keys:
                break
            here = open_keys.intersection(manifest.taken)
            found |= here
            # What this load found in quarantine, or put there, nobody before it has taken.
            open_keys -= here.union(key for held in manifest.held.values() for key in held.objects)
        return found

    def _newest_first(self, job_ids: Iterable[int]) -> Iterator[ChangeManifest]:
        return (self.read(job_id) for job_id in sorted(job_ids, reverse=True))


class ChangeColumns:
    """Which columns outside the contracts bronze has of each stream of a source, so that they keep their types.

    Args:
        lake: The lake.
        source: The source.
    """

    def __init__(self, lake: Lake, source: Source) -> None:
        self._lake = lake
        self._prefix = f"{source.bronze}/_columns/"

    def read(self) -> dict[str, pa.Schema]:
        """Return the columns by stream; streams without any are left out."""
        found = self._lake.list(self._prefix)
        return {
            item.name.removesuffix(".json"): read_back(json.loads(self._lake.get(item.key))["arrow_schema"])
            for item in found
        }

    def write(self, stream: str, columns: pa.Schema) -> None:
        """Keep the columns of a stream."""
        body = json.dumps(described(columns), indent=1) + "\n"
        self._lake.put(f"{self._prefix}{stream}.json", body.encode(), "application/json")


def padded(job_id: int) -> str:
    """Return a job id as it stands in keys."""
    return f"{job_id:0{_DIGITS}}"
