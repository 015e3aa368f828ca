"""Declared grants against a scripted Enterprise server; the community edition refuses them in its own words."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from dremio_provider.exceptions import DremioConfigurationError, DremioNotFoundError, DremioTerminalError
from dremio_provider.operators.catalog import DremioApplyGrantsOperator

DECLARED = {"gold.orders": [{"role": "analysts", "privileges": ["select"]}, {"user": "ann", "privileges": ["ALTER"]}]}


@pytest.fixture
def grants(dremio: Any, connect: Any, server: Any) -> list[dict[str, Any]]:
    """The grants on gold.orders, kept as the server keeps them."""
    connect(server.port, extra={"edition": "enterprise"})
    dremio.entity("gold.orders", "d1", "VIRTUAL_DATASET")
    names = {"role-1": "analysts", "role-2": "PUBLIC", "user-1": "ann"}
    kept = [{"granteeType": "ROLE", "id": "role-2", "name": "PUBLIC", "privileges": ["SELECT"]}]
    for kind, gid, name in (("role", "role-1", "analysts"), ("user", "user-1", "ann")):
        dremio.answer("GET", f"/api/v3/{kind}/by-name/{name}", {"id": gid, "name": name})

    def shown(_: Any) -> Any:
        return dremio.reply(200, {"grants": kept, "availablePrivileges": ["SELECT", "ALTER", "MANAGE_GRANTS"]})

    def replace(request: Any) -> Any:
        kept[:] = [{**grant, "name": names[grant["id"]]} for grant in request.body["grants"]]
        return dremio.reply(204)

    dremio.guard("GET", "/api/v3/catalog/d1/grants", shown)
    dremio.guard("PUT", "/api/v3/catalog/d1/grants", replace)
    return kept


def apply(context: Any, declared: Any, **arguments: Any) -> list[tuple[str, list[str]]]:
    task = DremioApplyGrantsOperator(task_id="grants", grants=declared, **arguments)
    return [(step["action"], step["differences"]) for step in task.execute(context)]


def held(grants: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {grant["name"]: grant["privileges"] for grant in grants}


def test_grants_are_added_once_and_others_stay(grants: list[dict[str, Any]], context: Any, server: Any) -> None:
    assert apply(context, DECLARED, dry_run=True) == [
        ("updated", ["role analysts: grant SELECT", "user ann: grant ALTER"])
    ]
    assert held(grants) == {"PUBLIC": ["SELECT"]}
    apply(context, DECLARED)
    assert held(grants) == {"analysts": ["SELECT"], "PUBLIC": ["SELECT"], "ann": ["ALTER"]}
    assert apply(context, DECLARED) == [("unchanged", [])]
    assert server.count("PUT", "/api/v3/catalog/d1/grants") == 1


def test_what_is_not_declared_is_revoked_only_when_asked(grants: list[dict[str, Any]], context: Any) -> None:
    apply(context, DECLARED)
    fewer = {"gold.orders": [{"role": "analysts", "privileges": ["SELECT"]}]}
    assert apply(context, fewer) == [("unchanged", [])]
    assert apply(context, fewer, revoke_undeclared=True) == [
        ("updated", ["role PUBLIC: revoke SELECT", "user ann: revoke ALTER"])
    ]
    assert held(grants) == {"analysts": ["SELECT"]}


@pytest.mark.parametrize(
    ("grant", "error", "said"),
    [
        ({"role": "nobody", "privileges": ["SELECT"]}, DremioNotFoundError, "no role nobody.*its spelling"),
        ({"role": "analysts", "privileges": ["FLY"]}, DremioConfigurationError, "FLY cannot be granted.*SELECT, ALTER"),
        ({"role": "analysts"}, DremioConfigurationError, "incomplete"),
        ({"role": "a", "user": "b", "privileges": ["SELECT"]}, DremioConfigurationError, "incomplete"),
    ],
)
def test_a_wrong_grant_is_refused_before_any_is_made(
    grant: Any, error: Any, said: str, grants: list[dict[str, Any]], context: Any
) -> None:
    with pytest.raises(error, match=said):
        apply(context, {"gold.orders": [grant]})
    assert held(grants) == {"PUBLIC": ["SELECT"]}


def test_the_community_edition_has_none(dremio: Any, context: Any) -> None:
    with pytest.raises(
        DremioTerminalError, match=r"only in Dremio's Enterprise edition.*'dremio_default'.*skip_on_com"
    ):
        apply(context, DECLARED)
    with pytest.raises(AirflowSkipException):
        apply(context, DECLARED, skip_on_community=True)
