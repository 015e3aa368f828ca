"""Another scale in a sandbox that is in use. The last of these tests: the shop and the lake are others afterwards."""

from __future__ import annotations

import json

SCALE = "0.012"


def test_another_scale_is_another_shop_from_source_to_mart(platform):
    """What the old shop left behind, above all the cursors of its syncs, must not hide rows of the new one."""
    before = json.loads((platform.var / "demo" / "report.json").read_text())["rows"]
    done = platform.make("demo", f"SCALE={SCALE}")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    rows = json.loads((platform.var / "demo" / "report.json").read_text())["rows"]
    assert rows["source.orders"] > before["source.orders"]
    for table in ("customers", "products", "orders", "order_items"):
        assert rows[f"bronze.raw_{table}"] == rows[f"source.{table}"]
    share = before["gold.fct_orders"] / before["source.orders"]
    assert abs(rows["gold.fct_orders"] / rows["source.orders"] - share) < 0.01
