"""GRANT, REVOKE, and the statements that create and drop users and roles."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.dremio.errors import UnsupportedError
from sandbox.dremio.sql.statements import Path, Statement
from sandbox.dremio.sql.tokens import Tokens

PRIVILEGES = (
    "SELECT", "ALTER", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "DROP", "CREATE_TABLE", "CREATE_VIEW",
    "CREATE_FOLDER", "CREATE_SOURCE", "VIEW_REFLECTION", "ALTER_REFLECTION", "MODIFY", "MANAGE_GRANTS",
    "EXTERNAL_QUERY", "EXECUTE", "READ_METADATA", "USAGE", "WRITE", "ALL",
)  # fmt: skip


@dataclass(frozen=True)
class Grant(Statement):
    """GRANT or REVOKE of privileges.

    Args:
        kind: what the object is said to be, e.g. ``TABLE``.
        below: whether all datasets in the object are meant, not the object itself.
        grantee_type: ``USER`` or ``ROLE``.
        revoke: whether they are taken back.
    """

    privileges: tuple[str, ...]
    kind: str
    path: Path
    below: bool
    grantee_type: str
    grantee: str
    revoke: bool


@dataclass(frozen=True)
class GrantRole(Statement):
    """GRANT ROLE or REVOKE ROLE: membership."""

    role: str
    grantee_type: str
    grantee: str
    revoke: bool


@dataclass(frozen=True)
class CreateGrantee(Statement):
    """CREATE USER or CREATE ROLE."""

    kind: str
    name: str


@dataclass(frozen=True)
class DropGrantee(Statement):
    """DROP USER or DROP ROLE."""

    kind: str
    name: str


def parse(tokens: Tokens) -> Statement:
    """Read a whole statement.

    Args:
        tokens: standing at GRANT, REVOKE, CREATE, ALTER or DROP.

    Raises:
        ParseError: if the text does not follow the grammar.
        UnsupportedError: for ALTER USER.
    """
    verb = tokens.next().text.upper()
    if verb == "ALTER":
        raise UnsupportedError("ALTER USER")
    if verb in ("CREATE", "DROP"):
        kind = tokens.take_any("USER", "ROLE")
        name = tokens.name()
        tokens.finish()
        return CreateGrantee(kind, name) if verb == "CREATE" else DropGrantee(kind, name)
    return _grant(tokens, revoke=verb == "REVOKE")


def _grant(tokens: Tokens, *, revoke: bool) -> Statement:
    if tokens.take("ROLE"):
        role = tokens.name()
        kind, name = _grantee(tokens, revoke)
        return GrantRole(role, kind, name, revoke)
    privileges = [_privilege(tokens)]
    while tokens.take(","):
        privileges.append(_privilege(tokens))
    tokens.expect("ON")
    below = tokens.take("ALL", "DATASETS", "IN")
    kind = tokens.take_any("PDS", "TABLE", "VDS", "VIEW", "FOLDER", "SOURCE", "SPACE")
    if not kind:
        what = tokens.next().text.upper()
        raise UnsupportedError(f"A privilege on {what}")
    path = tokens.path()
    grantee_type, grantee = _grantee(tokens, revoke)
    return Grant(tuple(privileges), kind, path, below, grantee_type, grantee, revoke)


def _privilege(tokens: Tokens) -> str:
    found = tokens.take_any(*PRIVILEGES)
    if not found:
        raise tokens.error("a privilege")
    return found


def _grantee(tokens: Tokens, revoke: bool) -> tuple[str, str]:
    tokens.expect("FROM" if revoke else "TO")
    kind = tokens.take_any("USER", "ROLE")
    if not kind:
        raise tokens.error("USER or ROLE")
    name = tokens.name()
    tokens.finish()
    return kind, name
