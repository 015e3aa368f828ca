"""What applying a declaration would do, step by step, before anything is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Action = Literal["created", "updated", "deleted", "unchanged", "skipped"]
# Dremio shows this instead of a secret, and takes it for "leave the secret as it is".
EXISTING_VALUE = "$DREMIO_EXISTING_VALUE$"


@dataclass(frozen=True)
class Step:
    """One declared object, and what has to be done about it.

    :param kind: ``source``, ``space``, ``folder``, ``table``, ``view``, ``reflection``, ``policy`` or ``grants``.
    :param name: Its path, as people write it.
    :param action: What is done about it.
    :param differences: Why: what differs, in words, without the values that Dremio hides.
    :param carry_out: Does it; None where there is nothing to do.
    """

    kind: str
    name: str
    action: Action
    differences: tuple[str, ...] = ()
    carry_out: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for XCom."""
        return {"kind": self.kind, "name": self.name, "action": self.action, "differences": list(self.differences)}

    def __str__(self) -> str:
        why = f": {'; '.join(self.differences)}" if self.differences else ""
        return f"{self.action} {self.kind} {self.name}{why}"


def carry_out(steps: Sequence[Step]) -> None:
    """Do what was planned, in order; the first refusal ends it.

    :raises DremioError: Dremio refused a step.
    """
    for step in steps:
        if step.carry_out is not None:
            step.carry_out()


def summary(steps: Sequence[Step]) -> str:
    """A plan in words: the counts, then everything that changes or is left out."""
    counts = Counter(step.action for step in steps)
    head = ", ".join(f"{counts[action]} {action}" for action in counts) or "nothing is declared"
    return "\n".join([head, *(str(step) for step in steps if step.action != "unchanged")])


def value_differences(declared: Any, found: Any) -> list[str]:
    """Where a declared value is not what Dremio shows.

    What Dremio shows beyond the declaration is its own business. What it masks (``$DREMIO_EXISTING_VALUE$``) or does
    not show at all cannot be compared and counts as equal.

    :param declared: The declared value.
    :param found: What Dremio returned.
    :returns: The places that differ, such as ``config.rootPath``; never the values, which may be secrets.
    """
    shown = dict(_leaves(found))
    return sorted(
        path for path, value in _leaves(declared) if path in shown and shown[path] not in (value, EXISTING_VALUE)
    )


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    entries: Iterable[tuple[Any, Any]]
    if isinstance(value, Mapping):
        entries = value.items()
    elif isinstance(value, list):
        yield f"{path}.length", len(value)
        entries = enumerate(value)
    else:
        yield path, value
        return
    for key, entry in entries:
        yield from _leaves(entry, f"{path}.{key}" if path else str(key))
