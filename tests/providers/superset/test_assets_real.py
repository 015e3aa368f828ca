"""Assets as code against a real Superset: what an import touches, what it leaves alone, and what comes back."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from superset_provider.assets.__main__ import main
from superset_provider.assets.apply import apply_assets, plan_assets
from superset_provider.assets.bundle import read_folder
from superset_provider.assets.export import export_assets
from superset_provider.exceptions import SupersetConfigurationError, SupersetTerminalError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.operators.assets import SupersetExportAssetsOperator, SupersetImportAssetsOperator

from tests.providers.superset.bundles import Files, identity, remove_bundle, small_bundle, write_folder
from tests.providers.superset.workshop import Workshop


class Imported:
    """A bundle that Superset has; every test gets its own."""

    def __init__(self, hook: SupersetHook, database_uri: str) -> None:
        self.hook = hook
        self.slug = f"assets-{uuid.uuid4().hex[:8]}"
        self.files: Files = small_bundle(database_uri, self.slug)

    def apply(self, **options: Any) -> dict[str, str]:
        """Import the files as they are now.

        :returns: What was done, by file.
        """
        plan = plan_assets(self.hook, deepcopy(self.files), **options)
        apply_assets(self.hook, plan)
        return {step.path: step.action for step in plan.steps}

    def changed(self) -> dict[str, tuple[str, ...]]:
        """What an import would do now."""
        plan = plan_assets(self.hook, deepcopy(self.files))
        return {step.path: step.differences for step in plan.steps if step.action != "same"}

    def id_of(self, kind: str, name: str) -> int:
        only = [{"col": "uuid", "opr": "eq", "value": identity(f"{self.slug}/{name}")}]
        [found] = self.hook.request("GET", f"/api/v1/{kind}/", params={"q": json.dumps({"filters": only})})["result"]
        return int(found["id"])

    def cache_keys(self) -> dict[str, str]:
        """The keys of the three charts' queries."""
        keys = {}
        for name in ("totals", "table", "count"):
            chart = self.hook.get_chart(self.id_of("chart", name))
            keys[name] = self.hook.chart_data(json.loads(chart["query_context"]))[0]["cache_key"]
        return keys


@pytest.fixture
def imported(hook: SupersetHook, real_superset: Any) -> Iterator[Imported]:
    bundle = Imported(hook, real_superset.database_uri)
    made = dict(bundle.files)
    bundle.apply()
    yield bundle
    remove_bundle(hook, made)


def test_a_second_import_changes_nothing(imported: Imported) -> None:
    keys = imported.cache_keys()
    assert set(imported.apply().values()) == {"same"}
    assert imported.cache_keys() == keys
    assert imported.hook.chart_data(json.loads(_chart(imported, "totals")["query_context"]))[0]["is_cached"] is True


def test_the_charts_answer_with_the_rows_of_their_datasets(imported: Imported) -> None:
    answer = imported.hook.chart_data(json.loads(_chart(imported, "totals")["query_context"]))
    assert {row["region"]: row["revenue"] for row in answer[0]["data"]} == {"EU": 10, "US": 20}


def test_only_what_differs_is_sent_and_only_its_cache_is_lost(imported: Imported) -> None:
    keys = imported.cache_keys()
    for path, change, lost in (
        ("dashboards/small.yaml", {"dashboard_title": "Other"}, set()),
        ("charts/totals.yaml", {"description": "Other"}, set()),
        ("databases/source.yaml", {"allow_dml": True}, set()),
        ("datasets/source/people.yaml", {"description": "Other"}, {"count"}),
    ):
        imported.files[path] |= change
        done = imported.apply()
        assert {name for name, action in done.items() if action != "same"} == {path}
        before, keys = keys, imported.cache_keys()
        assert {name for name in keys if keys[name] != before[name]} == lost, path
    assert imported.changed() == {}


