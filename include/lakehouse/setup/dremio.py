"""Dremio: the source, the spaces and the reflections of ``include``, and what the DAG asks of it night by night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from lakehouse import templates
from lakehouse.config import Reflection, Source, Stream, load_reflections, load_streams
from lakehouse.files import include_dir, parse, read_yaml
from lakehouse.lake import Lake
from lakehouse.setup.changes import Change, differences, remember_applied, same_as_applied

if TYPE_CHECKING:
    from dremio_provider.hooks.dremio import DremioHook

LAKE_SOURCE = "lake"
_CONN_ID = "dremio_default"
_FORMATS: dict[str, dict[str, Any]] = {
    "parquet": {"type": "Parquet"},
    "jsonl": {"type": "JSON"},
    "csv": {
        "type": "Text",
        "fieldDelimiter": ",",
        "lineDelimiter": "\n",
        "quote": '"',
        "escape": '"',
        "comment": "#",
        "skipFirstLine": False,
        "extractHeader": True,
        "trimHeader": True,
        "autoGenerateColumnNames": False,
    },
}


class _Source(BaseModel):
    """A declared source: its name and type; everything else goes to Dremio as it is."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1)
    type: str
    config: dict[str, Any]


class _Space(BaseModel):
    """A declared space."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    description: str = ""


class _Sources(BaseModel):
    sources: list[_Source]


class _Spaces(BaseModel):
    spaces: list[_Space]


def apply() -> list[Change]:
    """Create or change the declared sources, spaces and reflections.

    Returns:
        One change for each object; a reflection whose dataset does not exist yet is "skipped".

    Raises:
        ConfigError: When a file says something that is not allowed.
        DremioError: When Dremio refuses something.
    """
    folder = include_dir() / "dremio"
    with _hook() as hook:
        sources = parse(_Sources, read_yaml(folder / "sources.yml"), folder / "sources.yml").sources
        changes = [_apply_source(hook, source) for source in sources]
        spaces = parse(_Spaces, read_yaml(folder / "spaces.yml"), folder / "spaces.yml").spaces
        changes += [_apply_space(hook, space) for space in spaces]
        return changes + _apply_reflections(hook)


def apply_reflections() -> list[Change]:
    """Create or change the declared reflections whose datasets exist; the others are "skipped"."""
    with _hook() as hook:
        return _apply_reflections(hook)


def apply_views(layer: str) -> list[Change]:
    """Create or replace the views of one layer whose SQL differs from what Dremio has.

    Args:
        layer: "bronze", "silver" or "gold": the space, and the folder below ``include/dremio/views``.

    Returns:
        One change for each view.

    Raises:
        ValueError: When there is no such layer.
        DremioError: When Dremio refuses a view.
    """
    folder = include_dir() / "dremio" / "views"
    if not (folder / layer).is_dir():
        known = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(f"{folder}: there are no views of layer {layer!r}; allowed: {known}")
    statements = {
        path.stem: _statement(path.read_text(encoding="utf-8")) for path in sorted((folder / layer).glob("*.sql"))
    }
    with _hook() as hook:
        return [_apply_view(hook, layer, name, sql) for name, sql in statements.items()]


def refresh_bronze_metadata(streams: Sequence[str] | None = None) -> list[Change]:
    """Make Dremio see what was loaded to bronze: promote folders that are no datasets yet, read the others anew.

    Args:
        streams: Names of streams; all of ``streams.yml`` when not given.

    Returns:
        One change for each dataset: "created" (promoted), "updated" (metadata read anew) or "skipped" (bronze has
        nothing of it).

    Raises:
        DremioError: When Dremio refuses something.
    """
    lake = Lake.from_connection()
    with _hook() as hook:
        return [
            _refresh(hook, lake, source, stream)
            for source in load_streams().sources.values()
            for stream in source.streams.values()
            if streams is None or stream.name in streams
        ]


def _hook() -> DremioHook:
    from dremio_provider.hooks.dremio import DremioHook

    return DremioHook(_CONN_ID)


def _apply_source(hook: DremioHook, declared: _Source) -> Change:
    body = templates.resolve(declared.model_dump(), f"dremio source {declared.name}")
    entity = {"entityType": "source", **body}
    found = hook.get_catalog_entity([declared.name])
    if found is None:
        hook.create_catalog_entity(entity)
        remember_applied("dremio", "source", declared.name, body)
        return Change("dremio", "source", declared.name, "created")
    differing = sorted(differences(body, found))
    if not differing and same_as_applied("dremio", "source", declared.name, body):
        return Change("dremio", "source", declared.name, "unchanged")
    hook.update_catalog_entity({**entity, "id": found["id"], "tag": found.get("tag")})
    remember_applied("dremio", "source", declared.name, body)
    detail = ", ".join(differing) or "a value that Dremio does not show"
    return Change("dremio", "source", declared.name, "updated", detail)


def _apply_space(hook: DremioHook, declared: _Space) -> Change:
    found = hook.get_catalog_entity([declared.name])
    created = found is None
    if found is None:
        found = hook.create_catalog_entity({"entityType": "space", "name": declared.name})
    described = _describe(hook, str(found["id"]), declared.description)
    if created:
        return Change("dremio", "space", declared.name, "created")
    return Change("dremio", "space", declared.name, *(("updated", "description") if described else ("unchanged", "")))


def _describe(hook: DremioHook, entity_id: str, text: str) -> bool:
    """Write the wiki of an entity; returns whether it was another one."""
    from dremio_provider.exceptions import DremioNotFoundError

    if not text:
        return False
    path = f"/api/v3/catalog/{entity_id}/collaboration/wiki"
    try:
        found = hook.request("GET", path)
    except DremioNotFoundError:
        found = {}
    if found.get("text") == text:
        return False
    version = {"version": found["version"]} if "version" in found else {}
    hook.request("POST", path, json={"text": text, **version})
    return True


def _apply_reflections(hook: DremioHook) -> list[Change]:
    from dremio_provider.exceptions import DremioNotFoundError
    from dremio_provider.reflection_sets import apply_reflections as apply_set

    changes = []
    for declared in load_reflections():
        name = f"{declared.dataset}.{declared.name}"
        try:
            done = apply_set(hook, [_plain(declared)])[0]
        except DremioNotFoundError:
            changes.append(
                Change("dremio", "reflection", name, "skipped", f"dataset {declared.dataset} does not exist yet")
            )
            continue
        changes.append(Change("dremio", "reflection", name, done.action, ", ".join(done.differences)))  # type: ignore[arg-type]  # created, updated or unchanged
    return changes


def _plain(declared: Reflection) -> dict[str, Any]:
    return declared.model_dump(mode="json", exclude_none=True)


def _statement(text: str) -> str:
    """Return the query of a view file: without the comment above it and the semicolon behind it."""
    lines = text.strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].lstrip().startswith("--")):
        lines.pop(0)
    return "\n".join(lines).rstrip().rstrip(";").rstrip()


def _apply_view(hook: DremioHook, space: str, name: str, sql: str) -> Change:
    from dremio_provider.paths import quote_path

    label = f"{space}.{name}"
    found = hook.get_catalog_entity([space, name])
    stored = str((found or {}).get("sql") or "")
    # Dremio may keep a view's SQL in its own spelling: then the fingerprint tells whether both are what they were.
    if stored and (stored.split() == sql.split() or same_as_applied("dremio", "view", label, [sql, stored])):
        return Change("dremio", "view", label, "unchanged")
    hook.run_sql(f"CREATE OR REPLACE VIEW {quote_path([space, name])} AS\n{sql}")
    after = hook.get_catalog_entity([space, name]) or {}
    remember_applied("dremio", "view", label, [sql, str(after.get("sql") or "")])
    return Change("dremio", "view", label, "updated" if found else "created")


def _refresh(hook: DremioHook, lake: Lake, source: Source, stream: Stream) -> Change:
    folder = source.bronze if source.format == "csv" else f"{source.bronze}/{stream.name}"
    path = [LAKE_SOURCE, lake.bucket, *folder.split("/")]
    label = ".".join(path)
    if next(lake.list(f"{folder}/"), None) is None:
        return Change("dremio", "dataset", label, "skipped", "bronze has nothing of it yet")
    entity = hook.get_catalog_entity(path)
    if entity is None or entity.get("entityType") != "dataset":
        hook.promote_dataset(path, _FORMATS[source.format])
        return Change("dremio", "dataset", label, "created", f"promoted as {_FORMATS[source.format]['type']}")
    hook.refresh_metadata(path)
    return Change("dremio", "dataset", label, "updated", "metadata read anew")
