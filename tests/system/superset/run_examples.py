"""Run the named example DAGs once, in one process, and print how their tasks ended as one line of JSON.

``AIRFLOW_HOME``, ``AIRFLOW__CORE__DAGS_FOLDER`` and the connections come from the environment.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(names: list[str]) -> None:
    from airflow.utils.db import initdb

    sys.path.insert(0, str(Path(__file__).parent))
    initdb()
    outcomes = {}
    for name in names:
        run = importlib.import_module(name).dag.test()
        outcomes[name] = {task.task_id: str(task.state) for task in run.get_task_instances()}
    sys.stdout.write(f"\n{json.dumps(outcomes)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
