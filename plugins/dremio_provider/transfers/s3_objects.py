"""Objects on S3 that appear only when all of them are complete."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

# S3 takes no smaller part, but for the last one.
MIN_PART_BYTES = 5 << 20
MANIFEST = "_manifest.json"
_OURS = re.compile(r"result-[0-9a-f]{32}-\d{5}\.parquet")


@dataclass(frozen=True)
class ResultFile:
    """A file of a result."""

    key: str
    rows: int
    bytes: int


class MultipartObject:
    """A file-like object that is written in parts, and that nobody sees before :meth:`complete`.

    :param client: boto3's S3 client.
    :param part_bytes: Bytes a part; so many are held in memory.
    """

    def __init__(self, client: Any, bucket: str, key: str, part_bytes: int) -> None:
        self._client = client
        self._where = {"Bucket": bucket, "Key": key}
        self._part_bytes = max(part_bytes, MIN_PART_BYTES)
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: str = client.create_multipart_upload(**self._where)["UploadId"]
        self.key = key
        self.position = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Take bytes; whole parts are sent at once."""
        view = memoryview(data)
        self._buffer += view
        self.position += view.nbytes
        while len(self._buffer) >= self._part_bytes:
            self._send(self._part_bytes)
        return view.nbytes

    def tell(self) -> int:
        """Bytes written so far."""
        return self.position

    def flush(self) -> None:
        """Nothing: what is held is less than a part."""

    def close(self) -> None:
        """Send the rest; nothing of this object is in memory afterwards."""
        if not self.closed:
            self.closed = True
            if self._buffer or not self._parts:
                self._send(len(self._buffer))

    def complete(self) -> None:
        """Make it visible."""
        parts = {"Parts": self._parts}
        self._client.complete_multipart_upload(**self._where, UploadId=self._upload, MultipartUpload=parts)

    def abort(self) -> None:
        """Throw it away. Parquet's writer may still want to write its footer when it is collected."""
        self.closed = True
        self._client.abort_multipart_upload(**self._where, UploadId=self._upload)

    def _send(self, size: int) -> None:
        number = len(self._parts) + 1
        body = bytes(self._buffer[:size])
        answer = self._client.upload_part(**self._where, UploadId=self._upload, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        del self._buffer[:size]


@dataclass
class ResultObjects:
    """The files of one result below a prefix, and the manifest that says which they are.

    Nothing is visible before :meth:`publish`; leaving the block without it throws everything away. The manifest is
    written after the files it names and before those it no longer names are deleted, so that whoever reads it finds a
    whole result at any time.

    :param client: boto3's S3 client.
    :param prefix: Where, without a slash at the end.
    :param part_bytes: Bytes a part of an upload.
    """

    client: Any
    bucket: str
    prefix: str
    part_bytes: int
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    _open: list[MultipartObject] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._abort_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        while self._open:
            self._open.pop().abort()

    def new(self) -> MultipartObject:
        """Begin the next file."""
        key = f"{self.prefix}/result-{self._mark}-{len(self._open):05d}.parquet"
        self._open.append(MultipartObject(self.client, self.bucket, key, self.part_bytes))
        return self._open[-1]

    def publish(self, files: list[ResultFile]) -> str:
        """Make the result visible and take the earlier one away.

        :returns: Key of the manifest.
        """
        while self._open:
            self._open[0].complete()
            # Only now: what is complete is no upload any more, and could not be thrown away.
            del self._open[0]
        manifest = f"{self.prefix}/{MANIFEST}"
        body = {"rows": sum(file.rows for file in files), "files": [asdict(file) for file in files]}
        self.client.put_object(Bucket=self.bucket, Key=manifest, Body=json.dumps(body).encode())
        kept = {file.key for file in files}
        stale = [{"Key": key} for key in self._earlier() if key not in kept]
        for start in range(0, len(stale), 1000):
            self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": stale[start : start + 1000]})
        return manifest

    def _earlier(self) -> Iterator[str]:
        """Files that this class has written below the prefix; those of others are none of its business."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        for page in pages:
            yield from (entry["Key"] for entry in page.get("Contents", []) if self._is_ours(entry["Key"]))

    def _is_ours(self, key: str) -> bool:
        folder, _, name = key.rpartition("/")
        return folder == self.prefix and _OURS.fullmatch(name) is not None

    def _abort_leftovers(self) -> None:
        """Uploads that a killed task has begun are invisible, but are kept and paid for until somebody ends them."""
        try:
            answer = self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        except self.client.exceptions.NoSuchUpload:
            # What rclone's server says instead of an empty list.
            return
        for upload in answer.get("Uploads") or []:
            if self._is_ours(upload["Key"]):
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
