"""The returns partner's CSV files, and their way into the drop zone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from sandbox.shop.settings import ShopError, ShopSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from sandbox.shop.generate import Shop

BATCHES: Final = 12
PREFIX: Final = "returns/"


def file_names() -> list[str]:
    """Return the names of the partner's files, ``batch_001.csv`` to ``batch_012.csv``."""
    return [f"batch_{number:03d}.csv" for number in range(1, BATCHES + 1)]


def write(shop: Shop, directory: Path) -> int:
    """Write the partner's files.

    Args:
        shop: where the rows come from.
        directory: receives the files; each replaces its predecessor when it is complete.

    Returns:
        the number of rows in all of them, without headers.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows = 0
    for number, name in enumerate(file_names(), start=1):
        temporary = directory / f".{name}.tmp"
        rows += shop.write_returns(number, temporary)
        temporary.replace(directory / name)
    return rows


def complete(directory: Path) -> bool:
    """Say whether all of the partner's files are there."""
    return all((directory / name).is_file() for name in file_names())


def upload(settings: ShopSettings, *, only_missing: bool) -> int:
    """Upload the partner's files to the drop zone, whose bucket is created if it is missing.

    Args:
        settings: the load's settings.
        only_missing: leave objects alone that are there with the right size.

    Returns:
        how many objects were uploaded.

    Raises:
        ShopError: if the S3 server does not answer or refuses.
    """
    # botocore alone, because boto3's transfer manager doubles the time of the call that finds nothing to do.
    from botocore.exceptions import BotoCoreError, ClientError

    client = _client(settings)
    bucket = settings.dropzone_bucket
    try:
        present = _present(client, bucket)
        uploaded = 0
        for path in (settings.files_directory / name for name in file_names()):
            key = PREFIX + path.name
            if not only_missing or present.get(key) != path.stat().st_size:
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), ContentType="text/csv")
                uploaded += 1
    except (BotoCoreError, ClientError) as error:
        raise ShopError(
            f"the drop zone {bucket} at {settings.s3_endpoint} refused: {error}. Is the S3 server running, and are "
            f"S3_ACCESS_KEY and S3_SECRET_KEY its own?"
        ) from error
    return uploaded


def _present(client: S3Client, bucket: str) -> dict[str, int]:
    """The partner's objects and their sizes in bytes; the bucket is created if it is missing."""
    buckets: Iterable[Any] = client.list_buckets().get("Buckets", [])
    if bucket not in {entry["Name"] for entry in buckets}:
        client.create_bucket(Bucket=bucket)
        return {}
    listing = client.list_objects_v2(Bucket=bucket, Prefix=PREFIX)
    return {entry["Key"]: entry["Size"] for entry in listing.get("Contents", [])}


def _client(settings: ShopSettings) -> S3Client:
    from botocore.config import Config
    from botocore.session import get_session

    # Checksums in trailers and virtual-host addressing are beyond small S3 servers.
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 3, "mode": "standard"},
    )
    client = get_session().create_client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name=settings.s3_region,
        config=config,
    )
    return cast("S3Client", client)
