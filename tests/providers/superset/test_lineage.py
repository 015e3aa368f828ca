"""Tables are called as other integrations call them, so that lineage connects from there to the dashboard."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dremio_provider.lineage import dataset_name
from superset_provider.hooks.superset import SupersetHook
from superset_provider.lineage import operator_lineage, table_name, tables_of
from superset_provider.operators.warm_dashboard import SupersetWarmDashboardOperator

from tests.providers.superset.workshop import Workshop


@pytest.mark.parametrize(
    ("uri", "path", "name"),
    [
        ("postgresql://u:X@db/shop", ("sales", "orders"), ("postgres://db:5432", "shop.sales.orders")),
        ("postgresql+psycopg2://u@db:5433/shop", ("orders",), ("postgres://db:5433", "shop.public.orders")),
        ("mysql://u@db/shop", ("orders",), ("mysql://db:3306", "shop.orders")),
        ("mysql://u@db/shop", ("other", "orders"), ("mysql://db:3306", "other.orders")),
        ("trino://u@db:8443/hive", ("sales", "orders"), ("trino://db:8443", "hive.sales.orders")),
        ("sqlite:////var/shop.db", ("main", "orders"), ("file", "/var/shop.db.main.orders")),
        ("snowflake://u@account/db", ("public", "orders"), ("snowflake://account", "db.public.orders")),
    ],
)
def test_names_follow_openlineage(uri: str, path: tuple[str, ...], name: tuple[str, str]) -> None:
    assert table_name(uri, path) == name


@pytest.mark.parametrize("offset", [0, 100, 1000])
def test_a_table_of_dremio_has_the_name_that_dremios_own_lineage_gives_it(offset: int) -> None:
    uri = f"dremio+flight://u:XXXXXXXXXX@127.0.0.1:{32010 + offset}/dremio?UseEncryption=false"
    wanted = dataset_name(f"http://127.0.0.1:{9047 + offset}", "gold.orders")
    assert table_name(uri, ("gold", "orders")) == wanted


def test_a_port_that_belongs_to_no_pair_stays() -> None:
    assert table_name("dremio+flight://u@h:443/", ("gold", "orders")) == ("dremio://h:443", "gold.orders")


def test_the_dashboard_is_where_it_ends(workshop: Workshop) -> None:
    database = workshop.database()
    orders, people = (workshop.named(name).replace("-", "_") for name in ("orders", "people"))
    for name in (orders, people):
        workshop.execute(database, f"create table {name} (region text, amount integer)")
    query = f"with recent as (select * from main.{orders}) select recent.* from recent join {people} on 1 = 1"
    virtual = workshop.dataset(database, query)
    templated = workshop.dataset(database, "select '{{ 1 + 1 }}' as region, 10 as amount")
    dashboard = workshop.dashboard([workshop.chart(virtual), workshop.chart(templated)])
    hook = workshop.hook
    operator = SupersetWarmDashboardOperator(task_id="warm", dashboards=[dashboard])
    lineage = operator.get_openlineage_facets_on_complete(None)
    assert {entry.name.rpartition("source.db.")[2] for entry in lineage.inputs} == {f"main.{orders}", people}
    assert {entry.namespace for entry in lineage.inputs} == {"file"}
    [shown] = lineage.outputs
    title = hook.get_dashboard(dashboard)["slug"]
    assert (shown.namespace, shown.name) == (f"superset://{hook.address.split('//')[1]}", f"dashboard.{title}")
    assert shown.facets["dataSource"].uri == f"{hook.address}/superset/dashboard/{title}/"
    for name in (orders, people):
        workshop.execute(database, f"drop table {name}")


def test_who_may_not_see_the_database_gets_supersets_own_names(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were a table: the query of the workshop's dataset reads none.
    full: dict[str, Any] = workshop.hook.get_dataset(workshop.dataset(workshop.database())) | {"sql": None}
    monkeypatch.setenv("AIRFLOW_CONN_LIMITED", json.dumps(workshop.user(workshop.role_named("Gamma"))))
    with SupersetHook("limited") as limited:
        [(namespace, name)] = limited.perform(tables_of(limited.address, [full]))
    assert namespace.startswith("superset://")
    assert name == f"{full['database']['database_name']}.{full['table_name']}"


def test_nothing_that_ran_has_no_lineage() -> None:
    lineage = operator_lineage()
    assert lineage is not None
    assert (lineage.inputs, lineage.outputs) == ([], [])
