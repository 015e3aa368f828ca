"""docker-compose.yml, as far as a machine without Docker can check it."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

# As Compose reads them; $$ is a dollar sign.
VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}")
PUBLISHED = {
    "postgres": {5432},
    "s3": {9000},
    "dremio": {9047, 32010},
    "elasticsearch": {9200},
    "superset": {8088},
    "airflow-api-server": {8080},
}
CONNECTIONS = {
    "airbyte_default": "airbyte",
    "airbyte_config": "http",
    "dremio_default": "dremio",
    "superset_default": "superset",
    "lake_s3": "aws",
    "elasticsearch_default": "elasticsearch",
    "metadata_postgres": "postgres",
    "shop_postgres": "postgres",
    "payment_provider": "http",
}


def interpolate(text, values):
    return VARIABLE.sub(lambda match: values[match[1]], text).replace("$$", "$")


def one_shot(service):
    return service.get("restart") == "no"


def texts(value):
    """Every string in a piece of YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def test_compose_files_fit_the_schema(root):
    checker = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    result = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", "docker-compose.yml", "docker/airbyte-network.yml"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_image_is_pinned_to_a_full_version(services):
    for name, service in services.items():
        image, separator, tag = service["image"].rpartition(":")
        assert separator, f"{name} has no tag"
        assert "/" not in tag, f"{name} has no tag"
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {tag} is no version"
        assert image not in ("minio/minio", "quay.io/minio/minio"), "neither registry gives this image away any more"


def test_image_versions_are_the_locked_ones(services, locked):
    airflow = locked["requirements.txt"]["apache-airflow"]
    superset = locked["requirements-superset.txt"]["apache-superset"]
    own = {name: service["image"] for name, service in services.items() if "build" in service}
    assert own
    for name, image in own.items():
        expected = f"lakehouse-superset:{superset}" if name.startswith("superset") else f"lakehouse-airflow:{airflow}"
        assert image == expected
    # A client is refused by a server of an older major version.
    server = services["elasticsearch"]["image"].rpartition(":")[2]
    assert server.split(".")[0] == locked["requirements.txt"]["elasticsearch"].split(".")[0]


def test_variables_used_and_declared_are_the_same(root, declared):
    used = {match[1] for match in VARIABLE.finditer((root / "docker-compose.yml").read_text(encoding="utf-8"))}
    assert used == set(declared)


def test_no_variable_has_a_default_and_each_says_when_it_is_missing(root):
    guarded, seen = set(), set()
    for name, modifier in VARIABLE.findall((root / "docker-compose.yml").read_text(encoding="utf-8")):
        seen.add(name)
        assert modifier == "" or modifier.startswith(":?"), f"{name}{modifier}"
        if modifier:
            assert modifier.startswith(f":?{name} is missing in .env"), modifier
            guarded.add(name)
    assert guarded == seen


def test_no_secret_stands_in_a_file(services, declared):
    secret = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|FERNET_KEY)", re.IGNORECASE)
    assert all(not value for name, value in declared.items() if secret.search(name))
    checked = 0
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if secret.search(key) and not key.startswith("AIRFLOW_CONN_") and not key.endswith("_FILE"):
                assert VARIABLE.fullmatch(value.strip()), f"{name}: {key}"
                checked += 1
            for password in re.findall(r"://[^:/\s]*:([^@/]+)@", VARIABLE.sub("<variable>", value)):
                assert password == "<variable>", f"{name}: {key}"
                checked += 1
    assert checked > 20


def test_every_long_running_service_is_watched_and_bounded(services):
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory"}, name
        if one_shot(service):
            continue
        assert service["restart"] == "unless-stopped", name
        check = service["healthcheck"]
        assert check["test"][0] in ("CMD", "CMD-SHELL"), name
        assert {"interval", "timeout", "retries", "start_period"} <= set(check), name


def test_services_wait_for_what_they_need(services):
    order = []

    def visit(name, path):
        assert name not in path, f"{' -> '.join([*path, name])} is a circle"
        for needed, how in services[name].get("depends_on", {}).items():
            other = services[needed]
            expected = "service_completed_successfully" if one_shot(other) else "service_healthy"
            assert how["condition"] == expected, f"{name} -> {needed}"
            visit(needed, [*path, name])
        order.append(name)

    for name in services:
        visit(name, [])
    assert order.index("postgres") < order.index("airflow-init") < order.index("airflow-scheduler")
    needed = {needed for service in services.values() for needed in service.get("depends_on", {})}
    assert {name for name, service in services.items() if one_shot(service)} <= needed, "a one-shot nobody waits for"


def test_ports_are_the_real_ones_on_loopback(services):
    published = {}
    for name, service in services.items():
        for port in service.get("ports", []):
            address, outside, inside = port.split(":")
            assert address == "127.0.0.1", f"{name}: {port}"
            assert outside == inside, f"{name}: {port}"
            published.setdefault(name, set()).add(int(outside))
    assert published == PUBLISHED
    every = [port for ports in published.values() for port in ports]
    assert len(every) == len(set(every))
    assert 8000 not in every, "Airbyte's own port"


def test_volumes_are_declared_used_and_bound_to_what_exists(root, compose, services):
    used = set()
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (root / source).exists(), source
                assert volume.endswith(":ro"), volume
            else:
                used.add(source)
    assert used == set(compose["volumes"])


def test_the_airbyte_network_joins_services_that_exist(root, services):
    joined = yaml.safe_load((root / "docker" / "airbyte-network.yml").read_text(encoding="utf-8"))
    assert set(joined["services"]) == {"postgres", "s3"} <= set(services)
    assert all("default" in service["networks"] for service in joined["services"].values())
    assert joined["networks"]["airbyte"] == {"name": "kind", "external": True}


@pytest.mark.parametrize(
    "name", ["airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
)
def test_connections_are_there_and_point_at_services(services, declared, name):
    values = {variable: value or "filled-in" for variable, value in declared.items()}
    values["PAYMENT_PROVIDER_URL"] = "https://payments.example.com"
    environment = services[name]["environment"]
    connections = {
        key.removeprefix("AIRFLOW_CONN_").lower(): json.loads(interpolate(value, values))
        for key, value in environment.items()
        if key.startswith("AIRFLOW_CONN_")
    }
    assert {conn_id: connection["conn_type"] for conn_id, connection in connections.items()} == CONNECTIONS
    for connection in connections.values():
        assert set(connection) <= {"conn_type", "host", "port", "schema", "login", "password", "extra"}
    inside = {
        "dremio_default": ("dremio", 9047),
        "elasticsearch_default": ("elasticsearch", 9200),
        "metadata_postgres": ("postgres", 5432),
        "shop_postgres": ("postgres", 5432),
    }
    for conn_id, (host, port) in inside.items():
        assert (connections[conn_id]["host"], connections[conn_id]["port"]) == (host, port)
        assert port in PUBLISHED[host]
    assert connections["superset_default"]["host"] == "http://superset:8088"
    assert connections["lake_s3"]["extra"]["endpoint_url"] == "http://s3:9000"
    assert connections["airbyte_default"]["host"] == "http://host.docker.internal:8000/api/public/v1"
    assert connections["airbyte_config"]["host"] == "http://host.docker.internal:8000"
    assert "host.docker.internal:host-gateway" in services[name]["extra_hosts"]


def test_every_connection_the_dags_ask_for_is_there(root):
    asked = set()
    for path in (root / "dags").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg and node.arg.endswith("conn_id"):
                asked |= {node.value.value} if isinstance(node.value, ast.Constant) else set()
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
                asked |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    assert asked
    assert asked <= set(CONNECTIONS)
