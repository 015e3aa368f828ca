"""Declared sources, spaces, folders, tables, views, metadata and refresh policies, against a running Dremio."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from dremio_provider.exceptions import (
    DremioConfigurationError,
    DremioJobFailedError,
    DremioNotFoundError,
    DremioTerminalError,
    DremioTransientError,
)
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.operators.catalog import (
    DremioApplyCatalogOperator,
    DremioRefreshMetadataOperator,
    DremioSetRefreshPolicyOperator,
)
from dremio_provider.paths import quote_path

from tests.providers.dremio.real import RealDremio


@pytest.fixture
def objects(real_dremio: RealDremio, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The object store, and an Airflow connection to it."""
    connection = {"conn_type": "aws", "login": real_dremio.s3_key, "password": real_dremio.s3_secret}
    address = real_dremio.s3_address
    endpoint = address if "://" in address else f"http://{address}"
    extra = {"address": endpoint.rpartition("/")[2]}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", json.dumps({**connection, "extra": extra}))
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=real_dremio.s3_key,
        aws_secret_access_key=real_dremio.s3_secret,
        region_name="us-east-1",
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@pytest.fixture
def place(real_hook: DremioHook, real_dremio: RealDremio, objects: Any) -> Iterator[dict[str, Any]]:
    """A declaration whose names are of this test alone, with two files in the store."""
    mark = secrets.token_hex(4)
    put(objects, real_dremio.bucket, f"orders_{mark}/day=1/a.parquet", [1, 2])
    source = real_dremio.source(f"declared_{mark}")
    source.pop("entityType")
    source["config"] |= {
        "accessKey": {"from_connection": "lake_s3.login"},
        "accessSecret": {"from_connection": "lake_s3.password"},
    }
    source["config"]["propertyList"][1]["value"] = {"from_connection": "lake_s3.extra.address"}
    source["metadataPolicy"] = {"autoPromoteDatasets": False, "datasetExpireAfterMs": 10800000}
    table = [source["name"], real_dremio.bucket, f"orders_{mark}"]
    space = f"declared_space_{mark}"
    yield {
        "sources": [source],
        "spaces": [{"name": space, "description": "For people."}],
        "folders": [f"{space}.daily"],
        "tables": [{"path": table, "format": {"type": "Parquet"}}],
        "views": [
            {"path": f"{space}.daily.orders", "sql": f"select n from {quote_path(table)};\n", "description": "Orders."}
        ],
    }
    for name in (space, source["name"]):
        entity = real_hook.get_catalog_entity([name])
        if entity is not None:
            real_hook.delete_catalog_entity(entity["id"])


def put(objects: Any, bucket: str, key: str, numbers: list[int]) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": pa.array(numbers, pa.int64())}), sink)
    objects.put_object(Bucket=bucket, Key=key, Body=sink.getvalue().to_pybytes())


def apply(context: Any, catalog: Any, **arguments: Any) -> dict[str, str]:
    steps = DremioApplyCatalogOperator(task_id="apply", catalog=catalog, **arguments).execute(context)
    return {f"{step['kind']} {step['name']}": step["action"] for step in steps}


def rows(hook: DremioHook, path: str) -> list[int]:
    return sorted(int(row["n"]) for row in hook.execute_sql(f"SELECT n FROM {path}").rows)


def test_a_catalog_is_created_once(real_hook: DremioHook, place: Any, context: Any) -> None:
    planned = apply(context, place, dry_run=True)
    assert set(planned.values()) == {"created"}
    assert [key.partition(" ")[0] for key in planned] == ["source", "space", "folder", "table", "view"]
    assert real_hook.get_catalog_entity([place["spaces"][0]["name"]]) is None
    assert apply(context, place) == planned
    assert rows(real_hook, place["views"][0]["path"]) == [1, 2]
    assert set(apply(context, place).values()) == {"unchanged"}
    assert context["ti"].pushed["plan"][0]["differences"] == []


def test_only_what_differs_is_changed(real_hook: DremioHook, place: Any, context: Any) -> None:
    apply(context, place)
    view = place["views"][0]
    before = real_hook.get_dataset(view["path"])
    place["sources"][0]["metadataPolicy"]["datasetExpireAfterMs"] = 7200000
    place["views"] = [{**view, "sql": f"select n + 1 as n from {quote_path(place['tables'][0]['path'])}"}]
    place["spaces"] = [{**place["spaces"][0], "description": "For everybody."}]
    changed = {key.partition(" ")[0] for key, action in apply(context, place).items() if action == "updated"}
    assert changed == {"source", "space", "view"}
    differences = {step["kind"]: step["differences"] for step in context["ti"].pushed["plan"]}
    assert differences == {
        "source": ["metadataPolicy.datasetExpireAfterMs"],
        "space": ["description"],
        "folder": [],
        "table": [],
        "view": ["sql"],
    }
    assert rows(real_hook, view["path"]) == [2, 3]
    # What stands on a view stays, because it is the same view.
    assert real_hook.get_dataset(view["path"])["id"] == before["id"]
    assert set(apply(context, place).values()) == {"unchanged"}


