"""Write Superset's objects back into the files they came from, so that ``git diff`` shows what a person changed.

A file keeps its name whatever its object is called now. References to Airflow connections stay as they are written, and
so does what Superset takes but does not show.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from superset_provider.assets.bundle import METADATA, Asset, chart_uuids, dump, kind_of, read_folder
from superset_provider.assets.connections import has_references, resolve, same_uri, without_secrets
from superset_provider.assets.extras import read_target
from superset_provider.assets.models import FILES, KINDS
from superset_provider.assets.normalise import normal_form
from superset_provider.exceptions import SupersetConfigurationError
from superset_provider.hooks.superset import SupersetHook

_FOLDERS = {kind: folder for folder, kind in KINDS.items()}
_UNFIT = re.compile(r"[^0-9A-Za-z]+")


@dataclass(frozen=True)
class Written:
    """What became of one file.

    :param note: What a person should know, such as a URI that is not the one of the connection.
    """

    path: str
    action: Literal["created", "changed", "same", "deleted"]
    note: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain values, for XCom."""
        return {"path": self.path, "action": self.action, "note": self.note}

    def __str__(self) -> str:
        return f"{self.action} {self.path}" + (f": {self.note}" if self.note else "")


def export_assets(hook: SupersetHook, folder: str | Path, dashboards: Collection[str] | None = None) -> list[Written]:
    """Bring a folder to what Superset has.

    :param hook: An open hook of a user who may export all assets.
    :param folder: Root of the bundle; is made if it is not there.
    :param dashboards: Slugs, uuids or titles of dashboards that are wanted with all they need, besides what the folder
        declares already. Without any and with an empty folder: everything there is.
    :returns: One entry for each file. A file goes when its object is gone, or when its chart was taken off a dashboard
        of the folder and is on none of them now.
    :raises SupersetConfigurationError: There is no such dashboard, a file cannot be read, or Superset has none of the
        declared dashboards, so that all files would go.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    files = read_folder(root)
    declared = {
        asset.uuid: asset
        for path, body in files.items()
        if (kind := kind_of(path)) and isinstance(body, dict)
        for asset in [Asset(kind, path, normal_form(kind, body))]
    }
    target = read_target(hook, list(declared.values()))
    _refuse_another_superset(hook, declared, target)
    wanted = _wanted(declared, target, dashboards)
    paths = _paths(wanted, declared, set(files))
    written = [_write(root, "metadata.yaml", METADATA, files)]
    for uuid, path in sorted(paths.items(), key=lambda entry: entry[1]):
        body, note = _body(target[uuid], declared.get(uuid))
        written.append(_write(root, path, body, files, note))
    for uuid, asset in declared.items():
        if uuid not in wanted:
            (root / asset.path).unlink()
            written.append(Written(asset.path, "deleted"))
    return written


def _refuse_another_superset(hook: SupersetHook, declared: Mapping[str, Asset], target: Mapping[str, Asset]) -> None:
    main = [asset for asset in declared.values() if asset.kind == "dashboard"] or list(declared.values())
    if main and not any(asset.uuid in target for asset in main):
        raise SupersetConfigurationError(
            f"Superset has none of the {main[0].kind}s that the folder declares; no file was changed.",
            address=hook.address,
            check="whether it is the right Superset, and whether the folder has been imported there.",
        )


def format_folder(folder: str | Path) -> list[Written]:
    """Bring files to the form that an export would give them, without asking Superset.

    :param folder: Root of the bundle.
    :returns: One entry for each file.
    :raises SupersetConfigurationError: A file cannot be read.
    """
    root, files = Path(folder), read_folder(folder)
    return [_write(root, "metadata.yaml", METADATA, files)] + [
        _write(root, path, normal_form(kind, body), files) for path, body in files.items() if (kind := kind_of(path))
    ]


def _wanted(
    declared: Mapping[str, Asset], target: Mapping[str, Asset], dashboards: Collection[str] | None
) -> dict[str, Asset]:
    if not declared and not dashboards:
        return dict(target)
    seeds = {uuid for uuid in declared if uuid in target}
    for name in dashboards or ():
        seeds.add(_dashboard(name, target).uuid)
    shown = {chart for dashboard, chart in chart_uuids(target) if dashboard in seeds}
    taken_off = {chart for _, chart in chart_uuids(declared)} - shown
    wanted: dict[str, Asset] = {}
    pending = [uuid for uuid in seeds if uuid not in taken_off] + sorted(shown)
    while pending:
        uuid = pending.pop()
        if uuid in target and uuid not in wanted:
            wanted[uuid] = target[uuid]
            pending += _needs(target[uuid])
    return wanted


def _dashboard(name: str, target: Mapping[str, Asset]) -> Asset:
    found = {
        str(key): asset
        for asset in target.values()
        if asset.kind == "dashboard"
        for key in (asset.uuid, asset.name, asset.body.get("slug"))
        if key
    }
    if name not in found:
        near = difflib.get_close_matches(name, found) or sorted(found)
        raise SupersetConfigurationError(
            f"Superset has no dashboard {name!r}.", check=f"its slug or title; there is {', '.join(near[:5])}."
        )
    return found[name]


def _needs(asset: Asset) -> list[str]:
    needed = [str(asset.body[key]) for key in ("database_uuid", "dataset_uuid", "theme_uuid") if asset.body.get(key)]
    for native in asset.body.get("metadata", {}).get("native_filter_configuration") or ():
        needed += [str(target["datasetUuid"]) for target in native.get("targets") or () if target.get("datasetUuid")]
    return needed


def _paths(wanted: Mapping[str, Asset], declared: Mapping[str, Asset], taken: set[str]) -> dict[str, str]:
    """The file of each object: the one it has, or a new one after its name."""
    paths = {uuid: declared[uuid].path for uuid in wanted if uuid in declared}
    for uuid, asset in sorted(wanted.items()):
        if uuid in paths:
            continue
        folder = _FOLDERS[asset.kind]
        if asset.kind == "dataset":
            folder += f"/{_file_name(wanted[str(asset.body['database_uuid'])].name)}"
        path = f"{folder}/{_file_name(asset.name)}.yaml"
        if path in taken:
            path = f"{folder}/{_file_name(asset.name)}_{uuid[:8]}.yaml"
        paths[uuid] = path
        taken.add(path)
    return paths


def _file_name(name: str) -> str:
    return _UNFIT.sub("_", name).strip("_").lower() or "unnamed"


def _body(asset: Asset, declared: Asset | None) -> tuple[dict[str, Any], str]:
    hidden = FILES[asset.kind].hidden
    body = {key: value for key, value in asset.body.items() if key not in hidden}
    note = ""
    if asset.kind == "database":
        body["sqlalchemy_uri"] = without_secrets(body["sqlalchemy_uri"])
        written = declared.body.get("sqlalchemy_uri") if declared else None
        if has_references(written):
            if not same_uri(resolve(str(written), asset.path), asset.body["sqlalchemy_uri"]):
                note = "sqlalchemy_uri: Superset has another one than the Airflow connection says; the file stays"
            body["sqlalchemy_uri"] = written
    if declared is not None:
        body |= {key: value for key, value in declared.body.items() if key in hidden}
    return normal_form(asset.kind, body), note


def _write(root: Path, path: str, body: Mapping[str, Any], files: Mapping[str, Any], note: str = "") -> Written:
    text = dump(body)
    place = root / path
    if path in files and place.read_text(encoding="utf-8") == text:
        return Written(path, "same", note)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return Written(path, "changed" if path in files else "created", note)
