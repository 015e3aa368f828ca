"""The bodies that Superset's refusals come in, and the rights it knows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from superset_provider.permissions import needed_right

from tests.contract.superset.conftest import Wire
from tests.providers.superset.workshop import Workshop, query_context


def test_an_unknown_object_has_a_message(wire: Wire) -> None:
    for path in ("/api/v1/chart/987654", "/api/v1/dashboard/no-such-slug", "/api/v1/dataset/987654"):
        answer = wire.send("GET", path)
        assert (answer.status_code, answer.json()) == (404, {"message": "Not found"})


def test_an_unknown_path_has_errors(wire: Wire) -> None:
    answer = wire.send("GET", "/api/v1/no/such/path")
    assert answer.status_code == 404
    assert set(answer.json()["errors"][0]) == {"message", "error_type", "level", "extra"}


def test_a_body_that_is_wrong_has_a_message_for_each_field(workshop: Workshop) -> None:
    sent = workshop.hook.get_conn()._client.post("/api/v1/chart/", json={"slice_name": "x"})
    assert sent.status_code == 400
    assert set(sent.json()["message"]) == {"datasource_id", "datasource_type"}


def test_a_missing_right_is_not_named(workshop: Workshop, logged_in: Any) -> None:
    alpha = logged_in(workshop.user(workshop.role_named("Alpha")))
    answer = alpha.get_conn()._client.put("/api/v1/chart/warm_up_cache", json={"chart_id": 1})
    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


def test_a_dataset_that_one_may_not_read_is_named(workshop: Workshop, logged_in: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    gamma = logged_in(workshop.user(workshop.role_named("Gamma")))
    answer = gamma.get_conn()._client.post("/api/v1/chart/data", json=query_context(dataset))
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["error_type"]) == (403, "DATASOURCE_SECURITY_ACCESS_ERROR")
    assert error["extra"]["datasource_name"] == workshop.hook.get_dataset(dataset)["table_name"]


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ({"columns": ["nix"]}, 400, {"message": "Error: Columns missing in dataset: ['nix']"}),
        ({"metrics": ["nix"]}, 400, {"message": "Error: Metric 'nix' does not exist"}),
        ({"row_limit": "x"}, 400, {"message": "Request is incorrect: {'queries': {0: {'row_limit': "
                                              "['Not a valid integer.']}}}"}),
    ],
)  # fmt: skip
def test_a_chart_that_cannot_be_asked_says_why(workshop: Workshop, query: Any, status: int, body: Any) -> None:
    dataset = workshop.dataset(workshop.database())
    answer = workshop.hook.get_conn()._client.post("/api/v1/chart/data", json=query_context(dataset, **query))
    assert (answer.status_code, answer.json()) == (status, body)


def test_a_filter_on_a_column_that_is_not_there_is_no_error(workshop: Workshop) -> None:
    dataset = workshop.dataset(workshop.database())
    nowhere = [{"col": "nix", "op": "IN", "val": ["EU"]}]
    (answer,) = workshop.hook.chart_data(query_context(dataset, filters=nowhere))
    assert [entry["column"] for entry in answer["rejected_filters"]] == ["nix"]
    assert answer["rowcount"] == 3


def test_a_table_that_is_gone_is_the_databases_own_message(workshop: Workshop) -> None:
    dataset = workshop.lost_dataset(workshop.database())
    answer = workshop.hook.get_conn()._client.post("/api/v1/chart/data", json=query_context(dataset))
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Error: ")
    assert "lost" in answer.json()["message"]


REQUESTS = [
    ("GET", "/api/v1/chart/1"), ("PUT", "/api/v1/chart/1"), ("POST", "/api/v1/chart/data"),
    ("PUT", "/api/v1/chart/warm_up_cache"), ("PUT", "/api/v1/dataset/warm_up_cache"), ("GET", "/api/v1/me/"),
    ("GET", "/api/v1/dashboard/sales"), ("POST", "/api/v1/dashboard/import/"), ("GET", "/api/v1/dashboard/export/"),
    ("GET", "/api/v1/assets/export/"), ("POST", "/api/v1/assets/import/"), ("PUT", "/api/v1/dataset/1/refresh"),
    ("POST", "/api/v1/dataset/duplicate"), ("POST", "/api/v1/dataset/get_or_create/"), ("GET", "/api/v1/database/"),
    ("POST", "/api/v1/cachekey/invalidate"), ("POST", "/api/v1/sqllab/execute/"), ("GET", "/api/v1/log/"),
    ("GET", "/api/v1/rowlevelsecurity/"), ("POST", "/api/v1/tag/"), ("GET", "/api/v1/security/csrf_token/"),
    ("GET", "/api/v1/security/users/"), ("POST", "/api/v1/security/roles/"),
]  # fmt: skip


def test_the_rights_that_errors_name_are_supersets(workshop: Workshop) -> None:
    known: set[str] = set()
    page = 0
    while True:
        query = json.dumps({"page": page, "page_size": 100})
        answer = workshop.hook.request("GET", "/api/v1/security/permissions-resources/", params={"q": query})
        known |= {_shown(entry["permission"]["name"], entry["view_menu"]["name"]) for entry in answer["result"]}
        page += 1
        if not answer["result"]:
            break
    named = {needed_right(method, path) for method, path in REQUESTS}
    assert None not in named
    assert named - known == set()
    assert needed_right("GET", "/api/v1/report/") is None


def _shown(permission: str, view: str) -> str:
    """As the role editor shows it."""
    return f"{permission.replace('_', ' ').strip()} on {view}"
