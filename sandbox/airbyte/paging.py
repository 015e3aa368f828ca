"""Lists of the public API: ``{data, previous, next}`` with addresses of the neighbouring pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request


def page(request: Request, rows: Sequence[dict[str, Any]], limit: int, offset: int) -> dict[str, Any]:
    """Return one page as Airbyte does: ``next`` whenever the page has rows, empty strings instead of null.

    Args:
        request: the request, whose address the neighbours are built from.
        rows: the rows of this page.
        limit: size of a page.
        offset: rows before this page.
    """

    def address(at: int) -> str:
        return str(request.url.include_query_params(limit=limit, offset=at))

    return {
        "previous": address(max(offset - limit, 0)) if offset else "",
        "next": address(offset + limit) if rows else "",
        "data": list(rows),
    }
