"""Apache's JDBC driver for Flight SQL, as BI tools use it; skipped where Java or Maven is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sandbox.dremio.services import PASSWORD, USER

DRIVER = "org.apache.arrow:flight-sql-jdbc-driver:18.3.0"
ASK = Path(__file__).parent / "jdbc" / "Ask.java"
MISSING = [program for program in ("java", "mvn") if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} to run the JDBC driver with")


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Path:
    """The driver's jar, from Maven Central; Maven keeps it for the next time."""
    folder = tmp_path_factory.mktemp("jdbc")
    command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={DRIVER}", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    (jar,) = folder.glob("*.jar")
    return jar


def test_a_tool_finds_its_way_and_reads(dremio, driver):
    dremio.rows(
        "create table lake.datalake.jdbc.t as select * from (values "
        "(1, 'one', cast(1.50 as decimal(9, 2)), date '2026-01-31'), (2, null, null, null)) as v(id, name, amount, day)"
    )
    dremio.rows("create or replace view gold.jdbc as select id, name, amount, day from lake.datalake.jdbc.t")
    # Arrow's memory needs the door that Java closed; see the driver's documentation.
    command = ["java", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", str(driver), str(ASK)]
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{dremio.flight_port}/?useEncryption=false"
    environment = {**os.environ, "DREMIO_USER": USER, "DREMIO_PASSWORD": PASSWORD}
    done = subprocess.run([*command, url], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[:-2] == [
        "product Dremio Server",
        "schema gold",
        "table jdbc VIEW",
        "column id INTEGER",
        "column name VARCHAR",
        "column amount DECIMAL",
        "column day DATE",
        "row 1 one 1.50 2026-01-31",
        "row 2 null null null",
        "count 2",
        "made 7",
    ]
    assert lines[-2].startswith("refused ")
    assert "Object 'nothing' not found within 'gold'" in lines[-2]
    assert lines[-1].startswith("kept out ")
    assert "Invalid username or password" in lines[-1]
    assert dremio.rows("select seven from lake.datalake.jdbc.made") == [{"seven": 7}]
