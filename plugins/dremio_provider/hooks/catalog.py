"""The catalog and reflection calls of Dremio's REST API, mixed into the hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import quote

from dremio_provider.exceptions import DremioNotFoundError
from dremio_provider.paths import display_path, parse_path, quote_path, sql_literal, url_path

if TYPE_CHECKING:
    from dremio_provider.hooks.dremio import SqlResult

METADATA_OPTIONS = "AUTO PROMOTION FORCE UPDATE DELETE WHEN MISSING"


def refresh_metadata_sql(
    path: str | Sequence[str], partitions: Sequence[Mapping[str, Any]] = (), options: str = METADATA_OPTIONS
) -> list[str]:
    """The statements behind :meth:`CatalogMethods.refresh_metadata`.

    Dremio's grammar takes one partition a statement: ``FOR PARTITIONS ("dir0" = 'a', "dir1" = 'b')``.
    """
    wanted = [
        " FOR PARTITIONS (" + ", ".join(f"{quote_path([k])} = {sql_literal(str(v))}" for k, v in values.items()) + ")"
        for values in partitions
    ]
    head = f"ALTER TABLE {quote_path(path)} REFRESH METADATA"
    return [f"{head}{part} {options}".rstrip() for part in wanted or [""]]


def _wiki(entity_id: str) -> str:
    return f"/api/v3/catalog/{quote(entity_id, safe='')}/collaboration/wiki"


class CatalogMethods:
    """Spaces, sources, datasets and reflections. Needs ``request`` and ``run_sql`` of the hook."""

    address: Any

    if TYPE_CHECKING:

        def request(  # noqa: D102  # the hook implements and documents these three
            self,
            method: str,
            path: str,
            *,
            json: Any = None,
            params: Mapping[str, Any] | None = None,
            idempotent: bool | None = None,
        ) -> Any: ...

        def run_sql(  # noqa: D102
            self, sql: str, *, context: Sequence[str] | None = None, timeout: float = 600.0
        ) -> str: ...

        def execute_sql(  # noqa: D102
            self,
            sql: str,
            *,
            context: Sequence[str] | None = None,
            timeout: float = 600.0,
            max_rows: int | None = None,
        ) -> SqlResult: ...

    # -- catalog ------------------------------------------------------------------------------------------------------

    def get_catalog_entity(self, path: str | Sequence[str]) -> dict[str, Any] | None:
        """Look an entity up by its path.

        :param path: ``gold.orders``, ``lake.datalake.silver.customers."version=v2"``, or the parts.
        :returns: The entity, or None when there is none.
        """
        return self._get_or_none(f"/api/v3/catalog/by-path/{url_path(path)}")

    def get_catalog_entity_by_id(self, entity_id: str) -> dict[str, Any] | None:
        """Look an entity up by its id; None when there is none."""
        return self._get_or_none(f"/api/v3/catalog/{quote(entity_id, safe='')}")

    def _get_or_none(self, path: str) -> dict[str, Any] | None:
        try:
            entity: dict[str, Any] = self.request("GET", path)
        except DremioNotFoundError:
            return None
        return entity

    def create_catalog_entity(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        """Create a space, folder, source or view.

        :param entity: The body, for example ``{"entityType": "space", "name": "gold"}``.
        :raises DremioConflictError: It exists already.
        """
        created: dict[str, Any] = self.request("POST", "/api/v3/catalog", json=dict(entity))
        return created

    def update_catalog_entity(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an entity; the body holds its ``id`` and newest ``tag``.

        :raises DremioConflictError: The tag is stale.
        """
        path = f"/api/v3/catalog/{quote(str(entity['id']), safe='')}"
        updated: dict[str, Any] = self.request("PUT", path, json=dict(entity))
        return updated

    def delete_catalog_entity(self, entity_id: str, tag: str | None = None) -> None:
        """Delete an entity; a promoted table becomes a plain file or folder again."""
        params = {"tag": tag} if tag else None
        self.request("DELETE", f"/api/v3/catalog/{quote(entity_id, safe='')}", params=params)

    def get_wiki(self, entity_id: str) -> tuple[str, int | None]:
        """An entity's description and its version; ``("", None)`` when it has none."""
        found = self._get_or_none(_wiki(entity_id)) or {}
        return str(found.get("text") or ""), found.get("version")

    def set_wiki(self, entity_id: str, text: str) -> None:
        """Describe an entity.

        :raises DremioConflictError: Somebody else described it in between.
        """
        _, version = self.get_wiki(entity_id)
        body = {"text": text} if version is None else {"text": text, "version": version}
        self.request("POST", _wiki(entity_id), json=body)

    def promote_dataset(self, path: str | Sequence[str], file_format: Mapping[str, Any]) -> dict[str, Any]:
        """Make a file or folder of a source a table.

        :param path: Path of the file or folder, source first.
        :param file_format: ``{"type": "Parquet"}``, ``{"type": "JSON"}``, ``{"type": "Text", "extractHeader": true,
            ..}``.
        """
        parts = list(parse_path(path))
        entity_id = "dremio:/" + "/".join(parts)
        body = {
            "entityType": "dataset",
            "id": entity_id,
            "path": parts,
            "type": "PHYSICAL_DATASET",
            "format": dict(file_format),
        }
        promoted: dict[str, Any] = self.request("POST", f"/api/v3/catalog/{quote(entity_id, safe='')}", json=body)
        return promoted

    def refresh_metadata(
        self,
        path: str | Sequence[str],
        *,
        partitions: Sequence[Mapping[str, Any]] = (),
        options: str = METADATA_OPTIONS,
        timeout: float = 600.0,
    ) -> list[str]:
        """Make Dremio see new and vanished files of a table, and wait for it.

        :param partitions: Only these, each as ``{"dir0": "date=2026-11-01"}``, one statement for each; without any the
            whole table.
        :param options: What ``ALTER TABLE .. REFRESH METADATA`` is to do with the files it finds.
        :param timeout: Seconds each statement may take.
        :returns: Ids of the jobs.
        """
        return [self.run_sql(sql, timeout=timeout) for sql in refresh_metadata_sql(path, partitions, options)]

    def refresh_dataset(self, path: str | Sequence[str]) -> None:
        """Refresh the reflections of a **table** and of the views that read it. Returns as soon as Dremio has taken the
        request; on the community edition the same call on a view has no effect.

        :param path: The table's path.
        :raises DremioNotFoundError: There is no such table.
        """
        self.refresh_dataset_by_id(self.dataset_id(path))

    def refresh_dataset_by_id(self, dataset_id: str) -> None:
        """As :meth:`refresh_dataset`, by the table's id in the catalog."""
        self.request("POST", f"/api/v3/catalog/{quote(dataset_id, safe='')}/refresh", idempotent=True)

    def dataset_id(self, path: str | Sequence[str]) -> str:
        """Id of a dataset; errors as for :meth:`get_dataset`."""
        return str(self.get_dataset(path)["id"])

    @overload
    def get_dataset(self, path: str | Sequence[str]) -> dict[str, Any]: ...

    @overload
    def get_dataset(self, path: str | Sequence[str], *, missing_ok: bool) -> dict[str, Any] | None: ...

    def get_dataset(self, path: str | Sequence[str], *, missing_ok: bool = False) -> dict[str, Any] | None:
        """A table or view, with its columns (``fields``).

        :param missing_ok: Whether None is returned where there is no such dataset.
        :raises DremioNotFoundError: There is no such dataset; names that come near are told.
        """
        entity = self.get_catalog_entity(path)
        if entity is not None and entity.get("entityType", "dataset") == "dataset":
            return entity
        if missing_ok:
            return None
        near = [display_path(found) for found in self._near_names(parse_path(path))]
        kind = "" if entity is None else f"; what is there is a {entity.get('entityType')}"
        raise DremioNotFoundError(
            f"Dremio has no dataset {display_path(path)}{kind}.",
            asked=f"GET /api/v3/catalog/by-path/{url_path(path)}",
            address=self.address,
            status_code=404,
            check=f"the path{' (near: ' + ', '.join(near) + ')' if near else ''}, and whether the run that creates it "
            "has succeeded once; a table in a source exists only after it was promoted or created.",
            details={"near": near},
        )

    def _near_names(self, path: tuple[str, ...]) -> list[list[str]]:
        """Paths below the closest existing ancestor that look like this one."""
        for depth in range(len(path) - 1, -1, -1):
            folder = self.request("GET", "/api/v3/catalog") if depth == 0 else self.get_catalog_entity(path[:depth])
            if folder is None:
                continue
            listed = folder.get("children") or folder.get("data") or []
            children = {str(child["path"][-1]).lower(): list(child["path"]) for child in listed}
            return [children[name] for name in get_close_matches(path[depth].lower(), children, n=3)]
        return []

    # -- reflections --------------------------------------------------------------------------------------------------

    def list_reflections(self, dataset: str | Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The reflections of a dataset, or all of them.

        :param dataset: Path; None reads the ids from ``sys.reflections``, because only the Enterprise edition lists
            them over REST.
        """
        if dataset is not None:
            return self.list_reflections_of(self.dataset_id(dataset))
        found = self.execute_sql("SELECT reflection_id FROM sys.reflections").rows
        return [self.get_reflection(str(row["reflection_id"])) for row in found]

    def list_reflections_of(self, dataset_id: str) -> list[dict[str, Any]]:
        """The reflections of a dataset, by the dataset's id."""
        answer = self.request("GET", f"/api/v3/dataset/{quote(dataset_id, safe='')}/reflection")
        return list(answer.get("data", []))

    def get_reflection(self, reflection_id: str) -> dict[str, Any]:
        """A reflection with its status.

        :raises DremioNotFoundError: It is gone.
        """
        reflection: dict[str, Any] = self.request("GET", f"/api/v3/reflection/{quote(reflection_id, safe='')}")
        return reflection

    def create_reflection(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a reflection; Dremio starts its first refresh by itself.

        :param body: ``{"type", "name", "datasetId", "enabled", "displayFields" | "dimensionFields" + "measureFields",
            ..}``.
        """
        created: dict[str, Any] = self.request("POST", "/api/v3/reflection", json=dict(body))
        return created

    def update_reflection(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a reflection; the body holds ``id`` and the newest ``tag``. Dremio rebuilds it from nothing.

        :raises DremioConflictError: The tag is stale.
        """
        path = f"/api/v3/reflection/{quote(str(body['id']), safe='')}"
        updated: dict[str, Any] = self.request("PUT", path, json=dict(body))
        return updated

    def delete_reflection(self, reflection_id: str) -> None:
        """Delete a reflection."""
        self.request("DELETE", f"/api/v3/reflection/{quote(reflection_id, safe='')}")

    def refresh_reflection(self, reflection_id: str) -> None:
        """Refresh one reflection (Enterprise edition).

        :raises DremioNotFoundError: The community edition does not have this call.
        """
        self.request("POST", f"/api/v3/reflection/{quote(reflection_id, safe='')}/refresh", idempotent=True)
