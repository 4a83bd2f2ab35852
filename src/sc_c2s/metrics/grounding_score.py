"""One number for how well the data of a group of cells confirm a text about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .cell_names import CellOntology
from .composition import composition_error
from .facts import GroupFacts
from .grounding import CONFIRMED, CONTRADICTED, grounding


def grounding_score(
    text: str,
    facts: GroupFacts,
    *,
    least: int = 3,
    composition: float = 0.5,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
) -> float:
    r"""Score a text about a group of cells: how many of its claims are right, and the composition that it states.

    .. math:: (1 - w) \, \frac{1}{2} \left( 1 + \frac{c - x - \max(0, m - n)}{\max(n, m)} \right) + w \, (1 - e)

    for :math:`n` claims (:func:`grounding`), of which :math:`c` are confirmed and :math:`x` contradicted, :math:`m` claims that
    are asked for, the :func:`composition_error` :math:`e`, and its weight :math:`w`. A claim that is missing counts as a
    wrong one, so that silence is never better than a guess; one that cannot be checked counts half. That the group
    expresses a gene is no claim here where it is right: any gene that was read off the cells is.

    Parameters
    ----------
    text
        Prose.
    facts
        Facts of the group, by :func:`~sc_c2s.metrics.group_facts`.
    least
        Claims that are asked for.
    composition
        Weight of the composition; 0 where cells have no labels, whatever is given.
    names, ontology
        As of :func:`grounding`.

    Returns
    -------
    From 0, also for a text without claims, to 1.
    """
    if least < 1:
        raise ValueError(f"least={least} has to be 1 or more.")
    if not 0 <= composition <= 1:
        raise ValueError(f"composition={composition} has to be from 0 to 1: it is a weight.")
    claims = grounding(text, facts, names=names, ontology=ontology)
    claims = claims[(claims["kind"] != "gene") | (claims["verdict"] != CONFIRMED)]
    points = (claims["verdict"] == CONFIRMED).sum() - (claims["verdict"] == CONTRADICTED).sum()
    missing = max(least - len(claims), 0)
    claimed = float(1 + (points - missing) / max(len(claims), least)) / 2
    if facts.composition is None or not composition:
        return claimed
    error = composition_error(text, facts, names=names, ontology=ontology)
    return (1 - composition) * claimed + composition * (1 - error)
