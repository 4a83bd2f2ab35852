"""Known names among words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
