"""destination-s3: Parquet and JSON lines, written aside first, published when the whole sync has been read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig

from sandbox.airbyte.connectors.base import Batch, ConfiguredStream
from sandbox.airbyte.connectors.landing import Layout, utc_now
from sandbox.airbyte.connectors.part_writers import PartWriter, writer_for
from sandbox.airbyte.connectors.s3 import Bucket

PART_BYTES = 200 * 1024 * 1024
_TRANSFER = TransferConfig(
    multipart_threshold=64 * 1024 * 1024, multipart_chunksize=32 * 1024 * 1024, max_concurrency=2, use_threads=True
)


def unsupported(configuration: dict[str, Any]) -> list[str]:
    """Return what a valid configuration asks for that this server cannot do, each as a sentence naming the field."""
    missing = []
    form = configuration["format"]
    if form["format_type"] not in ("Parquet", "JSONL"):
        missing.append(f"format.format_type {form['format_type']} is not supported; only Parquet and JSONL are.")
    if form.get("compression_codec") == "LZO":
        missing.append("format.compression_codec LZO is not supported.")
    flattening = form.get("flattening", "No flattening")
    if form["format_type"] == "JSONL" and flattening != "No flattening":
        missing.append(f"format.flattening {flattening!r} is not supported; only 'No flattening' is.")
    if configuration.get("role_arn"):
        missing.append("role_arn is not supported; use access_key_id and secret_access_key.")
    return missing


def bucket_of(configuration: dict[str, Any]) -> Bucket:
    """Return the bucket that a destination's configuration names."""
    return Bucket(
        configuration["s3_bucket_name"],
        configuration.get("s3_endpoint", ""),
        configuration.get("s3_bucket_region", ""),
        configuration.get("access_key_id", ""),
        configuration.get("secret_access_key", ""),
        "destination",
    )


@dataclass
class _Landing:
    """What one sync has written of one stream, still on local disk."""

    name: str
    namespace: str | None
    overwrite: bool
    generation_id: int
    writer: PartWriter
    parts: list[Path] = field(default_factory=list)


class S3Destination:
    """A sync's way into a bucket.

    Nothing is visible in the bucket until :meth:`publish`: parts are written to local disk while the source is read, so
    a sync that fails or is cancelled leaves the bucket as it was.

    Args:
        configuration: as in the connector's specification; valid, with its secrets.
        spool: directory of this sync's own, created here and removed by :meth:`close`.
        sync_id: the job's id.
    """

    def __init__(self, configuration: dict[str, Any], spool: Path, sync_id: int) -> None:
        self.bucket = bucket_of(configuration)
        self._format: dict[str, Any] = configuration["format"]
        self._sync_id = sync_id
        self._spool = spool
        self._landings: list[_Landing] = []
        self._layout = Layout.of(configuration, _extension(self._format))

    @property
    def address(self) -> str:
        """The bucket's address."""
        return self.bucket.address

    def check(self) -> None:
        """Write, list and delete a small object, as the real connector's check does.

        Raises:
            ConnectorError: naming the server, the bucket and the step that failed.
        """
        key = f"{self._layout.bucket_path}/_airbyte_connection_test_{utc_now():%Y%m%d%H%M%S%f}"
        with self.bucket.guarded("writing a test object"):
            self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=b"check-content")
        self.bucket.delete([key])

    def open(self, configured: ConfiguredStream, name: str, namespace: str | None, generation_id: int) -> None:
        """Begin a stream; the following :meth:`write` calls belong to it.

        Args:
            configured: the stream and how it is synced.
            name: its name in the destination (with the connection's prefix).
            namespace: its namespace in the destination, or None.
            generation_id: the generation that its records carry.
        """
        self._spool.mkdir(parents=True, exist_ok=True)
        writer = writer_for(self._format, configured.stream, generation_id, self._sync_id)
        self._landings.append(_Landing(name, namespace, configured.overwrite, generation_id, writer))

    def write(self, batch: Batch) -> int:
        """Write records of the stream opened last; returns their size in bytes.

        Raises:
            ConnectorError: if a value does not fit the stream's schema.
        """
        landing = self._landings[-1]
        if landing.writer.is_open and not landing.writer.takes(batch):
            landing.writer.close()
        if not landing.writer.is_open:
            path = self._spool / f"{len(self._landings)}-{len(landing.parts)}{self._layout.extension}"
            landing.writer.open(path)
            landing.parts.append(path)
        size = landing.writer.write(batch)
        if landing.writer.file_bytes >= PART_BYTES:
            landing.writer.close()
        return size

    def finish_stream(self) -> None:
        """End the stream opened last."""
        self._landings[-1].writer.close()

    def publish(self, record: Callable[[str], None], check_cancelled: Callable[[], None]) -> list[str]:
        """Upload everything; earlier generations are still there afterwards.

        Args:
            record: called with each key before it is written, so that a crash can be cleaned up after.
            check_cancelled: called before each upload; raises to stop.

        Returns:
            The keys that :meth:`remove` may delete: those that overwritten streams had before.

        Raises:
            ConnectorError: if the server fails; uploaded keys stay recorded for the caller to remove.
        """
        previous = [key for landing in self._landings if landing.overwrite for key in self._earlier(landing)]
        written: set[str] = set()
        for landing in self._landings:
            at = utc_now()
            for number, path in enumerate(landing.parts):
                check_cancelled()
                key = self._layout.key(landing.name, landing.namespace, self._sync_id, at, number)
                record(key)
                self._upload(path, key, landing.generation_id)
                written.add(key)
        return [key for key in previous if key not in written]

    def remove(self, keys: list[str]) -> None:
        """Delete objects.

        Raises:
            ConnectorError: if the server refuses.
        """
        self.bucket.delete(keys)

    def close(self) -> None:
        """Close what is open and remove the local files."""
        for landing in self._landings:
            landing.writer.close()
        shutil.rmtree(self._spool, ignore_errors=True)

    def _upload(self, path: Path, key: str, generation_id: int) -> None:
        with self.bucket.guarded(f"writing {key}"):
            self.bucket.client.upload_file(
                str(path),
                self.bucket.name,
                key,
                ExtraArgs={"Metadata": {"ab-generation-id": str(generation_id)}},
                Config=_TRANSFER,
            )
        path.unlink()

    def _earlier(self, landing: _Landing) -> list[str]:
        prefix, pattern = self._layout.earlier(landing.name, landing.namespace)
        return [item["Key"] for item in self.bucket.objects(prefix) if pattern.fullmatch(item["Key"])]


def _extension(form: dict[str, Any]) -> str:
    if form["format_type"] == "Parquet":
        return ".parquet"
    compression = form.get("compression", {}).get("compression_type", "No Compression")
    return ".jsonl.gz" if compression == "GZIP" else ".jsonl"
