"""Superset: the bundle of ``include/superset/assets``: databases, datasets, charts and dashboards.

Importing a bundle gives every dataset a new cache key, so that all that was warmed is cold again: it is imported only
when the declaration is another one than last time, or when something of it is missing.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lakehouse import connections, templates
from lakehouse.files import ConfigError, include_dir, read_yaml
from lakehouse.setup.changes import Change, remember_applied, same_as_applied

_KINDS = {"databases": "database", "datasets": "dataset", "charts": "chart", "dashboards": "dashboard"}
_NAMES = ("dashboard_title", "slice_name", "table_name", "database_name")
_REFERENCE = re.compile(r"conn\.([A-Za-z0-9_]+)\.")
_MASKED = ":XXXXXXXXXX@"
# A fixed date for every entry: the same declaration, the same bytes.
_ZIP_DATE = (2026, 1, 1, 0, 0, 0)


def apply() -> list[Change]:
    """Import the declared bundle if it is another one than last time, or if something of it is missing.

    Returns:
        One change for each database, dataset, chart and dashboard.

    Raises:
        ConfigError: When a file of the bundle says something that Superset's importer is known to stumble over.
        SupersetError: When Superset refuses the bundle.
    """
    from superset_provider.hooks.superset import SupersetHook

    folder = include_dir() / "superset" / "assets"
    files, passwords = _declared(folder)
    objects = _objects(files)
    with SupersetHook("superset_default") as hook:
        present = _exported_uuids(hook.export_assets())
        missing = objects.keys() - present
        if not missing and same_as_applied("superset", "bundle", "assets", [files, passwords]):
            return [Change("superset", kind, name, "unchanged") for kind, name in objects.values()]
        hook.import_assets(_zip(files), passwords=passwords)
    remember_applied("superset", "bundle", "assets", [files, passwords])
    return [
        Change("superset", kind, name, "created" if uuid in missing else "updated")
        for uuid, (kind, name) in objects.items()
    ]


def _declared(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files of the bundle and the passwords of its databases, by path."""
    files: dict[str, str] = {}
    passwords: dict[str, str] = {}
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("databases/"):
            files[name] = path.read_text(encoding="utf-8")
            continue
        declared = _database(path)
        if _MASKED in declared["sqlalchemy_uri"]:
            passwords[name] = _password(path, declared["sqlalchemy_uri"])
        # Only databases refer to connections: elsewhere the braces are Superset's own templates.
        files[name] = yaml.safe_dump(templates.resolve(declared, str(path)), sort_keys=True)
    if "metadata.yaml" not in files:
        raise ConfigError(f"{folder / 'metadata.yaml'}: is missing; a bundle needs it, with type: assets")
    return files, passwords


def _database(path: Path) -> dict[str, Any]:
    declared: dict[str, Any] = read_yaml(path)
    for key in ("sqlalchemy_uri", "extra"):
        if not isinstance(declared, dict) or key not in declared:
            raise ConfigError(f"{path}: {key}: is missing; Superset does not import a database without it")
    return declared


def _password(path: Path, uri: str) -> str:
    found = _REFERENCE.search(uri)
    if found is None:
        raise ConfigError(
            f"{path}: sqlalchemy_uri: has a masked password but refers to no Airflow connection that would have it; "
            "write the user as {{ conn.<id>.login }}"
        )
    return connections.get(found[1]).password


def _objects(files: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what a bundle declares: uuid -> (kind, name)."""
    objects = {}
    for path, text in files.items():
        kind = _KINDS.get(path.split("/", 1)[0])
        if kind is None:
            continue
        body = yaml.safe_load(text)
        if "uuid" not in body:
            raise ConfigError(f"include/superset/assets/{path}: uuid: is missing; it is what objects are found by")
        objects[str(body["uuid"])] = (kind, str(next((body[key] for key in _NAMES if key in body), path)))
    return objects


def _exported_uuids(bundle: bytes) -> set[str]:
    found = set()
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        for name in archive.namelist():
            parts = name.split("/")
            if len(parts) > 2 and parts[1] in _KINDS and name.endswith(".yaml"):
                found.add(str(yaml.safe_load(archive.read(name)).get("uuid")))
    return found


def _zip(files: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(f"assets/{name}", _ZIP_DATE), text)
    return out.getvalue()
