"""A source that cannot be reached: another time it may, so it is worth a retry; one that refuses its keys is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from dremio_provider.exceptions import DremioError, DremioTransientError
from dremio_provider.hooks.dremio import DremioHook
from dremio_provider.paths import parse_path

# What S3 clients and JDBC drivers say when nobody answers; Dremio passes it on in its own message.
_UNREACHABLE = re.compile(
    r"could not connect|connect to the endpoint|connection (was )?(refused|reset|closed)|timed? ?out|no route|"
    r"unknown ?host|source .{1,200} (is|was) unavailable",
    re.IGNORECASE,
)


def source_error(name: str, error: DremioError, said: Sequence[str] = ()) -> DremioError:
    """The error for a source that Dremio could not use, in the family that fits.

    :param name: The source.
    :param error: What Dremio answered to the request.
    :param said: What Dremio says about the source itself.
    """
    attrs = error.attrs()
    received = "; ".join(filter(None, [attrs["received"] or error.message, *said]))
    if said or _UNREACHABLE.search(received):
        check = "that the source's server runs, and that Dremio's own machines can reach its address."
        return DremioTransientError(
            f"Dremio cannot reach the source {name}.", **{**attrs, "received": received, "check": check}
        )
    check = "what Dremio says, and the address and the keys of the source."
    return type(error)(f"Dremio cannot use the source {name}.", **{**attrs, "received": received, "check": check})


def source_trouble(hook: DremioHook, path: str | Sequence[str]) -> tuple[str, list[str]]:
    """The source below a dataset, and what Dremio says is wrong with it; nothing when it is well."""
    name = parse_path(path)[0]
    state: Mapping[str, Any] = (hook.get_catalog_entity([name]) or {}).get("state") or {}
    if str(state.get("status") or "good") == "good":
        return name, []
    messages = [str(entry.get("message") or "") for entry in state.get("messages") or ()]
    return name, [message for message in messages if message] or [f"the source is {state['status']}"]
