"""What Superset's security manager keeps, in Superset's own environment, with rights and a clock of the test's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv/superset/bin/python"
PROGRAM = """
import sys, threading, types
from cachetools import TTLCache
from flask import Flask, g
from superset.security import SupersetSecurityManager as Stock
sys.path.append("include/superset")
from kept_rights import KEPT_SECONDS, KeptRightsSecurityManager

asked, rights, rules, now = [], set(), {}, [0.0]

def roles_have(self, view_name, permission_name, role_ids):
    asked.append(("roles", tuple(role_ids)))
    return (permission_name, view_name) in rights

def rules_of(self, table):
    asked.append(("rules", table.id))
    return list(rules[table.id])

def is_public(self, permission_name, view_name):
    asked.append(("public", permission_name))
    return (permission_name, view_name) in rights

# The database's side of the three; a manager itself wants an application that is set up.
Stock.exist_permission_on_roles, Stock.get_rls_filters, Stock.is_item_public = roles_have, rules_of, is_public
manager = object.__new__(KeptRightsSecurityManager)
manager._kept = TTLCache(100, KEPT_SECONDS, timer=lambda: now[0])
manager._kept_lock = threading.Lock()
manager.get_user_roles = lambda user: [types.SimpleNamespace(id=number) for number in user]
table = types.SimpleNamespace(id=7)

def may(*roles):
    return manager.exist_permission_on_roles("Chart", "can_read", list(roles))

# A permission that is taken away acts after the second, one that is given too; other roles are asked for themselves.
rights.add(("can_read", "Chart"))
assert may(1, 2) and may(2, 1) and manager.is_item_public("can_read", "Chart")
rights.clear()
assert may(1, 2) and manager.is_item_public("can_read", "Chart") and not may(3)
assert asked == [("roles", (1, 2)), ("public", "can_read"), ("roles", (3,))], asked
now[0] += KEPT_SECONDS
assert not may(1, 2) and not manager.is_item_public("can_read", "Chart")
rights.add(("can_read", "Chart"))
assert not may(1, 2)
now[0] += KEPT_SECONDS
assert may(1, 2)

# Rules are kept for roles and dataset, never across a request's end for longer, and do not change within a request.
asked.clear()
application = Flask("superset")

def rules_seen_by(*roles):
    g.user = roles
    found = manager.get_rls_filters(table)
    found.sort()
    found.append("whatever its caller does with it")
    return found[:-1]

rules[7] = ["b", "a"]
with application.app_context():
    assert rules_seen_by(1) == ["a", "b"]
    rules[7] = ["c"]
    assert rules_seen_by(2) == ["c"], "other roles have other rules"
    now[0] += KEPT_SECONDS
    assert rules_seen_by(1) == ["a", "b"], "the key and the query of one answer"
    g.user = None
    assert manager.get_rls_filters(table) == []
with application.app_context():
    assert rules_seen_by(1) == ["c"]
with application.app_context():
    rules[7] = []
    assert rules_seen_by(1) == ["c"]
assert len(asked) == 3, asked
print("done")
"""


def test_rights_and_rules_are_kept_for_the_second_and_for_their_roles_only() -> None:
    environment = {**os.environ, "SUPERSET_SECRET_KEY": "only-for-this-process", "PYTHONPATH": str(REPOSITORY)}
    command = [str(PYTHON), "-c", PROGRAM]
    run = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert run.stdout == "done\n", run.stderr
