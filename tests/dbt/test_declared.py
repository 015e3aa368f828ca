"""What is declared fits together: models and their yml, views, reflections, dashboards, SQL style."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from jinja2.nativetypes import NativeEnvironment
from lakehouse.retention import HOT_DAYS
from sqlglot import exp

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "dbt/models"
VIEWS = REPOSITORY / "include/dremio/views"
CONFIG = REPOSITORY / "include/config"
MARTS = {
    "customer_metrics",
    "dim_customers",
    "fct_customer_lifetime_value",
    "fct_daily_revenue",
    "fct_orders",
    "fct_sales",
}
CHANGE_DATA = {"orders": "fct_orders", "order_items": "fct_order_items", "customers": "dim_customers"}
MARTS |= {f"{mart}_{part}" for mart in CHANGE_DATA.values() for part in ("hot", "cold", "unified")}
LIVE = {f"stg_postgres_cdc__{stream}" for stream in CHANGE_DATA}
LIVE |= {f"{mart}_{part}" for mart in CHANGE_DATA.values() for part in ("hot", "unified")}
"""Views over change data, which dbt puts where people query them."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """dbt's own reading of the project, with nothing of the platform in the environment."""
    target = tmp_path_factory.mktemp("target")
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [REPOSITORY / ".venv/dbt/bin/dbt", "parse", "--target-path", target, "--log-path", target],
        cwd=REPOSITORY / "dbt",
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "WARN" not in done.stdout.upper(), done.stdout
    return json.loads((target / "manifest.json").read_text())


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def test_every_model_has_its_own_yml_with_a_description_of_its_grain(models):
    assert len(models) == 25
    for name, model in models.items():
        folder = (REPOSITORY / "dbt" / model["original_file_path"]).parent
        declared = yaml.safe_load((folder / f"{name}.yml").read_text())["models"]
        assert [entry["name"] for entry in declared] == [name]
        assert "one row per" in model["description"].lower(), name
        assert model["columns"]
        for column in model["columns"].values():
            assert column["description"], f"{name}.{column['name']}"
            assert column["data_type"], f"{name}.{column['name']}"


def generic_tests(manifest: dict[str, Any], model: str) -> set[str]:
    """Names of the generic tests on a model and its columns."""
    return {
        node["test_metadata"]["name"]
        for node in manifest["nodes"].values()
        if (node.get("attached_node") or "").endswith(f".{model}")
    }


def test_every_mart_keeps_a_contract(manifest, models):
    marts = {name for name, model in models.items() if "marts" in model["fqn"]}
    assert marts == MARTS
    for name in marts:
        assert models[name]["access"] == "public"
        assert models[name]["config"]["parquet_compression"] == (None if name in LIVE else "zstd")
        if models[name]["config"]["on_schema_change"] == "sync_all_columns":
            # dbt allows no contract there; the data test holds names and types instead.
            assert "has_declared_columns" in generic_tests(manifest, name)
        else:
            assert models[name]["contract"]["enforced"], name


def test_every_model_tests_its_key(manifest, models):
    for name in models:
        tests = generic_tests(manifest, name)
        assert {"unique", "unique_combination"} & tests, name
        assert "not_null" in tests, name


def test_views_are_those_over_change_data(models):
    views = {name: model["database"] for name, model in models.items() if model["config"]["materialized"] == "view"}
    assert views == {name: "silver" if name.startswith("stg_") else "gold" for name in LIVE}


def test_change_data_is_declared_as_its_streams_are(models):
    """Key and columns are those of the contract; a merge is not for a table that bronze could not build anew."""
    project = yaml.safe_load((REPOSITORY / "dbt/dbt_project.yml").read_text())["vars"]
    streams = yaml.safe_load((CONFIG / "streams.yml").read_text())["sources"]["postgres_cdc"]["streams"]
    assert project["hot_days"] == HOT_DAYS
    assert project["change_data"].keys() == streams.keys() == CHANGE_DATA.keys()
    tagged = {name for name, model in models.items() if "change_data" in model["tags"]}
    assert tagged == LIVE | {f"{mart}_cold" for mart in CHANGE_DATA.values()}
    for stream, table in project["change_data"].items():
        assert table["key"] == streams[stream]["key"]
        assert table["key"] + table["columns"] == list(streams[stream]["columns"])
        text = [name for name, kind in streams[stream]["columns"].items() if kind == "string"]
        assert table["text_columns"] == text
        built = models[f"{CHANGE_DATA[stream]}_cold"]
        assert streams[stream]["cold"] == f"{built['database']}.{built['schema']}.{built['alias']}"
        cold = built["config"]
        assert cold["full_refresh"] is False
        assert [cold["unique_key"]] == table["key"] or cold["unique_key"] == table["key"]


