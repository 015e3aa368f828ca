"""Dremio's dialect as sqlglot has it, with the functions kept as written that sqlglot reads differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.dremio import Dremio
from sqlglot.errors import SqlglotError
from sqlglot.parsers.dremio import DremioParser
from sqlglot.tokens import TokenType

from sandbox.dremio.errors import ParseError


def _as_written(name: str) -> Callable[[list[Any]], exp.Expr]:
    def build(args: list[Any]) -> exp.Expr:
        return exp.Anonymous(this=name, expressions=args)

    return build


KEPT = ("TIMESTAMPADD", "TIMESTAMPDIFF", "DATEDIFF", "DATE_DIFF", "TO_DATE", "TO_TIMESTAMP", "TO_TIME", "FLATTEN")


class SandboxDremio(Dremio):
    """sqlglot's Dremio dialect without its reading of functions whose arguments it rotates or drops."""

    class Tokenizer(Dremio.Tokenizer):
        """The tokenizer; statements sqlglot does not know are cut into words all the same."""

        COMMANDS: ClassVar[set[TokenType]] = set()

    class Parser(DremioParser):
        """The parser; functions in :data:`KEPT` stay :class:`sqlglot.exp.Anonymous`."""

        FUNCTIONS = {**DremioParser.FUNCTIONS, **{name: _as_written(name) for name in KEPT}}  # noqa: RUF012
        FUNCTION_PARSERS = {  # noqa: RUF012
            name: parser for name, parser in DremioParser.FUNCTION_PARSERS.items() if name not in KEPT
        }


def parse_one(sql: str) -> exp.Expr:
    """Return the syntax tree of a query or row change.

    Raises:
        ParseError: if sqlglot cannot read it.
    """
    try:
        trees = SandboxDremio().parse(sql)
    except SqlglotError as error:
        raise ParseError(f"Failure parsing the query.\n{error}") from error
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        raise ParseError("Failure parsing the query.")
    tree: exp.Expr = trees[0]
    return tree
