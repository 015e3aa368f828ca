"""Dremio: the source, the spaces and the reflections of ``include``, and what the DAG asks of it night by night."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from lakehouse import templates
from lakehouse.config import Reflection, Source, Stream, load_reflections, load_streams
from lakehouse.files import include_dir, parse, read_yaml
from lakehouse.lake import Lake
from lakehouse.setup.changes import Action, Change, remember_applied, same_as_applied

if TYPE_CHECKING:
    from dremio_provider.hooks.dremio import DremioHook
    from dremio_provider.plans import Step

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
    sources = parse(_Sources, read_yaml(folder / "sources.yml"), folder / "sources.yml").sources
    spaces = parse(_Spaces, read_yaml(folder / "spaces.yml"), folder / "spaces.yml").spaces
    with _hook() as hook:
        changes = [_apply_source(hook, source) for source in sources]
        changes += _apply_catalog(hook, {"spaces": [space.model_dump() for space in spaces]})
        return changes + _apply_reflections(hook)


def apply_reflections() -> list[Change]:
    """Create or change the declared reflections whose datasets exist; the others are "skipped"."""
    with _hook() as hook:
        return _apply_reflections(hook)


def apply_views(layer: str, names: Collection[str] | None = None) -> list[Change]:
    """Create or replace the views of one layer whose SQL differs from what Dremio has.

    Args:
        layer: "bronze", "silver" or "gold": the space, and the folder below ``include/dremio/views``.
        names: Which of them, as far as they are declared; all when not given.

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
    views = [
        {"path": [layer, path.stem], "sql": _statement(path.read_text(encoding="utf-8"))}
        for path in sorted((folder / layer).glob("*.sql"))
        if names is None or path.stem in names
    ]
    with _hook() as hook:
        return _apply_catalog(hook, {"views": views})


def refresh_bronze_metadata(streams: Sequence[str] | None = None, source: str | None = None) -> list[Change]:
    """Make Dremio see what was loaded to bronze: promote folders that are no datasets yet, read the others anew.

    Of change data that nobody has loaded yet there is a file without rows afterwards: the nightly models read it, and
    whether the live feed has ever run is nothing they should depend on.

    Args:
        streams: Names of streams; all of ``streams.yml`` when not given.
        source: A source of ``streams.yml``; all when not given.

    Returns:
        One change for each dataset: "created" (promoted), "updated" (metadata read anew) or "skipped" (bronze has
        nothing of it).

    Raises:
        DremioError: When Dremio refuses something.
    """
    lake = Lake.from_connection()
    with _hook() as hook:
        return [
            _refresh(hook, lake, declared, stream)
            for declared in load_streams().sources.values()
            for stream in declared.streams.values()
            if (streams is None or stream.name in streams) and source in (None, declared.name)
        ]


def merged_up_to(table: str) -> int | None:
    """Return the sync up to which a cold table has the changes of its stream; None when there is no such table.

    Args:
        table: Its dotted path.

    Raises:
        DremioError: When Dremio refuses something.
    """
    with _hook() as hook:
        if hook.get_catalog_entity(table.split(".")) is None:
            return None
        found = hook.get_first(f"SELECT MAX(sync_id) FROM {table}")  # noqa: S608  # a name of words and dots: see Stream
    return None if found is None or found[0] is None else int(found[0])


def _hook() -> DremioHook:
    from dremio_provider.hooks.dremio import DremioHook

    return DremioHook(_CONN_ID)


def _apply_source(hook: DremioHook, declared: _Source) -> Change:
    body = templates.resolve(declared.model_dump(), f"dremio source {declared.name}")
    # Dremio does not show secrets: whether one has changed, the fingerprint of what was applied last tells.
    changed = [] if same_as_applied("dremio", "source", declared.name, body) else [declared.name]
    [change] = _apply_catalog(hook, {"sources": [body]}, resend_sources=changed)
    if change.action != "unchanged":
        remember_applied("dremio", "source", declared.name, body)
    return change


def _apply_catalog(hook: DremioHook, declared: Mapping[str, Sequence[Any]], **options: Any) -> list[Change]:
    from dremio_provider.catalog_sets import plan_catalog

    return _carried_out(plan_catalog(hook, declared, **options))


def _apply_reflections(hook: DremioHook) -> list[Change]:
    from dremio_provider.reflection_sets import plan_reflections

    declared = [_plain(reflection) for reflection in load_reflections()]
    return _carried_out(plan_reflections(hook, declared, skip_missing=True))


def _carried_out(steps: Sequence[Step]) -> list[Change]:
    from dremio_provider.plans import carry_out

    carry_out(steps)
    return [Change("dremio", step.kind, step.name, _action(step), ", ".join(step.differences)) for step in steps]


def _action(step: Step) -> Action:
    assert step.action != "deleted"  # nothing here asks for it
    return step.action


def _plain(declared: Reflection) -> dict[str, Any]:
    return declared.model_dump(mode="json", exclude_none=True)


def _statement(text: str) -> str:
    """Return the query of a view file: without the comment above it and the semicolon behind it."""
    lines = text.strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].lstrip().startswith("--")):
        lines.pop(0)
    return "\n".join(lines).rstrip().rstrip(";").rstrip()


def _refresh(hook: DremioHook, lake: Lake, source: Source, stream: Stream) -> Change:
    folder = source.bronze if source.format == "csv" else f"{source.bronze}/{stream.name}"
    path = [LAKE_SOURCE, lake.bucket, *folder.split("/")]
    label = ".".join(path)
    if next(lake.list(f"{folder}/"), None) is None and stream.sync_mode == "cdc":
        lake.put(f"{folder}/date=1970-01-01/{0:012}.parquet", _no_changes(stream), "application/vnd.apache.parquet")
    elif next(lake.list(f"{folder}/"), None) is None:
        return Change("dremio", "dataset", label, "skipped", "bronze has nothing of it yet")
    entity = hook.get_catalog_entity(path)
    if entity is None or entity.get("entityType") != "dataset":
        hook.promote_dataset(path, _FORMATS[source.format])
        return Change("dremio", "dataset", label, "created", f"promoted as {_FORMATS[source.format]['type']}")
    hook.refresh_metadata(path)
    return Change("dremio", "dataset", label, "updated", "metadata read anew")


def _no_changes(stream: Stream) -> bytes:
    """Return a Parquet file with the columns of a stream of change data and no rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakehouse.contracts import target_schema

    schema, _ = target_schema(stream, [])
    buffer = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), buffer)
    return bytes(buffer.getvalue())
