"""What a text says of a group of cells: its statements, without asking whether they are true."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TypeVar

from .cell_names import CellMention, CellNames, words_of
from .gene_names import LIST, GeneMention, find_genes
from .naming import longest_names, names_beside_percentages
from .wording import (
    AFTER,
    CLAUSE,
    COMPARED,
    DIRECTION,
    ELSEWHERE,
    FEW,
    FRACTIONS,
    MOST,
    NOT,
    OF_OTHERS,
    ON,
    REACH,
    SHARE,
)


@dataclass(frozen=True)
class ContextMention:
    """A value of a column of ``obs`` that a text names.

    Attributes
    ----------
    start, end
        Its place in the text.
    words
        That stretch of the text.
    column, value
        The column, and the value as the data have it.
    """

    start: int
    end: int
    words: str
    column: str
    value: str


Mention = CellMention | GeneMention | ContextMention
Countable = CellMention | ContextMention
"""What cells can have, so that it has a share of them."""
Named = TypeVar("Named", bound=Mention)


@dataclass(frozen=True)
class Statement:
    """One thing that a text says.

    Attributes
    ----------
    start, end
        Its place in the text.
    about
        What it is said of; ``None`` for a share of something else than cell types and context.
    says
        ``"is there"``, ``"is absent"``, ``"is above"``, ``"is not above"``, ``"is below"``, ``"is not below"`` or ``"has a
        share"``.
    share
        Least and largest share that is said.
    exact
        Whether that is a number, not a word such as "most".
    with_it
        What else has the share with it.
    """

    start: int
    end: int
    about: Mention | None
    says: str
    share: tuple[float, float] | None = None
    exact: bool = True
    with_it: tuple[Countable, ...] = ()


_SAYS_LITTLE = re.compile(r"\d{1,2}|\d*\.\d*|yes|no|true|false|none|other|unknown", re.IGNORECASE)


def read_statements(
    text: str, *, genes: Container[str], cells: CellNames, context: Mapping[str, Sequence[str]]
) -> list[Statement]:
    """Read what a text says of a group of cells.

    Parameters
    ----------
    text
        Prose.
    genes
        Symbols of the data.
    cells
        Finder of cell types.
    context
        Values of each column that describes the cells.

    Returns
    -------
    Statements in the order of their places.
    """
    mentions = _mentions(text, genes, cells, context)
    statements: list[Statement] = []
    for start, end in _clauses(text):
        inside = [mention for mention in mentions if start <= mention.start < end]
        read = [*_of_lists(text, start, end, inside)]
        plain = [s.about for s in read if isinstance(s.about, Countable) and s.says == "is there"]
        shares = list(_shares(text, start, end, plain))
        bound = [share.about for share in shares]
        statements += [s for s in read if s.says != "is there" or s.about not in bound] + shares
    return sorted(statements, key=lambda statement: (statement.start, statement.end))


def _mentions(
    text: str, genes: Container[str], cells: CellNames, context: Mapping[str, Sequence[str]]
) -> list[Mention]:
    """All that is named; of what overlaps, cell types come before context and context before genes."""
    types = [m for m in cells.find(text) if m.labels or len(m.name) > 1 or text[m.start : m.end] not in genes]
    every: list[Mention] = [*types, *_find_context(text, context), *find_genes(text, genes)]
    found: list[Mention] = []
    taken = bytearray(len(text))
    for mention in every:
        place = slice(mention.start, mention.end)
        if not any(taken[place]):
            taken[place] = b"x" * (mention.end - mention.start)
            found.append(mention)
    return sorted(found, key=lambda mention: mention.start)


def _find_context(text: str, context: Mapping[str, Sequence[str]]) -> Iterator[ContextMention]:
    """Values of columns. A number or a word that says little counts after the name of its column only."""
    short = {value: column for column, values in context.items() for value in values if len(value) == 1}
    for place in names_beside_percentages(text, short):
        yield ContextMention(*place.span(), place[0], short[place[0]], place[0])
    known: dict[str, tuple[str, str]] = {}
    for column, values in context.items():
        for value in values:
            known.setdefault(_squeezed(f"{column} {value}"), (column, value))
            known.setdefault(_squeezed(f"{column} is {value}"), (column, value))
            if len(value) > 1 and not _SAYS_LITTLE.fullmatch(value):
                known.setdefault(_squeezed(value), (column, value))
    longest = max((len(words_of(f"{column} is {value}")) for column, value in known.values()), default=0)
    words = words_of(text)
    names = longest_names(
        [_small(text[word.start : word.end]) for word in words], lambda n: known.get("".join(n)), longest
    )
    for first, stop, (column, value) in names:
        start, end = words[first].start, words[stop - 1].end
        yield ContextMention(start, end, text[start:end], column, value)


def _clauses(text: str) -> Iterator[tuple[int, int]]:
    ends = [0, *(match.end() for match in CLAUSE.finditer(text)), len(text)]
    yield from pairwise(ends)


def _of_lists(text: str, start: int, end: int, mentions: Sequence[Mention]) -> Iterator[Statement]:
    """Read what a clause says of each list of genes, cell types or values of context in it."""
    lists = _lists(text, mentions)
    free = start
    followed = [more[0].start for more in lists[1:]] + [end]
    for these, following in zip(lists, followed, strict=False):
        before, after = text[free : these[0].start], text[these[-1].end : following]
        says, used = _said(before, after, isinstance(these[0], GeneMention))
        free = these[-1].end + used
        if not COMPARED.search(before):
            yield from (Statement(mention.start, mention.end, mention, says) for mention in these)


def _lists(text: str, mentions: Sequence[Named]) -> list[list[Named]]:
    """Mentions of one kind that only commas and the like keep apart are a list."""
    lists: list[list[Named]] = []
    for mention in mentions:
        if lists and type(lists[-1][-1]) is type(mention) and LIST.match(text[lists[-1][-1].end : mention.start]):
            lists[-1].append(mention)
        else:
            lists.append([mention])
    return lists


def _said(before: str, after: str, gene: bool) -> tuple[str, int]:
    """Find what is said of a list, and how far behind it the words go that say so."""
    behind = AFTER.match(after)
    denied = behind and behind["denied"] and (gene or "express" not in behind["denied"])
    if behind and (denied or behind["absent"]):
        return "is absent", behind.end()
    directions = [match for match in DIRECTION.finditer(before) if _reaches(before[match.end() :])] if gene else []
    close = bool(directions) and len(before[directions[-1].end() :].split()) < 2
    if gene and behind and not close:
        return f"is {'not ' if behind['no'] else ''}{'below' if behind['down'] else 'above'}", behind.end()
    negated = [match for match in NOT.finditer(before) if _reaches(before[match.end() :])]
    if not directions:
        return "is absent" if negated else "is there", 0
    last = directions[-1]
    no = next((match for match in negated if len(before[match.end() : last.start()].split()) < 4), None)
    if no and last["marked"] and no[0].lower() != "not":
        return "is absent", 0  # lacks the markers …
    return f"is {'not ' if no else ''}{'below' if last['down'] else 'above'}", 0


def _reaches(between: str) -> bool:
    if len(between.split()) > REACH or re.search(r"\b(?:and|or|which)\b", between):
        return False
    return "," not in between or bool(ON.search(between))


def _shares(text: str, start: int, end: int, types: Sequence[Countable]) -> Iterator[Statement]:
    """Shares that a clause states, each with the cell type next to it."""
    found = [match for match in SHARE.finditer(text, start, end) if not any(_inside(match, t) for t in types)]
    in_order = "respectively" in text[start:end] and len(found) == len(types)
    taken: list[tuple[int, int]] = []
    for i, match in enumerate(found):
        share, exact = _value(match)
        about = types[i] if in_order else _bound(text, match, types)
        if about is not None and exact and not in_order and _closer(text, match, about, found):
            about = None  # the other one has a number of its own
        if about is not None and (
            OF_OTHERS.match(text, match.end())
            or _is_part_of(text, match, about)
            or NOT.search(_between(text, match, about))  # what it is not leaves open what it is
        ):
            about = None
        if not exact and (about is None or not _next_to(text, match, about)):
            continue
        together: tuple[Countable, ...] = ()
        if match["most"] and about is not None:
            together = tuple(_beside(text, types, about))
        others = [m.span() for m in found if m is not match] + [(t.start, t.end) for t in types if t != about]
        words = _span(text, match, about, [*others, *taken])
        taken.append(words)
        yield Statement(*words, about, "has a share", share, exact, together)


def _bound(text: str, match: re.Match[str], types: Sequence[Countable]) -> Countable | None:
    """Find what a share is of: what stands before its bracket, else what is nearest."""
    if text[: match.start()].endswith("("):
        return next(
            (t for t in types if not text[t.end : match.start() - 1].strip(" *") and t.end < match.start()), None
        )
    nearest = min(types, key=lambda t: _distance(text, match, t), default=None)
    return nearest if nearest is not None and _distance(text, match, nearest) < inf else None


def _closer(text: str, match: re.Match[str], about: Countable, found: Sequence[re.Match[str]]) -> bool:
    """Tell whether another number is closer to this."""
    numbers = [other for other in found if other is not match and _value(other)[1]]
    return any(_distance(text, other, about) < _distance(text, match, about) for other in numbers)


def _value(match: re.Match[str]) -> tuple[tuple[float, float], bool]:
    if match["range"]:
        low, high = sorted(float(end) / 100 for end in (match["least"] or match["low"], match["high"]))
        return (low, high), True
    if match["number"]:
        return (float(match["value"]) / 100,) * 2, True
    if match["fraction"]:
        share = next(s for pattern, s in FRACTIONS.items() if re.fullmatch(pattern, match["fraction"], re.I))
        return (share, share), True
    return (MOST if match["most"] else FEW), False


def _inside(match: re.Match[str], mention: Mention) -> bool:
    return mention.start < match.end() and match.start() < mention.end


def _between(text: str, match: re.Match[str], mention: Mention) -> str:
    return text[match.end() : mention.start] or text[mention.end : match.start()]


def _distance(text: str, match: re.Match[str], mention: Mention) -> float:
    """Letters between a share and a cell type; no "30% of this and B cells", while "B cells are there, at 30%" is far."""
    between = _between(text, match, mention)
    apart = len(re.findall(r",|\band\b", between))
    return inf if apart and mention.start >= match.end() else len(between) + 40 * apart


def _next_to(text: str, match: re.Match[str], mention: Mention) -> bool:
    """Tell whether a word such as "mostly" is said of a cell type: few words and none of place stand between them."""
    between = _between(text, match, mention)
    return len(between.split()) <= REACH - 1 and not ELSEWHERE.search(between)


def _is_part_of(text: str, match: re.Match[str], mention: Mention) -> bool:
    """Tell whether it is a share of the type's own cells: "20% of the T cells", "most T cells"."""
    of = r"\s+of" if not match["most"] else r"(?:\s+of)?"
    if match["most"] and match[0].lower().endswith(("ly", "by")):
        return False
    if match["few"] and not match[0].lower().endswith("few"):
        return False  # "a small number of T cells" counts them
    return bool(re.fullmatch(rf"{of}(?:\s+(?:the|these|all))?\s+", text[match.end() : mention.start]))


def _beside(text: str, types: Sequence[Countable], about: Countable) -> Iterator[Countable]:
    """Find the others of its list."""
    yield from (mention for these in _lists(text, types) if about in these for mention in these if mention != about)


def _span(text: str, match: re.Match[str], about: Mention | None, others: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """From the share to the type that has it, where nothing else that is claimed is between them."""
    if about is None:
        return match.span()
    start, end = min(match.start(), about.start), max(match.end(), about.end)
    if any(start < stop and begin < end for begin, stop in others):
        return match.span()
    return start, end + (text[end : end + 1] == ")" and "(" in text[start:end])


def _small(word: str) -> str:
    return "".join(w.text for w in words_of(word)) if not word.isascii() else word.casefold()


def _squeezed(name: str) -> str:
    return "".join(_small(name[word.start : word.end]) for word in words_of(name))
