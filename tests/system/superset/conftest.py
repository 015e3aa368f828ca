"""All example DAGs run once, in one real Airflow, against a real Superset."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from superset_provider.assets.bundle import read_folder
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.bundles import remove_bundle
from tests.providers.superset.real import RealSuperset
from tests.providers.superset.workshop import Workshop, query_context

FOLDER = Path(__file__).parent
EXAMPLES = sorted(path.stem for path in FOLDER.glob("example_*.py"))


@dataclass(frozen=True)
class Ran:
    """What the examples left behind.

    :param states: How each task ended, by example and task.
    :param xcoms: By task and key.
    :param folder: Where Airflow kept its own.
    :param dataset: The dataset of the warmed dashboard.
    """

    states: dict[str, dict[str, str]]
    xcoms: dict[tuple[str, str], Any]
    folder: Path
    dataset: int

    def results(self, example: str) -> dict[str, Any]:
        """What the tasks of an example returned."""
        return {
            task: self.xcoms[task, "return_value"]
            for task in self.states[example]
            if (task, "return_value") in self.xcoms
        }


@contextmanager
def warmed_dashboard(hook: SupersetHook, superset: RealSuperset) -> Iterator[tuple[int, dict[str, Any]]]:
    """What the example of warming names: a dashboard on a dataset, with a rule for some people, and one of them."""
    workshop = Workshop(hook, superset)
    number = workshop.dataset(workshop.database(), table_name="example_sales")
    charts = [
        workshop.chart(number, context) for context in (query_context(number), query_context(number, row_limit=7))
    ]
    dashboard = workshop.dashboard(charts, slug="example-sales")
    properties = {"properties": {"tags": ["example-morning"]}}
    hook.request("POST", f"/api/v1/tag/3/{dashboard}/", json=properties)
    limited = workshop.make("security/roles", {"name": "Example EU"})
    workshop.row_level_security("region = 'EU'", [number], [limited])
    yield number, workshop.user(workshop.role_named("Alpha"), limited)
    query = json.dumps({"filters": [{"col": "username", "opr": "sw", "value": "airflow_warm_up_"}]})
    for user in hook.request("GET", "/api/v1/security/users/", params={"q": query})["result"]:
        if "Example EU" in {role["name"] for role in user["roles"]}:
            hook.request("DELETE", f"/api/v1/security/users/{user['id']}")
    workshop.remove()


@pytest.fixture(scope="package")
def ran(real_superset: RealSuperset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """All examples, one after the other."""
    home = tmp_path_factory.mktemp("examples")
    source = {"conn_type": "sqlite", "host": real_superset.database_uri.removeprefix("sqlite:///")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_SUPERSET_DEFAULT", json.dumps(real_superset.connection()))
        with SupersetHook() as hook, warmed_dashboard(hook, real_superset) as (dataset, analyst):
            patch.setenv("AIRFLOW_CONN_SUPERSET_ANALYST", json.dumps(analyst))
            environment = {
                **os.environ,
                "AIRFLOW_CONN_EXAMPLE_WAREHOUSE": json.dumps(source),
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
                "AIRFLOW__CORE__DAGS_FOLDER": str(FOLDER),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            }
            done = subprocess.run(
                [sys.executable, str(FOLDER / "run_examples.py"), *EXAMPLES],
                capture_output=True, text=True, timeout=400, check=False, env=environment,
            )  # fmt: skip
            assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            for secret in (real_superset.password, analyst["password"]):
                assert secret not in done.stdout + done.stderr
            states = json.loads(done.stdout.splitlines()[-1])
            ended = {state for tasks in states.values() for state in tasks.values()}
            assert ended == {"success"}, f"{states}\n{done.stdout[-6000:]}"
            with sqlite3.connect(home / "airflow.db") as database:
                rows = database.execute("SELECT task_id, key, value FROM xcom")
                xcoms = {(task, key): json.loads(value) for task, key, value in rows}
            yield Ran(states, xcoms, home, dataset)
            remove_bundle(hook, read_folder(FOLDER / "assets"))
