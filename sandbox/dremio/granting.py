"""Running GRANT, REVOKE and what creates and drops users and roles."""

from __future__ import annotations

from sandbox.dremio.access import Access
from sandbox.dremio.answers import Outcome, done
from sandbox.dremio.catalog import Catalog
from sandbox.dremio.entities import Path, Table, View
from sandbox.dremio.planner import Planner
from sandbox.dremio.sql.access_ddl import CreateGrantee, DropGrantee, Grant, GrantRole
from sandbox.dremio.sql.statements import Statement


class Granting:
    """Runs the statements of the Enterprise Edition's access control.

    Args:
        access: users, roles and privileges.
        catalog: holds what privileges are granted on.
        planner: finds it.
    """

    def __init__(self, access: Access, catalog: Catalog, planner: Planner) -> None:
        self._access = access
        self._catalog = catalog
        self._planner = planner

    def run(self, statement: Statement, context: Path) -> Outcome:
        """Run a statement and return Dremio's answer.

        Args:
            statement: one of ``sql.access_ddl``.
            context: the current schema.

        Raises:
            ValidationError: if something it names does not exist or does not fit.
        """
        if isinstance(statement, Grant):
            return self._grant(statement, context)
        if isinstance(statement, GrantRole):
            member = not statement.revoke
            self._access.set_member(statement.role, statement.grantee_type, statement.grantee, member=member)
            return done(f"Role [{statement.role}] {'granted' if member else 'revoked'}.")
        assert isinstance(statement, CreateGrantee | DropGrantee)
        change = self._access.create if isinstance(statement, CreateGrantee) else self._access.drop
        change(statement.kind, statement.name)
        word = "created" if isinstance(statement, CreateGrantee) else "dropped"
        return done(f"{statement.kind.capitalize()} [{statement.name}] {word}.")

    def _grant(self, statement: Grant, context: Path) -> Outcome:
        # What is not in the catalog may still be a folder of a source that is promoted when it is named.
        entity = self._planner.find(statement.path, context) or self._planner.dataset(statement.path, context)
        entities = [entity]
        if statement.below:
            entities = [found for found in self._catalog.below(entity.path) if isinstance(found, View | Table)]
        change = self._access.revoke if statement.revoke else self._access.grant
        change(entities, statement.privileges, statement.grantee_type, statement.grantee)
        return done(f"Privileges {'revoked' if statement.revoke else 'granted'}.")
