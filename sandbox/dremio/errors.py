"""The errors of Dremio: what a statement can fail with, and what the REST API answers."""

from __future__ import annotations


class ApiError(Exception):
    """A refused REST request.

    Args:
        status: HTTP status code.
        message: Dremio's ``errorMessage``.
        more_info: Dremio's ``moreInfo``, often empty.
    """

    def __init__(self, status: int, message: str, more_info: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more_info = more_info


class StatementError(Exception):
    """A statement that fails; its text is the job's ``errorMessage``.

    Args:
        message: what Dremio would say.
    """

    kind = "VALIDATION"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ParseError(StatementError):
    """The text is not a statement of Dremio's grammar."""

    kind = "PARSE"


class ValidationError(StatementError):
    """The statement is well formed but names something that is not there, or that does not fit."""


class UnsupportedError(StatementError):
    """The real server can do this; the sandbox says what it lacks instead of guessing."""

    kind = "UNSUPPORTED_OPERATION"

    def __init__(self, missing: str) -> None:
        super().__init__(f"{missing} is not implemented in the sandbox.")


class EditionError(StatementError):
    """Dremio's community edition refuses this."""

    kind = "UNSUPPORTED_OPERATION"


class DataError(StatementError):
    """The data cannot be read, written or converted."""

    kind = "DATA_READ"


class StorageError(DataError):
    """The object store did not do what was asked of it."""


class MemoryExceededError(DataError):
    """The query needs more memory than it may have."""

    kind = "RESOURCE"


class CancelledError(Exception):
    """The job was cancelled while it ran."""


class ConcurrentChangeError(ValidationError):
    """What a statement was built on changed before it could commit."""


def not_found(parts: tuple[str, ...]) -> ValidationError:
    """Return Dremio's error for a dataset that does not exist.

    Args:
        parts: the path as written.
    """
    name = parts[-1]
    if len(parts) == 1:
        return ValidationError(f"Object '{name}' not found")
    return ValidationError(f"Object '{name}' not found within '{'.'.join(parts[:-1])}'")
