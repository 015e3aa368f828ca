"""dbt exposures of the Superset dashboards, so that dbt's lineage ends where people look.

They are derived from the bundle in ``include/superset/assets``: a dashboard shows charts, a chart asks a dataset, a
dataset is a view of the space gold, the view reads the table of a mart, or is itself one of dbt's, over change data.
``make exposures`` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lakehouse.files import ConfigError, include_dir, read_yaml

HEADER = "# From the dashboards in include/superset/assets. After a change there: make exposures\n"
_URL = "{{{{ env_var('SUPERSET_URL', 'http://127.0.0.1:8088') }}}}/superset/dashboard/{slug}/"
_FILE = re.compile(r"\bfile='(\w+)'")
_TABLE = re.compile(r"\blake\.datalake\.gold\.(\w+)")


def render() -> str:
    """Return dbt's ``exposures.yml`` for all dashboards of the bundle.

    Raises:
        ConfigError: When a dashboard leads to no mart, or its certifier owns no group of dbt's.
    """
    assets, project = include_dir() / "superset" / "assets", project_dir()
    datasets = {item["uuid"]: item for item in _documents(assets / "datasets")}
    charts = {item["uuid"]: item for item in _documents(assets / "charts")}
    models = _models_by_table(project)
    owners = _owners(project)
    exposures = []
    for dashboard in sorted(_documents(assets / "dashboards"), key=lambda item: str(item["slug"])):
        shown = [charts[uuid] for uuid in _charts_on(dashboard)]
        views = {datasets[chart["dataset_uuid"]]["table_name"] for chart in shown}
        refs = sorted({model for view in views for model in _models_of(view, models)})
        slug, certifier = dashboard["slug"], dashboard.get("certified_by")
        if certifier not in owners:
            raise ConfigError(
                f"dashboard {slug}: certified_by: {certifier!r} owns no group in dbt/models/groups.yml; "
                f"allowed: {', '.join(sorted(owners))}"
            )
        exposures.append(
            {
                "name": slug.replace("-", "_"),
                "label": dashboard["dashboard_title"],
                "type": "dashboard",
                "maturity": "high",
                "url": _URL.format(slug=slug),
                "description": f"Superset dashboard. {dashboard['description']}",
                "depends_on": [f"ref('{model}')" for model in refs],
                "owner": dict(owners[certifier]),
                "config": {"meta": {"charts": sorted(chart["slice_name"] for chart in shown)}},
            }
        )
    document = {"version": 2, "exposures": exposures}
    return HEADER + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def path() -> Path:
    """Return where dbt reads the exposures."""
    return project_dir() / "models" / "marts" / "exposures.yml"


def project_dir() -> Path:
    """Return the dbt project, which lies beside ``include``."""
    return include_dir().parent / "dbt"


def _documents(folder: Path) -> list[dict[str, Any]]:
    return [read_yaml(file) for file in sorted(folder.rglob("*.yaml"))]


def _charts_on(dashboard: Mapping[str, Any]) -> list[str]:
    tiles = (item for item in dashboard["position"].values() if isinstance(item, dict))
    return [tile["meta"]["uuid"] for tile in tiles if tile["type"] == "CHART"]


def _models_by_table(project: Path) -> dict[str, str]:
    """Return the mart that writes each table of gold, by what its config calls the file."""
    found = {}
    for file in sorted((project / "models" / "marts").glob("*.sql")):
        name = _FILE.search(file.read_text(encoding="utf-8"))
        if name:
            found[name[1]] = file.stem
    return found


def _models_of(view: str, models: Mapping[str, str]) -> set[str]:
    if (project_dir() / "models" / "marts" / f"{view}.sql").is_file() and view not in models.values():
        return {view}
    file = include_dir() / "dremio" / "views" / "gold" / f"{view}.sql"
    tables = set(_TABLE.findall(file.read_text(encoding="utf-8")))
    if not tables or not tables <= models.keys():
        missing = ", ".join(sorted(tables - models.keys())) or "no table of gold"
        raise ConfigError(f"{file}: reads {missing}, which no mart writes; allowed: {', '.join(sorted(models))}")
    return {models[table] for table in tables}


def _owners(project: Path) -> dict[str, dict[str, str]]:
    groups = read_yaml(project / "models" / "groups.yml")["groups"]
    return {group["owner"]["name"]: group["owner"] for group in groups}


if __name__ == "__main__":
    path().write_text(render(), encoding="utf-8")
    print(path())
