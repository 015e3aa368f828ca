"""One way to talk to S3-compatible servers, for source and destination."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.airbyte.connectors.base import ConnectorError

_CONFIG = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    connect_timeout=10,
    read_timeout=60,
    retries={"max_attempts": 4, "mode": "standard"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
# Clients may be used by any thread, but making two at a time is not safe.
_SESSION_LOCK = threading.Lock()
_CONFIG_ERRORS = {"403", "404", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "SignatureDoesNotMatch"}


@lru_cache(maxsize=16)
def _client(endpoint: str, region: str, access_key: str, secret_key: str) -> Any:
    """Return the client for a server and a pair of keys: making one costs more than a small sync."""
    with _SESSION_LOCK:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region,
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            config=_CONFIG,
        )


class Bucket:
    """A bucket, addressed path-style and without the checksums that simple S3 servers do not know.

    Args:
        name: the bucket.
        endpoint: the server's URL; empty for AWS.
        region: the region's name.
        access_key: access key id, empty for anonymous environments.
        secret_key: secret access key.
        origin: ``source`` or ``destination``, for failures.
    """

    def __init__(self, name: str, endpoint: str, region: str, access_key: str, secret_key: str, origin: str) -> None:
        self.name = name
        self.address = f"{endpoint or 'https://s3.amazonaws.com'} bucket {name}"
        self._origin = origin
        self.client: Any = _client(endpoint, region or "us-east-1", access_key, secret_key)

    @contextmanager
    def guarded(self, doing: str) -> Iterator[None]:
        """Turn every S3 error inside into a :class:`ConnectorError` that names the server, the bucket and the deed."""
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            kind = "config_error" if code in _CONFIG_ERRORS else "transient_error"
            message = f"S3 at {self.address}: {doing} was refused ({code}). Check the bucket, the keys, their rights."
            raise ConnectorError(message, self._origin, kind) from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            reason = f"failed ({type(error).__name__})"
            message = f"S3 at {self.address}: {doing} {reason}. Check that the server is running."
            raise ConnectorError(message, self._origin, "transient_error") from error

    def objects(self, prefix: str) -> Iterator[dict[str, Any]]:
        """Yield the objects below ``prefix`` (``Key``, ``Size``, ``LastModified``).

        Raises:
            ConnectorError: if the server cannot be asked.
        """
        with self.guarded(f"listing {prefix!r}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                yield from page.get("Contents", [])

    def delete(self, keys: list[str]) -> None:
        """Delete objects; a missing one is fine.

        Raises:
            ConnectorError: if the server refuses one.
        """
        for start in range(0, len(keys), 1000):
            chunk = keys[start : start + 1000]
            with self.guarded(f"deleting {len(chunk)} objects"):
                answer = self.client.delete_objects(
                    Bucket=self.name, Delete={"Objects": [{"Key": key} for key in chunk], "Quiet": True}
                )
            if answer.get("Errors"):
                first = answer["Errors"][0]
                message = f"S3 at {self.address}: deleting {first.get('Key')} was refused ({first.get('Code')})."
                raise ConnectorError(message, self._origin)
