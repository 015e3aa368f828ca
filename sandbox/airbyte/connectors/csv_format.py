"""CSV as source-s3 reads it: headers, types by inference, rows as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

BLOCK_BYTES = 4 * 1024 * 1024
"""Size of a batch, and how much of a file its types are inferred from."""
NARROW_TYPES = ("boolean", "integer", "number")
"""From the narrowest to the widest; what fits none of them is a string."""
_TRUE = ["y", "yes", "t", "true", "on", "1"]
_FALSE = ["n", "no", "f", "false", "off", "0"]


class CsvFormat:
    """The ``format`` object of a CSV stream.

    Args:
        form: as in the connector's specification.
    """

    def __init__(self, form: dict[str, Any]) -> None:
        self._form = form
        self._definition: dict[str, Any] = form.get("header_definition", {})
        self._kind: str = self._definition.get("header_definition_type", "From CSV")
        self._true: list[str] = form.get("true_values") or _TRUE
        self._false: list[str] = form.get("false_values") or _FALSE
        self.infers = form.get("inference_type", "None") != "None"

    def columns(self, body: Any) -> dict[str, set[str]]:
        """Return the columns of a file with the types that all values of its first block have.

        Args:
            body: the open file.

        Raises:
            pyarrow.ArrowInvalid: if it is not CSV.
        """
        with self._open(body) as reader:
            names = list(reader.schema.names)
            if not self.infers:
                return {name: set() for name in names}
            batch = next((batch for batch in reader if batch.num_rows), None)
        if batch is None:
            return {name: set(NARROW_TYPES) for name in names}
        return {name: self._types(batch.column(name)) for name in names}

    def batches(self, body: Any, types: dict[str, str]) -> Iterator[Any]:
        """Yield a file's rows.

        Args:
            body: the open file.
            types: JSON type of each column to convert; columns that are not named stay text.

        Raises:
            pyarrow.ArrowInvalid: if it is not CSV.
            ValueError: naming the column, if a value does not have the column's type.
        """
        with self._open(body) as reader:
            for batch in reader:
                arrays = [
                    self._converted(column, name, types.get(name, "string"))
                    for name, column in zip(batch.schema.names, batch.columns, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    def _types(self, values: Any) -> set[str]:
        present = pc.drop_null(values)
        types = set()
        if pc.all(
            pc.is_in(pc.utf8_lower(present), pa.array(self._true + self._false, pa.string())), min_count=0
        ).as_py():
            types.add("boolean")
        for name, kind in (("integer", pa.int64()), ("number", pa.float64())):
            try:
                present.cast(kind)
            except pa.ArrowInvalid:
                continue
            types.add(name)
        return types

    def _converted(self, values: Any, column: str, kind: str) -> Any:
        try:
            if kind == "integer":
                return values.cast(pa.int64())
            if kind == "number":
                return values.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {column} was discovered as {kind}: {error}") from error
        if kind == "boolean":
            return self._booleans(values, column)
        return values

    def _booleans(self, values: Any, column: str) -> Any:
        lower = pc.utf8_lower(values)
        yes = pc.is_in(lower, pa.array(self._true, pa.string()))
        known = pc.or_(yes, pc.is_in(lower, pa.array(self._false, pa.string())))
        missing = pc.is_null(values)
        if not pc.all(pc.or_(known, missing), min_count=0).as_py():
            raise ValueError(f"column {column} was discovered as boolean, but holds something else")
        return pc.if_else(missing, pa.scalar(None, pa.bool_()), yes)

    def _open(self, body: Any) -> Any:
        """Open a file with every column as text; the types are decided here, not by the reader."""
        given = self._definition["column_names"] if self._kind == "User Provided" else None
        nulls = self._form.get("null_values", []) if self._form.get("strings_can_be_null", True) else []
        delimiter = self._form.get("delimiter", ",")
        skip_bad = self._form.get("ignore_errors_on_fields_mismatch", False)
        return pa_csv.open_csv(
            pa.PythonFile(body, mode="r"),
            read_options=pa_csv.ReadOptions(
                block_size=BLOCK_BYTES,
                encoding=self._form.get("encoding", "utf8"),
                skip_rows=self._form.get("skip_rows_before_header", 0),
                skip_rows_after_names=self._form.get("skip_rows_after_header", 0),
                autogenerate_column_names=self._kind == "Autogenerated",
                column_names=given,
                use_threads=False,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter="\t" if delimiter == r"\t" else delimiter,
                quote_char=self._form.get("quote_char", '"'),
                double_quote=self._form.get("double_quote", True),
                escape_char=self._form.get("escape_char") or False,
                newlines_in_values=True,
                invalid_row_handler=(lambda _: "skip") if skip_bad else None,
            ),
            convert_options=pa_csv.ConvertOptions(
                null_values=nulls,
                strings_can_be_null=bool(nulls),
                quoted_strings_can_be_null=bool(nulls),
                default_column_type=pa.string(),
            ),
        )
