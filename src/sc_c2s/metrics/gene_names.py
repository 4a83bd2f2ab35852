"""Gene symbols in prose."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from .cell_names import QUALIFIERS

LIST = re.compile(r"\s*(?:,|/|;|&|\band\b|\bor\b|\bnor\b|\bas well as\b|\s|\()+\s*$")
"""What stands between the members of a list."""

_TOKEN = re.compile(r"(?<![\w+.-])[^\W_]\w*(?:[-.@]\w+)*(?![\w@])")
_LOOKS_LIKE_ONE = re.compile(r"(?=[A-Z0-9]*\d)[A-Z][A-Z0-9]{2,}(?:-[A-Z0-9]+)*")
_CAPITALS = re.compile(r"[A-Z][A-Z-]+[A-Z]")
_OF_A_NAME = re.compile(
    rf"\+|⁺|⁻|[-−](?=\W|$)|[- ]positive\b|(?:\s(?i:{'|'.join(sorted(QUALIFIERS))}))*"
    r"(?:(?:\s(?:[TB]|NK))?\s(?i:cells?)\b|\s\w+(?i:cyte|phage|blast|phil)(?i:s?)\b)"
)
"""What follows a symbol that is a marker in the name of a cell type: CD14+, CD8 T cells."""
_BEGINS = re.compile(r"(?:^|[.!?:]\s|\n)\W*$")
# Words of English that are also symbols, written as a sentence begins where they are those of mice
_ENGLISH = frozenset(
    "all an arc as bad bid cat can clock crest fast fat fill fit flower for had has hey hits hook impact jam kit large "
    "last max met mice mix net nodal not notch of on pal pan pigs post rest ring sag set she ski spin star step tank "
    "tap tub was white wars".split()
)


@dataclass(frozen=True)
class GeneMention:
    """A gene that a text names.

    Attributes
    ----------
    start, end
        Its place in the text.
    symbol
        The symbol, as it is written.
    known
        Whether the data have it.
    """

    start: int
    end: int
    symbol: str
    known: bool


def find_genes(text: str, genes: Container[str]) -> list[GeneMention]:
    """Find the genes that a text names.

    A symbol counts where it stands as a whole word, spelt as it is. It does not where it is a marker in the name of a cell
    type (``CD14+``, ``CD8 T cells``) or a part of a longer name (``CD4-like``), where it has one character, where it has
    only small letters, nor where it may be a word: letters only in a sentence that is all in capitals, or an English word
    such as ``Rest`` that begins a sentence. What only looks like a symbol (capitals and digits, or capitals in a list with
    another gene) counts as a gene that the data do not have.

    Parameters
    ----------
    text
        Prose.
    genes
        Symbols of the data.

    Returns
    -------
    Mentions in the order of their places.
    """
    found: list[GeneMention] = []
    for match in _TOKEN.finditer(text):
        symbol, (start, end) = match[0], match.span()
        known = len(symbol) > 1 and symbol in genes
        if (
            _OF_A_NAME.match(text, end)
            or symbol.islower()
            or (symbol.isalpha() and _may_be_a_word(text, start, symbol, genes))
        ):
            continue
        listed = found and _CAPITALS.fullmatch(symbol) and LIST.match(text[found[-1].end : start])
        if known or _LOOKS_LIKE_ONE.fullmatch(symbol) or listed:
            found.append(GeneMention(start, end, symbol, known))
    return found


def _may_be_a_word(text: str, start: int, symbol: str, genes: Container[str]) -> bool:
    if not symbol.isupper():
        return symbol.lower() in _ENGLISH and bool(_BEGINS.search(text[:start]))
    begin = max(text.rfind(mark, 0, start) for mark in ".!?\n") + 1
    end = min((place for mark in ".!?\n" if (place := text.find(mark, start)) >= 0), default=len(text))
    around = [word for word in re.findall(r"\b[^\W\d_]{2,}\b", text[begin:end]) if word not in genes]
    return len(around) > 2 and all(map(str.isupper, around))