def test_what_was_removed_from_the_files_is_removed_from_superset(imported: Imported) -> None:
    # Superset's own import merges: apache/superset#22127, #31957.
    files = imported.files
    sales = files["datasets/source/sales.yaml"]
    del sales["description"]
    sales["metrics"] = [metric for metric in sales["metrics"] if metric["metric_name"] != "orders"]
    sales["columns"] = [column for column in sales["columns"] if column["column_name"] != "amount"]
    del sales["columns"][0]["description"]
    dashboard = files["dashboards/small.yaml"]
    dashboard["position"]["ROW-1"]["children"].remove("CHART-2")
    del dashboard["position"]["CHART-2"]
    del files["charts/table.yaml"]
    dashboard["metadata"]["native_filter_configuration"] = []
    gone = imported.id_of("chart", "table")
    done = imported.apply(delete_removed_charts=True)
    assert done[""] == "deleted"
    dataset = imported.hook.get_dataset(imported.id_of("dataset", "sales"))
    assert dataset["description"] is None
    assert [metric["metric_name"] for metric in dataset["metrics"]] == ["revenue"]
    assert [(column["column_name"], column["description"]) for column in dataset["columns"]] == [("region", None)]
    found = imported.hook.get_dashboard(imported.slug)
    assert not json.loads(found["json_metadata"]).get("native_filter_configuration")
    assert {chart["slice_name"] for chart in imported.hook.get_dashboard_charts(found["id"])} == {"Totals", "People"}
    with pytest.raises(SupersetTerminalError, match="404"):
        imported.hook.get_chart(gone)
    assert imported.changed() == {}


def test_a_chart_that_another_dashboard_shows_is_not_deleted(imported: Imported) -> None:
    other = imported.hook.request("POST", "/api/v1/dashboard/", json={"dashboard_title": "Another"})["id"]
    table = imported.id_of("chart", "table")
    own = int(imported.hook.get_dashboard(imported.slug)["id"])
    imported.hook.request("PUT", f"/api/v1/chart/{table}", json={"dashboards": [own, other]})
    try:
        position = imported.files["dashboards/small.yaml"]["position"]
        position["ROW-1"]["children"].remove("CHART-2")
        del position["CHART-2"]
        del imported.files["charts/table.yaml"]
        assert "deleted" not in imported.apply(delete_removed_charts=True).values()
        assert imported.hook.get_chart(table)["slice_name"] == "Table"
    finally:
        imported.hook.request("DELETE", f"/api/v1/dashboard/{other}")


