"""What stands in the answers of a model, and what columns say beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sc_c2s.sentences.changes import FALLS, RISES, SAME, at_level, to_changes
from sc_c2s.sentences.text import unquote

Values = NDArray[np.float64]

RUN = 5
"""From so many words on, what stands in the prompt word by word is a copy."""


def rows_of(
    completions: Sequence[str], one: Mapping[str, Any], several: Mapping[str, Any] | None = None
) -> Iterator[SimpleNamespace]:
    """Completions with their entries of the columns; an entry of those in `several` is a collection itself."""
    n = len(completions)
    columns = {name: _each(values, n, _is_collection(values)) for name, values in one.items()}
    for name, values in (several or {}).items():
        # Words or numbers, right away, are what one completion has: they are meant for all.
        columns[name] = _each(values, n, _is_collection(values) and _is_collection(next(iter(values), 0), missing=True))
    for text, *entries in zip(completions, *columns.values(), strict=True):
        yield SimpleNamespace(text=text, **dict(zip(columns, entries, strict=True)))


def _each(values: Any, n: int, is_column: bool) -> Iterable[Any]:
    return values if is_column else repeat(values, n)


def _is_collection(values: Any, *, missing: bool = False) -> bool:
    return missing if values is None else isinstance(values, Collection) and not isinstance(values, str)


def ranked(
    completions: Sequence[str], sentence: Any, n_asked: Any, change: Any
) -> Iterator[tuple[list[str], list[str], int]]:
    """Ranked words of each answer and of what should be written, and the number asked for."""
    for row in rows_of(completions, {"sentence": sentence, "n_asked": n_asked}, {"change": change}):
        texts = (row.text, row.sentence or "")
        words, target = (text.split()[: row.n_asked] for text in texts)
        if row.change is not None:
            words, target = _by_count(words), _by_count(target)
        yield words, target, row.n_asked


def _by_count(words: list[str]) -> list[str]:
    """Distinct words by falling count, the first drawn first among equals."""
    return [word for word, _ in Counter(words).most_common() if word != SAME]


@lru_cache(maxsize=8)
def _places(genes: tuple[str, ...]) -> dict[str, int]:
    return {gene: i for i, gene in enumerate(genes)}


@lru_cache(maxsize=2**16)
def _happening(word: str) -> tuple[str, str]:
    return word[0], unquote(word[1:])


def drawn_change(row: SimpleNamespace) -> Values:
    """Change that the words of an answer tell, for the cells at hand."""
    place = _places(tuple(row.genes))
    shares = np.zeros((1, 2 * len(place) + 1))
    first = {RISES: 0, FALLS: len(place)}
    for word, count in Counter(row.text.split()[: row.n_asked]).items():
        sign, gene = _happening(word)
        if sign in first and gene in place:
            shares[0, first[sign] + place[gene]] = count / row.n_asked
    told = to_changes(shares, row.scale)[0]
    mean, level = (np.asarray(values, dtype=np.float64) for values in (row.control, row.reference))
    return np.asarray(at_level(told, mean, level))


def without_copies(text: str, prompt: str | None) -> str:
    """Cut what stands in the prompt word by word, in runs of several words."""
    if not prompt:
        return text
    words = text.split()
    said, there = ([word.strip(".,;:") for word in some] for some in (words, prompt.split()))
    runs = {tuple(there[i : i + RUN]) for i in range(len(there) - RUN + 1)}
    copied = {i + k for i in range(len(said)) if tuple(said[i : i + RUN]) in runs for k in range(RUN)}
    return " ".join(word for i, word in enumerate(words) if i not in copied)
