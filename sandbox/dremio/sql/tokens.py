"""A cursor over the tokens of a statement."""

from __future__ import annotations

import re

from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from sandbox.dremio.errors import ParseError
from sandbox.dremio.sql.dialect import SandboxDremio, unexpected


def _single_words(token: Token, sql: str) -> list[Token]:
    """Cut a token of several keywords, such as ``PARTITION BY``, into its words."""
    if token.token_type in (TokenType.STRING, TokenType.IDENTIFIER) or not re.search(r"\s", token.text):
        return [token]
    found = re.finditer(r"\S+", sql[token.start : token.end + 1])
    return [
        Token(
            TokenType.VAR,
            word.group(0),
            token.line,
            token.col,
            token.start + word.start(),
            token.start + word.end() - 1,
        )
        for word in found
    ]


class Tokens:
    """The tokens of one statement and the place that was reached.

    Args:
        sql: the statement; a semicolon at its end is dropped.

    Raises:
        ParseError: if the text has no tokens, or more than one statement.
    """

    def __init__(self, sql: str) -> None:
        try:
            tokens = SandboxDremio().tokenize(sql)
        except SqlglotError as error:
            raise ParseError(f"Failure parsing the query.\n{error}") from error
        while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
            tokens.pop()
        if not tokens:
            raise ParseError("Failure parsing the query.\nThe statement is empty.")
        if any(token.token_type == TokenType.SEMICOLON for token in tokens):
            raise ParseError("Failure parsing the query.\nOnly one statement at a time is accepted.")
        self.sql = sql
        self._tokens = [single for token in tokens for single in _single_words(token, sql)]
        self._position = 0

    @property
    def done(self) -> bool:
        """Whether all tokens are read."""
        return self._position >= len(self._tokens)

    def peek(self, ahead: int = 0) -> Token | None:
        """Return a coming token, None behind the end."""
        position = self._position + ahead
        return self._tokens[position] if position < len(self._tokens) else None

    def _is(self, token: Token | None, text: str) -> bool:
        return (
            token is not None
            and token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
            and token.text.upper() == text
        )

    def at(self, *words: str) -> bool:
        """Return whether the coming tokens are these keywords or signs."""
        return all(self._is(self.peek(ahead), word) for ahead, word in enumerate(words))

    def take(self, *words: str) -> bool:
        """Read these keywords or signs if they come next, all or none."""
        if not self.at(*words):
            return False
        self._position += len(words)
        return True

    def take_any(self, *words: str) -> str:
        """Read one of these keywords if it comes next and return it, else the empty string."""
        return next((word for word in words if self.take(word)), "")

    def expect(self, *words: str) -> None:
        """Read these keywords or signs.

        Raises:
            ParseError: if something else comes next.
        """
        if not self.take(*words):
            raise self.error(" ".join(words))

    def error(self, expected: str = "") -> ParseError:
        """Return the error for the token that comes next."""
        token = self.peek()
        if token is not None:
            return unexpected(token, expected)
        hint = f" Was expecting: {expected}." if expected else ""
        return ParseError(f"Failure parsing the query.\nEncountered the end of the statement.{hint}")

    def next(self) -> Token:
        """Read any token.

        Raises:
            ParseError: at the end of the statement.
        """
        token = self.peek()
        if token is None:
            raise self.error()
        self._position += 1
        return token

    def finish(self) -> None:
        """Raise :class:`ParseError` unless all tokens are read."""
        if not self.done:
            raise self.error()

    def name(self) -> str:
        """Read one identifier, quoted or not."""
        token = self.peek()
        if token is None or token.token_type in (TokenType.STRING, TokenType.NUMBER) or token.text in "(),;=*":
            raise self.error("an identifier")
        self._position += 1
        return str(token.text)

    def path(self) -> tuple[str, ...]:
        """Read ``a.b."c d"``."""
        parts = [self.name()]
        while self.take("."):
            parts.append(self.name())
        return tuple(parts)

    def string(self) -> str:
        """Read a string literal."""
        token = self.peek()
        if token is None or token.token_type != TokenType.STRING:
            raise self.error("a string literal")
        self._position += 1
        return str(token.text)

    def balanced(self) -> str:
        """Read a parenthesised group and return what stands between the parentheses, as written."""
        self.expect("(")
        start = self._position
        depth = 1
        while depth:
            if self.take("("):
                depth += 1
            elif self.take(")"):
                depth -= 1
            else:
                self.next()
        inner = self._tokens[start : self._position - 1]
        return self.sql[inner[0].start : inner[-1].end + 1] if inner else ""

    def items(self, opening: str = "(") -> list[str]:
        """Read ``(a, b(c, d), e)`` and return the items as written; commas in the brackets of a type divide nothing.

        Args:
            opening: the bracket around the list, ``(`` or ``<``.
        """
        self.expect(opening)
        found: list[str] = []
        start = self._position
        depth = 1
        while depth:
            if self.take("(") or self.take("<"):
                depth += 1
            elif self.at(")") or self.at(">"):
                depth -= 1
                if depth == 0:
                    found.append(self._between(start))
                self.next()
            elif depth == 1 and self.at(","):
                found.append(self._between(start))
                self.next()
                start = self._position
            else:
                self.next()
        return found

    def _between(self, start: int) -> str:
        inner = self._tokens[start : self._position]
        if not inner:
            raise self.error("an item")
        return self.sql[inner[0].start : inner[-1].end + 1]

    def rest(self) -> str:
        """Read everything that is left and return it as written."""
        token = self.peek()
        if token is None:
            raise self.error()
        self._position = len(self._tokens)
        return self.sql[token.start : self._tokens[-1].end + 1]
