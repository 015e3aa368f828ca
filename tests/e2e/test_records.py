"""What a run leaves in PostgreSQL and Elasticsearch, and that setup applied twice changes nothing."""

from __future__ import annotations

import httpx

MAPPING = {
    "timestamp": "date",
    "level": "keyword",
    "service": "keyword",
    "message": "text",
    "job_id": "keyword",
    "connection_id": "keyword",
    "records_synced": "integer",
    "bytes_synced": "long",
}


def test_log_lines_have_the_declared_mapping(platform):
    answer = httpx.get(f"{platform['ELASTICSEARCH_URL']}/airbyte-logs-*/_mapping", timeout=10).raise_for_status().json()
    assert answer
    for name, index in answer.items():
        assert name.startswith("airbyte-logs-2")
        assert {field: spec["type"] for field, spec in index["mappings"]["properties"].items()} == MAPPING


def test_every_sync_left_log_lines_and_state(platform):
    states = platform.metadata("SELECT connection_id::text, state, updated_at FROM airbyte_state")
    assert platform["AIRBYTE_CONNECTION_ORDERS"] in {connection for connection, *_ in states}
    for connection, *_ in states:
        query = {"query": {"term": {"connection_id": connection}}, "size": 1}
        answer = httpx.post(f"{platform['ELASTICSEARCH_URL']}/airbyte-logs-*/_search", json=query, timeout=10).json()
        assert answer["hits"]["total"]["value"] > 0
    jobs = httpx.post(
        f"{platform['ELASTICSEARCH_URL']}/airbyte-logs-*/_search",
        json={"size": 0, "aggs": {"jobs": {"terms": {"field": "connection_id", "size": 10}}}},
        timeout=10,
    ).json()
    assert len(jobs["aggregations"]["jobs"]["buckets"]) == 3, "the three connections each left lines"


def test_every_dbt_invocation_is_in_the_history(platform):
    rows = platform.metadata(
        "SELECT metadata->>'command', status, models_run, tests_run, completed_at >= started_at FROM dbt_run_history"
    )
    commands = {command for command, *_ in rows}
    assert any("build" in command or "run" in command for command in commands), commands
    assert any("test" in command for command in commands), commands
    assert any("freshness" in command for command in commands), commands
    assert [row for row in rows if row[1] != "success"] == []
    assert max(models for _, _, models, *_ in rows) >= 8
    assert max(tests for _, _, _, tests, _ in rows) > 10
    assert all(in_order for *_, in_order in rows)


def test_setup_applied_again_changes_nothing_and_says_so(airflow):
    run_id = airflow.trigger("platform_setup")
    assert airflow.wait("platform_setup", run_id) == "success"
    assert "nothing to change" in airflow.log("platform_setup", run_id, "report").lower()
