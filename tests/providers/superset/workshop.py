"""Objects in a Superset for one test: made under names that nobody else has, and removed afterwards."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.real import RealSuperset

ROWS = "select 'EU' as region, 10 as amount union all select 'US', 20 union all select 'ASIA', 40"
TOTAL = {"expressionType": "SQL", "sqlExpression": "SUM(amount)", "label": "total", "hasCustomLabel": True}


def query_context(dataset: int, **changes: Any) -> dict[str, Any]:
    """What the browser asks of a chart: the total amount of each region, as Superset 6.1.0's frontend writes it down.

    :param changes: Other values of the query, for example ``filters``.
    """
    query = {
        "time_range": "No filter",
        "filters": [],
        "extras": {"having": "", "where": ""},
        "applied_time_extras": {},
        "columns": ["region"],
        "metrics": [TOTAL],
        "orderby": [[TOTAL, False]],
        "annotation_layers": [],
        "row_limit": 1000,
        "series_limit": 0,
        "order_desc": True,
        "url_params": {},
        "custom_params": {},
        "custom_form_data": {},
    }
    return {
        "datasource": {"id": dataset, "type": "table"},
        "force": False,
        "queries": [{**query, **changes}],
        "form_data": {},
        "result_format": "json",
        "result_type": "full",
    }


class Workshop:
    """Makes objects and remembers them.

    :param hook: Logged in as an administrator.
    :param superset: Where.
    """

    def __init__(self, hook: SupersetHook, superset: RealSuperset) -> None:
        self.hook = hook
        self.superset = superset
        self.name = f"providers-{secrets.token_hex(5)}"
        self._made: list[tuple[str, int]] = []

    def make(self, kind: str, body: Mapping[str, Any]) -> int:
        """Create an object of any kind.

        :param kind: As the path has it: ``chart``, ``security/users``, ``rowlevelsecurity``, ..
        :returns: Its id.
        """
        number = int(self.hook.request("POST", f"/api/v1/{kind}/", json=body)["id"])
        self._made.append((kind, number))
        return number

    def named(self, what: str) -> str:
        """A name that nobody else has."""
        return f"{self.name}-{what}-{len(self._made)}"

    def database(self, **body: Any) -> int:
        """A connection to the database that the tests may read."""
        name = {"database_name": self.named("database"), "sqlalchemy_uri": self.superset.database_uri}
        return self.make("database", {**name, "expose_in_sqllab": True, "allow_dml": True, **body})

    def dataset(self, database: int, sql: str | None = ROWS, **body: Any) -> int:
        """A dataset; virtual, unless ``sql`` is None."""
        name = {"database": database, "table_name": self.named("dataset"), "schema": None}
        return self.make("dataset", {**name, **({"sql": sql} if sql else {}), **body})

    def chart(self, dataset: int, context: Mapping[str, Any] | None = None, **body: Any) -> int:
        """A table of the total amount by region.

        :param context: Make it a chart of a kind that the frontend does not know, which is asked as it was saved, with
            this. A known one is asked as its parameters say, whatever was saved; by default :func:`query_context`.
        """
        kind = "table" if context is None else "only_saved"
        params = {"viz_type": kind, "groupby": ["region"], "metrics": [TOTAL], "datasource": f"{dataset}__table"}
        fixed = {
            "slice_name": self.named("chart"),
            "viz_type": kind,
            "datasource_id": dataset,
            "datasource_type": "table",
            "params": json.dumps(params),
            "query_context": json.dumps(context or query_context(dataset)),
        }
        return self.make("chart", {**fixed, **body})

    def saved_chart(self, dataset: int, context: Mapping[str, Any] | None = None, **body: Any) -> int:
        """A chart of a kind that only its saved query context describes, so that a test can ask the same."""
        return self.chart(dataset, context or query_context(dataset), **body)

    def dashboard(self, charts: Sequence[int], filters: Sequence[Mapping[str, Any]] = (), **body: Any) -> int:
        """A published dashboard with the charts in one column.

        :param filters: Its native filters.
        """
        position: dict[str, Any] = {
            "DASHBOARD_VERSION_KEY": "v2",
            "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
            "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        }
        for chart in charts:
            row, key = f"ROW-{chart}", f"CHART-{chart}"
            parents = ["ROOT_ID", "GRID_ID"]
            position["GRID_ID"]["children"].append(row)
            position[row] = {
                "type": "ROW",
                "id": row,
                "children": [key],
                "parents": parents,
                "meta": {"background": "BACKGROUND_TRANSPARENT"},
            }
            position[key] = {
                "type": "CHART",
                "id": key,
                "children": [],
                "parents": [*parents, row],
                # Bundles link charts by it, and have only what is here.
                "meta": {"chartId": chart, "uuid": self.hook.get_chart(chart)["uuid"], "width": 4, "height": 30},
            }
        title = self.named("dashboard")
        fixed = {
            "dashboard_title": title,
            "slug": title,
            "position_json": json.dumps(position),
            "json_metadata": json.dumps({"native_filter_configuration": list(filters)}),
            "published": True,
        }
        dashboard = self.make("dashboard", {**fixed, **body})
        for chart in charts:
            # The layout alone links nothing.
            self.hook.request("PUT", f"/api/v1/chart/{chart}", json={"dashboards": [dashboard]})
        return dashboard

    def role(self, *permissions: tuple[str, str]) -> int:
        """A role.

        :param permissions: ``("can_read", "Chart")``, ..; on a dataset ``("datasource_access", "[db].[table](id:1)")``.
        """
        role = self.make("security/roles", {"name": self.named("role")})
        if permissions:
            ids = [self._permission(*permission) for permission in permissions]
            body = {"permission_view_menu_ids": ids}
            self.hook.request("POST", f"/api/v1/security/roles/{role}/permissions", json=body)
        return role

    def _permission(self, permission: str, view: str) -> int:
        named = {"q": json.dumps({"filters": [{"col": "name", "opr": "eq", "value": view}]})}
        (found,) = self.hook.request("GET", "/api/v1/security/resources/", params=named)["result"]
        of_view = {"q": json.dumps({"filters": [{"col": "view_menu", "opr": "rel_o_m", "value": found["id"]}]})}
        rights = self.hook.request("GET", "/api/v1/security/permissions-resources/", params=of_view)["result"]
        return next(int(right["id"]) for right in rights if right["permission"]["name"] == permission)

    def role_named(self, name: str) -> int:
        """The id of a role that Superset brings along, for example Gamma."""
        query = json.dumps({"filters": [{"col": "name", "opr": "eq", "value": name}]})
        found = self.hook.request("GET", "/api/v1/security/roles/", params={"q": query})
        return int(found["result"][0]["id"])

    def user(self, *roles: int) -> dict[str, Any]:
        """A user.

        :returns: The Airflow connection to log in with.
        """
        name, password = self.named("user"), secrets.token_urlsafe(16)
        person = {"first_name": "A", "last_name": "User", "email": f"{name}@localhost", "active": True}
        self.make("security/users", {**person, "username": name, "password": password, "roles": list(roles)})
        return self.superset.connection(name, password)

    def row_level_security(self, clause: str, datasets: Sequence[int], roles: Sequence[int]) -> int:
        """A rule that the roles see only some rows of the datasets."""
        fixed = {"name": self.named("rule"), "filter_type": "Regular", "description": "", "group_key": ""}
        return self.make("rowlevelsecurity", {**fixed, "clause": clause, "tables": datasets, "roles": roles})

    def execute(self, database: int, sql: str) -> None:
        """Run a statement in the source database, through Superset's SQL Lab."""
        body = {"database_id": database, "sql": sql, "runAsync": False, "expand_data": True}
        self.hook.request("POST", "/api/v1/sqllab/execute/", json=body)

    def lost_dataset(self, database: int) -> int:
        """A physical dataset whose table is gone."""
        table = self.named("lost").replace("-", "_")
        self.execute(database, f"create table {table} (region varchar(10), amount integer)")
        dataset = self.dataset(database, None, table_name=table)
        self.execute(database, f"drop table {table}")
        return dataset

    def forget(self, kind: str, number: int) -> None:
        """The test removes it itself."""
        self._made.remove((kind, number))

    def remove(self) -> None:
        """Remove everything, the last first."""
        for kind, number in reversed(self._made):
            self.hook.request("DELETE", f"/api/v1/{kind}/{number}")
        self._made.clear()
