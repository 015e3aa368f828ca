"""A real Elasticsearch, made of its jars on Maven Central."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lakehouse.servers import free_port, running

SOURCES = Path(__file__).parent / "original"
MISSING = [program for program in ("java", "mvn") if shutil.which(program) is None]


@contextmanager
def original(directory: Path) -> Iterator[str]:
    """Run a node while the block runs; yield its URL. Maven keeps the jars for the next time."""
    (directory / "config").mkdir()
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={directory / 'lib'}"]
    fetched = subprocess.run(
        ["mvn", "-q", "-B", "-f", str(SOURCES / "pom.xml"), *goal], capture_output=True, text=True, timeout=300
    )
    assert fetched.returncode == 0, fetched.stdout[-2000:]
    port = free_port()
    java = ["java", "-Xmx512m", "-cp", f"{directory / 'lib'}/*", str(SOURCES / "Original.java")]
    with running([*java, str(directory), str(port)], port):
        yield f"http://127.0.0.1:{port}"
