"""What is wrong with a bundle, found before anything is sent: Superset's importer says "unknown reason" for most of it.

Every message names file, place and what is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from superset_provider.assets.bundle import Asset, kind_of
from superset_provider.assets.layout import chart_components
from superset_provider.assets.models import FILES, KINDS, File
from superset_provider.assets.normalise import normal_form
from superset_provider.exceptions import SupersetConfigurationError

_ALLOWED_TYPES = ("assets", "Database", "SqlaTable", "Slice", "Dashboard")


def checked_bundle(files: Mapping[str, Any]) -> list[Asset]:
    """The objects of a bundle, after a check of each file by itself.

    :param files: As :func:`superset_provider.assets.bundle.read_folder` returns them.
    :raises SupersetConfigurationError: Lists everything that is wrong.
    """
    problems = list(_metadata_problems(files.get("metadata.yaml")))
    assets = []
    by_uuid: dict[str, str] = {}
    for path, body in files.items():
        kind = kind_of(path)
        if kind is None:
            continue
        wrong = list(_file_problems(path, FILES[kind], body))
        problems += wrong
        if wrong:
            continue
        asset = Asset(kind, path, normal_form(kind, body))
        assets.append(asset)
        if asset.uuid in by_uuid:
            problems.append(f"{path}: uuid: is that of {by_uuid[asset.uuid]} as well")
        by_uuid[asset.uuid] = path
    if not assets and not problems:
        problems.append(f"no object: there is no file in {', '.join(f'{folder}/' for folder in KINDS)}")
    _raise(problems)
    return assets


def check_references(assets: list[Asset], target: Mapping[str, Asset]) -> None:
    """Whether everything that the objects refer to is in the bundle or at the target.

    :param assets: The bundle.
    :param target: What Superset has, by uuid.
    :raises SupersetConfigurationError: Lists everything that is missing, and what would take another object's place.
    """
    known = {**target, **{asset.uuid: asset for asset in assets}}
    problems: list[str] = []
    for asset in assets:
        problems += _reference_problems(asset, known)
    problems += _conflicts(assets, target)
    _raise(problems)


def _raise(problems: list[str]) -> None:
    if problems:
        listed = "; ".join(problems)
        raise SupersetConfigurationError(
            f"The bundle cannot be imported. {len(problems)} wrong: {listed}.",
            check="the files; nothing was sent.",
            details={"problems": problems},
        )


def _metadata_problems(body: Any) -> Iterator[str]:
    if not isinstance(body, dict):
        yield "metadata.yaml: is missing; it holds version: 1.0.0 and type: assets"
        return
    if body.get("version") != "1.0.0":
        yield f"metadata.yaml: version: is {body.get('version')!r}; allowed: '1.0.0'"
    if body.get("type", "assets") not in _ALLOWED_TYPES:
        yield f"metadata.yaml: type: is {body.get('type')!r}; allowed: {', '.join(_ALLOWED_TYPES)}"


def _file_problems(path: str, model: type[File], body: Any) -> Iterator[str]:
    if not isinstance(body, dict):
        yield f"{path}: holds no fields"
        return
    # Superset takes null for "not there" in most places, and exports it everywhere.
    try:
        model.model_validate(_present(body))
    except ValidationError as error:
        for entry in error.errors(include_url=False, include_context=False):
            place = ".".join(str(part) for part in entry["loc"])
            yield f"{path}: {place}: {_message(model, entry)}"


def _present(value: dict[str, Any]) -> dict[str, Any]:
    """A file's fields without those that are null or empty; likewise in its columns and metrics."""
    kept = {key: entry for key, entry in value.items() if entry is not None and entry != ""}
    for key in ("columns", "metrics"):
        if isinstance(kept.get(key), list):
            kept[key] = [_present(entry) if isinstance(entry, dict) else entry for entry in kept[key]]
    return kept


