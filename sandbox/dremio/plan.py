"""What planning a query yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sandbox.dremio.accelerator import ACCELERATOR
from sandbox.dremio.entities import Column, Table, View

Path = tuple[str, ...]
Json = dict[str, Any]


@dataclass
class Plan:
    """A query ready to run.

    Args:
        sql: DuckDB's SQL.
        tables: the physical tables it reads.
        views: the views it was expanded from, directly or through other views.
        queried: paths of the datasets named in the query itself.
        stable: whether the same text means the same as long as the catalog does not change.
        volatile: whether the same rows may give another result, e.g. for the time of day.
        opened: those of the tables that are read themselves, not through a reflection.
        relationships: what became of each reflection that was considered, in the words of the job API.
        expires: when the first of the reflections in use expires, milliseconds since 1970; None without any.
        columns: names and types of the result, once somebody had to know.
    """

    sql: str = ""
    tables: dict[str, Table] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    queried: list[Path] = field(default_factory=list)
    stable: bool = True
    volatile: bool = False
    opened: dict[str, Table] = field(default_factory=dict)
    relationships: list[Json] = field(default_factory=list)
    expires: int | None = None
    columns: tuple[Column, ...] | None = None

    @property
    def scanned(self) -> list[Path]:
        """Paths of what is read: tables, and reflections by dataset and identifier as Dremio names them."""
        chosen = [entry["reflectionId"] for entry in self.relationships if entry["relationship"] == "CHOSEN"]
        return [*(table.path for table in self.opened.values()), *((ACCELERATOR, str(name)) for name in chosen)]
