"""destination-elasticsearch: an index for each stream, written in bulk, overwritten by moving an alias."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx

from sandbox.airbyte.connectors.base import Batch, ConfiguredStream, ConnectorError

BULK_BYTES = 5 * 1024 * 1024
TIMEOUT_SECONDS = 60


@dataclass
class _Spooled:
    """What one sync has read of one stream: a file of ready bulk actions."""

    index: str
    stream: ConfiguredStream
    key: list[str]
    path: Path
    file: IO[bytes] | None
    records: int = 0


class ElasticsearchDestination:
    """A sync's way into a cluster.

    Records wait on local disk while the source is read. A document's id is the record's primary key, or else its place
    in the sync: writing it again changes nothing. An overwritten stream goes to an index of its own, and its name is an
    alias that moves there when everything has been written.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
        spool: directory of this sync's own, created here and removed by :meth:`close`.
        sync_id: the job's id.
    """

    def __init__(self, configuration: dict[str, Any], spool: Path, sync_id: int) -> None:
        self._endpoint: str = configuration["endpoint"].rstrip("/")
        self._upsert: bool = configuration.get("upsert", True)
        self._spool = spool
        self._sync_id = sync_id
        self._streams: list[_Spooled] = []
        headers = {"Authorization": value} if (value := _authorization(configuration)) else {}
        base = self._endpoint + "/" + str(configuration.get("pathPrefix") or "").strip("/")
        self._http = httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT_SECONDS)

    @property
    def address(self) -> str:
        """The endpoint."""
        return f"Elasticsearch at {self._endpoint}"

    def check(self) -> None:
        """Ask the cluster for its name and version, as the real connector's check does.

        Raises:
            ConnectorError: naming the endpoint and what it said.
        """
        answer = self._call("GET", "/")
        if answer is None or "version" not in answer:
            raise ConnectorError(f"{self.address} is something else.", "destination", "config_error")

    def open(self, configured: ConfiguredStream, name: str, namespace: str | None, generation_id: int) -> None:
        """Begin a stream; the following :meth:`write` calls belong to it.

        Args:
            configured: the stream and how it is synced.
            name: its name in the destination (with the connection's prefix).
            namespace: its namespace in the destination, or None: the beginning of the index's name.
            generation_id: not written, as by the real connector.
        """
        self._spool.mkdir(parents=True, exist_ok=True)
        index = re.sub(r"[^a-z0-9_-]", "_", f"{namespace}_{name}".lower() if namespace else name.lower())
        key = [path[0] for path in configured.primary_key] if self._upsert else []
        path = self._spool / f"{len(self._streams)}.ndjson"
        self._streams.append(_Spooled(index, configured, key, path, path.open("wb")))

    def write(self, batch: Batch) -> int:
        """Take records of the stream opened last; returns their size in bytes."""
        spooled = self._streams[-1]
        assert spooled.file is not None
        total = 0
        for record in batch if isinstance(batch, list) else batch.to_pylist():
            action = {"index": {"_id": self._document_id(spooled, record)}}
            document = {name: _parsed(value) for name, value in record.items()}
            lines = f"{json.dumps(action)}\n{json.dumps(document, ensure_ascii=False, default=_plain)}\n".encode()
            spooled.file.write(lines)
            spooled.records += 1
            total += len(lines)
        return total

    def finish_stream(self) -> None:
        """End the stream opened last."""
        spooled = self._streams[-1]
        if spooled.file is not None:
            spooled.file.close()
            spooled.file = None

    def publish(self, record: Callable[[str], None], check_cancelled: Callable[[], None]) -> list[str]:
        """Write everything, then move the aliases of overwritten streams, all in one request.

        Args:
            record: called with what :meth:`remove` has to undo after a crash: a new index, or the ids of new documents.
            check_cancelled: called before each bulk request; raises to stop.

        Returns:
            The indices that overwritten streams had before.

        Raises:
            ConnectorError: if the cluster fails or refuses a document.
        """
        moves: list[dict[str, Any]] = []
        replaced: list[str] = []
        for spooled in self._streams:
            target = spooled.index
            if spooled.stream.overwrite:
                target = f"{spooled.index}-{self._sync_id}"
                earlier = [index for index in self._behind(spooled.index) if index != target]
                record(json.dumps({"index": target, "alias": spooled.index, "earlier": earlier}))
                self._call("DELETE", f"/{target}", missing_is_fine=True)
                moves += [{"remove": {"index": index, "alias": spooled.index}} for index in earlier]
                moves.append({"add": {"index": target, "alias": spooled.index}})
                replaced += [json.dumps({"index": index}) for index in earlier]
            elif not spooled.key:
                record(json.dumps({"index": target, "documents": spooled.records}))
            self._call("PUT", f"/{target}", missing_is_fine=True)
            self._bulk(target, _chunks(spooled.path), check_cancelled)
            self._call("POST", f"/{target}/_refresh")
        check_cancelled()
        if moves:
            self._make_way(moves)
            self._call("POST", "/_aliases", content=json.dumps({"actions": moves}))
        return replaced

    def remove(self, keys: list[str]) -> None:
        """Remove indices, or the documents that this sync appended; what is not there (any more) is fine.

        Raises:
            ConnectorError: if the cluster refuses.
        """
        for key in map(json.loads, keys):
            if "documents" in key:
                ids = (json.dumps({"delete": {"_id": self._place(n)}}) + "\n" for n in range(key["documents"]))
                if self._call("HEAD", f"/{key['index']}", missing_is_fine=True) is not None:
                    self._bulk(key["index"], _joined(ids), lambda: None, missing_is_fine=True)
                    self._call("POST", f"/{key['index']}/_refresh")
                continue
            if key["index"] in self._behind(key.get("alias", "")):
                moves = [{"add": {"index": index, "alias": key["alias"]}} for index in key["earlier"]]
                moves.append({"remove": {"index": key["index"], "alias": key["alias"]}})
                self._call("POST", "/_aliases", content=json.dumps({"actions": moves}))
            self._call("DELETE", f"/{key['index']}", missing_is_fine=True)

    def close(self) -> None:
        """Close what is open and remove the local files."""
        for spooled in self._streams:
            if spooled.file is not None:
                spooled.file.close()
        self._http.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _document_id(self, spooled: _Spooled, record: dict[str, Any]) -> str:
        if not spooled.key:
            return self._place(spooled.records)
        # The real connector takes the first column of a composite key alone, and so loses records.
        return "|".join(str(record.get(name)) for name in spooled.key)

    def _place(self, number: int) -> str:
        return f"{self._sync_id}-{number}"

    def _behind(self, alias: str) -> list[str]:
        """Return the indices behind an alias, none if there is no such alias."""
        found = self._call("GET", f"/_alias/{quote(alias)}", missing_is_fine=True) if alias else None
        return sorted(found or {})

    def _make_way(self, moves: list[dict[str, Any]]) -> None:
        """Delete indices that have the name of an alias: streams that were appended to before."""
        for move in moves:
            alias = move.get("add", {}).get("alias")
            if alias and not self._behind(alias):
                self._call("DELETE", f"/{alias}", missing_is_fine=True)

    def _bulk(
        self, index: str, bodies: Iterator[bytes], check_cancelled: Callable[[], None], *, missing_is_fine: bool = False
    ) -> None:
        for body in bodies:
            check_cancelled()
            answer = self._call("POST", f"/{index}/_bulk", content=body) or {}
            for item in answer.get("items", []) if answer.get("errors") else []:
                ((_, result),) = item.items()
                if result["status"] >= 300 and not (missing_is_fine and result["status"] == 404):
                    message = f"{self.address}: document {result['_id']} of {index}: {result.get('error')}"
                    raise ConnectorError(message, "destination", "config_error")

    def _call(
        self, method: str, path: str, *, content: bytes | str | None = None, missing_is_fine: bool = False
    ) -> dict[str, Any] | None:
        """Return an answer's body; None if what the path names is not there, or is there already."""
        kind = "application/x-ndjson" if path.endswith("_bulk") else "application/json"
        with self._translated():
            answer = self._http.request(method, path, content=content, headers={"Content-Type": kind})
        if missing_is_fine and answer.status_code == 404:
            return None
        if missing_is_fine and method == "PUT" and "resource_already_exists_exception" in answer.text:
            return None
        if answer.is_error:
            busy = answer.status_code in (429, 502, 503, 504)
            message = f"{self.address}: {method} {path}: HTTP {answer.status_code} {answer.text[:500]}"
            raise ConnectorError(message, "destination", "transient_error" if busy else "config_error")
        return dict(answer.json()) if answer.content else {}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            message = f"{self.address}: {type(error).__name__}: {error}. Check that it is running."
            raise ConnectorError(message, "destination", "transient_error") from error


def unsupported(configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do, each as a sentence naming the field."""
    if configuration.get("ca_certificate"):
        return ["ca_certificate is not supported; use an endpoint whose certificate the system trusts."]
    return []


def _authorization(configuration: dict[str, Any]) -> str:
    method = configuration.get("authenticationMethod", {})
    if method.get("method") == "basic":
        return "Basic " + base64.b64encode(f"{method['username']}:{method['password']}".encode()).decode()
    if method.get("method") == "secret":
        return "ApiKey " + base64.b64encode(f"{method['apiKeyId']}:{method['apiKeySecret']}".encode()).decode()
    return ""


def _parsed(value: Any) -> Any:
    """Return a text that is a JSON object or array as such, as the real connector does."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None  # JSON has no such numbers
    return value


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; Elasticsearch's own numbers are doubles."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value)


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield a file of bulk actions in pieces of whole actions."""
    with path.open("rb") as file:
        yield from _joined(action.decode() + (file.readline()).decode() for action in iter(file.readline, b""))


def _joined(actions: Iterator[str]) -> Iterator[bytes]:
    piece = bytearray()
    for action in actions:
        piece += action.encode()
        if len(piece) >= BULK_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
