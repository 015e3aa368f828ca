from __future__ import annotations

import shutil
from collections import namedtuple

import pytest

from sandbox import cli, postgres, s3
from sandbox.services import Platform
from sandbox.settings import SandboxError, Settings
from sandbox.shop.settings import wanted_stamp


@pytest.fixture
def small(settings, monkeypatch):
    """The command line over two real services instead of all."""

    def build(settings, quiet=False, more=()):
        return Platform(settings, [postgres.service(settings), s3.service(settings), *more])

    monkeypatch.setattr(cli, "build", build)
    monkeypatch.setenv("SANDBOX_VAR", str(settings.var))
    monkeypatch.delenv("FORCE", raising=False)
    monkeypatch.delenv("CI", raising=False)
    return settings


def test_up_status_down_and_reset_by_their_exit_status(small, monkeypatch, capsys):
    assert cli.main(["status"]) == 1
    assert cli.main(["up"]) == 0
    assert cli.main(["status"]) == 0
    assert str(small.path) in capsys.readouterr().out
    assert cli.main(["reset"]) == 2, "without a terminal and without FORCE nothing is deleted"
    assert "FORCE=1" in capsys.readouterr().err
    assert cli.main(["down"]) == 0
    assert cli.main(["status"]) == 1
    assert (small.var / "s3" / "datalake").is_dir()
    monkeypatch.setenv("FORCE", "1")
    assert cli.main(["reset"]) == 0
    assert not small.var.exists()


@pytest.mark.parametrize(
    ("environment", "another"),
    [
        ({}, False),
        ({"SANDBOX_SCALE": "0.10"}, False),
        ({"SANDBOX_SCALE": "1"}, True),
        ({"SHOP_LAST_DAY": "2026-01-31"}, True),
    ],
)
def test_the_demo_knows_another_shop(settings, monkeypatch, environment, another):
    directory = settings.var / "shop"
    directory.mkdir(parents=True)
    assert cli.replaces_shop(settings) is False, "there is no shop yet"
    (directory / "stamp.json").write_text(wanted_stamp(directory, {}).as_json() + "\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.replaces_shop(Settings.load({"SANDBOX_VAR": str(settings.var), **environment})) is another


def test_another_shop_starts_with_an_empty_lake(small):
    platform = cli.build(small)
    platform.up()
    orders = small.var / "s3" / "datalake" / "orders.parquet"
    orders.write_bytes(b"of the old shop")
    (small.var / "dremio").mkdir()
    cli.empty_lake(small, platform)
    assert not orders.exists()
    assert not (small.var / "dremio").exists()
    platform.up()
    assert orders.parent.is_dir()
    states = {state.name: state.state for state in platform.states()}
    assert states == {"postgres": "running", "s3": "running"}


def test_a_command_is_run_as_a_task_would_see_the_platform(small, tmp_path):
    words = ["sh", "-c", f'printf %s "$AIRFLOW_HOME" > {tmp_path}/home; exit 3']
    assert cli.main(["run", *words]) == 3
    assert (tmp_path / "home").read_text() == str(small.var / "airflow")
    assert cli.main(["run"]) == 2
    assert cli.main(["run", "no-such-program"]) == 2


def test_two_at_a_time_are_refused(small, capsys):
    with cli.exclusive(small):
        assert cli.main(["up"]) == 2
    assert "Another `make up`" in capsys.readouterr().err


def test_a_full_disk_is_told_with_what_is_needed(small, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**10, 10**10, 10**8))
    assert cli.main(["up"]) == 2
    error = capsys.readouterr().err
    assert "has 0.1 GB free, scale 0.1 needs 1.6 GB" in error
    assert "Traceback" not in error


def test_a_malformed_setting_is_one_line(small, monkeypatch, capsys):
    monkeypatch.setenv("SANDBOX_PORT_OFFSET", "x")
    assert cli.main(["up"]) == 2
    assert capsys.readouterr().err == "SANDBOX_PORT_OFFSET='x' is not an integer.\n"


def test_the_shop_fails_with_the_end_of_its_log(small):
    """It needs PostgreSQL and S3, which do not run here."""
    with pytest.raises(SandboxError, match=r"shop ended with exit status \d") as caught:
        cli.load_shop(small)
    assert str(small.var / "log" / "shop.log") in str(caught.value)
    assert small["SHOP_POSTGRES_PASSWORD"] not in str(caught.value)
