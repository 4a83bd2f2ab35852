"""How far a wrong label is from the right one in the Cell Ontology."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

Parents = Mapping[str, Collection[str]]

REACH = 2
"""By default credit goes as far as to a grandparent or a sibling."""

_EXACT = re.compile(r'"((?:[^"\\]|\\.)+)"\s+EXACT\b')


def ontology_distance(parents: Parents, a: str, b: str) -> float:
    """Count the steps from one term to another over their nearest common ancestor.

    Parameters
    ----------
    parents
        Parents of each term, as of :func:`read_cell_ontology`.
    a, b
        Terms. A term is its own ancestor.

    Returns
    -------
    The fewest steps up from `a` and down to `b`; infinity if they have no ancestor in common.
    """
    up, down = _ancestors(parents, a), _ancestors(parents, b)
    return min((up[term] + down[term] for term in up.keys() & down.keys()), default=inf)


def label_credit(
    found: str | None,
    wanted: str,
    *,
    parents: Parents | None = None,
    cell_types: Mapping[str, str] | None = None,
    reach: int = REACH,
) -> float:
    r"""Score a label: all for the right one, some for one near it in the Cell Ontology.

    A label at :math:`d` steps gets :math:`(1 - d / (r + 1)) / 2` with :math:`r` the reach. This is never more than a half, so
    that the common parent of a few likely labels is no better answer than the likeliest of them.

    Parameters
    ----------
    found
        Label that was given; ``None`` if there is none.
    wanted
        The right label.
    parents
        Parents of each term, as of :func:`read_cell_ontology`.
    cell_types
        Term of each label, such as ``{"B cell": "CL:0000236"}``. Labels without one get all or nothing.
    reach
        Largest number of steps with credit.

    Returns
    -------
    From 0 to 1, which only the right label itself gets: another label of the same term gets a half.
    """
    if found is None:
        return 0.0
    if found == wanted:
        return 1.0
    if parents is None or cell_types is None or not {found, wanted} <= cell_types.keys():
        return 0.0
    return max(0.0, 1 - ontology_distance(parents, cell_types[found], cell_types[wanted]) / (reach + 1)) / 2


def read_cell_ontology(path: str | Path | None = None) -> dict[str, list[str]]:
    """Read which cell types are kinds of which.

    Parameters
    ----------
    path
        An OBO file, such as the ``cl.obo`` of the Cell Ontology. ``None`` reads the one inside the package
        ``cellxgene-ontology-guide``, which needs no network.

    Returns
    -------
    Parents of each term (``is_a``), without obsolete terms.
    """
    if path is None:
        parser = _packaged()
        return {term: parser.get_term_parents(term) for term in _current(parser)}
    parents: dict[str, list[str]] = {}
    for term in _terms(Path(path)):
        parents[term["id"][0]] = term.get("is_a", [])
    return parents


def read_cell_type_names(path: str | Path | None = None) -> dict[str, list[str]]:
    """Read how cell types are called.

    Parameters
    ----------
    path
        As for :func:`read_cell_ontology`.

    Returns
    -------
    Names of each term, its own first, then its exact synonyms, without obsolete terms.
    """
    if path is None:
        parser = _packaged()
        return {term: [parser.get_term_label(term), *parser.get_term_synonyms(term)] for term in _current(parser)}
    names: dict[str, list[str]] = {}
    for term in _terms(Path(path)):
        synonyms = [match[1].replace('\\"', '"') for line in term.get("synonym", ()) if (match := _EXACT.match(line))]
        names[term["id"][0]] = [*term.get("name", [])[:1], *synonyms]
    return names


def _ancestors(parents: Parents, term: str) -> dict[str, int]:
    """Count the steps up to each ancestor, by the shortest way."""
    steps = {term: 0}
    last = [term]
    while last:
        above = {parent: steps[child] + 1 for child in last for parent in parents.get(child, ()) if parent not in steps}
        steps |= above
        last = list(above)
    return steps


def _terms(path: Path) -> list[dict[str, list[str]]]:
    """Fields of each term that is not obsolete."""
    terms = [term for term in _stanzas(path) if "id" in term and term.get("is_obsolete") != ["true"]]
    if not terms:
        raise ValueError(f"{path} holds no term: give an OBO file, in which each begins with [Term].")
    return terms


def _stanzas(path: Path) -> Iterator[dict[str, list[str]]]:
    """Fields of every term; what follows ``{`` or ``!`` in a line is a remark."""
    term: dict[str, list[str]] = {}
    inside = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            if inside:
                yield term
            term, inside = {}, line.strip() == "[Term]"
        elif inside and ":" in line:
            name, value = line.split(":", 1)
            term.setdefault(name.strip(), []).append(value.partition("!")[0].partition("{")[0].strip())
    if inside:
        yield term


def _packaged() -> Any:
    """Reader of the ontologies inside the package."""
    try:
        guide = import_module("cellxgene_ontology_guide.ontology_parser")
    except ImportError:
        raise ImportError(
            "The Cell Ontology comes with cellxgene-ontology-guide, which is not installed; get it with "
            "`pip install cellxgene-ontology-guide`, or give the path of an OBO file."
        ) from None
    return guide.OntologyParser()


def _current(parser: Any) -> list[str]:
    terms = parser.get_term_label_to_id_map("CL").values()
    return [term for term in terms if not parser.is_term_deprecated(term)]
