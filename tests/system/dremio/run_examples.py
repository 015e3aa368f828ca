"""Run every example DAG once, in one process, and print how its tasks ended as one line of JSON.

``AIRFLOW_HOME``, ``AIRFLOW__CORE__DAGS_FOLDER`` and the connections come from the environment.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

# In the order in which they stand on each other: the first declares the source that all of them use.
EXAMPLES = ("example_dremio_catalog", "example_dremio_sql", "example_dremio_reflections", "example_dremio_to_s3")


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.dag


def main() -> None:
    from airflow.utils.db import initdb

    initdb()
    outcomes = {}
    for name in EXAMPLES:
        run = load(name).test()
        outcomes[name] = {task.task_id: str(task.state) for task in run.get_task_instances()}
    sys.stdout.write(f"\n{json.dumps(outcomes)}\n")


if __name__ == "__main__":
    main()
