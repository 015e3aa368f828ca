"""The example DAG of warming runs in a real Airflow against a real Superset, deferred as well."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.real import RealSuperset
from tests.providers.superset.workshop import Workshop, query_context

FOLDER = Path(__file__).parent


@pytest.fixture
def dataset(real_superset: RealSuperset, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """What the example names: a dashboard on this dataset, with a rule for some people, and one of them."""
    monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(real_superset.connection()))
    with SupersetHook() as hook:
        workshop = Workshop(hook, real_superset)
        number = workshop.dataset(workshop.database(), table_name="example_sales")
        # Of a kind that only its saved query context describes, so that the test can ask the same.
        contexts = [query_context(number), query_context(number, row_limit=7)]
        charts = [workshop.chart(number, context, viz_type="only_saved", params="{}") for context in contexts]
        dashboard = workshop.dashboard(charts, slug="example-sales")
        properties = {"properties": {"tags": ["example-morning"]}}
        hook.request("POST", f"/api/v1/tag/3/{dashboard}/", json=properties)
        limited = workshop.make("security/roles", {"name": "Example EU"})
        workshop.row_level_security("region = 'EU'", [number], [limited])
        analyst = workshop.user(workshop.role_named("Alpha"), limited)
        monkeypatch.setenv("AIRFLOW_CONN_SUPERSET_ANALYST", json.dumps(analyst))
        yield number
        query = json.dumps({"filters": [{"col": "username", "opr": "sw", "value": "airflow_warm_up_"}]})
        for user in hook.request("GET", "/api/v1/security/users/", params={"q": query})["result"]:
            if "Example EU" in {role["name"] for role in user["roles"]}:
                hook.request("DELETE", f"/api/v1/security/users/{user['id']}")
        workshop.remove()


def test_the_example_runs(dataset: int, tmp_path: Path, real_superset: RealSuperset) -> None:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run_examples.py"), "example_superset_warming"],
        capture_output=True, text=True, timeout=400, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert real_superset.password not in done.stdout + done.stderr
    outcomes = json.loads(done.stdout.splitlines()[-1])["example_superset_warming"]
    assert len(outcomes) == 4
    assert set(outcomes.values()) == {"success"}, f"{outcomes}\n{done.stdout[-6000:]}"
    with sqlite3.connect(tmp_path / "airflow.db") as database:
        rows = database.execute("SELECT task_id, key, value FROM xcom")
        xcoms: dict[Any, Any] = {(task, key): json.loads(value) for task, key, value in rows}
    results = {task: value for (task, key), value in xcoms.items() if key == "return_value"}
    assert {task: (result["queries"], result["failed"]) for task, result in results.items()} == {
        "warm_dashboard": (2, 0),
        "warm_what_is_stale": (2, 0),
        # As the administrator, as the service user and as the analyst, who shares the service user's entries.
        "warm_for_others": (6, 0),
        "warm_with_patience": (2, 0),
    }
    assert results["warm_what_is_stale"]["already_warm"] == 2
    assert results["warm_for_others"]["already_warm"] == 4
    for task in outcomes:
        assert xcoms[task, "_link_SupersetDashboardLink"].endswith("/superset/dashboard/example-sales/")
    with SupersetHook("superset_analyst") as analyst:
        found = analyst.chart_data(query_context(dataset))[0]
        assert (found["is_cached"], found["rowcount"]) == (True, 1)
