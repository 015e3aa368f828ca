"""The standard analyser: words by the Unicode rules of text segmentation, in lower case."""

from __future__ import annotations

import tantivy

_IDEOGRAPH = r"\p{Han}\p{Hiragana}"
_LETTER = rf"[\p{{L}}--[{_IDEOGRAPH}]]\p{{M}}*"
# A dot or apostrophe joins letters with letters (dog's, example.com), a dot or comma digits with digits (3.14); an
# underscore joins anything. Every ideograph is a word of its own.
STANDARD_PATTERN = rf"[{_IDEOGRAPH}]|(?:{_LETTER}(?:[.':\u2019\u00b7]{_LETTER})*|\p{{N}}(?:[.,';]\p{{N}})*|_)+"
STANDARD = "standard"
"""Name under which the analyser is registered with every tantivy index."""


def standard() -> tantivy.TextAnalyzer:
    """Return the standard analyser."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(STANDARD_PATTERN))
        .filter(tantivy.Filter.lowercase())
        .build()
    )


_ANALYSER = standard()


def words(text: str) -> list[str]:
    """Return the words of ``text``, in order, as the index stores them."""
    found: list[str] = _ANALYSER.analyze(text)
    return found
