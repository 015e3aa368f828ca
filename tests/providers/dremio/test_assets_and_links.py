"""The asset scheme as Airflow finds it, and the links as Airflow's page reads them."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from airflow.sdk import Asset
from dremio_provider.assets.dremio import convert_asset_to_openlineage, create_asset, sanitize_uri
from dremio_provider.lineage import dataset_name
from dremio_provider.links import DremioDatasetLink, DremioJobLink, dataset_page
from dremio_provider.paths import parse_path
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("dremio://Dremio.Example.com/gold/orders", "dremio://dremio.example.com:9047/gold/orders"),
        ("dremio://d:443/lake/b/version=v2", "dremio://d:443/lake/b/version%3Dv2"),
        ("dremio://d/a/b%20c?x=1#y", "dremio://d:9047/a/b%20c"),
        ("dremio://[::1]:9047/a/b", "dremio://[::1]:9047/a/b"),
    ],
)
def test_an_address_is_written_one_way(written: str, kept: str) -> None:
    assert sanitize_uri(urlsplit(written)).geturl() == kept
    assert sanitize_uri(urlsplit(kept)).geturl() == kept


def test_airflow_uses_the_scheme() -> None:
    assert Asset("dremio://Dremio.Example.com/gold/orders").uri == "dremio://dremio.example.com:9047/gold/orders"
    with pytest.raises(ValueError, match="path of a table or view"):
        Asset("dremio://d/gold")


@pytest.mark.parametrize("wrong", ["dremio:///a/b", "dremio://d", "dremio://d/a", "dremio://d/a//b"])
def test_what_is_no_dataset_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="URI format"):
        sanitize_uri(urlsplit(wrong))


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), min_size=2, max_size=4))
def test_any_path_becomes_an_asset_and_the_lineage_of_the_same_name(path: list[str]) -> None:
    asset = create_asset(host="d", path=path)
    assert Asset(asset.uri).uri == asset.uri
    dataset = convert_asset_to_openlineage(asset, None)
    assert (dataset.namespace, dataset.name) == dataset_name("http://d:9047", path)
    assert parse_path(path) == tuple(path)


def test_the_dataset_page_is_addressed_part_by_part() -> None:
    page = urlsplit(dataset_page("https://d:9047", 'lake.b."version=v2&x"'))
    assert page.path == "/new_query"
    assert parse_qs(page.query) == {"context": ["lake"], "queryPath": ["lake.b.version=v2&x"]}


@pytest.mark.parametrize("link", [DremioJobLink(), DremioDatasetLink()], ids=lambda link: link.name)
def test_a_link_is_read_from_where_it_was_pushed(link: Any, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    type(link).persist(context, "http://d:9047/page")
    pushed = context["ti"].pushed
    monkeypatch.setattr(XCom, "get_value", lambda *, ti_key, key: pushed.get(key))
    assert link.get_link(None, ti_key=None) == "http://d:9047/page"
    pushed.clear()
    assert link.get_link(None, ti_key=None) == ""