def test_secrets_are_taken_late_and_never_shown(
    real_hook: DremioHook, real_dremio: RealDremio, place: Any, context: Any, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    task = DremioApplyCatalogOperator(task_id="apply", catalog=place)
    assert real_dremio.s3_secret not in str({field: getattr(task, field) for field in task.template_fields})
    task.execute(context)
    assert real_dremio.s3_secret not in json.dumps(context["ti"].pushed)
    # A changed secret does not show; who has changed it says so.
    wrong = {"conn_type": "aws", "login": real_dremio.s3_key, "password": "a-wrong-secret"}
    address = place["sources"][0]["config"]["propertyList"][1]
    address["value"] = real_dremio.s3_address.rpartition("/")[2]
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_S3", json.dumps(wrong))
    assert set(apply(context, place).values()) == {"unchanged"}
    with pytest.raises(DremioTerminalError, match="cannot use the source") as caught:
        apply(context, place, resend_secrets=[place["sources"][0]["name"]])
    assert not isinstance(caught.value, DremioTransientError)
    told = f"{caught.value}{caught.value.attrs()}{json.dumps(context['ti'].pushed)}{caplog.text}"
    assert "a-wrong-secret" not in told
    assert real_dremio.s3_secret not in told


def test_a_source_that_nobody_answers_for_is_worth_a_retry(place: Any, context: Any, closed_port: int) -> None:
    place["sources"][0]["config"]["propertyList"][1]["value"] = f"127.0.0.1:{closed_port}"
    with pytest.raises(DremioTransientError, match=r"cannot reach the source declared_.*server runs"):
        apply(context, {"sources": place["sources"]})


@pytest.mark.parametrize(
    ("catalog", "said"),
    [
        pytest.param({"view": []}, "declared catalog has view.*allowed are sources, spaces", id="kind"),
        pytest.param({"views": [{"path": "a.b"}]}, "'a.b' of the declared views lacks sql", id="missing"),
        pytest.param({"spaces": [{"name": "a", "owner": "x"}]}, "'a' of the declared spaces has owner", id="unknown"),
        pytest.param(
            {"sources": [{"name": "a", "type": "S3", "config": {"k": {"from_connection": "dremio_default.secret"}}}]},
            r"'dremio_default\.secret' of the declared catalog has no value.*login, password",
            id="reference",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(
    catalog: Any, said: str, real_hook: DremioHook, context: Any
) -> None:
    with pytest.raises(DremioConfigurationError, match=said):
        apply(context, catalog)


def test_what_is_in_the_way_is_named(real_hook: DremioHook, place: Any, context: Any) -> None:
    apply(context, place)
    space, view = place["spaces"][0]["name"], place["views"][0]["path"]
    for catalog, said in (
        ({"spaces": [place["sources"][0]["name"]]}, "declared as a space, and in Dremio it is a source"),
        ({"folders": [view]}, "declared as a folder, and in Dremio it is a table"),
        (
            {"tables": [{"path": view, "format": {"type": "Parquet"}}]},
            "declared as a table, and in Dremio it is a view",
        ),
        (
            {"views": [{"path": f"{space}.daily", "sql": "select 1"}]},
            "declared as a view, and in Dremio it is a folder",
        ),
    ):
        with pytest.raises(DremioConfigurationError, match=said):
            apply(context, catalog)


def test_new_files_are_seen_after_a_refresh_of_metadata(
    real_hook: DremioHook, real_dremio: RealDremio, place: Any, context: Any, objects: Any
) -> None:
    apply(context, place)
    path = place["tables"][0]["path"]
    put(objects, real_dremio.bucket, f"{path[-1]}/day=2/b.parquet", [3])
    assert rows(real_hook, quote_path(path)) == [1, 2]
    task = DremioRefreshMetadataOperator(task_id="metadata", table=path)
    [job] = task.execute(context)
    assert rows(real_hook, quote_path(path)) == [1, 2, 3]
    assert context["ti"].pushed["_link_DremioJobLink"] == f"{real_hook.address}/job/{job}"
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [dataset.name for dataset in lineage.outputs] == [".".join(path)]


def test_metadata_of_what_is_not_there_is_refused(real_hook: DremioHook, place: Any, context: Any) -> None:
    apply(context, place)
    task = DremioRefreshMetadataOperator(
        task_id="metadata", table=f"{place['sources'][0]['name']}.nothing", options="AVOID PROMOTION"
    )
    with pytest.raises(DremioJobFailedError, match="nothing"):
        task.execute(context)
    assert task.get_openlineage_facets_on_complete(None).outputs == []


def policy(context: Any, datasets: list[str], **arguments: Any) -> list[tuple[str, list[str]]]:
    task = DremioSetRefreshPolicyOperator(task_id="policy", datasets=datasets, **arguments)
    return [(step["action"], step["differences"]) for step in task.execute(context)]


def test_a_refresh_policy_is_set_once(real_hook: DremioHook, place: Any, context: Any) -> None:
    apply(context, place)
    table = quote_path(place["tables"][0]["path"])
    wanted = {"period": timedelta(hours=6), "grace_period": 86400, "method": "incremental", "refresh_field": "n"}
    [(action, differences)] = policy(context, [table], **wanted)
    assert action == "updated"
    assert "refreshPeriodMs: 3600000 -> 21600000" in differences
    stored = real_hook.get_dataset(table)["accelerationRefreshPolicy"]
    assert {name: stored[name] for name in ("refreshPeriodMs", "gracePeriodMs", "method", "refreshField")} == {
        "refreshPeriodMs": 21600000,
        "gracePeriodMs": 86400000,
        "method": "INCREMENTAL",
        "refreshField": "n",
    }
    assert policy(context, [table], **wanted) == [("unchanged", [])]
    # What is not said stays.
    assert policy(context, [table], never=True)[0][0] == "updated"
    stored = real_hook.get_dataset(table)["accelerationRefreshPolicy"]
    assert (stored["activePolicyType"], stored["neverRefresh"], stored["gracePeriodMs"]) == ("NEVER", True, 86400000)
    policy(context, [table], schedule="0 0 8 * * ?")
    stored = real_hook.get_dataset(table)["accelerationRefreshPolicy"]
    assert (stored["activePolicyType"], stored["refreshSchedule"]) == ("SCHEDULE", "0 0 8 * * ?")
    assert rows(real_hook, table) == [1, 2]


def test_a_policy_belongs_to_a_table_that_exists(real_hook: DremioHook, place: Any, context: Any) -> None:
    apply(context, place)
    with pytest.raises(DremioTerminalError, match=r"is a view.*set it on the tables that the view reads"):
        policy(context, [place["views"][0]["path"]], never=True)
    with pytest.raises(DremioNotFoundError, match="near"):
        policy(
            context, [quote_path([*place["tables"][0]["path"][:2], place["tables"][0]["path"][2] + "x"])], never=True
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({"never": True, "period": 60}, "PERIOD and NEVER at once", id="two-ways"),
        pytest.param({"method": "partial"}, "method 'partial' is unknown.*AUTO, FULL", id="method"),
        pytest.param({"refresh_field": "n", "never": True}, "belongs to the method INCREMENTAL", id="field"),
        pytest.param({}, "says nothing", id="nothing"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(
    arguments: Any, said: str, real_hook: DremioHook, context: Any
) -> None:
    with pytest.raises(DremioConfigurationError, match=said):
        policy(context, ["a.b"], **arguments)


def test_only_the_named_partition_is_read_anew(
    real_hook: DremioHook, real_dremio: RealDremio, place: Any, context: Any, objects: Any
) -> None:
    apply(context, place)
    path = place["tables"][0]["path"]
    put(objects, real_dremio.bucket, f"{path[-1]}/day=2/b.parquet", [3])
    put(objects, real_dremio.bucket, f"{path[-1]}/day=3/c.parquet", [4])
    DremioRefreshMetadataOperator(task_id="metadata", table=path, partitions=[{"dir0": "day=3"}]).execute(context)
    assert rows(real_hook, quote_path(path)) == [1, 2, 4]
    DremioRefreshMetadataOperator(task_id="metadata", table=path).execute(context)
    assert rows(real_hook, quote_path(path)) == [1, 2, 3, 4]


def test_metadata_of_a_source_that_is_down_is_worth_a_retry(dremio: Any, context: Any) -> None:
    dremio.entity("lake.orders", "t1", "PHYSICAL_DATASET")
    source = {"entityType": "source", "id": "s1", "name": "lake", "state": {"status": "good"}}
    down = {"status": "bad", "messages": [{"level": "ERROR", "message": "no bucket answers"}]}

    def refresh(job: str, message: str) -> None:
        dremio.job(job, [{"jobState": "FAILED", "errorMessage": message}], [])
        dremio.guard("POST", "/api/v3/sql", lambda _: dremio.reply(200, {"id": job}))
        DremioRefreshMetadataOperator(task_id="metadata", table="lake.orders").execute(context)

    dremio.answer("GET", "/api/v3/catalog/by-path/lake", source)
    with pytest.raises(DremioTransientError, match=r"cannot reach the source lake.*connection refused.*server runs"):
        refresh("j1", "Could not read: connection refused")
    with pytest.raises(DremioJobFailedError, match="parquet is broken"):
        refresh("j2", "The parquet is broken")
    dremio.answer("GET", "/api/v3/catalog/by-path/lake", {**source, "state": down})
    with pytest.raises(DremioTransientError, match="no bucket answers"):
        refresh("j3", "The parquet is broken")
