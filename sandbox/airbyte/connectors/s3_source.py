"""source-s3: CSV files in a bucket, one stream for each set of globs."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from sandbox.airbyte.connectors.arrow_types import arrow_type
from sandbox.airbyte.connectors.base import Batch, CancelledSync, ConfiguredStream, ConnectorError, Log, Stream
from sandbox.airbyte.connectors.csv_format import NARROW_TYPES, CsvFormat
from sandbox.airbyte.connectors.s3 import Bucket

FILE_URL = "_ab_source_file_url"
FILE_LAST_MODIFIED = "_ab_source_file_last_modified"
_MODIFIED_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def unsupported(configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do, each as a sentence naming the field."""
    missing = []
    for number, stream in enumerate(configuration["streams"]):
        where = f"streams.{number}"
        form = stream["format"]
        if form["filetype"] != "csv":
            missing.append(f"{where}.format.filetype {form['filetype']} is not supported; only csv is.")
        if stream.get("validation_policy", "Emit Record") != "Emit Record":
            missing.append(f"{where}.validation_policy is not supported; only 'Emit Record' is.")
        fields = ("schemaless", "input_schema")
        missing.extend(f"{where}.{name} is not supported." for name in fields if stream.get(name))
    delivery = configuration.get("delivery_method", {}).get("delivery_type", "use_records_transfer")
    if delivery != "use_records_transfer":
        missing.append(f"delivery_method.delivery_type {delivery} is not supported; only use_records_transfer is.")
    if configuration.get("role_arn"):
        missing.append("role_arn is not supported; use aws_access_key_id and aws_secret_access_key.")
    return missing


class S3Source:
    """A bucket as an Airbyte source.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.bucket = Bucket(
            configuration["bucket"],
            configuration.get("endpoint", ""),
            configuration.get("region_name", ""),
            configuration.get("aws_access_key_id", ""),
            configuration.get("aws_secret_access_key", ""),
            "source",
        )
        self._streams: dict[str, dict[str, Any]] = {stream["name"]: stream for stream in configuration["streams"]}
        self._start: str = configuration.get("start_date", "")
        self._interrupted = threading.Event()

    def check(self) -> None:
        """List every stream's files and read the header of the first one.

        Raises:
            ConnectorError: naming the bucket and the stream that has no file or cannot be read.
        """
        for name, stream in self._streams.items():
            first = next(self._files(stream), None)
            if first is None:
                globs = ", ".join(self._globs(stream))
                message = f"S3 at {self.bucket.address}: stream {name} has no file that matches {globs}."
                raise ConnectorError(message, "source", "config_error")
            self._columns(stream, first["Key"])

    def discover(self) -> list[Stream]:
        """Return one stream for each configured one, its columns gathered from all its files.

        A column's type is the narrowest that the beginning of every file allows; without inference it is a string.

        Raises:
            ConnectorError: if the bucket or a file cannot be read.
        """
        streams = []
        for name, stream in self._streams.items():
            types: dict[str, set[str]] = {}
            for item in self.files(stream):
                for column, allowed in self._columns(stream, item["Key"]).items():
                    types[column] = types.get(column, set(NARROW_TYPES)) & allowed
            properties: dict[str, Any] = {
                column: {"type": ["null", next((kind for kind in NARROW_TYPES if kind in allowed), "string")]}
                for column, allowed in types.items()
            }
            properties[FILE_LAST_MODIFIED] = {"type": "string"}
            properties[FILE_URL] = {"type": "string"}
            streams.append(Stream(name, None, {"type": "object", "properties": properties}))
        return streams

    def read(self, configured: ConfiguredStream, state: dict[str, Any] | None, log: Log) -> S3Reader:
        """Begin a pass over a stream's files, in the order of their names.

        Raises:
            ConnectorError: if the stream is not configured in the source any more.
        """
        stream = self._streams.get(configured.stream.name)
        if stream is None:
            message = f"S3 at {self.bucket.address}: the source has no stream {configured.stream.name} any more."
            raise ConnectorError(message, "source", "config_error")
        return S3Reader(self, stream, configured.stream, log)

    def interrupt(self) -> None:
        """Stop before the next block."""
        self._interrupted.set()

    def blocks(self, stream: dict[str, Any], item: dict[str, Any], types: dict[str, str]) -> Iterator[Any]:
        """Yield a file's rows in Arrow batches.

        Args:
            stream: the stream's configuration.
            item: the file.
            types: JSON type of each column that is not text.

        Raises:
            ConnectorError: naming the file, if it cannot be read as CSV or a value does not have its column's type.
        """
        with self._opened(item["Key"]) as body:
            for batch in CsvFormat(stream["format"]).batches(body, types):
                if self._interrupted.is_set():
                    raise CancelledSync
                yield batch

    def files(self, stream: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the files of a stream, by name."""
        return sorted(self._files(stream), key=lambda item: str(item["Key"]))

    def _files(self, stream: dict[str, Any]) -> Iterator[dict[str, Any]]:
        globs = self._globs(stream)
        patterns = [re.compile(glob_expression(glob)) for glob in globs]
        prefix = _common_prefix([re.split(r"[*?\[{]", glob, maxsplit=1)[0] for glob in globs])
        for item in self.bucket.objects(prefix):
            if item["Key"].endswith("/") or not item["Size"]:
                continue
            recent = modified(item) >= self._start if self._start else True
            if recent and any(pattern.fullmatch(item["Key"]) for pattern in patterns):
                yield item

    @staticmethod
    def _globs(stream: dict[str, Any]) -> list[str]:
        globs: list[str] = stream.get("globs") or ["**"]
        return globs

    def _columns(self, stream: dict[str, Any], key: str) -> dict[str, set[str]]:
        with self._opened(key) as body:
            return CsvFormat(stream["format"]).columns(body)

    @contextmanager
    def _opened(self, key: str) -> Iterator[Any]:
        """Open a file; what goes wrong while it is read becomes a ConnectorError that names it."""
        with self.bucket.guarded(f"reading {key}"):
            body = self.bucket.client.get_object(Bucket=self.bucket.name, Key=key)["Body"]
            with closing(body):
                try:
                    yield body
                except (pa.ArrowInvalid, ValueError) as error:
                    message = f"S3 at {self.bucket.address}: {key} cannot be read as CSV: {error}"
                    raise ConnectorError(message, "source", "config_error") from error