def test_what_another_person_made_is_taken_off_but_not_deleted(
    imported: Imported, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    dashboard = int(imported.hook.get_dashboard(imported.slug)["id"])
    by_hand = workshop.chart(imported.id_of("dataset", "people"), dashboards=[dashboard])
    name = imported.hook.get_chart(by_hand)["slice_name"]
    monkeypatch.setenv("AIRFLOW_CONN_COLLEAGUE", json.dumps(workshop.user(workshop.role_named("Admin"))))
    with SupersetHook("colleague") as colleague:
        plans = [
            plan_assets(hook, deepcopy(imported.files), delete_removed_charts=True)
            for hook in (imported.hook, colleague)
        ]
    own, others = ({(step.name, step.action) for step in plan.steps if step.action != "same"} for plan in plans)
    taken_off = (f"Small {imported.slug}", "changed")
    assert own == {taken_off, (name, "deleted")}
    assert others == {taken_off}


def test_the_ids_in_the_layout_are_those_of_the_instance(imported: Imported) -> None:
    found = imported.hook.get_dashboard(imported.slug)
    totals, table, count = (imported.id_of("chart", name) for name in ("totals", "table", "count"))
    metadata = json.loads(found["json_metadata"])
    [native] = metadata["native_filter_configuration"]
    assert native["scope"]["excluded"] == [count]
    assert native["targets"][0]["datasetId"] == imported.id_of("dataset", "sales")
    assert metadata["timed_refresh_immune_slices"] == [table]
    assert metadata["chart_configuration"][str(totals)]["crossFilters"]["scope"]["excluded"] == [table]
    places = [part for part in json.loads(found["position_json"]).values() if isinstance(part, dict)]
    charts = {part["meta"]["chartId"]: part["meta"]["sliceName"] for part in places if part["type"] == "CHART"}
    assert charts == {totals: "Totals", table: "Table", count: "People"}


def _chart(imported: Imported, name: str) -> dict[str, Any]:
    return imported.hook.get_chart(imported.id_of("chart", name))


@pytest.fixture
def repository(imported: Imported, tmp_path: Path) -> Path:
    """The bundle in git, as the exporter writes it."""
    folder = write_folder(imported.files, tmp_path / "assets")
    export_assets(imported.hook, folder)
    for command in (["init", "-q"], ["add", "-A"], _COMMIT):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


_COMMIT = ["-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "as it is"]


def _diff(folder: Path) -> list[str]:
    """The changed lines."""
    subprocess.run(["git", "add", "-AN"], cwd=folder, check=True)
    told = subprocess.run(["git", "diff", "-U0"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return [line for line in told.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def test_an_export_after_an_import_changes_no_file(imported: Imported, repository: Path) -> None:
    imported.files = read_folder(repository)
    imported.files["dashboards/small.yaml"]["dashboard_title"] = "Other"
    imported.apply()
    imported.files["dashboards/small.yaml"]["dashboard_title"] = f"Small {imported.slug}"
    imported.apply()
    assert {entry.action for entry in export_assets(imported.hook, repository)} == {"same"}
    assert _diff(repository) == []


def _rename_chart(imported: Imported) -> None:
    imported.hook.request("PUT", f"/api/v1/chart/{imported.id_of('chart', 'totals')}", json={"slice_name": "Renamed"})


def _rename_dashboard(imported: Imported) -> None:
    number = imported.hook.get_dashboard(imported.slug)["id"]
    imported.hook.request("PUT", f"/api/v1/dashboard/{number}", json={"dashboard_title": "Renamed"})


def _change_metric(imported: Imported) -> None:
    number = imported.id_of("dataset", "sales")
    known = ("id", "metric_name", "expression", "d3format")
    metrics = [{key: metric[key] for key in known} for metric in imported.hook.get_dataset(number)["metrics"]]
    next(metric for metric in metrics if metric["metric_name"] == "orders")["expression"] = "COUNT(amount)"
    imported.hook.request("PUT", f"/api/v1/dataset/{number}", json={"metrics": metrics})


def test_what_a_person_changed_is_one_line(imported: Imported, repository: Path) -> None:
    lines: list[str] = []
    for change, old, new in (
        (_rename_chart, "-slice_name: Totals", "+slice_name: Renamed"),
        (_rename_dashboard, f"-dashboard_title: Small {imported.slug}", "+dashboard_title: Renamed"),
        (_change_metric, "-  expression: COUNT(*)", "+  expression: COUNT(amount)"),
    ):
        change(imported)
        export_assets(imported.hook, repository)
        lines += [old, new]
        assert sorted(_diff(repository)) == sorted(lines)


def test_a_chart_made_and_one_taken_off_show_as_files(imported: Imported, repository: Path) -> None:
    dashboard = imported.hook.get_dashboard(imported.slug)
    made = imported.hook.request(
        "POST",
        "/api/v1/chart/",
        json={
            "slice_name": "Made by hand: 1",
            "viz_type": "table",
            "datasource_id": imported.id_of("dataset", "people"),
            "datasource_type": "table",
            "params": "{}",
            "dashboards": [dashboard["id"]],
        },
    )["id"]
    try:
        position = json.loads(dashboard["position_json"])
        position["ROW-1"]["children"].remove("CHART-2")
        del position["CHART-2"]
        table = imported.id_of("chart", "table")
        imported.hook.request("PUT", f"/api/v1/chart/{table}", json={"dashboards": []})
        imported.hook.request(
            "PUT", f"/api/v1/dashboard/{dashboard['id']}", json={"position_json": json.dumps(position)}
        )
        written = {entry.path: entry.action for entry in export_assets(imported.hook, repository)}
        assert {path: action for path, action in written.items() if action != "same"} == {
            "charts/made_by_hand_1.yaml": "created",
            "charts/table.yaml": "deleted",
            "dashboards/small.yaml": "changed",
        }
        # The row that Superset's export makes for it has another name each time; here it has one.
        assert {entry.action for entry in export_assets(imported.hook, repository)} == {"same"}
        imported.files = read_folder(repository)
        assert list(imported.changed()) == []
    finally:
        imported.hook.request("DELETE", f"/api/v1/chart/{made}")


def test_the_operators_show_the_plan_and_do_it(
    imported: Imported, repository: Path, context: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    _rename_chart(imported)
    arguments: dict[str, Any] = {"folder": str(repository), "task_id": "import"}
    [told] = [
        step
        for step in SupersetImportAssetsOperator(plan_only=True, **arguments).execute(context)
        if step["action"] != "same"
    ]
    assert told["differences"] == ["slice_name: 'Renamed' -> 'Totals'"]
    assert told in context["ti"].pushed["plan"]
    assert context["ti"].pushed["_link_SupersetDashboardLink"].endswith(f"/superset/dashboard/{imported.slug}/")
    assert _chart(imported, "totals")["slice_name"] == "Renamed"
    SupersetImportAssetsOperator(**arguments).execute(context)
    assert _chart(imported, "totals")["slice_name"] == "Totals"
    written = SupersetExportAssetsOperator(task_id="export", folder=str(repository)).execute(context)
    assert {entry["action"] for entry in written} == {"same"}


def test_a_name_that_another_object_has_is_refused(imported: Imported) -> None:
    imported.files["dashboards/small.yaml"]["uuid"] = str(uuid.uuid4())
    with pytest.raises(SupersetConfigurationError, match=r"dashboards/small.yaml: uuid: .* another dashboard"):
        imported.apply()


def test_tags_and_themes_come_and_go(imported: Imported, tmp_path: Path) -> None:
    """The importer itself reads neither."""
    theme = str(uuid.uuid4())
    body = {"theme_name": imported.slug, "json_data": {"token": {"colorPrimary": "#123456"}}, "uuid": theme}
    imported.files["themes/own.yaml"] = {**body, "version": "1.0.0"}
    imported.files["dashboards/small.yaml"] |= {"theme_uuid": theme, "tags": ["one", "two words"]}
    imported.files["charts/totals.yaml"]["tags"] = ["one"]
    try:
        done = imported.apply()
        assert {path: action for path, action in done.items() if action != "same"} == {
            "themes/own.yaml": "created",
            "dashboards/small.yaml": "changed",
            "charts/totals.yaml": "changed",
        }
        assert imported.changed() == {}
        found = imported.hook.get_dashboard(imported.slug)
        assert found["theme"]["theme_name"] == imported.slug
        assert {tag["name"] for tag in found["tags"] if tag["type"] == 1} == {"one", "two words"}
        # They come back as files.
        folder = tmp_path / "assets"
        export_assets(imported.hook, folder, [imported.slug])
        [path] = (folder / "themes").iterdir()
        assert yaml.safe_load(path.read_text())["json_data"] == {"token": {"colorPrimary": "#123456"}}
        [path] = (folder / "dashboards").iterdir()
        assert yaml.safe_load(path.read_text())["tags"] == ["one", "two words"]
        assert {entry.action for entry in export_assets(imported.hook, folder)} == {"same"}
        imported.files["themes/own.yaml"]["json_data"] = {"token": {"colorPrimary": "#654321"}}
        imported.files["dashboards/small.yaml"]["tags"] = ["two words"]
        imported.apply()
        assert imported.changed() == {}
        del imported.files["dashboards/small.yaml"]["theme_uuid"], imported.files["dashboards/small.yaml"]["tags"]
        del imported.files["charts/totals.yaml"]["tags"], imported.files["themes/own.yaml"]
        imported.apply()
        found = imported.hook.get_dashboard(imported.slug)
        assert found["theme"] is None
        assert [tag for tag in found["tags"] if tag["type"] == 1] == []
        assert imported.changed() == {}
    finally:
        for entry in imported.hook.request("GET", "/api/v1/theme/")["result"]:
            if entry["uuid"] == theme:
                imported.hook.request("DELETE", f"/api/v1/theme/{entry['id']}")


def test_the_same_from_a_shell(
    imported: Imported, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "client")
    folder = str(repository)
    assert main(["export", folder]) == 0
    assert capsys.readouterr().out == "nothing to change\n"
    _rename_chart(imported)
    assert main(["plan", folder]) == 0
    assert "slice_name: 'Renamed' -> 'Totals'" in capsys.readouterr().out
    assert main(["export", folder]) == 0
    assert capsys.readouterr().out == "changed charts/totals.yaml\n"
    (repository / "charts/totals.yaml").write_text(yaml.safe_dump(imported.files["charts/totals.yaml"]))
    assert main(["format", folder]) == 0
    assert capsys.readouterr().out == "changed charts/totals.yaml\n"
    assert main(["import", folder]) == 0
    assert _chart(imported, "totals")["slice_name"] == "Totals"
    assert main(["export", folder, "--dashboard", "no-such-dashboard"]) == 1
    assert "no dashboard 'no-such-dashboard'" in capsys.readouterr().err


def test_an_export_from_another_superset_leaves_the_files(imported: Imported, repository: Path) -> None:
    elsewhere = write_folder(small_bundle("sqlite://", "never-imported"), repository / "elsewhere")
    before = read_folder(elsewhere)
    with pytest.raises(SupersetConfigurationError, match="none of the dashboards that the folder declares"):
        export_assets(imported.hook, elsewhere)
    assert read_folder(elsewhere) == before
