"""Whether the data of a group of cells confirm what a text says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .cell_names import CellMention, CellNames, CellOntology
from .facts import LEAST_CHANGE, LEAST_SHARE, GroupFacts
from .gene_names import GeneMention
from .prose import ContextMention, Countable, Statement, read_statements
from .wording import FEW, MOST

COLUMNS = ("start", "end", "words", "kind", "said", "found", "verdict")
CONFIRMED, CONTRADICTED, NOT_CHECKABLE = VERDICTS = ("confirmed", "contradicted", "not checkable")

_OPPOSITE = {CONFIRMED: CONTRADICTED, CONTRADICTED: CONFIRMED, NOT_CHECKABLE: NOT_CHECKABLE}
_WIDEST = 3  # times the tolerance: a wider range says too little
_MAJORITY, _HARDLY = 0.5, 0.05  # of the cells: what they have, and what they have not


class Limits(NamedTuple):
    """From where on a thing counts as said rightly, see :func:`grounding`."""

    tolerance: float
    min_share: float
    min_cells: float
    min_change: float


class _Claim(NamedTuple):
    """What is said in words, what the data say, the verdict, and what makes it another claim than others."""

    kind: str
    said: str
    found: str
    verdict: str
    same: tuple[object, ...]
    implies: tuple[object, ...] = ()


def grounding(
    text: str,
    facts: GroupFacts,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
    tolerance: float = 0.1,
    min_share: float = LEAST_SHARE,
    min_cells: float = 0.01,
    min_change: float = LEAST_CHANGE,
) -> pd.DataFrame:
    """Find the claims of a text about a group of cells, and hold each against the group's data.

    `gene`
        A symbol of the data that stands as a whole word, spelt as it is, and is no part of a cell type's name, says that
        the group expresses the gene. What only looks like a symbol is not checkable.
    `direction`
        A gene with a word for more (high, up-regulated, enriched, marked by, marker) or less (low, down, reduced): the log
        fold change against the rest has to be `min_change` or more to that side. A gene that is said to be absent (no, not,
        lacks, without, negative) must not be expressed.
    `cell type`
        A name says that the group has such cells, see :class:`~sc_c2s.metrics.CellNames` for what a name stands for; with
        no, without, absent and the like, that it has none. Names that are narrower than the labels are not checkable, nor
        are shares between none and `min_cells`.
    `proportion`
        A percentage or a fraction beside a cell type or a value of context: up to `tolerance` from its share of the
        labelled cells, or from the range that is said. "More than" and "about" make no difference, and ranges wider than
        three times the tolerance are not checkable. Most, mainly and the like say more than half, few, rare and the like less
        than 15 %, not none. A share of a type that is not there is wrong, however small. A percentage of anything else is
        not checkable.
    `context`
        A value of the columns of context says that the cells have it: confirmed where at least half do, contradicted where
        less than 5 % do and another value has more than half.

    A word goes with what is near it in the same clause, and with all of a list ("marked by CD3D, CD3E and IL7R"). What
    follows "than", "unlike", "compared with" and the like is said of others, and is no claim. The same claim counts once,
    where it is made first, and one that another claim implies does not count: who says that CD3D is high says that it is
    expressed. Of several numbers for the same cells the first right one and the first wrong one count.

    Parameters
    ----------
    text
        Prose.
    facts
        Facts of the group, by :func:`~sc_c2s.metrics.group_facts`.
    names
        Further names of labels, such as ``{"CD14+ Mono": ["CD14+ monocyte"]}``.
    ontology
        Names and kinds of cell types, by :func:`~sc_c2s.metrics.cell_ontology`. Without one, names are matched with the
        words of the labels alone.
    tolerance
        Largest difference from a proportion that is still right.
    min_share
        Share of the group's cells that has to express a gene.
    min_cells
        Share of the group's labelled cells that has to be of a type.
    min_change
        Least log fold change (base 2).

    Returns
    -------
    A row for each claim, in the order of their places: `start`, `end` and `words` of the text, `kind`, what is `said`, what
    the data have (`found`), and the `verdict`: ``"confirmed"``, ``"contradicted"`` or ``"not checkable"``.

    Notes
    -----
    This reads words, not the logic of sentences, and can be fooled. A hedge ("may express CD3D") is read as a statement, and
    so are questions, quotes and conditions. Safe claims are as good as bold ones: genes that all cells express, or a
    general name such as "leukocytes", are confirmed for any group. A long list of genes is confirmed as far as the group
    expresses them; a list of all genes gets the share that it does. Shares around 50 % are right for everything between
    40 % and 60 %. "B cells and no B cells" are two claims, one of them right. What is said with other words than the ones
    understood (a pathway, a function, "stimulated" for ``stim``) is no claim at all, so that vague texts have few claims:
    read the shares beside the number of claims.
    """
    if not isinstance(text, str):
        raise TypeError("The text must be one string; call this for each text.")
    limits = Limits(tolerance, min_share, min_cells, min_change)
    for name, value in limits._asdict().items():
        if value < 0:
            raise ValueError(f"{name}={value} has to be 0 or more.")
    labels = () if facts.composition is None else facts.composition.index
    statements = read_statements(
        text,
        genes=facts.genes.index,
        cells=CellNames([*map(str, labels), *(names or {})], names=names, ontology=ontology),
        context={column: list(shares) for column, shares in facts.context.items()},
    )
    judged = [(statement, _judged(statement, facts, limits)) for statement in statements]
    # What is said again, or is implied by another claim, does not count twice.
    seen = {claim.implies for _, claim in judged if claim.implies}
    rows = []
    for statement, claim in judged:
        if claim.same not in seen:
            seen.add(claim.same)
            place = (statement.start, statement.end, text[statement.start : statement.end])
            rows.append((*place, claim.kind, claim.said, claim.found, claim.verdict))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"start": int, "end": int})


def grounding_shares(claims: pd.DataFrame) -> dict[str, float]:
    """Shares of claims that were confirmed, contradicted or not checkable.

    Parameters
    ----------
    claims
        Claims of one text or of several, by :func:`grounding`.

    Returns
    -------
    `n_claims`, and `confirmed`, `contradicted` and `not_checkable` as shares of all claims; NaN where there are none.
    """
    shares = {verdict.replace(" ", "_"): float((claims["verdict"] == verdict).mean()) for verdict in VERDICTS}
    return {"n_claims": len(claims), **(shares if len(claims) else dict.fromkeys(shares, np.nan))}


def _judged(statement: Statement, facts: GroupFacts, limits: Limits) -> _Claim:
    about = statement.about
    if statement.says == "has a share":
        return _proportion(statement, facts, limits)
    if isinstance(about, GeneMention):
        return _gene(about, statement.says, facts.genes, limits)
    if isinstance(about, CellMention):
        return _cell_type(about, statement.says, facts.composition, limits)
    assert isinstance(about, ContextMention)
    return _context(about, statement.says, facts.context[about.column])


def _gene(gene: GeneMention, says: str, table: pd.DataFrame, limits: Limits) -> _Claim:
    symbol = gene.symbol
    kind = "gene" if says == "is there" else "direction"
    expressed = ("gene", symbol, "is there")
    same = ("gene", symbol, says)
    implies = expressed if says == "is above" else ()
    words = {"is there": "is expressed", "is absent": "is not expressed"}.get(says, f"{says} the rest")
    said = f"{symbol} {words}"
    if not gene.known:
        return _Claim(kind, said, "no such gene in the data", NOT_CHECKABLE, same, implies)
    if says in {"is there", "is absent"}:
        share = float(table["share"].loc[symbol])
        verdict = CONFIRMED if (share >= limits.min_share) == (says == "is there") else CONTRADICTED
        return _Claim(kind, said, f"in {_percent(share)} of the cells", verdict, same, implies)
    change = float(table["log_fold_change"].loc[symbol])
    if np.isnan(change):
        return _Claim(kind, said, "there is no rest", NOT_CHECKABLE, same, implies)
    reached = (change if says.endswith("above") else -change) >= limits.min_change
    verdict = CONFIRMED if reached != (" not " in says) else CONTRADICTED
    return _Claim(kind, said, f"log2 fold change {change:+.2f}", verdict, same, implies)


def _cell_type(mention: CellMention, says: str, composition: pd.Series | None, limits: Limits) -> _Claim:
    absent = says == "is absent"
    said = f"{mention.words}: {'none' if absent else 'present'}"
    same = _presence(mention, absent)
    if composition is None:
        return _Claim("cell type", said, "the cells have no labels", NOT_CHECKABLE, same)
    share, perhaps = _share(composition, mention.labels), _share(composition, mention.perhaps)
    found = f"{_percent(share)} of the cells"
    if share >= limits.min_cells and share > 0:
        verdict = CONFIRMED
    elif perhaps > 0:
        verdict, found = NOT_CHECKABLE, f"{found}; {_percent(perhaps)} have a label that does not tell"
    else:
        verdict = NOT_CHECKABLE if share > 0 else CONTRADICTED
    return _Claim("cell type", said, found, _OPPOSITE[verdict] if absent else verdict, same)


def _proportion(statement: Statement, facts: GroupFacts, limits: Limits) -> _Claim:
    assert statement.share is not None
    low, high = statement.share
    words = _range(low, high) if statement.exact else {MOST: "most", FEW: "few"}[statement.share]
    if statement.about is None:
        same: tuple[object, ...] = ("proportion", None, statement.share)
        return _Claim("proportion", f"{words} of something", "nothing beside it to count", NOT_CHECKABLE, same)
    assert not isinstance(statement.about, GeneMention)
    parts = (statement.about, *statement.with_it)
    said = f"{' and '.join(part.words for part in parts)}: {words}"
    found, verdict = _share_verdict(statement, parts, facts, limits)
    # A second number for the same cells is another claim only if it is not as right or wrong as the first.
    said_of = frozenset().union(*map(_meant, parts))
    same = ("proportion", said_of, verdict if statement.exact else statement.share)
    return _Claim("proportion", said, found, verdict, same, _presence(statement.about))


def _share_verdict(
    statement: Statement, parts: Sequence[Countable], facts: GroupFacts, limits: Limits
) -> tuple[str, str]:
    assert statement.share is not None
    low, high = statement.share
    shares = _shares_of(parts, facts)
    if shares is None:
        return "the cells have no labels", NOT_CHECKABLE
    share, perhaps = shares
    found = _percent(share)
    if perhaps > 0:
        return f"{found}; {_percent(perhaps)} have a label that does not tell", NOT_CHECKABLE
    if statement.exact and high - low > _WIDEST * limits.tolerance + 1e-9:
        return found, NOT_CHECKABLE
    # a little more, so that a difference of just the tolerance is right
    slack = limits.tolerance + 1e-9
    right = low - slack <= share <= high + slack if statement.exact else low < share <= high
    return found, CONFIRMED if right and (share > 0 or low == 0 == high) else CONTRADICTED


def _shares_of(parts: Sequence[Countable], facts: GroupFacts) -> tuple[float, float] | None:
    """Share of the cells that have any of these, and of those that may; ``None`` where cells have no labels."""
    types = [part for part in parts if isinstance(part, CellMention)]
    if types and facts.composition is None:
        return None
    values = {(part.column, part.value) for part in parts if isinstance(part, ContextMention)}
    of_context = sum(facts.context[column][value] for column, value in values)
    if not types or facts.composition is None:
        return of_context, 0.0
    labels = frozenset().union(*(part.labels for part in types))
    perhaps = frozenset().union(*(part.perhaps for part in types)) - labels
    return _share(facts.composition, labels) + of_context, _share(facts.composition, perhaps)


def _context(mention: ContextMention, says: str, shares: Mapping[str, float]) -> _Claim:
    column, value = mention.column, mention.value
    absent = says == "is absent"
    share = shares[value]
    other = max((part for name, part in shares.items() if name != value), default=0)
    if share >= _MAJORITY:
        verdict = CONFIRMED
    else:
        verdict = CONTRADICTED if share < _HARDLY and other > _MAJORITY else NOT_CHECKABLE
    said = f"{column} is {'not ' if absent else ''}{value}"
    same = _presence(mention, absent)
    return _Claim("context", said, f"{_percent(share)} of the cells", _OPPOSITE[verdict] if absent else verdict, same)


def _share(composition: pd.Series, labels: frozenset[str]) -> float:
    return float(composition[composition.index.isin(labels)].sum())


def _presence(mention: Countable, absent: bool = False) -> tuple[object, ...]:
    """Tell the claim that there are such cells, or none, from others."""
    return "presence", _meant(mention), absent


def _meant(mention: Countable) -> frozenset[str]:
    """Tell what a name stands for: two names of the same labels make the same claim."""
    if isinstance(mention, CellMention):
        return mention.labels or frozenset([" ".join(mention.name)])
    return frozenset([f"{mention.column} {mention.value}"])


def _range(low: float, high: float) -> str:
    return _percent(low) if low == high else f"{_percent(low)} to {_percent(high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if 0 < share < 0.01 else f"{100 * share:.0f} %"
