"""Ranked words against the words that were asked for: pure functions of two lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from .measures import rank_correlation

PERSISTENCE = 0.95
"""Default of the overlap: 85 % of its weight are on the first 20 words of a long list."""


def kendall_tau(words: Sequence[str], target: Sequence[str], n: int, *, fill: bool = False) -> float:
    r"""Kendall's :math:`\tau_b` of two ranked lists, over the words that either has.

    .. math:: \tau_b = \frac{C - D}{\sqrt{(P - T_w)(P - T_t)}}

    with :math:`C` and :math:`D` the pairs of words that both lists have in the same and in opposite order, :math:`P` all
    pairs, and :math:`T` those that are tied in one of the lists (Kendall 1945). Words that a list does not have are tied
    behind all that it has.

    Parameters
    ----------
    words
        Words as they were written, by falling rank.
    target
        Words that should be there, by falling rank.
    n
        Places that count in each list; a repeat takes its place and says nothing.
    fill
        Whether places of `words` that are empty, or taken by a repeat, count as words that `target` does not have. Without
        it, who stops early is not told wrong about the rest, and stopping pays off as soon as the next word is unsure.

    Returns
    -------
    From -1 to 1, which is the list itself. 0 if either list is empty (with `fill`, only if `target` is). The cost is
    :math:`O(n \log n)`.
    """
    kept, wanted = (_first(some, n) for some in (words, target))
    # Fillers are numbers: no word can be one.
    ranked: list[object] = [*kept, *range(len(kept), len(wanted))] if fill else list(kept)
    if not ranked or not wanted:
        return 0.0
    union = list(dict.fromkeys([*ranked, *wanted]))
    if len(union) == 1:
        return 1.0  # one word and the right one, where the formula divides by zero
    places = ({word: rank for rank, word in enumerate(some)} for some in (ranked, wanted))
    # Missing words are tied behind all others.
    return rank_correlation(*([at.get(word, n) for word in union] for at in places))


def rank_weighted_overlap(words: Sequence[str], target: Sequence[str], n: int, *, p: float = PERSISTENCE) -> float:
    r"""Rank-biased overlap of two ranked lists down to a depth, in units of what the right list gets.

    .. math:: \frac{\sum_{d=1}^{n} p^{d-1} |W_d \cap T_d| / d}{\sum_{d=1}^{n} p^{d-1} \min(d, |T|) / d}

    with :math:`W_d` and :math:`T_d` the words on the first :math:`d` places (Webber *et al.* 2010, without extrapolation).
    The denominator is that of the list asked for, whatever was written: who writes less gets less.

    Parameters
    ----------
    words, target
        As in :func:`kendall_tau`.
    n
        Depth: the number of words asked for.
    p
        Persistence, above 0 and below 1: the weight of a depth in units of the one before it.

    Returns
    -------
    From 0, nothing in common, to 1, the list itself. The cost is :math:`O(n)`.
    """
    if not 0 < p < 1:
        raise ValueError(f"p={p} has to be above 0 and below 1.")
    wanted = _first(target, n)
    if not wanted:
        return 0.0
    # Where each word stands in the target: it is common to both from the deeper of its two places on.
    place = {word: rank for rank, word in enumerate(wanted)}
    common = np.zeros(n)
    for rank, word in enumerate(words[:n]):
        if word in place:
            common[max(rank, place.pop(word))] += 1
    depths = np.arange(1, n + 1)
    weights = p ** (depths - 1.0) / depths
    return float(weights @ common.cumsum() / (weights @ np.minimum(depths, len(wanted))))


def validity(words: Sequence[str], known: Collection[str], n: int, *, repeats: bool = False) -> float:
    """Share of the places asked for that hold a word that may stand there.

    Parameters
    ----------
    words
        Words as they were written.
    known
        Words that may be written.
    n
        Number of words asked for.
    repeats
        Whether a word may be written again, as in draws with replacement. By default a repeat is wasted.

    Returns
    -------
    Known words on the first `n` places over `n`, or over the number of words if there are more. From 0 to 1, and 1 only for
    `n` known words and none beyond. The cost is that of reading both lists once.
    """
    _check(n)
    there = set(words[:n]).intersection(known)
    good = sum(word in there for word in words[:n]) if repeats else len(there)
    return good / max(n, len(words))


def _first(words: Sequence[str], n: int) -> list[str]:
    """Distinct words on the first places."""
    _check(n)
    return list(dict.fromkeys(words[:n]))


def _check(n: int) -> None:
    if n < 1:
        raise ValueError(f"n={n} has to be 1 or more: the number of words asked for.")
