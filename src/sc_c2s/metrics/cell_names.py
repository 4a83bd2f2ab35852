"""Names of cell types in prose: which labels of the data they stand for, and what is a kind of what."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .naming import longest_names, names_beside_percentages
from .ontology import Parents, read_cell_ontology, read_cell_type_names

Name = tuple[str, ...]

CELL = "cell"
QUALIFIERS = frozenset(
    "activated central circulating classical cycling cytotoxic effector exhausted helper immature infiltrating "
    "inflammatory intermediate mature memory naive naïve nonclassical plasmacytoid precursor progenitor proliferating "
    "regulatory resident resting transitional".split()
)
"""Words that make of a name before which they stand a narrower one."""

_WORD = re.compile(
    r"(?P<word>[α-ωΑ-Ω]|[^\W_α-ωΑ-Ω]+)"
    r"(?P<sign>\+|⁺|[- ]?positive\b,?|[- ]?negative\b,?|[-−⁻](?=[\s,.;)/]|$))?"
)
_BESIDE = re.compile(r"(?: {1,2}| ?\n ?| ?[-/–] ?)?")
"""What may stand between two words of a name."""
_NO_MENTION = re.compile(
    r"[\s-]*(?:derived|like|specific|associated|related|receptors?|lineages?|genes?|markers?|signatures?|program\w*|"
    r"atlas\w*|types?|states?|lines?|clono\w+|cycle|death|surface|therap\w+|activation|development|differentiation|responses?|factors?|signall?ing)\b",
    re.IGNORECASE,
)
"""What follows a name that is part of a longer one: a T cell receptor is no T cell."""
_SHORT = re.compile(r"..?|[A-Z0-9-]{1,4}")
_LONGEST = 10  # words of a name


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes
    ----------
    start, end
        Its place.
    text
        The word in the form in which names are compared: small letters, singular, Greek letters by name, without a plus.
    marker
        Whether it looks like a marker: it has a sign, or a digit beside letters.
    """

    start: int
    end: int
    text: str
    marker: bool


@dataclass(frozen=True)
class CellMention:
    """A cell type that a text names.

    Attributes
    ----------
    start, end
        Its place in the text.
    words
        That stretch of the text.
    name
        The words, in the form in which they are compared.
    labels
        Labels of the data that are this type or kinds of it.
    perhaps
        Labels whose cells may be of this type or not: those that it is a kind of, and those of which nothing is known.
    """

    start: int
    end: int
    words: str
    name: Name
    labels: frozenset[str]
    perhaps: frozenset[str]


@dataclass(frozen=True, eq=False)
class CellOntology:
    """Which cell types there are.

    Attributes
    ----------
    parents
        Parents of each term, as of :func:`read_cell_ontology`.
    names
        Names of each term, as of :func:`read_cell_type_names`.
    """

    parents: Parents
    names: Mapping[str, Sequence[str]]

    @cached_property
    def terms(self) -> Mapping[Name, str]:
        """Term of each name; the first where several have it. Short names in capitals are left out, which may be genes."""
        terms: dict[Name, str] = {}
        for of_term in (lambda names: names[:1], lambda names: names[1:]):
            for term, names in self.names.items():
                for name in of_term(names):
                    if not _SHORT.fullmatch(name) and (key := name_of(name)) != (CELL,):
                        terms.setdefault(key, term)
        return terms

    def up(self, term: str) -> frozenset[str]:
        """Collect the term and its ancestors."""
        found, last = {term}, [term]
        while last:
            last = [parent for child in last for parent in self.parents.get(child, ()) if parent not in found]
            found.update(last)
        return frozenset(found)


def cell_ontology(path: str | Path | None = None) -> CellOntology:
    """Read names and kinds of cell types from the Cell Ontology.

    Parameters
    ----------
    path
        As for :func:`read_cell_ontology`.

    Returns
    -------
    The ontology, to be read once and used for many texts.
    """
    return CellOntology(read_cell_ontology(path), read_cell_type_names(path))


