"""The layout of bundles, and what an import overwrites."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
import yaml
from superset_provider.exceptions import SupersetError
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import Workshop, query_context


class Bundle:
    """A dashboard with all it needs, and the same as files."""

    def __init__(self, workshop: Workshop) -> None:
        self.hook: SupersetHook = workshop.hook
        self.dataset = workshop.dataset(workshop.database())
        self.chart = workshop.chart(self.dataset)
        self.dashboard = workshop.dashboard([self.chart])
        with zipfile.ZipFile(io.BytesIO(self.hook.export_dashboards([self.dashboard]))) as exported:
            self.files = {name.split("/", 1)[1]: exported.read(name).decode() for name in exported.namelist()}

    def path(self, folder: str) -> str:
        (found,) = [name for name in self.files if name.startswith(f"{folder}/")]
        return found

    def change(self, folder: str, **values: Any) -> None:
        path = self.path(folder)
        self.files[path] = yaml.safe_dump({**yaml.safe_load(self.files[path]), **values})

    def typed(self, kind: str) -> bytes:
        metadata = {**yaml.safe_load(self.files["metadata.yaml"]), "type": kind}
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as bundle:
            for name, text in {**self.files, "metadata.yaml": yaml.safe_dump(metadata)}.items():
                bundle.writestr(f"bundle/{name}", text)
        return packed.getvalue()

    def key(self) -> str:
        return str(self.hook.chart_data(query_context(self.dataset))[0]["cache_key"])


@pytest.fixture
def bundle(workshop: Workshop) -> Bundle:
    return Bundle(workshop)


def test_a_bundle_is_yaml_linked_by_uuid(bundle: Bundle) -> None:
    # With TAGGING_SYSTEM there is tags.yaml as well.
    folders = {"metadata.yaml", "databases", "datasets", "charts", "dashboards"}
    assert {name.split("/")[0] for name in bundle.files} - {"tags.yaml"} == folders
    metadata = yaml.safe_load(bundle.files["metadata.yaml"])
    assert (metadata["version"], metadata["type"]) == ("1.0.0", "Dashboard")
    database, dataset, chart, dashboard = (
        yaml.safe_load(bundle.files[bundle.path(folder)])
        for folder in ("databases", "datasets", "charts", "dashboards")
    )
    assert dataset["database_uuid"] == database["uuid"]
    assert chart["dataset_uuid"] == dataset["uuid"]
    placed = [item["meta"]["uuid"] for name, item in dashboard["position"].items() if name.startswith("CHART-")]
    assert placed == [chart["uuid"]]
    assert "extra" in database
    assert "password" not in database


def test_an_import_as_dashboard_overwrites_the_dashboard_only(bundle: Bundle) -> None:
    key = bundle.key()
    bundle.change("charts", slice_name="another name", description="another one")
    bundle.change("dashboards", dashboard_title="another title")
    bundle.hook.import_dashboards(bundle.typed("Dashboard"), overwrite=True)
    assert bundle.hook.get_dashboard(bundle.dashboard)["dashboard_title"] == "another title"
    assert bundle.hook.get_chart(bundle.chart)["description"] is None
    assert bundle.key() == key


def test_an_import_as_assets_overwrites_all_and_changes_the_keys(bundle: Bundle) -> None:
    key = bundle.key()
    bundle.change("charts", description="another one")
    bundle.hook.import_assets(bundle.typed("assets"))
    assert bundle.hook.get_chart(bundle.chart)["description"] == "another one"
    changed = bundle.key()
    assert changed != key


def test_without_overwrite_an_import_is_refused_in_words(bundle: Bundle) -> None:
    with pytest.raises(SupersetError, match="already exists and `overwrite=true` was not passed"):
        bundle.hook.import_dashboards(bundle.typed("Dashboard"), overwrite=False)


@pytest.mark.parametrize(
    ("kind", "folder", "said"),
    [("Dashboard", None, "500"), ("assets", "databases", "500")],
    ids=["wrong type", "database without extra"],
)
def test_a_wrong_bundle_of_assets_is_refused_without_a_reason(
    bundle: Bundle, kind: str, folder: str | None, said: str
) -> None:
    if folder is not None:
        declared = yaml.safe_load(bundle.files[bundle.path(folder)])
        declared.pop("extra")
        bundle.files[bundle.path(folder)] = yaml.safe_dump(declared)
    with pytest.raises(SupersetError, match=said):
        bundle.hook.import_assets(bundle.typed(kind))


def test_what_is_no_zip_is_named(workshop: Workshop) -> None:
    with pytest.raises(SupersetError, match="422 Not a ZIP file"):
        workshop.hook.import_assets(b"no zip")
