"""Catalog objects as the REST API shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.dremio.entities import HOUR_MILLIS, Entity, Folder, Path, Source, Space, Table, View
from sandbox.dremio.jobs import iso
from sandbox.dremio.types import rest_type

Json = dict[str, Any]

EXISTING = "$DREMIO_EXISTING_VALUE$"
_SECRETS = ("accessSecret", "password", "secretKey", "accessToken")
METADATA_POLICY: Json = {
    "authTTLMs": 24 * HOUR_MILLIS,
    "namesRefreshMs": HOUR_MILLIS,
    "datasetRefreshAfterMs": HOUR_MILLIS,
    "datasetExpireAfterMs": 3 * HOUR_MILLIS,
    "datasetUpdateMode": "PREFETCH_QUERIED",
    "deleteUnavailableDatasets": True,
    "autoPromoteDatasets": False,
}
"""What a source does unless it is told otherwise."""

POLICY: Json = {
    "activePolicyType": "PERIOD",
    "refreshPeriodMs": HOUR_MILLIS,
    "refreshSchedule": "0 0 8 * * *",
    "gracePeriodMs": 3 * HOUR_MILLIS,
    "method": "AUTO",
    "neverExpire": False,
    "neverRefresh": False,
    "sourceRefreshOnDataChanges": False,
}


@dataclass(frozen=True)
class Stored:
    """A folder or file of a source that is not a dataset.

    Args:
        path: its catalog path.
        kind: ``folder`` or ``file``.
    """

    path: Path
    kind: str

    @property
    def id(self) -> str:
        """The identifier by which it is promoted."""
        return "dremio:/" + "/".join(self.path)


def listed(entity: Entity | Stored) -> Json:
    """Return an object as an entry of a listing."""
    body: Json = {"id": entity.id, "path": list(entity.path)}
    if isinstance(entity, Stored):
        return {
            **body,
            **({"type": "CONTAINER", "containerType": "FOLDER"} if entity.kind == "folder" else {"type": "FILE"}),
        }
    body |= {"tag": entity.tag, "createdAt": iso(entity.created_at)}
    if isinstance(entity, View):
        return {**body, "type": "DATASET", "datasetType": "VIRTUAL"}
    if isinstance(entity, Table):
        return {**body, "type": "DATASET", "datasetType": "PROMOTED"}
    if isinstance(entity, Source):
        return {**body, "type": "CONTAINER", "containerType": "SOURCE"}
    if isinstance(entity, Folder):
        return {**body, "type": "CONTAINER", "containerType": "FOLDER"}
    return {**body, "type": "CONTAINER", "containerType": "HOME" if entity.name.startswith("@") else "SPACE"}


def shown(entity: Entity | Stored) -> Json:
    """Return an object in full, without children and with its secrets masked."""
    if isinstance(entity, Stored):
        return {"entityType": entity.kind, "id": entity.id, "path": list(entity.path)}
    body: Json = {"id": entity.id, "tag": entity.tag, "createdAt": iso(entity.created_at)}
    if isinstance(entity, Source):
        body |= {"entityType": "source", "name": entity.name, "type": entity.source_type}
        return {
            **body,
            "config": _masked(entity.config),
            "state": {"status": "good", "messages": []},
            **entity.settings,
        }
    if isinstance(entity, Space):
        kind = "home" if entity.name.startswith("@") else "space"
        return {"entityType": kind, "name": entity.name, **body}
    if isinstance(entity, Folder):
        return {"entityType": "folder", "path": list(entity.path), **body}
    assert isinstance(entity, View | Table)
    fields = [{"name": column.name, "type": rest_type(column.type)} for column in entity.columns]
    body = {"entityType": "dataset", **body, "path": list(entity.path), "fields": fields}
    if isinstance(entity, View):
        return {**body, "type": "VIRTUAL_DATASET", "sql": entity.sql, "sqlContext": list(entity.context)}
    table_format = {"type": "Iceberg"} if entity.managed else entity.format
    return {
        **body,
        "type": "PHYSICAL_DATASET",
        "format": {**table_format, "location": "/" + "/".join(entity.path[1:]), "name": entity.name},
        "accelerationRefreshPolicy": {**POLICY, **entity.policy},
        "approximateStatisticsAllowed": False,
    }


def _masked(config: Json) -> Json:
    return {name: EXISTING if name in _SECRETS and value else value for name, value in config.items()}
