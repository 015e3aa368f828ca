"""Create the lake's buckets. Buckets that are there stay as they are."""

from __future__ import annotations

import os

import boto3
from botocore.config import Config


def main() -> None:
    """Create the buckets named in S3_BUCKET and S3_DROPZONE_BUCKET on the server at S3_ENDPOINT."""
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT"],
        aws_access_key_id=os.environ["S3_ACCESS_KEY"],
        aws_secret_access_key=os.environ["S3_SECRET_KEY"],
        region_name=os.environ["S3_REGION"],
        config=Config(s3={"addressing_style": "path"}, connect_timeout=10, read_timeout=30),
    )
    present = {bucket["Name"] for bucket in client.list_buckets().get("Buckets", [])}
    for name in (os.environ["S3_BUCKET"], os.environ["S3_DROPZONE_BUCKET"]):
        if name in present:
            print(f"bucket {name} is there")
        else:
            client.create_bucket(Bucket=name)
            print(f"bucket {name} created")


if __name__ == "__main__":
    main()
