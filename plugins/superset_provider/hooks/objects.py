"""Dashboards, charts, datasets and bundles of Superset's REST API, mixed into the hook."""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

PAGE_SIZE = 100


class ObjectMethods:
    """Getters, listings, export and import. Needs ``request`` of the hook."""

    if TYPE_CHECKING:

        def request(  # noqa: D102  # the hook implements and documents it
            self,
            method: str,
            path: str,
            *,
            json: Any = None,
            params: Mapping[str, Any] | None = None,
            files: Mapping[str, Any] | None = None,
            data: Mapping[str, Any] | None = None,
            idempotent: bool | None = None,
        ) -> Any: ...

    def get_dashboard(self, id_or_slug: str | int) -> dict[str, Any]:
        """A dashboard with ``position_json`` and ``json_metadata``.

        :param id_or_slug: Its id, uuid or slug.
        :raises SupersetNotFoundError: There is none.
        """
        return self._result(f"/api/v1/dashboard/{quote(str(id_or_slug), safe='')}")

    def get_dashboard_charts(self, id_or_slug: str | int) -> list[dict[str, Any]]:
        """The charts of a dashboard: ``id, slice_name, form_data``."""
        answer = self.request("GET", f"/api/v1/dashboard/{quote(str(id_or_slug), safe='')}/charts")
        return list(answer["result"])

    def get_dashboard_datasets(self, id_or_slug: str | int) -> list[dict[str, Any]]:
        """The datasets a dashboard reads, as its page gets them."""
        answer = self.request("GET", f"/api/v1/dashboard/{quote(str(id_or_slug), safe='')}/datasets")
        return list(answer["result"])

    def get_chart(self, chart_id: int) -> dict[str, Any]:
        """A chart with ``query_context`` and ``params``, both JSON in text."""
        return self._result(f"/api/v1/chart/{chart_id}")

    def get_dataset(self, dataset_id: int) -> dict[str, Any]:
        """A dataset with columns and metrics."""
        return self._result(f"/api/v1/dataset/{dataset_id}")

    def _result(self, path: str) -> dict[str, Any]:
        result: dict[str, Any] = self.request("GET", path)["result"]
        return result

    def list_dashboards(self, filters: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """All dashboards this user sees.

        :param filters: ``[{"col": "slug", "opr": "eq", "value": "sales"}]``.
        """
        return self._list("dashboard", filters)

    def list_charts(self, filters: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """All charts this user sees."""
        return self._list("chart", filters)

    def list_datasets(self, filters: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """All datasets this user sees."""
        return self._list("dataset", filters)

    def list_databases(self, filters: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
        """All databases this user sees."""
        return self._list("database", filters)

    def _list(self, kind: str, filters: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = 0
        while True:
            query = {"page": page, "page_size": PAGE_SIZE, "filters": [dict(entry) for entry in filters or ()]}
            answer = self.request("GET", f"/api/v1/{kind}/", params={"q": json_module.dumps(query)})
            found.extend(answer["result"])
            page += 1
            if not answer["result"] or len(found) >= int(answer["count"]):
                return found

    def export_assets(self) -> bytes:
        """Everything as one zip bundle, without passwords."""
        bundle: bytes = self.request("GET", "/api/v1/assets/export/")
        return bundle

    def export_dashboards(self, dashboard_ids: Sequence[int]) -> bytes:
        """Dashboards with all they need as one zip bundle, without passwords."""
        ids = ",".join(str(int(number)) for number in dashboard_ids)
        bundle: bytes = self.request("GET", "/api/v1/dashboard/export/", params={"q": f"!({ids})"})
        return bundle

    def import_assets(self, bundle: bytes, *, passwords: Mapping[str, str] | None = None) -> None:
        """Import a bundle and overwrite everything in it. Every import changes the datasets and so empties the cache.

        :param bundle: Zip of type ``assets``.
        :param passwords: ``{"databases/<name>.yaml": password}``.
        :raises SupersetTerminalError: Superset says no more than "unknown reason" for a wrong bundle: see its log.
        """
        self._import("/api/v1/assets/import/", "bundle", bundle, {}, passwords)

    def import_dashboards(
        self, bundle: bytes, *, overwrite: bool = True, passwords: Mapping[str, str] | None = None
    ) -> None:
        """Import a bundle; ``overwrite`` replaces the dashboard only, charts and datasets that exist stay as they are.

        :param bundle: Zip of type ``Dashboard``.
        """
        fields = {"overwrite": "true"} if overwrite else {}
        self._import("/api/v1/dashboard/import/", "formData", bundle, fields, passwords)

    def _import(
        self,
        path: str,
        part: str,
        bundle: bytes,
        fields: Mapping[str, str],
        passwords: Mapping[str, str] | None,
    ) -> None:
        data = {**fields, "passwords": json_module.dumps(dict(passwords or {}))}
        files = {part: ("bundle.zip", bundle, "application/zip")}
        self.request("POST", path, data=data, files=files)
