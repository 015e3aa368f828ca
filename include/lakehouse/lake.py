"""The lake: one bucket of an S3-compatible object store, through the Airflow connection ``lake_s3``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lakehouse import connections

DEFAULT_CONNECTION = "lake_s3"
_MEBIBYTE = 1024 * 1024
_ONE_REQUEST = 8 * _MEBIBYTE  # up to this size, the transfer manager costs more than it saves
_DELETE_BATCH = 1000  # the most keys that DeleteObjects takes


class LakeError(RuntimeError):
    """The object store refused or failed a request."""


@dataclass(frozen=True)
class StoredObject:
    """One object of the lake: its key and its size in bytes."""

    key: str
    size: int

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rsplit("/", 1)[-1]


class Lake:
    """Reads and writes the objects of one bucket.

    Only operations that every S3-compatible server carries out safely are used: whole-object writes, server-side
    copies and DeleteObjects. A write is visible whole or not at all.

    Args:
        client: A boto3 S3 client.
        bucket: Name of the bucket.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    @classmethod
    def from_connection(cls, conn_id: str = DEFAULT_CONNECTION, *, timeout: float = 60.0, attempts: int = 4) -> Lake:
        """Open the lake of an Airflow connection.

        Args:
            conn_id: A connection of type aws: login and password are the keys; extra holds endpoint_url, region_name,
                config_kwargs and service_config.s3.bucket_name.
            timeout: Longest wait for a piece of an answer, in seconds.
            attempts: How often a request is tried in all.

        Raises:
            ConnectionMissing: When Airflow has no such connection.
            LakeError: When the connection names no bucket.
        """
        address = connections.get(conn_id)
        try:
            bucket = str(address.extra["service_config"]["s3"]["bucket_name"])
        except (KeyError, TypeError) as error:
            raise LakeError(
                f"Airflow connection {conn_id!r} names no bucket: put "
                '{"service_config": {"s3": {"bucket_name": "<bucket>"}}} into its extra.'
            ) from error
        return cls(_client(address, timeout, attempts), bucket)

    @property
    def address(self) -> str:
        """Where the bucket is, for messages."""
        return f"{self._client.meta.endpoint_url}/{self.bucket}"

    def ping(self) -> None:
        """Ask for the bucket; raises what boto3 raises when it cannot be reached."""
        self._client.head_bucket(Bucket=self.bucket)

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """Yield the objects below a prefix in key order; directory markers of size 0 are left out.

        Args:
            prefix: What the keys begin with.
            after: Leave out the keys up to and including this one.
        """
        paginator = self._client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=self.bucket, Prefix=prefix, **({"StartAfter": after} if after else {}))
        for page in pages:
            for item in page.get("Contents", []):
                if not (item["Key"].endswith("/") and item["Size"] == 0):
                    yield StoredObject(item["Key"], item["Size"])

    def find(self, key: str) -> StoredObject | None:
        """Return one object's key and size, or None when there is none."""
        from botocore.exceptions import ClientError

        try:
            head = self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
        return StoredObject(key, head["ContentLength"])

    def get(self, key: str) -> bytes:
        """Return one small object whole; raises LakeError when there is none."""
        try:
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey as error:
            raise LakeError(f"{self.address}/{key} does not exist") from error
        return body

    def download(self, key: str, path: Path, size: int | None = None) -> None:
        """Write one object to a local file, in pieces unless it is small.

        Args:
            key: The object.
            path: The file; replaced when it exists.
            size: Its size in bytes, when known: it need not be asked for then.
        """
        if size is not None and size <= _ONE_REQUEST:
            path.write_bytes(self.get(key))
            return
        self._client.download_file(self.bucket, key, str(path), Config=_transfer())

    def upload(self, path: Path, key: str, content_type: str = "application/octet-stream") -> None:
        """Write a local file as one object, in pieces unless it is small; visible only when complete.

        Args:
            path: The file.
            key: The object; replaced when it exists.
            content_type: Its media type.
        """
        if path.stat().st_size <= _ONE_REQUEST:
            self.put(key, path.read_bytes(), content_type)
            return
        self._client.upload_file(
            str(path), self.bucket, key, ExtraArgs={"ContentType": content_type}, Config=_transfer()
        )

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Write one small object; replaced when it exists."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)

    def copy(self, source: str, target: str) -> None:
        """Copy one object inside the bucket, on the server."""
        self._client.copy_object(Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": source})

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects; one that is gone already counts as deleted.

        Args:
            keys: The objects.

        Returns:
            How many were asked to go.

        Raises:
            LakeError: When the store kept one of them; the message names the first.
        """
        pending = list(keys)
        for start in range(0, len(pending), _DELETE_BATCH):
            batch = pending[start : start + _DELETE_BATCH]
            reply = self._client.delete_objects(
                Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True}
            )
            errors = reply.get("Errors", [])
            if errors:
                first = errors[0]
                raise LakeError(
                    f"{self.address}: {len(errors)} of {len(batch)} objects could not be deleted, first "
                    f"{first.get('Key')}: {first.get('Code')} {first.get('Message', '')}. Check the rights of the keys "
                    f"in Airflow connection {DEFAULT_CONNECTION!r}."
                )
        return len(pending)


def _transfer() -> Any:
    from boto3.s3.transfer import TransferConfig

    return TransferConfig(multipart_threshold=64 * _MEBIBYTE, multipart_chunksize=16 * _MEBIBYTE, max_concurrency=2)


def _client(address: connections.Address, timeout: float, attempts: int) -> Any:
    """Return a boto3 client for a connection; its config_kwargs win over the safe defaults."""
    import boto3
    from botocore.config import Config

    settings: dict[str, Any] = {
        "s3": {"addressing_style": "path"},
        "signature_version": "s3v4",
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "connect_timeout": min(5.0, timeout),
        "read_timeout": timeout,
        "retries": {"mode": "standard", "max_attempts": attempts},
    }
    settings.update(address.extra.get("config_kwargs") or {})
    # A session of its own: boto3's default session is not safe to share between threads.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=address.extra.get("endpoint_url") or None,
        region_name=address.extra.get("region_name") or None,
        aws_access_key_id=address.login or None,
        aws_secret_access_key=address.password or None,
        config=Config(**settings),
    )
