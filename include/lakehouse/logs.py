"""The log of a sync: from Airbyte to Elasticsearch, for searching, and to the lake, for keeping."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lakehouse import archive, connections
from lakehouse.airbyte import ConfigApi
from lakehouse.lake import Lake

_log = logging.getLogger(__name__)
INDEX_PREFIX = "airbyte-logs-"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# "2026-11-01 01:00:05 source > INFO main i.a.Reader(read):42 - message", and shorter forms of it
_LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?)Z?\s+"
    r"(?:(?P<service>[A-Za-z][\w-]*)\s+>\s+)?"
    r"(?:\[?(?P<level>TRACE|DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\]?\s+)?"
    r"(?P<message>.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class SyncLogs:
    """What was shipped of one sync.

    Args:
        job_id: The sync job.
        lines: How many log lines it has.
        indices: Elasticsearch indices that hold them.
        object_key: Object of the lake that holds them.
    """

    job_id: int
    lines: int
    indices: tuple[str, ...]
    object_key: str

    def to_dict(self) -> dict[str, Any]:
        """Return the same as plain values, for XCom."""
        return {**asdict(self), "indices": list(self.indices)}


class LogShippingError(RuntimeError):
    """Elasticsearch did not take every line."""


def ship_sync_logs(
    job_id: int, connection_id: str | None = None, *, elasticsearch_conn_id: str = "elasticsearch_default"
) -> SyncLogs:
    """Ship the log of one sync; shipping it again changes nothing.

    Args:
        job_id: The sync job.
        connection_id: The Airbyte connection; the job's own when not given.
        elasticsearch_conn_id: Airflow connection of Elasticsearch.

    Returns:
        What was shipped.

    Raises:
        AirbyteError: When the job cannot be read.
        LogShippingError: When Elasticsearch cannot be reached or refuses a line.
    """
    with ConfigApi.from_connection() as api:
        job = api.job(int(job_id))
    lines = list(documents(job, connection_id))
    key = archive.log_key("airbyte", datetime.fromtimestamp(job["job"]["createdAt"], UTC), f"job-{job_id}")
    archive.store(Lake.from_connection(), key, (line for _, line in lines))
    indices = _index(lines, elasticsearch_conn_id)
    _log.info("sync %s: %d log lines in %s and %s", job_id, len(lines), ", ".join(indices) or "no index", key)
    return SyncLogs(int(job_id), len(lines), indices, key)


def documents(job: Mapping[str, Any], connection_id: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the log lines of a job as documents.

    Every line carries the records and bytes of its attempt, as it carries the job and the connection.

    Args:
        job: What the Config API returned for the job.
        connection_id: The Airbyte connection; the job's own when not given.

    Yields:
        Document id (the same whenever it is read) and document, in the order of the log.
    """
    head = job["job"]
    for number, info in enumerate(job.get("attempts", [])):
        attempt = info.get("attempt", {})
        totals = attempt.get("totalStats") or {}
        common = {
            "job_id": str(head["id"]),
            "connection_id": connection_id or str(head["configId"]),
            "records_synced": attempt.get("recordsSynced") or totals.get("recordsCommitted") or 0,
            "bytes_synced": attempt.get("bytesSynced") or totals.get("bytesCommitted") or 0,
        }
        started = float(attempt.get("createdAt") or head["createdAt"])
        for line, entry in enumerate(_entries(info.get("logs") or {}, started)):
            yield f"{head['id']}-{attempt.get('id', number)}-{line:06d}", {**entry, **common}


def _entries(logs: Mapping[str, Any], started: float) -> Iterator[dict[str, Any]]:
    if logs.get("events") is not None:
        for event in logs["events"]:
            yield _event(event, started)
        return
    at, level, service = _iso(started), "INFO", "platform"
    for raw in logs.get("logLines") or ():
        text = _ANSI.sub("", str(raw)).rstrip()
        match = _LINE.fullmatch(text)
        if match is None:
            # A line without a time goes on with what the line before it said: a stack trace, mostly.
            yield {"timestamp": at, "level": level, "service": service, "message": text}
            continue
        at = _iso(match["at"])
        level = _level(match["level"])
        service = match["service"] or "platform"
        yield {"timestamp": at, "level": level, "service": service, "message": match["message"]}


def _event(event: Mapping[str, Any], started: float) -> dict[str, Any]:
    message = str(event.get("message", ""))
    trace = event.get("stackTrace")
    throwable = event.get("throwable")
    if not trace and isinstance(throwable, Mapping):
        trace = throwable.get("message") or throwable.get("stackTrace")
    return {
        "timestamp": _iso(event.get("timestamp", started)),
        "level": _level(event.get("level")),
        "service": str(event.get("logSource") or "platform"),
        "message": f"{message}\n{trace}" if trace else message,
    }


def _level(name: object) -> str:
    text = str(name or "INFO").upper()
    return "WARN" if text == "WARNING" else text


def _iso(value: object) -> str:
    """Return a time as ISO 8601 in UTC with milliseconds; a number is seconds or milliseconds since 1970."""
    if isinstance(value, int | float):
        seconds = value / 1000 if value > 100_000_000_000 else value
        moment = datetime.fromtimestamp(seconds, UTC)
    else:
        moment = datetime.fromisoformat(str(value).replace(",", ".").replace(" ", "T", 1))
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _index(lines: Iterable[tuple[str, dict[str, Any]]], conn_id: str) -> tuple[str, ...]:
    from elasticsearch import ApiError, TransportError, helpers

    indices: set[str] = set()

    def actions() -> Iterator[dict[str, Any]]:
        for identifier, line in lines:
            index = INDEX_PREFIX + line["timestamp"][:10].replace("-", ".")
            indices.add(index)
            yield {"_op_type": "index", "_index": index, "_id": identifier, "_source": line}

    address = connections.get(conn_id)
    client = elasticsearch_client(address)
    try:
        _, errors = helpers.bulk(client, actions(), chunk_size=500, raise_on_error=False, refresh=True)
    except (ApiError, TransportError) as error:
        raise LogShippingError(
            f"Elasticsearch at {address.url} did not take the log lines: {error}. Start it, or correct the Airflow "
            f"connection {conn_id!r}; shipping again adds nothing twice."
        ) from error
    finally:
        client.close()
    if errors and isinstance(errors, list):
        raise LogShippingError(
            f"Elasticsearch at {address.url} refused {len(errors)} log lines, first: {errors[0]}. "
            "Check the index template in include/elasticsearch."
        )
    return tuple(sorted(indices))


def elasticsearch_client(address: connections.Address) -> Any:
    """Return an Elasticsearch client for an Airflow connection.

    Args:
        address: Its values; without a login no authentication is used.
    """
    from elasticsearch import Elasticsearch

    auth = (address.login, address.password) if address.login else None
    return Elasticsearch(
        address.url, basic_auth=auth, request_timeout=30, max_retries=2, retry_on_timeout=True, meta_header=False
    )
