"""The documentation's examples are parts of the example DAGs; run this file to write them into the pages anew.

A page names a part with ``<!-- example_dremio_sql.py: howto_operator_run_sql -->`` and has it below as a code block.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parent
PAGES = FOLDER.parents[2] / "docs" / "providers" / "dremio"
_MARK = re.compile(r"(<!-- (example_\w+\.py): (howto_\w+) -->\n)(?:\n?```python\n.*?```\n)?", re.DOTALL)


def part(file: str, name: str) -> str:
    """The lines of an example between ``# [START name]`` and ``# [END name]``."""
    found = re.search(
        rf"^ *# \[START {name}\]\n(.*?)^ *# \[END {name}\]\n",
        (FOLDER / file).read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    if found is None:
        raise LookupError(f"{file} has no part {name}")
    return textwrap.dedent(found.group(1))


def filled(page: str) -> str:
    """A page with its examples as they are now."""
    return _MARK.sub(lambda mark: f"{mark[1]}```python\n{part(mark[2], mark[3])}```\n", page)


def named(page: str) -> set[str]:
    """Names of the parts that a page shows."""
    return {mark[3] for mark in _MARK.finditer(page)}


if __name__ == "__main__":
    for path in sorted(PAGES.glob("*.md")):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
