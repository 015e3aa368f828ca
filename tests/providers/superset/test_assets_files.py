"""Bundles as files: what is refused before anything is sent, and the one form they are written in."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from superset_provider.assets import connections
from superset_provider.assets.apply import plan_assets
from superset_provider.assets.bundle import METADATA, dump, kind_of, parse, read_export, read_folder, write_zip
from superset_provider.assets.layout import stable_id
from superset_provider.assets.normalise import complete, normal_form
from superset_provider.assets.validation import checked_bundle
from superset_provider.exceptions import SupersetConfigurationError
from superset_provider.plans import Step, differences, summary

from tests.providers.superset.bundles import Files, identity, small_bundle, write_folder

EMPTY_EXPORT = write_zip({})


class Target:
    """A Superset that has what an export says, and counts what is sent to it."""

    def __init__(self, files: Files) -> None:
        self.bundle = write_zip(files)
        self.sent = 0

    def export_assets(self) -> bytes:
        return self.bundle

    def import_assets(self, *_: Any, **__: Any) -> None:
        self.sent += 1


@pytest.fixture
def files() -> Files:
    return small_bundle("postgresql://{{ conn.shop.login }}:XXXXXXXXXX@{{ conn.shop.host }}/shop", "small")


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_SHOP",
        json.dumps({"conn_type": "postgres", "host": "db.local", "login": "reader", "password": "s3cret"}),
    )


def _set(path: str, field: str, value: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        *outer, last = field.split("/")
        place = files[path]
        for key in outer:
            place = place[int(key) if key.isdigit() else key]
        if value is None:
            del place[last]
        else:
            place[last] = value

    return change


CHART, DATASET, DASHBOARD = "charts/totals.yaml", "datasets/source/sales.yaml", "dashboards/small.yaml"
FILTER = "metadata/native_filter_configuration/0/targets/0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda files: files.pop("metadata.yaml"), "metadata.yaml: is missing", id="bundle without metadata"
        ),
        pytest.param(
            _set("metadata.yaml", "type", "Chart"), "metadata.yaml: type: is 'Chart'; allowed: assets", id="type"
        ),
        pytest.param(_set(CHART, "uuid", None), "charts/totals.yaml: uuid: is missing", id="no uuid"),
        pytest.param(_set(CHART, "uuid", "abc"), "charts/totals.yaml: uuid: should be a UUID", id="uuid"),
        pytest.param(_set(CHART, "viz_type", "dist_bar"), "use 'echarts_timeseries_bar'", id="replaced chart"),
        pytest.param(_set(CHART, "query_context", "{"), "query_context: should be JSON", id="query context"),
        pytest.param(
            _set(CHART, "params/annotation_layers", [{"name": "Sales days", "annotationType": "EVENT"}]),
            "charts/totals.yaml: params: annotation_layers: Superset's importer drops the layer 'Sales days'",
            id="annotation that would be dropped",
        ),
        pytest.param(
            _set(CHART, "dataset_uuid", identity("none")),
            f"charts/totals.yaml: dataset_uuid: {identity('none')} is no dataset of the bundle or of Superset",
            id="unknown dataset",
        ),
        pytest.param(_set(DATASET, "offset", "1"), "sales.yaml: offset: input should be a valid integer", id="type"),
        pytest.param(
            _set(DATASET, "metrics/0/expresion", "1"), "metrics.0.expresion: is no field that Superset", id="typo"
        ),
        pytest.param(_set(DATASET, "titel", "x"), "titel: is no field that Superset imports; allowed: al", id="field"),
        pytest.param(
            _set(DASHBOARD, f"{FILTER}/column/name", "regoin"),
            "native_filter_configuration.Region.targets: 'regoin' is no column of small sales; allowed: amount, region",
            id="column of a filter",
        ),
        pytest.param(
            _set(DASHBOARD, f"{FILTER}/datasetId", 3), "Region.targets: has a datasetId", id="id of an instance"
        ),
        pytest.param(
            _set(DASHBOARD, "position/CHART-1/meta/uuid", identity("none")),
            "position.CHART-1.meta.uuid",
            id="unknown chart",
        ),
        pytest.param(
            _set(DASHBOARD, "position/ROW-1/children", ["CHART-9"]), "ROW-1.children: CHART-9 is no", id="layout"
        ),
        pytest.param(_set(DASHBOARD, "position", None), "small.yaml: position: is missing", id="no layout"),
        pytest.param(
            _set("charts/table.yaml", "uuid", identity("small/totals")),
            "charts/totals.yaml: uuid: is that of charts/table.yaml as well",
            id="same uuid",
        ),
        pytest.param(
            _set("databases/source.yaml", "sqlalchemy_uri", "postgresql://a:XXXXXXXXXX@b/c"),
            "databases/source.yaml: sqlalchemy_uri: has a masked password",
            id="masked password of nobody",
        ),
        pytest.param(
            _set("databases/source.yaml", "sqlalchemy_uri", "postgresql://a:{{ conn.shop.password }}@b/c"),
            "A password is written XXXXXXXXXX",
            id="password in the file",
        ),
        pytest.param(
            _set("databases/source.yaml", "sqlalchemy_uri", "postgresql://{{ conn.nobody.login }}@b/c"),
            "Airflow has no connection 'nobody'",
            id="unknown connection",
        ),
    ],
)
def test_what_superset_would_refuse_without_a_reason_is_named(
    change: Callable[[Files], None], said: str, files: Files
) -> None:
    change(files)
    target = Target({})
    files = {path: files[path] for path in sorted(files)}
    with pytest.raises(SupersetConfigurationError) as caught:
        plan_assets(target, files)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert target.sent == 0


def test_everything_that_is_wrong_is_said_at_once(files: Files) -> None:
    files[CHART]["slice_name"] = 7
    del files[DATASET]["table_name"]
    with pytest.raises(SupersetConfigurationError) as caught:
        checked_bundle(files)
    assert caught.value.details["problems"] == [
        "datasets/source/sales.yaml: table_name: is missing",
        "charts/totals.yaml: slice_name: input should be a valid string",
    ]


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "a.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(SupersetConfigurationError, match=r"charts/a\.yaml: is no YAML"):
        read_folder(tmp_path)


def test_the_password_goes_beside_the_bundle_and_nowhere_else(files: Files) -> None:
    plan = plan_assets(Target({}), files)  # type: ignore[arg-type]
    assert plan.passwords == {"databases/source.yaml": "s3cret"}
    [database] = [asset for asset in plan.sent if asset.kind == "database"]
    assert database.body["sqlalchemy_uri"] == "postgresql://reader:XXXXXXXXXX@db.local/shop"
    assert "s3cret" not in repr(plan)
    assert "s3cret" not in json.dumps([step.to_dict() for step in plan.steps])


def _exported(files: Files) -> Files:
    """As Superset shows the same: with everything that a person did not write."""
    shown = deepcopy(files)
    shown["databases/source.yaml"] |= {
        "sqlalchemy_uri": "postgresql://reader:XXXXXXXXXX@db.local/shop",
        "allow_dml": False,
        "extra": {"metadata_params": {}, "allows_virtual_table_explore": True},
        "cache_timeout": None,
    }
    for column in shown[DATASET]["columns"]:
        column |= {"is_active": True, "expression": "", "extra": {"warning_markdown": ""}}
    shown[DATASET]["columns"].reverse()
    shown[CHART]["params"] |= {"datasource": "3__table", "slice_id": 4, "annotation_layers": []}
    context = json.loads(shown[CHART]["query_context"])
    context |= {"datasource": {"id": 3, "type": "table"}, "force": False, "form_data": {"slice_id": 4}}
    shown[CHART]["query_context"] = json.dumps(context)
    metadata = shown[DASHBOARD]["metadata"]
    metadata |= {"map_label_colors": {"EU": "#fff"}, "shared_label_colors": ["EU"], "color_scheme_domain": ["#fff"]}
    metadata["native_filter_configuration"][0] |= {"chartsInScope": [1, 2], "tabsInScope": ["TAB-1"]}
    shown[DASHBOARD]["position"]["CHART-1"]["meta"]["sliceName"] = "An older name"
    return shown


def test_what_superset_adds_by_itself_is_no_difference(files: Files) -> None:
    target = Target(_exported(files))
    steps = plan_assets(target, files).steps  # type: ignore[arg-type]
    assert {step.action for step in steps} == {"same"}, [step.differences for step in steps]


def test_a_change_is_told_field_by_field_but_a_databases_only_by_name(files: Files) -> None:
    target = Target(_exported(files))
    files[DATASET]["metrics"][0]["expression"] = "SUM(amount) / 2"
    files[DATASET]["metrics"].pop()
    files["databases/source.yaml"] |= {"sqlalchemy_uri": "postgresql://other@db.local/shop", "allow_dml": True}
    found = {step.path: step.differences for step in plan_assets(target, files).steps}  # type: ignore[arg-type]
    assert found[DATASET] == (
        "metrics.orders: {'metric_name': 'orders', 'expression': 'COUNT(*)'} -> nothing",
        "metrics.revenue.expression: 'SUM(amount)' -> 'SUM(amount) / 2'",
    )
    assert set(found["databases/source.yaml"]) == {"sqlalchemy_uri", "allow_dml"}


def test_a_changed_password_is_sent_when_asked_for(files: Files) -> None:
    plan = plan_assets(Target(_exported(files)), files, resend_passwords=["small"])  # type: ignore[arg-type]
    assert [asset.path for asset in plan.sent] == ["databases/source.yaml"]
    assert plan.passwords == {"databases/source.yaml": "s3cret"}


def test_a_file_has_one_form(files: Files) -> None:
    for path, body in files.items():
        kind = kind_of(path)
        if kind is not None:
            text = dump(normal_form(kind, body))
            assert dump(normal_form(kind, parse(path, text))) == text
            # What is sent says every field, and means the same.
            sent = complete(kind, normal_form(kind, body))
            assert dump(normal_form(kind, sent)) == text


def test_a_file_without_chance_is_written_as_people_write_it(files: Files) -> None:
    text = dump(normal_form("dataset", files[DATASET]))
    assert text.startswith("table_name: small sales\ndescription: What was sold.\n")
    assert "sql: |-\n  select 'EU' as region, 10 as amount\n  union all\n" in text
    assert "null" not in text


def test_charts_without_a_place_keep_their_names(files: Files) -> None:
    """The exporter makes a row for them, under another name each time."""
    forms = []
    for suffix in ("ABCDEFGH", "12345678"):
        position = deepcopy(files[DASHBOARD]["position"])
        position["ROOT_ID"]["children"] = ["GRID_ID"]
        position["GRID_ID"]["children"] = ["TABS-1", f"ROW-N-{suffix}"]
        loose = {"chartId": 9, "uuid": identity("loose"), "width": 4, "sliceName": "Loose"}
        again = {**position["CHART-1"]["meta"]}
        for name, meta in (("CHART-A" + suffix, loose), ("CHART-B" + suffix, again)):
            position[name] = {"type": "CHART", "id": name, "children": [], "meta": meta}
        position[f"ROW-N-{suffix}"] = {
            "type": "ROW",
            "id": f"ROW-N-{suffix}",
            "children": ["CHART-A" + suffix, "CHART-B" + suffix],
            "meta": {},
        }
        forms.append(normal_form("dashboard", {**files[DASHBOARD], "position": position}))
    assert forms[0] == forms[1]
    lasting = f"CHART-{stable_id(identity('loose'))}"
    assert forms[0]["position"]["ROW-N-unplaced"]["children"] == [lasting]
    assert forms[0]["position"][lasting]["parents"] == ["ROOT_ID", "GRID_ID", "ROW-N-unplaced"]


def test_a_layout_that_was_made_over_the_api_gets_its_uuids(files: Files) -> None:
    shown = deepcopy(files)
    del shown[DASHBOARD]["position"]["CHART-1"]["meta"]["uuid"]
    shown["charts/Totals_1.yaml"] = shown.pop(CHART)
    dashboard = next(asset for asset in read_export(write_zip(shown)) if asset.kind == "dashboard")
    assert dashboard.body == normal_form("dashboard", files[DASHBOARD])


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("pg://a:XXXXXXXXXX@h/d?x=1&y=2", "pg://a:other@H/d?y=2&x=1", True),
        ("pg://a%40b@h/d", "pg://a@b@h/d", True),
        ("pg://a@h:5432/d", "pg://a@h:5433/d", False),
        ("pg://a@h/d", "pg://b@h/d", False),
        ("sqlite:////a.db", "sqlite:////b.db", False),
    ],
)
def test_uris_are_compared_by_what_they_mean(left: str, right: str, same: bool) -> None:
    assert connections.same_uri(left, right) is same


def test_tokens_of_a_uri_never_get_into_a_file() -> None:
    shown = "dremio+flight://h:32010/dremio?Token=abc&UseEncryption=true&api_key=def"
    assert connections.without_secrets(shown) == (
        "dremio+flight://h:32010/dremio?Token=XXXXXXXXXX&UseEncryption=true&api_key=XXXXXXXXXX"
    )


def test_a_plan_reads_as_a_list() -> None:
    steps = [
        Step("chart", "A", "1", "a", "same"),
        Step("chart", "B", "2", "b", "changed", differences({"x": 1, "l": [1]}, {"x": 2, "l": [1, 2]})),
    ]
    assert summary(steps).splitlines() == [
        "1 same, 1 changed",
        "  changed chart B",
        "    x: 1 -> 2",
        "    l.1: nothing -> 2",
    ]


def test_the_zip_of_the_same_files_has_the_same_bytes(files: Files) -> None:
    assert write_zip(files) == write_zip(dict(reversed(files.items())))
    assert yaml.safe_load(dump(METADATA))["type"] == "assets"


def test_a_folder_is_read_as_it_was_written(files: Files, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    assert read_folder(write_folder(files, tmp_path)) == files
