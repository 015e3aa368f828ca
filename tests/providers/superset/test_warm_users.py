"""Warming as further users and roles, whose row-level security gives them cache entries of their own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from superset_provider.exceptions import SupersetConfigurationError, SupersetNotFoundError
from superset_provider.hooks.superset import SupersetHook
from superset_provider.hooks.superset_async import SupersetAsyncHook
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator
from superset_provider.warmer.users import service_user

from tests.providers.superset.real import RealSuperset
from tests.providers.superset.scripted_dashboard import ScriptedDashboard
from tests.providers.superset.test_warm_real import is_warm
from tests.providers.superset.workshop import Workshop, query_context


def service_users(hook: SupersetHook, prefix: str) -> list[dict[str, Any]]:
    query = json.dumps({"filters": [{"col": "username", "opr": "sw", "value": prefix}]})
    return list(hook.request("GET", "/api/v1/security/users/", params={"q": query})["result"])


def test_users_have_entries_of_their_own_only_where_a_rule_sets_them_apart(
    workshop: Workshop, warm: Any, connect: Any
) -> None:
    dataset = workshop.dataset(workshop.database())
    dashboard = workshop.dashboard([workshop.saved_chart(dataset)])
    limited = workshop.role()
    workshop.row_level_security("region = 'EU'", [dataset], [limited])
    alpha = workshop.role_named("Alpha")
    users = [connect("sees_all", workshop.user(alpha)), connect("sees_eu", workshop.user(alpha, limited))]
    result = warm(dashboards=[dashboard], as_users=users)
    found = {chart["user"]: (chart["hit"], chart["cold_ms"] is None, chart["rows"]) for chart in result["charts"]}
    assert found == {"superset_default": (True, False, 3), "sees_all": (True, True, 3), "sees_eu": (True, False, 1)}
    with SupersetHook("sees_eu") as reader:
        assert is_warm(reader, dataset)
    # The rule's own user is not asked again either when nothing has changed.
    assert warm(dashboards=[dashboard], as_users=users, only_stale=True)["already_warm"] == 3


def test_roles_are_warmed_by_a_service_user_that_is_deactivated(
    workshop: Workshop, warm: Any, connect: Any, real_superset: RealSuperset
) -> None:
    dataset = workshop.dataset(workshop.database())
    dashboard = workshop.dashboard([workshop.saved_chart(dataset)])
    limited = workshop.role()
    workshop.row_level_security("region = 'EU'", [dataset], [limited])
    role = workshop.hook.request("GET", f"/api/v1/security/roles/{limited}")["result"]["name"]
    connect("reader", workshop.user(workshop.role_named("Alpha"), limited))
    for run in range(2):
        # The second time the service user exists already.
        result = warm(dashboards=[dashboard], roles=[["Alpha", role]])
        found = {chart["user"]: (chart["hit"], chart["rows"]) for chart in result["charts"]}
        assert found == {"superset_default": (True, 3), f"role Alpha + {role}": (True, 1)}, run
        with SupersetHook("reader") as reader:
            assert is_warm(reader, dataset)
    listed = service_users(workshop.hook, "airflow_warm_up_")
    made = [user for user in listed if {entry["name"] for entry in user["roles"]} == {"Alpha", role}]
    assert [user["active"] for user in made] == [False]
    workshop.hook.request("DELETE", f"/api/v1/security/users/{made[0]['id']}")
    with pytest.raises(SupersetNotFoundError, match="no role 'Alhpa'; there are Alpha".replace("; ", ".*")):
        warm(dashboards=[dashboard], roles=["Alhpa"])
    with pytest.raises(SupersetConfigurationError, match="has the role Admin"):
        warm(dashboards=[dashboard], roles=["Alpha"], superset_conn_id="reader")


def test_who_sees_no_dashboard_is_named_and_who_sees_some_is_warmed_for_those(
    workshop: Workshop, warm: Any, connect: Any
) -> None:
    dataset = workshop.dataset(workshop.database())
    open_to_all = workshop.dashboard([workshop.saved_chart(dataset)])
    draft = workshop.dashboard([workshop.saved_chart(dataset, query_context(dataset, row_limit=77))], published=False)
    user = connect("alpha", workshop.user(workshop.role_named("Alpha")))
    with pytest.raises(SupersetNotFoundError, match="The user of alpha sees none of the dashboards"):
        warm(dashboards=[draft], as_users=[user])
    result = warm(dashboards=[draft, open_to_all], as_users=[user])
    assert [chart["user"] for chart in result["charts"]].count("alpha") == 1
    assert result["passed_over"][0].startswith("alpha does not see")


def test_a_service_user_is_deactivated_also_when_the_warm_up_is_killed(workshop: Workshop) -> None:
    prefix = workshop.named("service").replace("-", "_")

    async def killed() -> None:
        ready = asyncio.Event()

        async def visit() -> None:
            async with SupersetAsyncHook() as hook, service_user(hook, prefix, ["Alpha"]) as client:
                assert (await client.request("GET", "/api/v1/me/"))["result"]["username"].startswith(prefix)
                ready.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(visit())
        await ready.wait()
        assert [user["active"] for user in service_users(workshop.hook, prefix)] == [True]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(killed())
    [user] = service_users(workshop.hook, prefix)
    assert user["active"] is False
    workshop.hook.request("DELETE", f"/api/v1/security/users/{user['id']}")


def test_a_superset_without_its_api_for_users_is_named(superset: Any, context: Any) -> None:
    ScriptedDashboard(superset)
    with pytest.raises(SupersetConfigurationError, match="FAB_ADD_SECURITY_API = True"):
        SupersetWarmDashboardOperator(task_id="warm", dashboards=["sales"], roles=["Alpha"]).execute(context)
