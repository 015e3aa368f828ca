"""Looking at many cache entries with one request: what one costs is mostly not the entry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from superset_provider.browser.page import PageQuery

# So many queries share a request, and so many milliseconds of them if they were cold: one that turns out to be makes
# the others of its request wait.
MOST_QUERIES = 8
MOST_MILLISECONDS = 10_000.0
UNKNOWN_MILLISECONDS = 1_000.0
_OF_ITS_OWN = ("force", "form_data", "queries")


def batch_key(query: PageQuery) -> str | None:
    """What queries have in common that can be asked in one request; None for one that has to be asked alone.

    Superset keys and stores each query of a request on its own (query_context_processor.get_df_payload), except that a
    contribution takes its totals from a query of its request that has no post-processing
    (_prepare_contribution_totals): contributions are asked among themselves.
    """
    queries: list[dict[str, Any]] = list(query.body.get("queries") or ())
    if len(queries) != 1:
        return None
    steps = queries[0].get("post_processing") or ()
    contributes = any((step or {}).get("operation") == "contribution" for step in steps)
    common = {key: value for key, value in query.body.items() if key not in _OF_ITS_OWN}
    return json.dumps([common, contributes], sort_keys=True)


def combined(queries: Sequence[PageQuery]) -> dict[str, Any]:
    """The body of one request for all of these, unforced; its answers are in their order.

    :param queries: With the same :func:`batch_key`.
    """
    body = {key: value for key, value in queries[0].body.items() if key not in _OF_ITS_OWN}
    return {**body, "force": False, "queries": [query.body["queries"][0] for query in queries]}


def split(milliseconds: Sequence[float | None]) -> list[slice]:
    """Cut a list of queries into requests.

    :param milliseconds: How long each of them takes when it is cold, None where nobody knows.
    """
    found: list[slice] = []
    start, total = 0, 0.0
    for position, known in enumerate(milliseconds):
        cost = UNKNOWN_MILLISECONDS if known is None else known
        if position > start and (position - start == MOST_QUERIES or total + cost > MOST_MILLISECONDS):
            found.append(slice(start, position))
            start, total = position, 0.0
        total += cost
    return [*found, slice(start, len(milliseconds))] if milliseconds else found
