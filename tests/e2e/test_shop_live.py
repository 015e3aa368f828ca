"""The shop changes while the live charts follow: after the tests that count on a shop at rest."""

from __future__ import annotations

import json


def test_no_change_is_lost_or_doubled_on_its_way_to_the_chart(platform):
    done = platform.make("demo-live", "RATE=60", "SECONDS=10")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads((platform.var / "demo-live" / "report.json").read_text())
    assert report["changes"] == 600
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert 0 < report["p50_s"] <= report["p95_s"] <= report["max_s"]
    assert set(report["by_step"]) == {"waiting", "sync", "load", "metadata", "warm"}
    # What the charts showed came out of the cache that the micro-batches fill.
    assert report["cached"] > 0.5
    assert "lost 0, doubled 0" in done.stdout
