"""The object store behind a source: listing, reading to disk, writing and deleting, with boto3 only.

pyarrow's and fsspec's file systems write directory markers, which corrupt a prefix on rclone; plain calls do not.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.dremio.entities import Source
from sandbox.dremio.errors import StorageError

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_SECONDS = 5
READ_SECONDS = 60
DELETE_BATCH = 1000


@dataclass(frozen=True)
class StoredObject:
    """One object as the store lists it.

    Args:
        key: object key within the bucket.
        size: bytes.
        etag: entity tag without quotes.
        modified: milliseconds since 1970.
    """

    key: str
    size: int
    etag: str
    modified: int


def _reported(call: Callable[P, T]) -> Callable[P, T]:
    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except (BotoCoreError, ClientError) as error:
            lake = args[0]
            address = lake.address if isinstance(lake, Lake) else "the object store"
            raise StorageError(f"S3 at {address}: {call.__name__} failed: {error}") from error

    return wrapped


class Lake:
    """The S3 store of one source.

    Args:
        source: a source of type S3; its config says where the store is and with what keys it is opened.
    """

    def __init__(self, source: Source) -> None:
        config = source.config
        properties = {entry.get("name"): str(entry.get("value", "")) for entry in config.get("propertyList") or []}
        endpoint = properties.get("fs.s3a.endpoint", "")
        scheme = "https" if str(config.get("secure", "")).lower() == "true" else "http"
        self.address = endpoint if "://" in endpoint else f"{scheme}://{endpoint}" if endpoint else "AWS"
        self.root = str(config.get("rootPath") or "/").strip("/")
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=None if self.address == "AWS" else self.address,
            aws_access_key_id=config.get("accessKey") or None,
            aws_secret_access_key=config.get("accessSecret") or None,
            region_name=properties.get("fs.s3a.endpoint.region") or "us-east-1",
            config=Config(
                signature_version="s3v4",
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=16,
                retries={"max_attempts": 4, "mode": "standard"},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def locate(self, path: tuple[str, ...]) -> tuple[str, str]:
        """Return bucket and key prefix (without a slash at the end) of a path below the source.

        Args:
            path: catalog path, the source's name first.
        """
        parts = [*(part for part in self.root.split("/") if part), *path[1:]]
        if not parts:
            return "", ""
        return parts[0], "/".join(parts[1:])

    @_reported
    def buckets(self) -> list[str]:
        """Return the names of all buckets."""
        return [bucket["Name"] for bucket in self._client.list_buckets()["Buckets"]]

    @_reported
    def objects(self, bucket: str, prefix: str) -> list[StoredObject]:
        """Return all objects below a prefix, ordered by key.

        Args:
            bucket: bucket name.
            prefix: key prefix without a slash at the end; empty for the whole bucket.
        """
        found = []
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=f"{prefix}/" if prefix else ""):
            found += [_stored(entry) for entry in page.get("Contents", [])]
        return sorted(found, key=lambda entry: entry.key)

    @_reported
    def head(self, bucket: str, key: str) -> StoredObject | None:
        """Return one object's entry, None if there is no such object."""
        try:
            answer = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return None
            raise
        modified = int(answer["LastModified"].timestamp() * 1000)
        return StoredObject(key, int(answer["ContentLength"]), answer["ETag"].strip('"'), modified)

    @_reported
    def folder(self, bucket: str, prefix: str) -> tuple[list[str], list[StoredObject]]:
        """Return the folders and the objects directly below a prefix.

        Args:
            bucket: bucket name.
            prefix: key prefix without a slash at the end; empty for the bucket itself.
        """
        start = f"{prefix}/" if prefix else ""
        folders: list[str] = []
        objects: list[StoredObject] = []
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=start, Delimiter="/"):
            folders += [entry["Prefix"][len(start) :].rstrip("/") for entry in page.get("CommonPrefixes", [])]
            objects += [_stored(entry) for entry in page.get("Contents", []) if entry["Key"] != start]
        return sorted(folders), sorted(objects, key=lambda entry: entry.key)

    @_reported
    def exists(self, bucket: str, prefix: str) -> bool:
        """Return whether an object lies at or below a prefix."""
        answer = self._client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
        return bool(answer.get("Contents")) or (bool(prefix) and self.head(bucket, prefix) is not None)

    @_reported
    def download(self, bucket: str, key: str, target: Path) -> str:
        """Write an object to a local file, atomically.

        Returns:
            str: the entity tag of what was read.
        """
        answer = self._client.get_object(Bucket=bucket, Key=key)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        with partial.open("wb") as stream:
            for chunk in answer["Body"].iter_chunks(1 << 20):
                stream.write(chunk)
        partial.replace(target)
        return str(answer["ETag"]).strip('"')

    @_reported
    def upload(self, bucket: str, key: str, origin: Path) -> None:
        """Write a local file as one object; readers see the old content or the new, never a part of it."""
        with origin.open("rb") as stream:
            self._client.put_object(Bucket=bucket, Key=key, Body=stream)

    @_reported
    def delete(self, bucket: str, keys: list[str]) -> None:
        """Delete objects; keys that are gone already are no error."""
        for start in range(0, len(keys), DELETE_BATCH):
            batch = [{"Key": key} for key in keys[start : start + DELETE_BATCH]]
            answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
            failed = [entry for entry in answer.get("Errors", []) if entry.get("Code") != "NoSuchKey"]
            if failed:
                first = failed[0]
                raise StorageError(
                    f"S3 at {self.address}: {len(failed)} objects of bucket {bucket} could not be deleted, "
                    f"the first is {first.get('Key')}: {first.get('Message')}"
                )


def _stored(entry: dict[str, Any]) -> StoredObject:
    modified = int(entry["LastModified"].timestamp() * 1000)
    return StoredObject(entry["Key"], int(entry["Size"]), str(entry["ETag"]).strip('"'), modified)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, which is the entity tag an S3 store gives an object put in one piece."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk


class Lakes:
    """One :class:`Lake` per source, made when first needed and again when the source's configuration changed."""

    def __init__(self) -> None:
        self._lakes: dict[str, tuple[str, Lake]] = {}
        self._lock = threading.Lock()

    def of(self, source: Source) -> Lake:
        """Return the store of a source."""
        with self._lock:
            known = self._lakes.get(source.id)
            if known is None or known[0] != source.tag:
                known = (source.tag, Lake(source))
                self._lakes[source.id] = known
            return known[1]