def test_only_staging_reads_sources(manifest, models):
    for name, model in models.items():
        reads = [parent for parent in model["depends_on"]["nodes"] if parent.startswith("source.")]
        assert bool(reads) == ("staging" in model["fqn"]), name
    tables = {source["name"] for source in manifest["sources"].values()}
    assert tables == {path.stem for path in (VIEWS / "bronze").glob("raw_*.sql")}


def test_sources_have_freshness_where_there_is_a_load_time(manifest):
    for source in manifest["sources"].values():
        if source["name"] == "raw_returns" or source["name"].endswith("_changes"):
            assert source["freshness"] is None
        else:
            assert source["loaded_at_field"], source["name"]
            assert source["freshness"]["error_after"]["count"] == 50


def test_models_with_logic_have_unit_tests(manifest):
    tested = {test["model"] for test in manifest["unit_tests"].values()}
    assert {"stg_customers", "stg_orders", "fct_customer_lifetime_value", "fct_daily_revenue", "fct_orders"} <= tested
    # The unified view is the same macro over the same change log; dbt-dremio cannot test a view of a space.
    assert "fct_orders_cold" in tested


def test_lineage_of_the_architecture(manifest, models):
    def parents(unique_id: str) -> set[str]:
        return {parent.rsplit(".", 1)[1] for parent in manifest["parent_map"][unique_id]}

    assert parents(models["int_customer_orders"]["unique_id"]) == {"stg_customers", "stg_orders"}
    assert parents(models["fct_customer_lifetime_value"]["unique_id"]) == {"int_customer_orders"}
    assert "fct_customer_lifetime_value" in parents("exposure.lakehouse.customer_analytics")
    assert {"fct_daily_revenue", "fct_sales"} <= parents("exposure.lakehouse.daily_revenue")


def test_exposures_are_those_of_the_dashboards(monkeypatch):
    monkeypatch.delenv("LAKEHOUSE_INCLUDE_DIR", raising=False)
    from lakehouse import exposures

    assert exposures.path() == MODELS / "marts/exposures.yml"
    assert exposures.path().read_text() == exposures.render(), "the dashboards have changed; run: make exposures"


