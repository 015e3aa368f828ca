"""DuckDB's errors in Dremio's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from sandbox.dremio.errors import (
    CancelledError,
    DataError,
    MemoryExceededError,
    StatementError,
    UnsupportedError,
    ValidationError,
)

_MISSING_COLUMN = re.compile(r'Referenced column "([^"]+)" (?:was )?not found')
_ALIAS_ONLY = re.compile(r'Column "([^"]+)" referenced that exists in the SELECT clause')
_MISSING_IN_TABLE = re.compile(r'(?:Table|Values list) "([^"]+)" does not have a column named "([^"]+)"')
_MISSING_TABLE = re.compile(r'Referenced table "([^"]+)" not found')
_AMBIGUOUS = re.compile(r'Ambiguous reference to column name "([^"]+)"')
_MISSING_FUNCTION = re.compile(r"Function with name (\S+) does not exist")
_NO_OVERLOAD = re.compile(r"No function matches the given name and argument types '([^']+)'")
_UNPARSED = re.compile(r'Could not parse string "(.*?)" according to format specifier', re.DOTALL)
_LOCATION = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_PREFIX = re.compile(r"^[A-Z][A-Za-z ]* Error: ")


def _binder(text: str) -> StatementError:
    for pattern, template in (
        (_MISSING_COLUMN, "Column '{0}' not found in any table"),
        (_ALIAS_ONLY, "Column '{0}' not found in any table"),
        (_MISSING_IN_TABLE, "Column '{1}' not found in table '{0}'"),
        (_MISSING_TABLE, "Table '{0}' not found"),
        (_AMBIGUOUS, "Column '{0}' is ambiguous"),
        (_MISSING_FUNCTION, "No match found for function signature {0}"),
        (_NO_OVERLOAD, "No match found for function signature {0}"),
    ):
        match = pattern.search(text)
        if match:
            return ValidationError(template.format(*match.groups()))
    return ValidationError(text)


def translate(error: Exception) -> StatementError:
    """Return the error of a statement that DuckDB or Arrow refused."""
    text = _PREFIX.sub("", _LOCATION.sub("", str(error))).strip()
    unparsed = _UNPARSED.match(text)
    if unparsed:
        return DataError(f"Input text cannot be formatted to a date: [{unparsed.group(1)}]")
    if text.startswith("Division by zero"):
        return DataError("divide by zero")
    if isinstance(error, duckdb.OutOfMemoryException):
        return MemoryExceededError(
            "Query was cancelled because it exceeded the memory limits set by the administrator. "
            "Raise SANDBOX_DREMIO_MEMORY or read less."
        )
    if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
        return _binder(text)
    if isinstance(error, duckdb.ParserException | duckdb.NotImplementedException):
        return UnsupportedError(f"This SQL ({text})")
    if isinstance(error, duckdb.PermissionException | duckdb.IOException):
        return DataError(f"The data could not be read: {text}")
    return DataError(text)


def while_streaming(error: OSError) -> StatementError | CancelledError:
    """Return the error of a query that failed, or was interrupted, after its first rows."""
    text = str(error)
    kinds = {"INTERRUPT": None, "Out of Memory": duckdb.OutOfMemoryException, "IO": duckdb.IOException}
    for prefix, kind in kinds.items():
        if text.startswith(f"{prefix} Error"):
            return CancelledError() if kind is None else translate(kind(text))
    return translate(duckdb.DataError(text))


@contextmanager
def explained() -> Iterator[None]:
    """Turn the errors of DuckDB and Arrow inside the block into :class:`StatementError`; interruptions pass."""
    try:
        yield
    except duckdb.InterruptException:
        raise
    except (duckdb.Error, pa.ArrowInvalid) as error:
        raise translate(error) from error
