from __future__ import annotations

import os
import stat
import subprocess

import pytest

from sandbox.settings import BASE_PORTS, OWNER_VARIABLE, SandboxError, Settings, read_env_file, write_atomically


def load(var, **environment):
    return Settings.load({"SANDBOX_VAR": str(var), **environment})


def test_what_is_generated_once_stays(tmp_path):
    first = load(tmp_path)
    again = load(tmp_path)
    assert dict(first) == dict(again)
    assert first["DREMIO_PASSWORD"] != load(tmp_path / "other")["DREMIO_PASSWORD"]


def test_the_file_is_for_its_owner_only_and_a_shell_reads_it(tmp_path):
    settings = load(tmp_path / "with space")
    assert stat.S_IMODE(settings.path.stat().st_mode) == 0o600
    script = 'set -a; . "$1"; printf "%s\n%s" "$SANDBOX_VAR" "$SOURCE_POSTGRES_DSN"'
    out = subprocess.run(["sh", "-c", script, "sh", settings.path], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [str(tmp_path / "with space"), settings["SOURCE_POSTGRES_DSN"]]


def test_a_loose_mode_does_not_survive_the_next_write(tmp_path):
    settings = load(tmp_path)
    settings.path.chmod(0o644)
    settings.remember("AIRBYTE_CONNECTION_ORDERS", "4a0d")
    assert stat.S_IMODE(settings.path.stat().st_mode) == 0o600
    assert load(tmp_path)["AIRBYTE_CONNECTION_ORDERS"] == "4a0d"


def test_the_offset_moves_every_address_and_is_remembered(tmp_path):
    before = load(tmp_path)
    moved = load(tmp_path, SANDBOX_PORT_OFFSET="700")
    assert moved["AIRFLOW_URL"] == "http://127.0.0.1:8780"
    assert moved["DREMIO_FLIGHT"] == "grpc://127.0.0.1:32710"
    assert f":{BASE_PORTS['postgres'] + 700}/shop" in moved["SOURCE_POSTGRES_DSN"]
    assert moved["SHOP_POSTGRES_PASSWORD"] == before["SHOP_POSTGRES_PASSWORD"]
    assert load(tmp_path)["AIRFLOW_URL"] == moved["AIRFLOW_URL"]


def test_a_run_without_scale_keeps_the_scale(tmp_path):
    assert load(tmp_path)["SANDBOX_SCALE"] == "0.1"
    assert load(tmp_path, SANDBOX_SCALE="1")["SANDBOX_SCALE"] == "1"
    assert load(tmp_path, SANDBOX_SCALE="")["SANDBOX_SCALE"] == "1"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SANDBOX_PORT_OFFSET", "many", "'many' is not an integer"),
        ("SANDBOX_PORT_OFFSET", "40000", "must be in 1024..65535"),
        ("SANDBOX_SCALE", "big", "SCALE='big'"),
        ("SANDBOX_SCALE", "-1", "SCALE='-1'"),
        ("SANDBOX_SCALE", "0.0001", "SCALE='0.0001' is not a number from 0.001 to 100"),
        ("SANDBOX_SCALE", "nan", "SCALE='nan'"),
    ],
)
def test_a_malformed_variable_is_named(tmp_path, name, value, said):
    with pytest.raises(SandboxError, match=said):
        load(tmp_path, **{name: value})


def test_a_broken_line_is_named_with_its_file_and_number(tmp_path):
    path = tmp_path / "sandbox.env"
    path.write_text("A=1\nnot an assignment\n")
    with pytest.raises(SandboxError, match=r"sandbox\.env, line 2"):
        read_env_file(path)


def test_no_secret_shows_when_settings_are_printed(tmp_path):
    settings = load(tmp_path)
    assert settings["DREMIO_PASSWORD"] not in repr(settings)


def test_services_see_our_settings_and_little_else(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    seen = load(tmp_path).child_environment(EXTRA="x")
    assert "AIRFLOW__CORE__EXECUTOR" not in seen
    assert "HTTP_PROXY" not in seen
    assert (seen["EXTRA"], seen["PATH"]) == ("x", os.environ["PATH"])
    assert OWNER_VARIABLE not in read_env_file(tmp_path / "sandbox.env")


def test_a_failed_write_leaves_the_old_content(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
