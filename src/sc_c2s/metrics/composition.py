"""How far the composition that a text states is from that of the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .cell_names import CellMention, CellNames, CellOntology
from .facts import GroupFacts
from .prose import read_statements


def composition_error(
    text: str,
    facts: GroupFacts,
    *,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: CellOntology | None = None,
) -> float:
    r"""Distance between the composition that a text states and that of a group of cells.

    .. math:: \frac{1}{2} \left( \sum_i |s_i - p_i| + \sum_{j} p_j + \max(0, 1 - \sum_i s_i) \right)

    for stated shares :math:`s_i` of types that have the share :math:`p_i`, and types :math:`j` of which no share is stated: the
    total variation distance, where what the text leaves open is something else. A name that stands for several labels is
    compared with their sum. A share that is told in words ("most", "few") is the middle of its range, and of two shares of one type the
    first counts.

    Parameters
    ----------
    text
        Prose.
    facts
        Facts of the group, with a composition.
    names, ontology
        As of :func:`sc_c2s.metrics.grounding`.

    Returns
    -------
    From 0, for the composition as it is, to 1, for another one or none at all. NaN where the cells have no labels.
    """
    if facts.composition is None:
        return float("nan")
    shares = {str(label): float(share) for label, share in facts.composition.items()}
    cells = CellNames([*shares, *(names or {})], names=names, ontology=ontology)
    statements = read_statements(text, genes=facts.genes.index, cells=cells, context={})
    left, told, error = dict(shares), 0.0, 0.0
    for statement in statements:
        if statement.share is None or not isinstance(statement.about, CellMention):
            continue
        others = [mention for mention in statement.with_it if isinstance(mention, CellMention)]
        labels = statement.about.labels.union(*(mention.labels for mention in others))
        if labels and not labels & left.keys():
            continue  # told before
        said = sum(statement.share) / 2
        error += abs(said - sum(left.pop(label, 0.0) for label in labels))
        told += said
    return min((error + sum(left.values()) + max(0.0, 1 - told)) / 2, 1.0)
