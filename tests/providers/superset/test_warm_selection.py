"""Which dashboards are meant by a name of a dataset, an owner, a permalink."""

from __future__ import annotations

from typing import Any

import pytest
from superset_provider.exceptions import SupersetConfigurationError, SupersetNotFoundError
from superset_provider.warmer.selection import match_datasets, owner_names, permalink_key


def dataset(number: int, table: str, schema: str | None = "gold", database: str = "Dremio", **more: Any) -> Any:
    names = {"id": number, "uuid": f"00-{number}", "table_name": table, "schema": schema, "catalog": None, **more}
    return {**names, "database": {"database_name": database}}


DATASETS = [
    dataset(1, "orders"),
    dataset(2, "orders", schema="silver"),
    dataset(3, "orders", database="Shop"),
    dataset(4, "customers", schema="gold.crm"),
    dataset(5, "returns", schema=None),
    dataset(6, "parcels", catalog="lake", database="Trino"),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param(["silver.orders"], [2], id="schema.table"),
        pytest.param(["Dremio.gold.orders"], [1], id="database.schema.table"),
        pytest.param(["dremio.GOLD.Orders"], [1], id="in any case"),
        pytest.param(["gold.crm.customers"], [4], id="a schema with a dot"),
        pytest.param(["returns"], [5], id="a table of one schema only"),
        pytest.param(["Dremio.returns"], [5], id="a database without schemas"),
        pytest.param(["Trino.lake.gold.parcels"], [6], id="with its catalog"),
        pytest.param(["Trino.gold.parcels"], [6], id="without its catalog"),
        pytest.param([3, "00-1"], [3, 1], id="id and uuid"),
        pytest.param(["Dremio.gold.orders", 1], [1], id="named twice"),
    ],
)
def test_a_dataset_is_found_by(wanted: list[Any], found: list[int]) -> None:
    assert match_datasets(DATASETS, wanted) == found


def test_a_name_that_means_several_datasets_is_refused() -> None:
    with pytest.raises(SupersetConfigurationError, match=r"means 2 datasets.*Dremio\.gold\.orders, Shop\.gold\.orders"):
        match_datasets(DATASETS, ["gold.orders"])


def test_an_unknown_dataset_is_named_with_near_ones() -> None:
    with pytest.raises(SupersetNotFoundError, match=r"no dataset 'gold\.custmers'.*dremio\.gold\.crm\.customers"):
        match_datasets(DATASETS, ["gold.custmers"])


def test_what_an_owner_may_be_called() -> None:
    assert owner_names({"id": 7, "first_name": "Ada", "last_name": "L", "email": "Ada@example.org"}) == {
        "7",
        "ada l",
        "ada@example.org",
    }


@pytest.mark.parametrize(
    "address",
    [
        "Xy7",
        "https://superset.example.org/superset/dashboard/p/Xy7/",
        "/superset/dashboard/p/Xy7",
        "https://h/bi/superset/dashboard/p/Xy7/?standalone=1#tab",
    ],
)
def test_the_key_of_a_permalink(address: str) -> None:
    assert permalink_key(address) == "Xy7"


@pytest.mark.parametrize("address", ["", "https://superset.example.org/superset/dashboard/sales/"])
def test_another_address_is_no_permalink(address: str) -> None:
    with pytest.raises(SupersetConfigurationError, match="is no permalink"):
        permalink_key(address)
