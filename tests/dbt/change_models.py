"""The models of change data on DuckDB: their own SQL, rendered as dbt renders it, with clocks that a test can turn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import yaml
from sqlglot import exp

from sandbox.dremio.sql.translate import translate_query

REPOSITORY = Path(__file__).resolve().parents[2]
DBT = REPOSITORY / "dbt"
MACROS = ["latest_versions", "change_data", "iso_timestamp"]
VARS = yaml.safe_load((DBT / "dbt_project.yml").read_text())["vars"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of the shop: the name of its stream, and that of its models without what they show."""

    stream: str
    mart: str

    def __repr__(self) -> str:
        return self.stream

    @property
    def columns(self) -> dict[str, str]:
        """Column -> type, as the contract has them."""
        declared = yaml.safe_load((REPOSITORY / "include/config/streams.yml").read_text())
        columns: dict[str, str] = declared["sources"]["postgres_cdc"]["streams"][self.stream]["columns"]
        return columns

    @property
    def text(self) -> list[str]:
        found: list[str] = VARS["change_data"][self.stream]["text_columns"]
        return found

    def key(self, number: int | None) -> Row:
        """The key of a row; that of an order line shares its order with another. None: a key that is not whole."""
        if self.stream == "order_items":
            return {"order_id": 1 + (number or 0) // 2, "line_number": None if number is None else number % 2}
        return {VARS["change_data"][self.stream]["key"][0]: number}


TABLES = [Table("orders", "fct_orders"), Table("order_items", "fct_order_items"), Table("customers", "dim_customers")]
COLUMNS = {table: table.columns for table in TABLES}
ORDERS, ORDER_ITEMS, CUSTOMERS = TABLES


def rendered(model: str, *, cold: str | None = None) -> str:
    """The SQL of a model as dbt compiles it; with ``cold``, as an incremental run on that table."""
    (path,) = (DBT / "models").rglob(f"{model}.sql")
    return rendered_text(path.read_text(), cold=cold)


def rendered_text(text: str, *, cold: str | None = None) -> str:
    ours = "".join((DBT / f"macros/{name}.sql").read_text() for name in MACROS)
    found = SimpleNamespace(columns=[SimpleNamespace(values=lambda: [datetime(1999, 1, 2)])])
    template = jinja2.Environment(autoescape=False).from_string(ours + text)
    # What dbt has in scope everywhere, macros have to find as well.
    template.globals.update(
        config=lambda **_: "",
        ref=lambda name: name,
        source=lambda _, table: table,
        var=VARS.__getitem__,
        is_incremental=lambda: cold is not None,
        this=cold,
        execute=True,
        load_relation=lambda relation: relation,
        run_query=lambda _: found,
        modules=SimpleNamespace(datetime=SimpleNamespace(timedelta=timedelta)),
    )
    # Clocks that the test can turn. It knows no slack: what dbt finds when it runs is all that is left out.
    sql = re.sub(r"timestamp '199[89][^']*'", f"(select {'merged' if cold else 'shown'} from clock)", template.render())
    return sql.replace("current_date", "(select today from clock)")


def on_duckdb(sql: str) -> str:
    return translate_query(sql, lambda path: exp.to_table(path[-1]))