def words_of(text: str) -> list[Word]:
    """Words of a text, in the form in which names are compared.

    Parameters
    ----------
    text
        Prose, or a name.

    Returns
    -------
    ``CD4+``, ``CD4-positive`` and ``CD4`` are the same word, and so are ``T cells`` and ``T-cell``. ``CD25-`` and
    ``CD25-negative`` are another one than ``CD25``.
    """
    words = []
    for match in _WORD.finditer(text):
        word, sign = match["word"], match["sign"] or ""
        plain = _singular(word) if len(word) > 1 or word.isascii() else _greek(word)
        negative = sign[:1] in {"-", "−", "⁻"} and "positive" not in sign or "negative" in sign
        marker = bool(sign) or _is_marker(word)
        words.append(Word(match.start(), match.end(), plain + "-" * negative, marker))
    return words


def name_of(text: str) -> Name:
    """Words of a name, see :func:`words_of`.

    Parameters
    ----------
    text
        The name.

    Returns
    -------
    The words.
    """
    return tuple(word.text for word in words_of(text))


def runs_of(text: str) -> list[list[Word]]:
    """Words of a text, cut where more than a space, a hyphen or a slash is between them: names do not go across.

    Parameters
    ----------
    text
        Prose.

    Returns
    -------
    The words of each stretch.
    """
    runs: list[list[Word]] = []
    for word in words_of(text):
        if runs and _BESIDE.fullmatch(text[runs[-1][-1].end : word.start]):
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


class CellNames:
    """Finds cell types in prose.

    Without an ontology, a name stands for all labels that have its words: ``T cells`` for ``CD4 T`` and ``CD8 T cells``. It
    has to end in ``cell``, or to have the last word of the label, as ``monocytes`` has that of ``FCGR3A+ Monocytes``. Words
    before a name that make it narrower (``naive``, ``CD45RA+``) leave open whether the labels' cells are of it.

    With an ontology, its names and synonyms are found as well, and stand for the labels whose term they are or include. A
    label that has no term gets the one that its last words name: ``activated B cell`` is a B cell.

    Parameters
    ----------
    labels
        Labels of the data.
    names
        Further names of labels, such as ``{"CD14+ Mono": ["CD14+ monocyte"]}``.
    ontology
        Names and kinds of cell types.
    """

    def __init__(
        self,
        labels: Iterable[str],
        *,
        names: Mapping[str, Sequence[str]] | None = None,
        ontology: CellOntology | None = None,
    ) -> None:
        self._ontology = ontology
        further = names or {}
        if wrong := [label for label, more in further.items() if isinstance(more, str)]:
            raise TypeError(f"names= holds a list of names for each label: write {{{wrong[0]!r}: [name]}}.")
        self._names = {label: [name_of(name) for name in (label, *further.get(label, ()))] for label in labels}
        every = [name for names in self._names.values() for name in names]
        self._words = {CELL, *(word for name in every for word in name)}
        self._qualifiers = QUALIFIERS | {word for name in every for word in _content(name)[:-1] if len(word) > 3}
        self._terms = {label: self._term(own) for label, own in self._names.items()}
        self._seen: dict[Name, tuple[frozenset[str], frozenset[str]] | None] = {}

    def find(self, text: str) -> list[CellMention]:
        """Find the cell types that a text names.

        Parameters
        ----------
        text
            Prose.

        Returns
        -------
        Mentions in the order of their places, none inside another.
        """
        mentions = []
        for run in runs_of(text):
            words = [word.text for word in run]
            free = 0
            for first, stop, (labels, perhaps) in longest_names(words, self._known, _LONGEST):
                begin = first
                while begin > free and (words[begin - 1] in self._qualifiers or run[begin - 1].marker):
                    begin -= 1
                if negated := begin > free and words[begin - 1] == "non":
                    begin -= 1  # non-classical monocytes are monocytes, non-B cells anything
                free = stop
                if _NO_MENTION.match(text, run[stop - 1].end) or (negated and begin == first - 1):
                    continue
                if begin < first:
                    labels, perhaps = frozenset(), labels | perhaps
                start, end = run[begin].start, run[stop - 1].end
                name = tuple(words[begin:stop])
                mentions.append(CellMention(start, end, text[start:end], name, labels, perhaps))
        bare = [mention for mention in self._bare(text) if not _overlaps(mention, mentions)]
        return sorted([*mentions, *bare, *self._shared(text, mentions)], key=lambda mention: mention.start)

    def _known(self, name: Name) -> tuple[frozenset[str], frozenset[str]] | None:
        if name not in self._seen:
            self._seen[name] = self._look_up(name)
        return self._seen[name]

    def _look_up(self, name: Name) -> tuple[frozenset[str], frozenset[str]] | None:
        """Labels that are of this name or kinds of it, and those that may be."""
        labels: set[str] = set()
        if self._words.issuperset(name):
            labels = {label for label, own in self._names.items() if any(_names_this(name, other) for other in own)}
        term = self._ontology.terms.get(name) if self._ontology else None
        if self._ontology is None or term is None:
            return (frozenset(labels), frozenset()) if labels else None
        if any(_content(name) == _content(other) for label in labels for other in self._names[label]):
            return frozenset(labels), frozenset()  # what a label is called needs no ontology
        above = self._ontology.up(term)
        labels |= {label for label, own in self._terms.items() if own and term in self._ontology.up(own)}
        perhaps = {label for label, own in self._terms.items() if own is None or own in above}
        return frozenset(labels), frozenset(perhaps - labels)

    def _bare(self, text: str) -> list[CellMention]:
        """Labels that are a letter or a marker, beside a percentage."""
        short = {label for label, own in self._names.items() if not _names_this(own[0], own[0])}
        return [
            CellMention(*place.span(), place[0], name_of(place[0]), frozenset([place[0]]), frozenset())
            for place in names_beside_percentages(text, short)
        ]

    def _shared(self, text: str, mentions: Sequence[CellMention]) -> list[CellMention]:
        """First parts of names that share their end: the T of "T and B cells", the CD4+ of "CD4+ and CD8+ T cells"."""
        found = []
        for mention in mentions:
            before = re.search(r"(?<![\w+-])([\w+]{1,12})(?:,? (?:and|or) |/)$", text[: mention.start])
            if before is None or not (alone := name_of(before[1])):
                continue
            name = (*alone, *mention.name[1:])
            known = self._known(name)
            if known and known[0] and len(mention.name) > 1:
                found.append(CellMention(*before.span(1), before[1], name, *known))
        return [mention for mention in found if not _overlaps(mention, mentions)]

    def _term(self, names: Sequence[Name]) -> str | None:
        """Term of a label, or of the longest end of its names that has one."""
        known = self._ontology.terms if self._ontology else {}
        ends = (name[skipped:] for skipped in range(_LONGEST) for name in names if name[skipped:])
        return next((known[whole] for end in ends for whole in (end, (*end, CELL)) if whole in known), None)


