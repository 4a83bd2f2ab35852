"""Known names among words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

Known = TypeVar("Known")


def longest_names(
    words: Sequence[str], look_up: Callable[[tuple[str, ...]], Known | None], longest: int
) -> Iterator[tuple[int, int, Known]]:
    """Find names of one or more words; of those inside each other the longest counts.

    Parameters
    ----------
    words
        Words of a text.
    look_up
        What these words name; ``None`` if nothing.
    longest
        The most words of a name.

    Yields
    ------
    First word, the one after the last, and what they name.
    """
    at = 0
    while at < len(words):
        for stop in range(min(at + longest, len(words)), at, -1):
            if (known := look_up(tuple(words[at:stop]))) is not None:
                yield at, stop, known
                at = stop
                break
        else:
            at += 1


def names_beside_percentages(text: str, names: Collection[str]) -> Iterator[re.Match[str]]:
    """Find names that are too short to be told from other words, where a percentage says what they are.

    Parameters
    ----------
    text
        Prose.
    names
        Names, to be found as they are spelt.

    Yields
    ------
    Their places: ``B`` in "13% B" and in "B (13%)", not in "plan B".
    """
    if names:
        any_of = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        before = r"(?=\s?\(\d+(?:\.\d+)?\s?%)"
        yield from re.finditer(rf"(?<=%\s)(?:{any_of})(?![\w+-]|\scells?\b)|(?<!\w)(?:{any_of}){before}", text)
