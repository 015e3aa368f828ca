"""Applying declared reflections: created, updated on a real difference, otherwise left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dremio_provider.exceptions import DremioConfigurationError, DremioNotFoundError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.operators.reflections import DremioApplyReflectionsOperator
from dremio_provider.reflection_sets import apply_reflections, reflection_body

RAW = {"name": "detail", "dataset": "gold.orders", "type": "raw", "display": ["id", "amount"], "sort_by": ["id"]}
AGGREGATION = {
    "name": "totals",
    "dataset": "gold.orders",
    "type": "aggregation",
    "dimensions": [{"name": "order_date", "granularity": "DATE"}, "state"],
    "measures": [{"name": "amount", "functions": ["SUM", " count"]}],
    "partition_by": ["order_date"],
}


@pytest.fixture
def store(dremio: Any) -> list[dict[str, Any]]:
    """The reflections of gold.orders, kept as Dremio keeps them: empty lists absent, defaults filled in."""
    kept: list[dict[str, Any]] = []
    dremio.entity("gold.orders", "d1", "VIRTUAL_DATASET")
    dremio.guard("GET", "/api/v3/dataset/d1/reflection", lambda _: dremio.reply(200, {"data": kept}))

    def normal(body: dict[str, Any]) -> dict[str, Any]:
        stored = {key: value for key, value in body.items() if value != []}
        stored["partitionFields"] = [
            {**entry, "transform": {"type": "IDENTITY"}} for entry in body.get("partitionFields", [])
        ]
        stored["status"] = {"config": "OK"}
        return stored

    def create(request: Any) -> Any:
        kept.append({**normal(request.body), "id": f"r{len(kept)}", "tag": "1"})
        return dremio.reply(200, kept[-1])

    def update(request: Any) -> Any:
        number = int(request.path.rpartition("r")[2])
        if request.body["tag"] != kept[number]["tag"]:
            return dremio.reply(409, {"errorMessage": "modified by another flow"})
        kept[number] = {**normal(request.body), "tag": "2"}
        return dremio.reply(200, kept[number])

    dremio.guard("POST", "/api/v3/reflection", create)
    for number in range(3):
        dremio.guard("PUT", f"/api/v3/reflection/r{number}", update)
    return kept


def actions(declared: list[dict[str, Any]]) -> list[str]:
    with DremioHook() as hook:
        return [change.action for change in apply_reflections(hook, declared)]


def test_twice_the_same_declaration_changes_nothing(store: list[dict[str, Any]], server: Any) -> None:
    assert actions([RAW, AGGREGATION]) == ["created", "created"]
    written = len([request for request in server.requests if request.method in ("POST", "PUT")])
    assert actions([RAW, AGGREGATION]) == ["unchanged", "unchanged"]
    # The second time only the login wrote.
    assert len([request for request in server.requests if request.method in ("POST", "PUT")]) == written + 1
    assert store[0]["datasetId"] == "d1"
    assert store[1]["measureFields"] == [{"name": "amount", "measureTypeList": ["SUM", "COUNT"]}]


@pytest.mark.parametrize(
    "same",
    [
        {"display": ["amount", "id"]},
        {"enabled": True},
        {"type": "RAW"},
    ],
)
def test_another_way_of_writing_is_no_difference(store: list[dict[str, Any]], same: dict[str, Any]) -> None:
    actions([RAW])
    assert actions([{**RAW, **same}]) == ["unchanged"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"display": ["id"]}, "displayFields"),
        ({"display": ["id", "amount", "state"]}, "displayFields"),
        ({"sort_by": ["amount", "id"]}, "sortFields"),
        ({"sort_by": []}, "sortFields"),
        ({"enabled": False}, "enabled"),
        ({"partition_by": [{"name": "id", "transform": {"type": "BUCKET", "bucketTransform": {"bucketCount": 4}}}]},
         "partitionFields"),
    ],
)  # fmt: skip
def test_a_real_difference_is_put_with_the_newest_tag(
    store: list[dict[str, Any]], change: dict[str, Any], field: str
) -> None:
    actions([RAW])
    with DremioHook() as hook:
        (changed,) = apply_reflections(hook, [{**RAW, **change}])
    assert changed.action == "updated"
    assert [difference.partition(":")[0] for difference in changed.differences] == [field]
    assert store[0]["tag"] == "2"


def test_reflections_that_are_not_declared_stay(store: list[dict[str, Any]]) -> None:
    actions([RAW, AGGREGATION])
    actions([RAW])
    assert [entry["name"] for entry in store] == ["detail", "totals"]


def test_an_unknown_dataset_is_named(store: list[dict[str, Any]]) -> None:
    with pytest.raises(DremioNotFoundError, match=r"gold\.nothing"):
        actions([{**RAW, "dataset": "gold.nothing"}])


@pytest.mark.parametrize("broken", [{"type": "external"}, {"display": []}, {"type": "aggregation"}, {"type": None}])
def test_a_declaration_that_makes_no_sense_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(DremioConfigurationError, match=r"'detail' on 'gold\.orders'"):
        reflection_body({**RAW, **broken})


@pytest.fixture
def columns(dremio: Any, store: list[dict[str, Any]]) -> None:
    """Columns of gold.orders, as the catalog shows them."""
    fields = [{"name": name, "type": {"name": "VARCHAR"}} for name in ("id", "Amount", "order_date", "state")]
    body = {
        "id": "d1",
        "path": ["gold", "orders"],
        "type": "VIRTUAL_DATASET",
        "entityType": "dataset",
        "fields": fields,
    }
    dremio.answer("GET", "/api/v3/catalog/by-path/gold/orders", body)


@pytest.mark.usefixtures("columns")
def test_a_column_that_is_gone_is_named_with_what_is_near(store: list[dict[str, Any]]) -> None:
    with pytest.raises(DremioConfigurationError) as caught:
        actions([{**RAW, "display": ["id", "amount", "order_dat", "zzz"]}])
    assert "gold.orders.detail names columns that gold.orders does not have" in str(caught.value)
    assert "order_dat (near: order_date), zzz." in str(caught.value)
    assert actions([RAW, AGGREGATION]) == ["created", "created"]


def test_the_plan_comes_first_and_a_dry_run_changes_nothing(store: list[dict[str, Any]], context: Any) -> None:
    task = DremioApplyReflectionsOperator(task_id="apply", reflections=[RAW, AGGREGATION], dry_run=True)
    planned = task.execute(context)
    assert [step["action"] for step in planned] == ["created", "created"]
    assert context["ti"].pushed["plan"] == planned
    assert store == []
    done = DremioApplyReflectionsOperator(task_id="apply", reflections=[RAW, AGGREGATION]).execute(context)
    assert done == planned
    assert [reflection["name"] for reflection in store] == ["detail", "totals"]


def test_what_is_not_declared_goes_only_when_asked(store: list[dict[str, Any]], dremio: Any, context: Any) -> None:
    actions([RAW, AGGREGATION])

    def delete(request: Any) -> Any:
        store[:] = [reflection for reflection in store if not request.path.endswith(reflection["id"])]
        return dremio.reply(200)

    dremio.guard("DELETE", "/api/v3/reflection/r1", delete)
    assert actions([RAW]) == ["unchanged"]
    assert len(store) == 2
    steps = DremioApplyReflectionsOperator(task_id="apply", reflections=[RAW], delete_undeclared=True).execute(context)
    assert [(step["action"], step["name"]) for step in steps] == [
        ("unchanged", "gold.orders.detail"),
        ("deleted", "gold.orders.totals"),
    ]
    assert [reflection["name"] for reflection in store] == ["detail"]


def test_a_dataset_that_is_not_there_yet_can_be_passed_over(store: list[dict[str, Any]], context: Any) -> None:
    declared = [RAW, {**RAW, "dataset": "gold.customers"}]
    steps = DremioApplyReflectionsOperator(task_id="apply", reflections=declared, skip_missing=True).execute(context)
    assert [step["action"] for step in steps] == ["created", "skipped"]


def test_a_reflection_declared_twice_is_refused(store: list[dict[str, Any]]) -> None:
    with pytest.raises(DremioConfigurationError, match="declared twice"):
        actions([RAW, RAW])


def test_the_declaration_may_come_from_a_file(store: list[dict[str, Any]], context: Any) -> None:
    # Airflow puts a template file's content in the argument's place.
    task = DremioApplyReflectionsOperator(task_id="apply", reflections=json.dumps([RAW]))
    assert [step["action"] for step in task.execute(context)] == ["created"]
    with pytest.raises(DremioConfigurationError, match="cannot be read"):
        DremioApplyReflectionsOperator(task_id="apply", reflections="[").execute(context)
