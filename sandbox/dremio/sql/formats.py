"""Date and time formats: from Dremio's letters to strftime's."""

from __future__ import annotations

import re

from sandbox.dremio.errors import UnsupportedError

_PATTERNS = {
    "YYYY": "%Y",
    "YY": "%y",
    "MONTH": "%B",
    "MON": "%b",
    "MM": "%m",
    "DDD": "%j",
    "DD": "%d",
    "DAY": "%A",
    "DY": "%a",
    "HH24": "%H",
    "HH12": "%I",
    "HH": "%I",
    "MI": "%M",
    "SS": "%S",
    "FFFFFF": "%f",
    "FFF": "%g",
    "AM": "%p",
    "PM": "%p",
    "TZO": "%z",
}
_ELEMENT = re.compile(
    "|".join(sorted(_PATTERNS, key=len, reverse=True)) + r'|"[^"]*"|[A-Z]+|.', re.IGNORECASE | re.DOTALL
)


def to_strftime(text: str) -> str:
    """Return the strftime format that means the same as Dremio's, e.g. ``YYYY-MM-DD`` -> ``%Y-%m-%d``.

    Raises:
        UnsupportedError: if the format holds letters the sandbox does not know.
    """
    parts = []
    for match in _ELEMENT.finditer(text):
        element = match.group(0)
        if element.startswith('"') and len(element) > 1:
            parts.append(element[1:-1].replace("%", "%%"))
        elif element.upper() in _PATTERNS:
            parts.append(_PATTERNS[element.upper()])
        elif element.isalpha() and element != "T":
            raise UnsupportedError(f"The date format element {element!r} of {text!r}")
        else:
            parts.append(element.replace("%", "%%"))
    return "".join(parts)
