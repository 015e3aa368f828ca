"""What the example DAG of warming did, deferred as well."""

from __future__ import annotations

from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import query_context
from tests.system.superset.conftest import Ran


def test_the_dashboards_are_warm(ran: Ran) -> None:
    results = ran.results("example_superset_warming")
    assert {task: (result["queries"], result["failed"]) for task, result in results.items()} == {
        "warm_dashboard": (2, 0),
        "warm_what_is_stale": (2, 0),
        # As the administrator, as the service user and as the analyst, who shares the service user's entries.
        "warm_for_others": (6, 0),
        "warm_with_patience": (2, 0),
    }
    assert results["warm_what_is_stale"]["already_warm"] == 2
    assert results["warm_for_others"]["already_warm"] == 4
    for task in ran.states["example_superset_warming"]:
        assert ran.xcoms[task, "_link_SupersetDashboardLink"].endswith("/superset/dashboard/example-sales/")
    with SupersetHook("superset_analyst") as analyst:
        found = analyst.chart_data(query_context(ran.dataset))[0]
        assert (found["is_cached"], found["rowcount"]) == (True, 1)
