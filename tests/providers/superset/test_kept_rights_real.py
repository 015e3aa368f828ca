"""What is taken away acts on a real Superset that keeps rights: a role at once, a right and a rule a moment later."""

from __future__ import annotations

import time
from typing import Any

import pytest
from superset_provider.exceptions import SupersetError
from superset_provider.hooks.superset import SupersetHook

from tests.providers.superset.workshop import Workshop, query_context

DEADLINE_SECONDS = 10.0
"""What is kept is kept for one (include/superset/kept_rights.py); the rest is for a machine that is busy."""


def rows_or_refusal(reader: SupersetHook, dataset: int) -> int | None:
    """How many regions the user sees; None for one who is refused."""
    try:
        (answer,) = reader.chart_data(query_context(dataset))
    except SupersetError as error:
        if error.status_code not in (401, 403):
            raise
        return None
    return len(answer["data"])


def turns(reader: SupersetHook, dataset: int, before: Any, after: Any) -> bool:
    """Whether the answer becomes the other one soon, with nothing in between."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (found := rows_or_refusal(reader, dataset)) == before and time.monotonic() < deadline:
        pass
    return bool(found == after)


def dataset_right(workshop: Workshop, dataset: int) -> tuple[str, str]:
    found = workshop.hook.request("GET", f"/api/v1/dataset/{dataset}")["result"]
    return "datasource_access", f"[{found['database']['database_name']}].[{found['table_name']}](id:{dataset})"


def test_a_right_and_a_rule_act_in_a_moment_and_a_role_at_once(workshop: Workshop, connect: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    gamma = workshop.role_named("Gamma")
    reads = workshop.role(dataset_right(workshop, dataset))
    connection = workshop.user(gamma, reads)
    connect("reader", connection)
    admin = workshop.hook
    (user,) = admin.request(
        "GET",
        "/api/v1/security/users/",
        params={"q": f'{{"filters": [{{"col": "username", "opr": "eq", "value": "{connection["login"]}"}}]}}'},
    )["result"]

    def give(role: int, *permissions: int) -> None:
        body = {"permission_view_menu_ids": list(permissions)}
        admin.request("POST", f"/api/v1/security/roles/{role}/permissions", json=body)

    (right,) = admin.request("GET", f"/api/v1/security/roles/{reads}/permissions/")["result"]
    with SupersetHook("reader") as reader:
        assert rows_or_refusal(reader, dataset) == 3
        give(reads)
        assert turns(reader, dataset, before=3, after=None), "a right that the role has lost"
        give(reads, right["id"])
        assert turns(reader, dataset, before=None, after=3), "a right that the role was given"
        rule = workshop.row_level_security("region = 'EU'", [dataset], [reads])
        assert turns(reader, dataset, before=3, after=1), "a rule that was made"
        admin.request("DELETE", f"/api/v1/rowlevelsecurity/{rule}")
        workshop.forget("rowlevelsecurity", rule)
        assert turns(reader, dataset, before=1, after=3), "a rule that is gone"
        admin.request("PUT", f"/api/v1/security/users/{user['id']}", json={"roles": [gamma]})
        assert rows_or_refusal(reader, dataset) is None, "a role that the user has lost"
        admin.request("PUT", f"/api/v1/security/users/{user['id']}", json={"roles": [gamma, reads]})
        assert rows_or_refusal(reader, dataset) == 3
        admin.request("PUT", f"/api/v1/security/users/{user['id']}", json={"active": False})
        with pytest.raises(SupersetError):
            reader.chart_data(query_context(dataset))
