"""What the files of a bundle may hold: the fields of Superset's importer, their types and what stands for nothing.

The fields are those of Superset 6.1's ``ImportV1*Schema`` classes (superset/{databases,datasets,charts,dashboards,
themes}/schemas.py); that a field is not there means its default, so that the files stay short.
"""

from __future__ import annotations

import json
import uuid
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

KINDS = {
    "databases": "database",
    "datasets": "dataset",
    "charts": "chart",
    "dashboards": "dashboard",
    "themes": "theme",
}
# The importer replaces these charts by their successors (superset/migrations/shared/migrate_viz/processors.py), so that
# what was declared could never be found again.
REPLACED_CHARTS = {
    "area": "echarts_area",
    "bar": "echarts_timeseries_bar",
    "bubble": "bubble_v2",
    "dist_bar": "echarts_timeseries_bar",
    "dual_line": "mixed_timeseries",
    "heatmap": "heatmap_v2",
    "histogram": "histogram_v2",
    "line": "echarts_timeseries_line",
    "pivot_table": "pivot_table_v2",
    "sankey": "sankey_v2",
    "sunburst": "sunburst_v2",
    "treemap": "treemap_v2",
}


def _canonical_uuid(value: str) -> str:
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise ValueError("should be a UUID, such as 9a82da17-6f22-5832-b83f-4b0bf0ed706e") from None


def _json_object(value: str) -> str:
    try:
        read = json.loads(value)
    except ValueError as error:
        raise ValueError(f"should be JSON: {error}") from None
    if not isinstance(read, dict):
        raise ValueError("should be a JSON object")
    return value


def _current_chart(value: str) -> str:
    if value in REPLACED_CHARTS:
        raise ValueError(f"Superset's importer replaces {value!r}: use {REPLACED_CHARTS[value]!r}")
    return value


def _kept_annotations(value: Any) -> Any:
    layers = value.get("annotation_layers") if isinstance(value, dict) else None
    for layer in layers or ():
        if layer.get("annotationType") != "FORMULA":
            raise ValueError(
                f"annotation_layers: Superset's importer drops the layer {layer.get('name')!r}, because it keeps only "
                "those of annotationType FORMULA"
            )
    return value


Uuid = Annotated[str, AfterValidator(_canonical_uuid)]
Json = dict[str, Any]