def _overlaps(mention: CellMention, others: Iterable[CellMention]) -> bool:
    return any(mention.start < other.end and other.start < mention.end for other in others)


def _content(name: Name) -> Name:
    return tuple(word for word in name if word != CELL)


def _names_this(said: Name, label: Name) -> bool:
    """Tell whether a name in a text stands for a label, or for what the label is a kind of."""
    content, whole = _content(said), _content(label)
    if not content or not set(content) <= set(whole):
        return False
    if said[-1] == CELL:
        return True
    # without the word "cell", a letter or a marker alone names no cells
    noun = whole[-1]
    return said[-1] == noun and (len(content) > 1 or (len(noun) > 1 and not _is_marker(noun)))


def _is_marker(word: str) -> bool:
    return not word.isdigit() and any(map(str.isdigit, word))


def _singular(word: str) -> str:
    """Small letters, without the s of the plural."""
    word = unicodedata.normalize("NFKC", word)
    small = word.casefold()
    if len(small) > 2 and small.endswith("s") and not small.endswith(("ss", "us", "is")):
        return f"{small[:-3]}y" if small.endswith("ies") else small[:-1]
    return small


def _greek(letter: str) -> str:
    """Name of a Greek letter; a letter that this version of Unicode does not name stays as it is."""
    return unicodedata.name(letter, letter).split()[-1].lower() if letter.isalpha() else letter
