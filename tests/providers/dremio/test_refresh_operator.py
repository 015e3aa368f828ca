"""DremioRefreshReflectionsOperator against scripted reflections."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred
from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioNotFoundError,
    DremioReflectionError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.operators.reflections import DremioRefreshReflectionsOperator

T1, T2 = "2026-11-01T01:00:00.000Z", "2026-11-02T01:00:00.000Z"


def operator(**arguments: Any) -> DremioRefreshReflectionsOperator:
    settings = {"poll_interval": 0.01, "timeout": 20.0, "deferrable": False, "idle_limit": 30.0, **arguments}
    return DremioRefreshReflectionsOperator(task_id="refresh", **settings)


def test_many_reflections_are_awaited_at_once(dremio: Any, state: Any, context: Any) -> None:
    for name in ("totals", "detail"):
        dremio.reflection(
            name,
            "gold.orders",
            [state(fetch=T1)],
            [state(fetch=T1), state(fetch=T1, refresh="RUNNING"), state(fetch=T2, refresh="RUNNING"), state(fetch=T2)],
        )
    result = operator(reflections=["totals", {"dataset": "gold.orders", "name": "detail"}]).execute(context)
    assert {label: entry["outcome"] for label, entry in result.items()} == {
        "gold.orders.totals": "REFRESHED",
        "gold.orders.detail": "REFRESHED",
    }
    assert all(entry["seconds"] > 0 for entry in result.values())
    # One table below both: asked for once.
    assert dremio.refreshed == ["table-1"]


def test_all_enabled_reflections_of_a_dataset_are_meant(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("on", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    dremio.reflection("off", "gold.orders", [state(combined="DISABLED")], [state()], enabled=False)
    assert list(operator(datasets=["gold.orders"]).execute(context)) == ["gold.orders.on"]


def test_a_reflection_on_a_table_is_anchored_on_it(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("raw", "lake.orders", [state(fetch=T1)], [state(fetch=T2)], kind="PHYSICAL_DATASET", anchors=())
    operator(reflections=["raw"]).execute(context)
    assert dremio.refreshed == ["dataset-lake.orders"]
    assert not any("reflection_dependencies" in statement for statement in dremio.sql)


def test_dependencies_are_followed_through_other_reflections(dremio: Any, state: Any, context: Any) -> None:
    below = dremio.reflection("below", "gold.base", [state(fetch=T1)], [state(fetch=T2)], anchors=("table-9",))
    top = dremio.reflection("top", "gold.top", [state(fetch=T1)], [state(fetch=T2)], anchors=())
    dremio.tables["sys.reflection_dependencies"] += [
        {"reflection_id": top, "dependency_id": below, "dependency_type": "REFLECTION", "dependency_path": None},
        # A cycle cannot come from Dremio, but must not hang us either.
        {"reflection_id": below, "dependency_id": top, "dependency_type": "REFLECTION", "dependency_path": None},
    ]
    operator(reflections=[{"dataset": "gold.top", "name": "top"}]).execute(context)
    assert dremio.refreshed == ["table-9"]


def test_a_table_that_was_created_anew_is_found_by_its_path(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)], anchors=("new-id",))
    dremio.entity("lake.orders", "new-id", "PHYSICAL_DATASET")
    (row,) = dremio.tables["sys.reflection_dependencies"]
    row.update(dependency_id="old-id", dependency_path="[lake, orders]")
    operator(reflections=["totals"]).execute(context)
    assert dremio.refreshed == ["new-id"]


def test_tables_that_are_gone_are_named(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    (row,) = dremio.tables["sys.reflection_dependencies"]
    row.update(dependency_id="old-id", dependency_path="lake.dropped")
    with pytest.raises(DremioTerminalError, match=r"are gone: lake\.dropped"):
        operator(reflections=["totals"]).execute(context)


def test_a_reflection_before_its_first_refresh_is_waited_for(dremio: Any, state: Any, context: Any) -> None:
    new = state(refresh="SCHEDULED", availability="NONE", combined="CANNOT_ACCELERATE_SCHEDULED", fetch="")
    # Baseline, then the first refresh, which Dremio starts by itself.
    line = [new, new, {**new, "refresh": "RUNNING", "combinedStatus": "REFRESHING"}, state(fetch=T1)]
    dremio.reflection("totals", "gold.orders", line, [], anchors=())
    assert operator(reflections=["totals"]).execute(context)["gold.orders.totals"]["outcome"] == "REFRESHED"
    assert dremio.refreshed == []


def test_without_a_record_of_its_tables_they_have_to_be_named(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    dremio.tables["sys.reflection_dependencies"].clear()
    with pytest.raises(DremioTerminalError, match=r"gold\.orders.*anchors"):
        operator(reflections=["totals"]).execute(context)
    # Also when another reflection has its record.
    dremio.reflection("detail", "gold.customers", [state(fetch=T1)], [state(fetch=T2)])
    with pytest.raises(DremioTerminalError, match=r"built from: gold\.orders\.totals\."):
        operator(reflections=["totals", "detail"]).execute(context)
    assert dremio.refreshed == []
    operator(reflections=["totals"], anchors=["lake.table-1"]).execute(context)
    assert dremio.refreshed == ["table-1"]


def test_a_refresh_that_runs_already_is_not_taken_for_ours(dremio: Any, state: Any, context: Any) -> None:
    older = "2026-11-01T12:00:00.000Z"
    dremio.reflection(
        "totals",
        "gold.orders",
        [state(fetch=T1, refresh="RUNNING"), state(fetch=T1, refresh="RUNNING"), state(fetch=older)],
        [state(fetch=older), state(fetch=older, refresh="RUNNING"), state(fetch=T2)],
    )
    operator(reflections=["totals"]).execute(context)
    # All of the line was looked at: the end of the earlier refresh was no success.
    assert [len(line) for line in dremio.after.values()] == [1]


def test_every_failed_reflection_is_named_with_dremios_message(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("good", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    dremio.reflection("bad", "gold.orders", [state(fetch=T1)], [state(fetch=T1, failures=1, message="disk full")])
    dremio.reflection("gone", "gold.customers", [state(fetch=T1)], [None])
    with pytest.raises(DremioReflectionError, match="2 of 3") as caught:
        operator(reflections=["good", "bad", "gone"]).execute(context)
    assert "gold.orders.bad: FAILED, its refresh failed: disk full" in str(caught.value)
    assert "gold.customers.gone: FAILED, it was deleted" in str(caught.value)
    assert caught.value.outcomes["gold.orders.good"]["outcome"] == "REFRESHED"


def test_given_up_fails_before_anything_is_asked_for(dremio: Any, state: Any, context: Any) -> None:
    dead = state(refresh="GIVEN_UP", combined="FAILED", failures=24, message="bad parquet")
    dremio.reflection("totals", "gold.orders", [dead], [state(fetch=T2)])
    with pytest.raises(DremioReflectionError, match="given up after 24 failed refreshes: bad parquet"):
        operator(reflections=["totals"]).execute(context)
    assert dremio.refreshed == []


def test_nothing_to_refresh_is_its_own_outcome(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1)])
    assert operator(reflections=["totals"], idle_limit=0.1).execute(context) == {
        "gold.orders.totals": {"outcome": "NO_CHANGE", "seconds": pytest.approx(0.1, abs=10)}
    }


def test_the_end_of_a_refresh_is_read_from_the_system_table(dremio: Any, state: Any, context: Any) -> None:
    rid = dremio.reflection("top", "gold.orders", [state(fetch=T1)], [state(fetch=T1)])
    rows = dremio.tables["sys.materializations"]
    rows.append({"reflection_id": rid, "last_refresh_finished": "2026-11-01 01:00:05.000"})
    seen = iter(range(100))

    def finished_later(statement: str) -> None:
        if "sys.materializations" in statement and next(seen) == 2:
            rows[0]["last_refresh_finished"] = "2026-11-02 01:00:05.000"

    original = dremio._submit

    def submit(request: Any) -> Any:
        finished_later(request.body["sql"])
        return original(request)

    dremio.guard("POST", "/api/v3/sql", submit)
    result = operator(reflections=["top"]).execute(context)
    assert result["gold.orders.top"]["outcome"] == "REFRESHED"


def test_the_deadline_really_ends_it(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])
    with pytest.raises(DremioReflectionError, match=r"TIMED_OUT, last seen as CAN_ACCELERATE \(refresh RUNNING"):
        operator(reflections=["totals"], timeout=0.2).execute(context)


def test_an_earlier_refresh_that_never_ends_ends_at_the_deadline(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(refresh="RUNNING")], [])
    with pytest.raises(DremioReflectionError, match=r"earlier refresh of gold\.orders\.totals did not end"):
        operator(reflections=["totals"], timeout=0.2).execute(context)
    assert dremio.refreshed == []


def test_the_enterprise_edition_refreshes_by_reflection(
    dremio: Any, state: Any, context: Any, connect: Any, server: Any
) -> None:
    rid = dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    dremio.enterprise()
    connect(server.port, extra={"edition": "auto"})
    operator(reflections=["totals"]).execute(context)
    assert dremio.refreshed == [rid]


def test_without_waiting_it_returns_when_dremio_has_taken_the_request(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, refresh="RUNNING")])
    result = operator(reflections=["totals"], wait=False).execute(context)
    assert result == {"gold.orders.totals": {"outcome": "REQUESTED", "seconds": 0.0}}
    assert dremio.refreshed == ["table-1"]


def test_the_link_is_there_before_the_waiting(dremio: Any, state: Any, context: Any, server: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T1, failures=1)])
    with pytest.raises(DremioReflectionError):
        operator(reflections=["totals"]).execute(context)
    assert context["ti"].pushed["_link_DremioDatasetLink"].startswith(f"{server.address}/new_query?")


def test_all_missing_names_are_told_at_once(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state()], [state()])
    with pytest.raises(DremioNotFoundError, match=r"no reflection nothing, gold\.orders\.nobody\."):
        operator(reflections=["nothing", "totals", {"dataset": "gold.orders", "name": "nobody"}]).execute(context)


def test_a_name_that_stands_for_several_is_refused(dremio: Any, state: Any, context: Any) -> None:
    for dataset in ("gold.orders", "gold.customers"):
        dremio.reflection("totals", dataset, [state()], [state()])
    with pytest.raises(DremioConfigurationError, match=r"2 reflections: gold\.customers, gold\.orders"):
        operator(reflections=["totals"]).execute(context)


@pytest.mark.parametrize("arguments", [{}, {"reflections": ["a"], "edition": "oss"}])
def test_arguments_are_checked_before_anything_is_sent(arguments: Any, dremio: Any, server: Any, context: Any) -> None:
    with pytest.raises(DremioConfigurationError):
        operator(**arguments).execute(context)
    assert server.requests == []


def test_deferring_hands_over_baselines_and_no_secret(dremio: Any, state: Any, context: Any, password: str) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    with pytest.raises(TaskDeferred) as deferred:
        operator(reflections=["totals"], deferrable=True).execute(context)
    path, arguments = deferred.value.trigger.serialize()
    assert path == "dremio_provider.triggers.reflections.DremioReflectionsTrigger"
    assert arguments["baselines"][0]["name"] == "totals"
    assert password not in str(arguments)
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.timeout.total_seconds() > 20


def test_what_the_trigger_reports_is_judged_alike(context: Any) -> None:
    good = {"gold.orders.totals": {"outcome": "REFRESHED", "seconds": 2.0, "message": ""}}
    bad = {"gold.orders.totals": {"outcome": "TIMED_OUT", "seconds": 2.0, "message": "last seen as X"}}
    task = operator(reflections=["totals"])
    assert task.execute_complete(context, {"status": "done", "results": good, "message": ""}) == {
        "gold.orders.totals": {"outcome": "REFRESHED", "seconds": 2.0}
    }
    with pytest.raises(DremioReflectionError, match="last seen as X"):
        task.execute_complete(context, {"status": "timeout", "results": bad, "message": ""})
    with pytest.raises(DremioTransientError, match="no route"):
        task.execute_complete(context, {"status": "error", "results": {}, "message": "no route"})


def names(datasets: Any) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


def test_lineage_leads_from_the_tables_to_the_datasets(dremio: Any, state: Any, context: Any, server: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    task = operator(reflections=["totals"])
    assert task.get_openlineage_facets_on_complete(None).outputs == []
    task.execute(context)
    namespace = server.address.replace("http", "dremio")
    lineage = task.get_openlineage_facets_on_complete(None)
    assert names(lineage.inputs) == [(namespace, "lake.table-1")]
    assert names(lineage.outputs) == [(namespace, "gold.orders")]


def test_lineage_survives_the_triggerer(dremio: Any, state: Any, context: Any) -> None:
    dremio.reflection("totals", "gold.orders", [state(fetch=T1)], [state(fetch=T2)])
    with pytest.raises(TaskDeferred) as deferred:
        operator(reflections=["totals"], deferrable=True).execute(context)
    event = {"status": "done", "message": "", "results": {}}
    task = operator(reflections=["totals"])
    task.execute_complete(context, event, **json.loads(json.dumps(deferred.value.kwargs)))
    assert [dataset.name for dataset in task.get_openlineage_facets_on_complete(None).outputs] == ["gold.orders"]
