"""Names of indices: which are allowed, and which indices an expression means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sandbox.elasticsearch.errors import ElasticsearchError, index_not_found
from sandbox.elasticsearch.store import IndexRecord

_FORBIDDEN = set('\\/*?"<>| ,#:')


def check_name(name: str) -> None:
    """Refuse a name no index may have.

    Raises:
        ElasticsearchError: 400 ``invalid_index_name_exception``.
    """
    problem = None
    if name != name.lower():
        problem = "must be lowercase"
    elif name.startswith(("_", "-", "+")):
        problem = "must not start with '_', '-', or '+'"
    elif set(name) & _FORBIDDEN:
        shown = ", ".join(sorted(_FORBIDDEN))
        problem = f"must not contain the following characters [{shown}]"
    elif name in (".", ".."):
        problem = "must not be '.' or '..'"
    elif len(name.encode()) > 255:
        problem = f"index name is too long, ({len(name.encode())} > 255)"
    if problem:
        raise ElasticsearchError(
            400,
            "invalid_index_name_exception",
            f"Invalid index name [{name}], {problem}",
            details={"index_uuid": "_na_", "index": name},
        )


@dataclass(frozen=True, slots=True)
class Options:
    """What to do about names that mean nothing.

    Args:
        ignore_unavailable: pass over an index that does not exist.
        allow_no_indices: a pattern may match nothing.
    """

    ignore_unavailable: bool = False
    allow_no_indices: bool = True


def resolve(
    expression: str, indices: Mapping[str, IndexRecord], options: Options = Options()
) -> list[IndexRecord]:  # frozen
    """Return the indices that an expression such as ``logs-*,-logs-old,orders`` means, by name.

    Args:
        expression: names, aliases, patterns and exclusions joined by commas; ``_all`` and ``*`` are every index.
        indices: all indices by name.
        options: what to do about names that mean nothing.

    Raises:
        ElasticsearchError: 404 if a name does not exist, or nothing is left and that is not allowed.
    """
    chosen: dict[str, IndexRecord] = {}
    for part in expression.split(","):
        if part.startswith("-") and chosen:
            for name in [name for name in chosen if fnmatchcase(name, part[1:])]:
                del chosen[name]
            continue
        matches = _matching(part, indices)
        if not matches and "*" not in part and part != "_all":
            if options.ignore_unavailable:
                continue
            if part.startswith("_"):
                check_name(part)
            raise index_not_found(part)
        if not matches and not options.allow_no_indices:
            raise index_not_found(part)
        chosen.update((record.name, record) for record in matches)
    if not chosen and not options.allow_no_indices:
        raise index_not_found(expression)
    return [chosen[name] for name in sorted(chosen)]


def _matching(part: str, indices: Mapping[str, IndexRecord]) -> list[IndexRecord]:
    if part in ("_all", "*", ""):
        return list(indices.values())
    if part in indices:
        return [indices[part]]
    return [
        record for record in indices.values() if any(fnmatchcase(name, part) for name in (record.name, *record.aliases))
    ]
