"""What the example DAGs of assets, datasets and charts did."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from superset_provider.assets.bundle import read_folder

from tests.system.superset.conftest import Ran

FOLDER = Path(__file__).parent


def test_the_assets_were_made_and_come_back(ran: Ran) -> None:
    results = ran.results("example_superset_assets")
    assert [step["action"] for step in results["show_plan"]] == ["created"] * 5
    assert [step["action"] for step in results["import_assets"]] == ["created"] * 5
    # The export of what was imported has the same content, in files that are named after it.
    exported = read_folder(ran.folder / "superset_export")
    exported["databases/example_warehouse.yaml"]["sqlalchemy_uri"] = "sqlite:///{{ conn.example_warehouse.host }}"
    assert exported == read_folder(FOLDER / "assets")


def test_datasets_and_charts_were_refreshed_and_read(ran: Ran) -> None:
    results = ran.results("example_superset_datasets")
    assert results["refresh_dataset"][0]["added"] == []
    assert len(results["repair_charts"]["right"]) == 2
    assert results["invalidate_cache"] == ["example_orders"]
    assert results["revenue"]["rows"] == [{"region": "EU", "revenue": 50}]
    assert pq.read_table(ran.folder / "revenue.parquet").num_rows == 2
