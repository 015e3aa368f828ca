"""Transfer of a query's result from Dremio to Parquet files on S3, as a stream."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from dremio_provider.exceptions import DremioConfigurationError, DremioTransientError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import parse_path, quote_path
from dremio_provider.protocol import DEFAULT_CONN_ID
from dremio_provider.transfers.s3_objects import MultipartObject, ResultFile, ResultObjects

if TYPE_CHECKING:
    import pyarrow as pa
    from airflow.sdk import Context

COMPRESSIONS = ("zstd", "snappy", "gzip", "lz4", "brotli", "none")


class DremioToS3Operator(BaseOperator):
    """Stream a query's result over Arrow Flight into Parquet files on S3.

    Memory holds about one row group and one part of an upload, however large the result is. The files appear when all
    of them are complete, together with ``_manifest.json``, which names them; running the task again replaces them. A
    task that fails or is killed leaves the earlier result as it was.

    :param sql: The query, or the name of a ``.sql`` file that holds it.
    :param s3_bucket: Bucket.
    :param s3_prefix: Folder in the bucket that belongs to this result.
    :param aws_conn_id: Airflow connection of type ``aws``, with keys and ``endpoint_url``.
    :param dremio_conn_id: Airflow connection of type ``dremio``.
    :param sql_context: Path that unqualified names are looked up in, such as ``gold``.
    :param max_rows_per_file: Begin a new file after so many rows.
    :param max_bytes_per_file: Begin a new file after so many bytes.
    :param row_group_rows: Rows a row group at most.
    :param row_group_bytes: Bytes a row group in memory, before it is compressed, at most (a single record batch of
        Dremio's may be larger).
    :param part_bytes: Bytes a part of an upload (5 MiB at least).
    :param compression: zstd, snappy, gzip, lz4, brotli or none.
    :param compression_level: Level of the codec; by default its own.
    :param timeout: Seconds for the query and for reading it.
    """

    template_fields: Sequence[str] = ("sql", "s3_bucket", "s3_prefix", "sql_context", "aws_conn_id", "dremio_conn_id")
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql"}
    ui_color = "#dcd3f0"

    def __init__(
        self,
        *,
        sql: str,
        s3_bucket: str,
        s3_prefix: str,
        aws_conn_id: str = "aws_default",
        dremio_conn_id: str = DEFAULT_CONN_ID,
        sql_context: str | None = None,
        max_rows_per_file: int | None = None,
        max_bytes_per_file: int | None = 512 << 20,
        row_group_rows: int = 1_000_000,
        row_group_bytes: int = 64 << 20,
        part_bytes: int = 8 << 20,
        compression: str = "zstd",
        compression_level: int | None = None,
        timeout: float = 3600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql = sql
        self.s3_bucket = s3_bucket
        self.s3_prefix = s3_prefix
        self.aws_conn_id = aws_conn_id
        self.dremio_conn_id = dremio_conn_id
        self.sql_context = sql_context
        self.max_rows_per_file = max_rows_per_file
        self.max_bytes_per_file = max_bytes_per_file
        self.row_group_rows = row_group_rows
        self.row_group_bytes = row_group_bytes
        self.part_bytes = part_bytes
        self.compression = compression
        self.compression_level = compression_level
        self.timeout = timeout
        self._killed = threading.Event()
        self._lineage: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Read and write.

        :returns: ``{"rows", "bytes", "files": [keys], "manifest": key}``.
        :raises DremioError: The query failed; nothing was written.
        """
        prefix = self._checked_prefix()
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        client = S3Hook(aws_conn_id=self.aws_conn_id).get_conn()
        with (
            DremioHook(self.dremio_conn_id) as hook,
            ResultObjects(client, self.s3_bucket, prefix, self.part_bytes) as objects,
        ):
            files = _FileSplitter(self, objects)
            for batch in hook.get_arrow_batches(self.sql, schema=self.sql_context, timeout=self.timeout):
                self._stop_if_killed()
                files.add(batch)
            written = files.close()
            self._stop_if_killed()
            manifest = objects.publish(written)
            self._lineage = hook.address
        rows, size = sum(file.rows for file in written), sum(file.bytes for file in written)
        self.log.info(
            "%s rows, %s bytes in %s files below s3://%s/%s", rows, size, len(written), self.s3_bucket, prefix
        )
        return {"rows": rows, "bytes": size, "files": [file.key for file in written], "manifest": manifest}

    def on_kill(self) -> None:
        """End the reading; what was sent is thrown away and the query with it."""
        self._killed.set()

    def _stop_if_killed(self) -> None:
        if self._killed.is_set():
            raise DremioTransientError(
                "The transfer was ended by a kill.", check="nothing: the earlier result is as it was."
            )

    def _checked_prefix(self) -> str:
        prefix = self.s3_prefix.strip("/")
        if not prefix or "//" in prefix:
            raise DremioConfigurationError(
                f"Task {self.task_id!r} has the prefix {self.s3_prefix!r}.",
                check="name a folder that belongs to this result: all of it is replaced.",
            )
        if self.compression not in COMPRESSIONS:
            raise DremioConfigurationError(
                f"Task {self.task_id!r} has compression {self.compression!r}.",
                check=f"allowed are {', '.join(COMPRESSIONS)}.",
            )
        return prefix

    def get_openlineage_facets_on_complete(self, _: Any) -> Any:
        """The datasets that the query reads, and the folder on S3; empty when nothing was written."""
        from dremio_provider.lineage import datasets_of, operator_lineage

        if self._lineage is None:
            return operator_lineage()
        inputs, _ = datasets_of(self.sql, parse_path(self.sql_context) if self.sql_context else ())
        folder = (f"s3://{self.s3_bucket}", self.s3_prefix.strip("/"))
        return operator_lineage(self._lineage, read=map(quote_path, inputs), elsewhere=[folder])


class _FileSplitter:
    """Gathers record batches into row groups, and row groups into files."""

    def __init__(self, limits: DremioToS3Operator, objects: ResultObjects) -> None:
        self._limits = limits
        self._objects = objects
        self._batches: list[pa.RecordBatch] = []
        self._gathered = [0, 0]  # rows, bytes
        self._file: tuple[MultipartObject, Any] | None = None
        self._rows = 0
        self._written: list[ResultFile] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch; full row groups are written."""
        for piece in self._pieces(batch):
            self._batches.append(piece)
            self._gathered = [self._gathered[0] + piece.num_rows, self._gathered[1] + piece.nbytes]
            if self._gathered[0] >= self._room() or self._gathered[1] >= self._limits.row_group_bytes:
                self._flush()

    def close(self) -> list[ResultFile]:
        """Write the rest.

        :returns: The files; at least one where Dremio sent a schema, so that an empty result is a table too.
        """
        if self._batches:
            self._flush()
        self._end_file()
        return self._written

    def _room(self) -> int:
        """Rows that the row group may still have, in what is left of the file."""
        rows = self._limits.row_group_rows
        limit = self._limits.max_rows_per_file
        return rows if limit is None else min(rows, limit - self._rows)

    def _pieces(self, batch: pa.RecordBatch) -> Iterable[pa.RecordBatch]:
        start = 0
        while start < batch.num_rows:
            # Asked for anew each time: taking a piece may have begun another row group or another file.
            piece = batch.slice(start, self._room() - self._gathered[0])
            yield piece
            start += piece.num_rows
        if batch.num_rows == 0:
            yield batch

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_batches(self._batches)
        self._batches, self._gathered = [], [0, 0]
        if self._file is None:
            sink = self._objects.new()
            limits = self._limits
            codec, level = limits.compression, limits.compression_level
            writer = pq.ParquetWriter(
                pa.PythonFile(sink, mode="w"), table.schema, compression=codec, compression_level=level
            )
            self._file = (sink, writer)
        sink, writer = self._file
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._rows += table.num_rows
        rows, size = self._limits.max_rows_per_file, self._limits.max_bytes_per_file
        if (rows is not None and self._rows >= rows) or (size is not None and sink.position >= size):
            self._end_file()

    def _end_file(self) -> None:
        if self._file is None:
            return
        sink, writer = self._file
        writer.close()
        sink.close()
        self._written.append(ResultFile(sink.key, self._rows, sink.position))
        self._file, self._rows = None, 0
