from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from sandbox import postgres
from sandbox.postgres import PostgresServer, fallback_directory
from sandbox.services import Platform
from sandbox.settings import SandboxError

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="PostgreSQL is run as another user only for root")


def test_databases_users_and_data_survive_a_restart(settings):
    platform = Platform(settings, [postgres.service(settings)])
    platform.up()
    with psycopg.connect(settings["SOURCE_POSTGRES_DSN"]) as connection:
        connection.execute("create table kept (n integer)")
        connection.execute("insert into kept values (42)")
        connection.commit()
        connection.execute("select pg_create_logical_replication_slot('changes', 'pgoutput')")
        assert connection.execute("show max_slot_wal_keep_size").fetchone() == ("2GB",)
        assert connection.execute("show listen_addresses").fetchone() == ("127.0.0.1",)
    for name in ("METADATA_POSTGRES_DSN", "AIRFLOW_POSTGRES_DSN", "SUPERSET_POSTGRES_DSN"):
        with psycopg.connect(settings[name]) as connection:
            connection.execute("create table own (n integer)")
    platform.down()
    assert [state.state for state in platform.states()] == ["stopped"]
    platform.up()
    with psycopg.connect(settings["SOURCE_POSTGRES_DSN"]) as connection:
        assert connection.execute("select n from kept").fetchone() == (42,)
        assert connection.execute("select count(*) from pg_replication_slots").fetchone() == (1,)


def test_it_takes_no_wrong_password_and_survives_a_kill(settings):
    platform = Platform(settings, [postgres.service(settings)])
    platform.up()
    wrong = settings["SOURCE_POSTGRES_DSN"].replace(settings["SHOP_POSTGRES_PASSWORD"], "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    platform.table.process(platform.table.records()["postgres"]).kill()
    while platform.states()[0].state != "dead":
        pass
    platform.up()
    with psycopg.connect(settings["SOURCE_POSTGRES_DSN"]) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_lost_settings_file_is_explained(settings):
    platform = Platform(settings, [postgres.service(settings)])
    platform.up()
    settings.entries["POSTGRES_ADMIN_PASSWORD"] = "another"
    settings.entries["POSTGRES_ADMIN_DSN"] = (
        f"postgresql://postgres:another@127.0.0.1:{settings.port('postgres')}/postgres"
    )
    with pytest.raises(SandboxError, match="made with another one") as caught:
        platform.up()
    assert "another@" not in str(caught.value)


@needs_root
def test_as_root_the_server_runs_as_another_user(settings):
    platform = Platform(settings, [postgres.service(settings)])
    platform.up()
    process = platform.table.process(platform.table.records()["postgres"])
    assert process.uids().real != 0
    assert process.environ().get("DREMIO_PASSWORD") is None


@needs_root
def test_as_root_below_a_private_directory_the_data_lives_elsewhere(settings):
    settings.var.chmod(0o700)
    elsewhere = fallback_directory(settings.var)
    try:
        server = PostgresServer(settings)
        assert server.home == elsewhere
        platform = Platform(settings, [postgres.service(settings)])
        platform.up()
        assert (elsewhere / "data" / "PG_VERSION").exists()
        assert Path(platform.table.records()["postgres"].command[0]).is_relative_to(elsewhere)
        platform.down()
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
