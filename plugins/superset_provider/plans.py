"""What applying a declaration would do, step by step, before anything is done."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Action = Literal["created", "changed", "same", "deleted"]
_MOST_LETTERS = 60
# By what an entry of a list is known to people, in this order.
_NAMES = ("column_name", "metric_name", "id", "name", "label")


@dataclass(frozen=True)
class Step:
    """One object, and what has to be done about it.

    :param kind: ``database``, ``dataset``, ``chart``, ``dashboard`` or ``theme``.
    :param name: What people call it.
    :param uuid: What it is found by.
    :param path: Its file; empty for what is deleted.
    :param action: What is done about it.
    :param differences: Why: each field that differs, with both values except for databases, which hold secrets.
    """

    kind: str
    name: str
    uuid: str
    path: str
    action: Action
    differences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return {
            "kind": self.kind,
            "name": self.name,
            "uuid": self.uuid,
            "path": self.path,
            "action": self.action,
            "differences": list(self.differences),
        }

    def __str__(self) -> str:
        why = "".join(f"\n    {difference}" for difference in self.differences)
        return f"{self.action} {self.kind} {self.name}{why}"


def summary(steps: Sequence[Step]) -> str:
    """A plan in words: the counts, then everything that is done, field by field."""
    counts = Counter(step.action for step in steps)
    head = ", ".join(f"{counts[action]} {action}" for action in counts) or "nothing is declared"
    return "\n".join([head, *(f"  {step}" for step in steps if step.action != "same")])


def differences(found: Any, declared: Any, *, values: bool = True) -> tuple[str, ...]:
    """Where a declared value is not what was found.

    :param found: What Superset has.
    :param declared: What the file says.
    :param values: Whether to show both values, shortened.
    :returns: ``metrics.revenue.expression: 'SUM(a)' -> 'SUM(b)'``, or without values ``metrics.revenue.expression``.
    """
    return tuple(
        f"{place}: {_shown(left)} -> {_shown(right)}" if values else place
        for place, left, right in _differences(found, declared, "")
    )


_ABSENT: Any = object()


def _differences(found: Any, declared: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(found, str) and isinstance(declared, str) and found != declared and place.endswith("query_context"):
        found, declared = json.loads(found), json.loads(declared)
    left, right = _entries(found), _entries(declared)
    if left is None or right is None or isinstance(found, Mapping) != isinstance(declared, Mapping):
        if found != declared:
            yield place, found, declared
        return
    for key in [*left, *(key for key in right if key not in left)]:
        inner = f"{place}.{key}" if place else str(key)
        yield from _differences(left.get(key, _ABSENT), right.get(key, _ABSENT), inner)
    if not isinstance(found, Mapping) and left == right and list(left) != list(right):
        yield place, list(left), list(right)


def _entries(value: Any) -> Mapping[str, Any] | None:
    """The parts of a value by name; None when it has none."""
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list):
        return None
    for key in _NAMES:
        names = [str(entry.get(key)) for entry in value if isinstance(entry, Mapping) and key in entry]
        if names and len(set(names)) == len(value):
            return dict(zip(names, value, strict=True))
    return {str(number): entry for number, entry in enumerate(value)}


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 2]}.."
