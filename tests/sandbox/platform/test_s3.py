from __future__ import annotations

from pathlib import Path

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from sandbox import s3
from sandbox.services import Platform


def client(settings, secret: str):
    return boto3.client(
        "s3",
        endpoint_url=settings["S3_ENDPOINT"],
        aws_access_key_id=settings["S3_ACCESS_KEY"],
        aws_secret_access_key=secret,
        region_name=settings["S3_REGION"],
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def test_buckets_keys_and_objects(settings):
    platform = Platform(settings, [s3.service(settings)])
    platform.up()
    lake = client(settings, settings["S3_SECRET_KEY"])
    assert {bucket["Name"] for bucket in lake.list_buckets()["Buckets"]} == {"datalake", "dropzone"}
    lake.put_object(Bucket="datalake", Key="bronze/x.txt", Body=b"kept")
    with pytest.raises(ClientError):
        client(settings, "wrong").list_objects_v2(Bucket="datalake")
    platform.down()
    platform.up()
    assert lake.get_object(Bucket="datalake", Key="bronze/x.txt")["Body"].read() == b"kept"


def test_the_secret_is_not_on_the_command_line(settings):
    platform = Platform(settings, [s3.service(settings)])
    platform.up()
    record = platform.table.records()["s3"]
    assert settings["S3_SECRET_KEY"] not in " ".join(psutil.Process(record.pid).cmdline())
    assert settings["S3_SECRET_KEY"] not in Path(settings.var / "run" / "s3.json").read_text()
