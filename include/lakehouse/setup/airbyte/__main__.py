"""What Airbyte has and what is declared: ``python -m lakehouse.setup.airbyte plan`` shows it, ``apply`` makes it so."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from lakehouse.airbyte import AirbyteError
from lakehouse.connections import ConnectionMissing
from lakehouse.files import ConfigError
from lakehouse.metadata_store import MetadataStoreError
from lakehouse.setup.airbyte import Step, plan
from lakehouse.templates import TemplateFault

_SIGNS = {"created": "+", "updated": "~", "unchanged": " ", "skipped": "-"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process when not given.

    Returns:
        0; with ``plan --check`` 2 when something differs; 1 when a file is at fault or Airbyte refuses.
    """
    parser = argparse.ArgumentParser(prog="python -m lakehouse.setup.airbyte", description=__doc__)
    parser.add_argument("command", choices=["plan", "apply"])
    parser.add_argument("--check", action="store_true", help="plan: exit with 2 when something differs")
    chosen = parser.parse_args(arguments)
    try:
        steps = plan()
        print(describe(steps))
        if chosen.command == "apply":
            for step in steps:
                step.carry_out()
            print("Applied.")
    except (AirbyteError, ConfigError, ConnectionMissing, MetadataStoreError, TemplateFault) as error:
        print(error, file=sys.stderr)
        return 1
    return 2 if chosen.check and any(step.action != "unchanged" for step in steps) else 0


def describe(steps: Sequence[Step]) -> str:
    """Return a plan in words: every object with a sign, below it what differs, and the sums."""
    lines = []
    for step in steps:
        lines.append(f"{_SIGNS[step.action]} {step.kind} {step.name}")
        lines += [f"      {field}" for field in step.fields]
    counts = Counter(step.action for step in steps)
    return "\n".join(
        [*lines, f"{counts['created']} to create, {counts['updated']} to change, {counts['unchanged']} as declared"]
    )


if __name__ == "__main__":
    sys.exit(main())