class Model(BaseModel):
    """Base: no field that Superset does not know, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # What a database or dashboard is called in sentences.
    title: ClassVar[str] = ""
    # Superset takes these and never shows them again: they can neither be compared nor exported.
    hidden: ClassVar[frozenset[str]] = frozenset()
    # Superset's importer fails without these, whatever their value.
    always: ClassVar[frozenset[str]] = frozenset({"version"})


class File(Model):
    """What every file has."""

    uuid: Uuid
    version: Literal["1.0.0"] = "1.0.0"


class Managed(File):
    """What most files have; Superset does not export it."""

    hidden: ClassVar[frozenset[str]] = frozenset({"is_managed_externally", "external_url"})

    is_managed_externally: bool | None = None
    external_url: str | None = None


class DatabaseFile(Managed):
    """``databases/<name>.yaml``."""

    title: ClassVar[str] = "database_name"
    hidden: ClassVar[frozenset[str]] = Managed.hidden | {"encrypted_extra", "masked_encrypted_extra", "ssh_tunnel"}
    always: ClassVar[frozenset[str]] = File.always | {"extra"}

    database_name: str
    sqlalchemy_uri: str
    cache_timeout: int | None = None
    expose_in_sqllab: bool = True
    allow_run_async: bool = False
    allow_ctas: bool = False
    allow_cvas: bool = False
    allow_dml: bool = False
    allow_csv_upload: bool = False
    impersonate_user: bool = False
    configuration_method: Literal["sqlalchemy_form", "dynamic_form"] = "sqlalchemy_form"
    extra: Json = Field(default_factory=dict)


class Column(Model):
    """One column of a dataset."""

    column_name: str
    verbose_name: str | None = None
    description: str | None = None
    type: str | None = None
    advanced_data_type: str | None = None
    expression: str | None = None
    is_dttm: bool = False
    python_date_format: str | None = None
    datetime_format: str | None = None
    is_active: bool = True
    groupby: bool = True
    filterable: bool = True
    extra: Json | None = None


class Currency(Model):
    """Currency of a metric."""

    symbol: str
    symbolPosition: str  # Superset's own spelling


class Metric(Model):
    """One metric of a dataset."""

    metric_name: str
    verbose_name: str | None = None
    description: str | None = None
    expression: str
    metric_type: str | None = None
    d3format: str | None = None
    currency: Currency | None = None
    warning_text: str | None = None
    extra: Json | None = None


class DatasetFile(Managed):
    """``datasets/<database>/<name>.yaml``."""

    title: ClassVar[str] = "table_name"
    # Folders point at columns by ids that are no part of a bundle.
    hidden: ClassVar[frozenset[str]] = Managed.hidden | {"data", "folders"}

    table_name: str
    description: str | None = None
    main_dttm_col: str | None = None
    currency_code_column: str | None = None
    default_endpoint: str | None = None
    offset: int = 0
    cache_timeout: int | None = None
    catalog: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    sql: str | None = None
    params: Json | None = None
    template_params: Json | None = None
    filter_select_enabled: bool = True
    fetch_values_predicate: str | None = None
    extra: Json | None = None
    normalize_columns: bool = False
    always_filter_main_dttm: bool = False
    data: str | None = None
    folders: list[Any] | None = None
    database_uuid: Uuid
    metrics: list[Metric] = Field(default_factory=list)
    columns: list[Column] = Field(default_factory=list)


class ChartFile(Managed):
    """``charts/<name>.yaml``."""

    title: ClassVar[str] = "slice_name"
    always: ClassVar[frozenset[str]] = File.always | {"params"}

    slice_name: str
    description: str | None = None
    certified_by: str | None = None
    certification_details: str | None = None
    viz_type: Annotated[str, AfterValidator(_current_chart)]
    cache_timeout: int | None = None
    dataset_uuid: Uuid
    tags: list[str] = Field(default_factory=list)
    params: Annotated[Json, BeforeValidator(_kept_annotations)] = Field(default_factory=dict)
    query_context: Annotated[str, AfterValidator(_json_object)] | None = None


class DashboardFile(Managed):
    """``dashboards/<name>.yaml``."""

    title: ClassVar[str] = "dashboard_title"
    always: ClassVar[frozenset[str]] = File.always | {"position"}

    dashboard_title: str
    slug: str | None = None
    description: str | None = None
    certified_by: str | None = None
    certification_details: str | None = None
    published: bool = False
    css: str | None = None
    theme_uuid: Uuid | None = None
    tags: list[str] = Field(default_factory=list)
    metadata: Json = Field(default_factory=dict)
    position: Json


class ThemeFile(File):
    """``themes/<name>.yaml``."""

    title: ClassVar[str] = "theme_name"

    theme_name: str
    json_data: Json


FILES: dict[str, type[File]] = {
    "database": DatabaseFile,
    "dataset": DatasetFile,
    "chart": ChartFile,
    "dashboard": DashboardFile,
    "theme": ThemeFile,
}


def defaults(model: type[Model]) -> dict[str, Any]:
    """What stands for a field that is not in a file.

    :param model: One of :data:`FILES`, :class:`Column` or :class:`Metric`.
    :returns: By the name in the file; fresh values.
    """
    return {
        field.alias or name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }


def field_order(model: type[Model]) -> dict[str, int]:
    """Where in a file a field stands: uuid and version last, as Superset exports them."""
    names = [field.alias or name for name, field in model.model_fields.items()]
    moved = [name for name in names if name in File.model_fields]
    return {name: number for number, name in enumerate([name for name in names if name not in moved] + moved)}
