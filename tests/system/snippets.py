"""The documentation's examples are parts of the example DAGs; run this file to write them into the pages anew.

A page names a part with ``<!-- example_dremio_sql.py: howto_operator_run_sql -->`` and has it below as a code block.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROVIDERS = ("dremio", "superset")
_MARK = re.compile(r"(<!-- (example_\w+\.py): (howto_\w+) -->\n)(?:\n?```python\n.*?```\n)?", re.DOTALL)


@dataclass(frozen=True)
class Guide:
    """The pages of a provider and its example DAGs.

    :param provider: ``dremio`` or ``superset``.
    """

    provider: str

    @property
    def folder(self) -> Path:
        """Where the examples are."""
        return REPOSITORY / "tests" / "system" / self.provider

    @property
    def pages(self) -> dict[str, Path]:
        """The pages by name."""
        return {path.stem: path for path in sorted((REPOSITORY / "docs" / "providers" / self.provider).glob("*.md"))}

    def text(self, page: str) -> str:
        """A page as it is."""
        return self.pages[page].read_text(encoding="utf-8")

    @property
    def examples(self) -> str:
        """All examples, one after the other."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("example_*.py")))

    def part(self, file: str, name: str) -> str:
        """The lines of an example between ``# [START name]`` and ``# [END name]``."""
        found = re.search(
            rf"^ *# \[START {name}\]\n(.*?)^ *# \[END {name}\]\n",
            (self.folder / file).read_text(encoding="utf-8"),
            re.DOTALL | re.MULTILINE,
        )
        if found is None:
            raise LookupError(f"{file} has no part {name}")
        return textwrap.dedent(found.group(1))

    def filled(self, page: str) -> str:
        """A page with its examples as they are now."""
        return _MARK.sub(lambda mark: f"{mark[1]}```python\n{self.part(mark[2], mark[3])}```\n", self.text(page))

    def named(self, page: str) -> set[str]:
        """Names of the parts that a page shows."""
        return {mark[3] for mark in _MARK.finditer(self.text(page))}


if __name__ == "__main__":
    for guide in map(Guide, PROVIDERS):
        for name, path in guide.pages.items():
            path.write_text(guide.filled(name), encoding="utf-8")