class S3Reader:
    """One pass over the files of one stream.

    Args:
        source: the source it belongs to.
        stream: the stream's configuration in the source.
        described: the stream as it was discovered, narrowed to the selected fields.
        log: where to say what is read.
    """

    def __init__(self, source: S3Source, stream: dict[str, Any], described: Stream, log: Log) -> None:
        self._source = source
        self._stream = stream
        self._columns = described.columns
        self._schema: dict[str, dict[str, Any]] = described.json_schema["properties"]
        self._log = log

    def batches(self) -> Iterator[Batch]:
        """Yield the rows of every file, with the file's name and time."""
        types = {name: str(schema["type"][-1]) for name, schema in self._schema.items() if schema["type"] != "string"}
        for item in self._source.files(self._stream):
            rows = 0
            for batch in self._source.blocks(self._stream, item, types):
                if batch.num_rows:
                    rows += batch.num_rows
                    yield self._completed(batch, item)
            self._log("info", f"{self._stream['name']}: {rows} records from {item['Key']}")

    def state(self) -> dict[str, Any] | None:
        """Files are always read in full: there is nothing to remember."""
        return None

    def _completed(self, batch: Any, item: dict[str, Any]) -> Any:
        added = {FILE_URL: item["Key"], FILE_LAST_MODIFIED: modified(item)}
        arrays = []
        for name in self._columns:
            if name in added:
                arrays.append(pa.repeat(pa.scalar(added[name], pa.string()), batch.num_rows))
            elif name in batch.schema.names:
                arrays.append(batch.column(name))
            else:
                arrays.append(pa.nulls(batch.num_rows, arrow_type(self._schema[name])))
        return pa.RecordBatch.from_arrays(arrays, names=self._columns)


def modified(item: dict[str, Any]) -> str:
    """Return when an object was last written, in the form of ``_ab_source_file_last_modified``."""
    at: datetime = item["LastModified"]
    return at.astimezone(UTC).strftime(_MODIFIED_FORMAT)


def glob_expression(glob: str) -> str:
    """Return a glob as a regular expression: ``*`` in a folder, ``**`` across, ``?``, ``[..]``, ``{a,b}``, ``a|b``."""
    expression, position = "", 0
    for match in re.finditer(r"\*\*/|\*\*|\*|\?|\[[^\]]*\]|\{[^}]*\}|\|", glob):
        expression += re.escape(glob[position : match.start()])
        token = match[0]
        if token.startswith("{"):
            expression += "(?:" + "|".join(glob_expression(part) for part in token[1:-1].split(",")) + ")"
        elif token.startswith("["):
            expression += token.replace("[!", "[^")
        else:
            expression += {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "|": "|"}[token]
        position = match.end()
    return expression + re.escape(glob[position:])


def _common_prefix(prefixes: list[str]) -> str:
    shortest, longest = min(prefixes), max(prefixes)
    for index, character in enumerate(shortest):
        if character != longest[index]:
            return shortest[:index]
    return shortest
