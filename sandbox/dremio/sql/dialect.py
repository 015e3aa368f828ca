"""Dremio's dialect as sqlglot has it, with the functions kept as written that sqlglot reads differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.dremio import Dremio
from sqlglot.errors import ParseError as SqlglotParseError
from sqlglot.errors import SqlglotError
from sqlglot.parsers.dremio import DremioParser
from sqlglot.tokens import Token, TokenType

from sandbox.dremio.errors import ParseError
from sandbox.dremio.sql import functions, grammar


def _as_written(name: str) -> Callable[[list[Any]], exp.Expr]:
    def build(args: list[Any]) -> exp.Expr:
        return exp.Anonymous(this=name, expressions=args)

    return build


KEPT = (*functions.BUILDERS, *functions.LACKING)

FOREIGN = ("::", "==", "->", "->>", "&", "|", "^", "~", "{", "}", "@", "#", "//", "**", "<=>")
"""Signs that other databases know: Dremio's lexer stops at them, sqlglot's does not."""


_ENDS = (TokenType.R_PAREN, TokenType.FROM)
_INDEXED = (TokenType.VAR, TokenType.IDENTIFIER, TokenType.R_BRACKET, TokenType.R_PAREN, TokenType.ARRAY)


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
        StatementError: if it is not Dremio's SQL, or asks for what the sandbox does not have.
    """
    try:
        tokens = _two_word_types(SandboxDremio().tokenize(sql))
        _refuse_foreign(tokens)
        trees = SandboxDremio().parser().parse(tokens, sql)
    except SqlglotParseError as error:
        first = error.errors[0]
        raise encountered(first["highlight"], first["line"], first["col"]) from error
    except SqlglotError as error:
        raise ParseError(f"Failure parsing the query.\n{error}") from error
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        raise ParseError("Failure parsing the query.")
    tree: exp.Expr = trees[0]
    grammar.check(tree)
    return tree


def _two_word_types(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with BINARY VARYING as the one word sqlglot knows."""
    joined: list[Token] = []
    for token in tokens:
        if token.text.upper() == "VARYING" and joined and joined[-1].token_type == TokenType.BINARY:
            first = joined.pop()
            token = Token(TokenType.VARBINARY, "VARBINARY", first.line, first.col, first.start, token.end)
        joined.append(token)
    return joined


def _refuse_foreign(tokens: Sequence[Token]) -> None:
    for before, token, after in zip([None, *tokens[:-1]], tokens, [*tokens[1:], None], strict=True):
        quoted = token.token_type in (TokenType.STRING, TokenType.IDENTIFIER)
        foreign = not quoted and token.text in FOREIGN
        dangling = token.token_type == TokenType.COMMA and after is not None and after.token_type in _ENDS
        # A list is written ARRAY[..]; brackets alone belong to what stands before them.
        bare = token.token_type == TokenType.L_BRACKET and (before is None or before.token_type not in _INDEXED)
        if foreign or dangling or bare:
            raise unexpected(token)


def unexpected(token: Token, expected: str = "") -> ParseError:
    """Return Dremio's error for a token that cannot stand where it stands.

    Args:
        token: the token.
        expected: what could stand there, if it can be said.
    """
    return encountered(token.text, token.line, token.col, expected)


def encountered(text: str, line: int, end: int, expected: str = "") -> ParseError:
    """Return Dremio's error for a text that cannot stand where it stands.

    Args:
        text: the text.
        line: its line, from 1.
        end: the column of its last character; Dremio names the first.
        expected: what could stand there, if it can be said.
    """
    hint = f" Was expecting: {expected}." if expected else ""
    column = max(1, end - len(text) + 1)
    return ParseError(f'Failure parsing the query.\nEncountered "{text}" at line {line}, column {column}.{hint}')
