"""What a dataset's rows come from, as versions that change whenever the rows may: how a stale reflection is known.

Every relation that stands for a dataset in a translated query carries the dataset's identifier. A reflection remembers
the versions of everything it was built from; it answers a query only while a fresh expansion of the same dataset names
the same things at the same versions. That takes no look at the object store: a version is made of what the catalog
knows of the files. Real Dremio answers from a reflection until it expires, however old its data; here a reflection
that lags behind is left out, so that an accelerated answer is always the answer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator

from sqlglot import exp

from sandbox.dremio.entities import Entity, Table, View

DATASET = "dataset"
"""Key in a node's ``meta``: the identifier of the dataset that the node stands for."""

_TABLE_FIELDS = ("id", "format", "columns", "shapes", "files", "depth")
_VIEW_FIELDS = ("sql", "context", "columns", "renamed")
_RANDOM = (exp.Rand, exp.Randn, exp.Uuid, exp.TableSample)
_RANDOM_NAMES = frozenset(("random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "setseed"))
_MOMENTARY = (
    exp.CurrentDate,
    exp.CurrentTime,
    exp.CurrentTimestamp,
    exp.CurrentDatetime,
    exp.CurrentUser,
    exp.SessionUser,
)
_MOMENTARY_NAMES = frozenset(
    ("now", "today", "current_user", "session_user", "query_user", "user", "get_current_timestamp",
     "transaction_timestamp", "current_localtimestamp", "current_localtime")
)  # fmt: skip


class Versions:
    """Versions of datasets, computed once for each state."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, dataset: Entity) -> str:
        """Return the version of a dataset: equal as long as its own rows or its own query are the same.

        A change that leaves the data alone, of a refresh policy for instance, leaves the version alone. A table that
        was dropped and created again is another table.
        """
        known = self._known.get(dataset.id)
        if known is not None and known[0] == dataset.tag:
            return known[1]
        fields = _VIEW_FIELDS if isinstance(dataset, View) else _TABLE_FIELDS
        body = {name: getattr(dataset, name) for name in fields}
        if isinstance(dataset, Table):
            body["files"] = [(file.key, file.etag, file.shape, file.folders) for file in dataset.files]
        text = json.dumps(body, default=dataclasses.asdict, sort_keys=True)
        version = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self._known[dataset.id] = (dataset.tag, version)
        return version


def occurrences(tree: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the nodes of a translated query that stand for datasets, outer ones first."""
    return (node for node in tree.walk(bfs=True) if DATASET in node.meta)


def is_random(tree: exp.Expr) -> bool:
    """Return whether an expression or query may give another result each time it is computed."""
    return _calls(tree, _RANDOM, _RANDOM_NAMES)


def is_volatile(tree: exp.Expr) -> bool:
    """Return whether an expression or query may give another result in another statement, for the same rows."""
    return is_random(tree) or _calls(tree, _MOMENTARY, _MOMENTARY_NAMES)


def _calls(tree: exp.Expr, kinds: tuple[type[exp.Expr], ...], names: frozenset[str]) -> bool:
    for node in tree.walk():
        if isinstance(node, kinds) or (isinstance(node, exp.Anonymous) and node.name.lower() in names):
            return True
    return False
