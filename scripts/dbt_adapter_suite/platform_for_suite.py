"""What dbt-dremio's tests expect around them: an S3 server, a Dremio, the source, the sample data, users and roles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.sandbox.dremio.services import PASSWORD, S3, USER, Dremio, free_offset, s3_server

SOURCE, DATABASE, BUCKET = "dbt_test_source", "dbt_test", "dbtdremios3"
SAMPLES, SAMPLE_BUCKET = "Samples", "samples.dremio.com"
USERS = tuple(f"dbt_test_user_{number}" for number in (1, 2, 3))
ROLES = tuple(f"dbt_test_role_{number}" for number in (1, 2))
TRIPS = 200


@contextmanager
def platform(folder: Path, edition: str) -> Iterator[dict[str, str]]:
    """Start everything for the duration of the block.

    Args:
        folder: holds all state.
        edition: ``community`` or ``enterprise``.

    Yields:
        dict: environment variables that the suite and its plugin read.
    """
    for name in ("s3", "dremio"):
        (folder / name).mkdir()
    with s3_server(folder / "s3", (BUCKET, SAMPLE_BUCKET)) as s3:
        dremio = Dremio(folder / "dremio", free_offset(), edition=edition)
        dremio.start()
        try:
            _prepare(s3, dremio, edition)
            yield {
                "DREMIO_SUITE_PORT": str(9047 + dremio.offset),
                "DREMIO_SOFTWARE_HOST": "127.0.0.1",
                "DREMIO_SOFTWARE_USERNAME": USER,
                "DREMIO_SOFTWARE_PASSWORD": PASSWORD,
                "DREMIO_DATALAKE": SOURCE,
                "DREMIO_DATABASE": DATABASE,
                "DREMIO_EDITION": edition,
                "DBT_DREMIO_S3_BUCKET": BUCKET,
                "DBT_DREMIO_S3_SOURCE": SOURCE,
                **{f"DBT_TEST_USER_{number}": name for number, name in enumerate(USERS, 1)},
                **{f"DBT_TEST_ROLE_{number}": name for number, name in enumerate(ROLES, 1)},
            }
        finally:
            dremio.stop()


def _prepare(s3: S3, dremio: Dremio, edition: str) -> None:
    for name in (SOURCE, SAMPLES):
        dremio.http.post("/api/v3/catalog", json=s3.source(name)).raise_for_status()
    dremio.http.post("/api/v3/catalog", json={"entityType": "space", "name": DATABASE}).raise_for_status()
    for folder in ("NYC-taxi-trips", "NYC-taxi-trips-iceberg"):
        s3.put(f"{folder}/1.parquet", _trips(), SAMPLE_BUCKET)
    s3.put("SF_incidents2016.json", _incidents(), SAMPLE_BUCKET)
    for name in ("NYC-taxi-trips", "NYC-taxi-trips-iceberg", "SF_incidents2016.json"):
        dremio.rows(f'ALTER PDS {SAMPLES}."{SAMPLE_BUCKET}"."{name}" REFRESH METADATA AUTO PROMOTION')
    if edition == "enterprise":
        for user in USERS:
            dremio.rows(f'CREATE USER "{user}"')
        for role in (*ROLES, "test:role"):
            dremio.rows(f'CREATE ROLE "{role}"')


def _trips() -> pa.Table:
    """Return rows with the columns of Dremio's sample table of taxi trips."""
    start = datetime(2013, 5, 27, 19, 15)
    return pa.table(
        {
            "pickup_datetime": pa.array([start + timedelta(minutes=n) for n in range(TRIPS)], pa.timestamp("ms")),
            "passenger_count": pa.array([n % 4 + 1 for n in range(TRIPS)], pa.int64()),
            "trip_distance_mi": [n / 10 for n in range(TRIPS)],
            "fare_amount": [2.5 + n / 5 for n in range(TRIPS)],
            "tip_amount": [n % 3 / 2 for n in range(TRIPS)],
            "total_amount": [2.5 + n / 5 + n % 3 / 2 for n in range(TRIPS)],
        }
    )


def _incidents() -> bytes:
    """Return documents with the fields of Dremio's sample file of incidents in San Francisco."""
    days = ("Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday")
    documents: list[dict[str, Any]] = [
        {
            "IncidntNum": str(120058272 + number),
            "Category": ("WEAPON LAWS", "NON-CRIMINAL", "ASSAULT")[number % 3],
            "Descript": "POSS OF PROHIBITED WEAPON",
            "DayOfWeek": days[number % 7],
            "Date": f"2016-01-{number % 31 + 1:02d}T00:00:00.000",
            "Time": f"{number % 24:02d}:00",
            "PdDistrict": ("SOUTHERN", "MISSION")[number % 2],
            "Resolution": "ARREST, BOOKED",
            "Address": "800 Block of BRYANT ST",
            "X": "-122.403404791479",
            "Y": "37.775420706711",
            "Location": "(37.775420706711, -122.403404791479)",
            "PdId": str(12005827212120 + number),
        }
        for number in range(100)
    ]
    return "\n".join(json.dumps(document) for document in documents).encode()
