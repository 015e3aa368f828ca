"""The Airflow pools that the DAGs need: declared in the form of ``airflow pools import``, applied by the REST API."""

from __future__ import annotations

import json

from sandbox.airflow_api import AirflowClient
from sandbox.settings import REPOSITORY

DECLARED = REPOSITORY / "include" / "airflow" / "pools.json"


def apply(client: AirflowClient) -> None:
    """Create the pools, or bring those that are there to what is declared.

    Raises:
        SandboxError: if Airflow does not answer or refuses.
    """
    declared = json.loads(DECLARED.read_text(encoding="utf-8"))
    pools = [{"name": name, **settings} for name, settings in declared.items()]
    action = {"action": "create", "action_on_existence": "overwrite", "entities": pools}
    client.request("PATCH", "/api/v2/pools", json={"actions": [action]})
