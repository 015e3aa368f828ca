"""Dremio's SQL as ``common-sql`` wants to know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.common.sql.dialects.dialect import Dialect

from dremio_provider.exceptions import DremioNotFoundError, DremioTerminalError
from dremio_provider.paths import display_path, parse_path, quote_path


class DremioDialect(Dialect):  # type: ignore[misc, unused-ignore]  # untyped base class
    """Names in double quotes; columns from ``INFORMATION_SCHEMA``, since there is no SQLAlchemy inspector."""

    def escape_word(self, word: str) -> str:
        """A column's name in double quotes: Dremio has hundreds of reserved words."""
        return quote_path([str(self.unescape_word(word))])

    def get_column_names(
        self,
        table: str,
        schema: str | None = None,
        predicate: Callable[[Any], bool] = lambda column: True,
    ) -> list[str]:
        """The columns of a table or view, in order.

        :param table: Its path, or its name with the rest in ``schema``.
        :param predicate: Which columns are meant, told by ``{"name", "type"}``.
        :raises DremioNotFoundError: There is no such table.
        """
        path = [*(parse_path(schema) if schema else ()), *parse_path(table)]
        rows = self.hook.get_records(
            "SELECT COLUMN_NAME, DATA_TYPE FROM INFORMATION_SCHEMA.COLUMNS "
            "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
            [".".join(path[:-1]), path[-1]],
        )
        if not rows:
            raise DremioNotFoundError(
                f"Dremio has no columns of {display_path(path)}.", check="the path and its spelling."
            )
        return [name for name, kind in rows if predicate({"name": name, "type": kind})]

    def get_target_fields(self, table: str, schema: str | None = None) -> list[str]:
        """All columns: Dremio has no generated ones."""
        return self.get_column_names(table, schema)

    def get_primary_keys(self, table: str, schema: str | None = None) -> list[str]:
        """None: Dremio has no primary keys."""
        return []

    def generate_replace_sql(self, table: str, values: Any, target_fields: Any, **options: Any) -> str:
        """Refuse.

        :raises DremioTerminalError: Always: Dremio has no REPLACE.
        """
        raise DremioTerminalError("Dremio cannot replace rows on insert.", check="use a MERGE statement.")