def test_a_dashboard_that_leads_to_no_mart_has_no_exposure(tmp_path, monkeypatch):
    from lakehouse import exposures
    from lakehouse.files import ConfigError

    shutil.copytree(REPOSITORY / "include", tmp_path / "include", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(MODELS, tmp_path / "dbt/models")
    monkeypatch.setenv("LAKEHOUSE_INCLUDE_DIR", str(tmp_path / "include"))
    assert exposures.render() == (MODELS / "marts/exposures.yml").read_text()
    (tmp_path / "dbt/models/marts/fct_sales.sql").unlink()
    with pytest.raises(ConfigError, match=r"fct_sales\.sql: reads sales, which no mart writes; allowed: customer_"):
        exposures.render()


def tables_in(path: Path) -> set[str]:
    tree = sqlglot.parse_one(path.read_text(), read="duckdb")
    found = set()
    made = {part.alias for part in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name in made:
            continue
        found.add(".".join(part.name for part in table.parts))
    return found


def published_models(models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tables that a view of the layer shows; the cold half of a unified view is not for people to read."""
    tables = [model for name, model in models.items() if name not in LIVE and not name.endswith("_cold")]
    return {f"{model['database']}.{model['schema']}.{model['alias']}": model for model in tables}


def test_every_table_of_dbt_has_a_view_and_every_view_a_table(models):
    published = set()
    for layer in ("silver", "gold"):
        for path in (VIEWS / layer).glob("*.sql"):
            published |= tables_in(path)
    assert published == set(published_models(models))


def columns_of(view: str) -> list[str]:
    layer, name = view.split(".")
    return sqlglot.parse_one((VIEWS / layer / f"{name}.sql").read_text(), read="duckdb").named_selects


def test_published_views_name_columns_that_the_model_has(models):
    by_table = published_models(models)
    published: dict[str, set[str]] = {table: set() for table in by_table}
    for layer in ("silver", "gold"):
        for path in (VIEWS / layer).glob("*.sql"):
            (table,) = tables_in(path)
            tree = sqlglot.parse_one(path.read_text(), read="duckdb")
            assert not any(isinstance(entry, exp.Star) for entry in tree.selects), path
            made = {name for part in tree.find_all(exp.CTE) for name in part.this.named_selects}
            read = {column.name for column in tree.find_all(exp.Column)} - made
            assert read <= set(by_table[table]["columns"]), path
            published[table] |= read
    assert published == {table: set(model["columns"]) for table, model in by_table.items()}


def test_names_that_belong_together_show_the_same():
    for one, other in (("orders", "fct_orders"), ("customers", "dim_customers")):
        assert (VIEWS / f"gold/{one}.sql").read_text() == (VIEWS / f"gold/{other}.sql").read_text()


def bronze_columns(view: str) -> set[str]:
    stream = view.split(".")[1]
    sources = yaml.safe_load((CONFIG / "streams.yml").read_text())["sources"].values()
    nightly = [source["streams"] for source in sources if "stage" in source]
    (columns,) = [streams[stream]["columns"] for streams in nightly if stream in streams]
    return set(columns)


def test_reflections_use_columns_that_their_datasets_have():
    reflections = yaml.safe_load((CONFIG / "reflections.yml").read_text())["reflections"]
    assert {"raw_customers", "agg_daily_revenue"} <= {reflection["name"] for reflection in reflections}
    for reflection in reflections:
        layer = reflection["dataset"].split(".")[0]
        known = bronze_columns(reflection["dataset"]) if layer == "bronze" else set(columns_of(reflection["dataset"]))
        used = set(reflection.get("display", [])) | set(reflection.get("dimensions", []))
        used |= {measure["name"] for measure in reflection.get("measures", [])}
        used |= set(reflection.get("sort_by", [])) | set(reflection.get("partition_by", []))
        assert used, reflection["name"]
        assert used <= known, reflection["name"]


def test_no_secret_and_no_address_is_written_down():
    text = (REPOSITORY / "include/dremio/sources.yml").read_text()
    config = yaml.safe_load(text)["sources"][0]["config"]
    assert config["accessKey"].startswith("{{ conn.lake_s3.")
    assert config["accessSecret"] == "{{ conn.lake_s3.password }}"
    assert "127.0.0.1" not in text


@pytest.mark.parametrize(
    ("environment", "host", "port", "ssl"),
    [
        ({}, "127.0.0.1", 9047, False),
        ({"DREMIO_URL": "http://127.0.0.1:19047"}, "127.0.0.1", 19047, False),
        ({"DREMIO_URL": "https://dremio.example.com/"}, "dremio.example.com", 9047, True),
        ({"DREMIO_URL": "http://127.0.0.1:19047", "DREMIO_HOST": "other", "DREMIO_PORT": "9048"}, "other", 9048, False),
        ({"DREMIO_HOST": "other", "DREMIO_USE_SSL": "true"}, "other", 9047, True),
    ],
)
def test_profile_reads_the_environment(environment, host, port, ssl):
    output = yaml.safe_load((REPOSITORY / "dbt/profiles.yml").read_text())["lakehouse"]["outputs"]["dremio"]
    jinja = NativeEnvironment()
    jinja.filters |= {"as_number": int, "as_bool": bool}

    def rendered(name: str) -> Any:
        return jinja.from_string(output[name]).render(env_var=lambda key, default: environment.get(key, default))

    assert (rendered("software_host"), rendered("port"), rendered("use_ssl")) == (host, port, ssl)


def test_sql_is_clean():
    done = subprocess.run(
        [Path(sys.executable).with_name("sqlfluff"), "lint", "dbt", "include/dremio"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