def _message(model: type[File], entry: Any) -> str:
    kind = entry["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        if len(entry["loc"]) > 1:
            return "is no field that Superset knows here"
        allowed = sorted(field.alias or name for name, field in model.model_fields.items())
        return f"is no field that Superset imports; allowed: {', '.join(allowed)}"
    # A value of a database may be a secret: the message has none.
    return (
        str(entry["msg"]).removeprefix("Value error, ")[:1].lower()
        + str(entry["msg"]).removeprefix("Value error, ")[1:]
    )


def _reference_problems(asset: Asset, known: Mapping[str, Asset]) -> Iterator[str]:
    field, kind = {"dataset": ("database_uuid", "database"), "chart": ("dataset_uuid", "dataset")}.get(
        asset.kind, ("", "")
    )
    if field:
        yield from _missing(asset, field, asset.body[field], kind, known)
    if asset.kind == "dashboard":
        if asset.body.get("theme_uuid"):
            yield from _missing(asset, "theme_uuid", asset.body["theme_uuid"], "theme", known)
        yield from _layout_problems(asset, known)
        yield from _filter_problems(asset, known)


def _missing(asset: Asset, place: str, wanted: Any, kind: str, known: Mapping[str, Asset]) -> Iterator[str]:
    found = known.get(str(wanted))
    if found is None or found.kind != kind:
        yield f"{asset.path}: {place}: {wanted} is no {kind} of the bundle or of Superset"


def _layout_problems(asset: Asset, known: Mapping[str, Asset]) -> Iterator[str]:
    position = asset.body.get("position", {})
    if "ROOT_ID" not in position:
        yield f"{asset.path}: position: has no ROOT_ID, from which a layout begins"
    for name, component in position.items():
        for child in component.get("children") or () if isinstance(component, dict) else ():
            if child not in position:
                yield f"{asset.path}: position.{name}.children: {child} is no component of this layout"
    for component in chart_components(position):
        # The importer stops linking at the first chart that it does not know.
        place = f"position.{component.get('id')}.meta.uuid"
        yield from _missing(asset, place, component.get("meta", {}).get("uuid"), "chart", known)


def _filter_problems(asset: Asset, known: Mapping[str, Asset]) -> Iterator[str]:
    for native in asset.body.get("metadata", {}).get("native_filter_configuration") or ():
        place = f"metadata.native_filter_configuration.{native.get('name') or native.get('id')}.targets"
        for target in native.get("targets") or ():
            if "datasetId" in target:
                yield f"{asset.path}: {place}: has a datasetId, which differs by instance; give datasetUuid"
            if not target.get("datasetUuid"):
                continue
            yield from _missing(asset, place, target["datasetUuid"], "dataset", known)
            dataset = known.get(str(target["datasetUuid"]))
            column = (target.get("column") or {}).get("name")
            columns = (
                [known_column["column_name"] for known_column in dataset.body.get("columns", ())] if dataset else []
            )
            if column and columns and column not in columns:
                yield (
                    f"{asset.path}: {place}: {column!r} is no column of {dataset.name if dataset else ''}; allowed: "
                    f"{', '.join(columns)}"
                )


def _conflicts(assets: list[Asset], target: Mapping[str, Asset]) -> Iterator[str]:
    """What the importer finds by name instead of uuid: it would overwrite the other object, or fail, or do nothing."""
    taken = {_unique(asset): asset for asset in target.values() if _unique(asset)}
    for asset in assets:
        other = taken.get(_unique(asset))
        if other is not None and other.uuid != asset.uuid:
            yield (
                f"{asset.path}: uuid: Superset has another {asset.kind} {other.name!r} in its place, with uuid "
                f"{other.uuid}; use that uuid, or rename one of the two"
            )


def _unique(asset: Asset) -> tuple[str, ...] | None:
    if asset.kind == "database":
        return ("database", asset.name)
    if asset.kind == "dashboard" and asset.body.get("slug"):
        return ("dashboard", str(asset.body["slug"]))
    if asset.kind == "dataset":
        place = [str(asset.body.get(key) or "") for key in ("database_uuid", "catalog", "schema", "table_name")]
        return ("dataset", *place)
    return None
