"""Gene programs to reward: from a file, or from the packages that collect them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sc_c2s.metrics.programs import read_gmt

__all__ = ["from_decoupler", "from_liana", "read_gmt"]

_COLLECTIONS = ("collectri", "dorothea", "hallmark", "progeny")
_COMPLEX = "_"
"""Joins the genes of a complex in the tables of liana."""


def from_decoupler(name: str, *, organism: str = "human", **options: Any) -> dict[str, list[str]]:
    """Take gene programs from decoupler, which downloads them from OmniPath.

    Parameters
    ----------
    name
        Collection: ``"hallmark"`` (MSigDB), ``"progeny"`` (pathways), ``"collectri"`` or ``"dorothea"`` (targets of
        transcription factors).
    organism
        Organism, as decoupler calls it.
    **options
        Go on to the function ``decoupler.op.<name>``, for example ``license="commercial"`` or ``top=100``.

    Returns
    -------
    Genes of each program. Genes with a weight of 0 or less, which fall when the program is active, are left out.
    """
    if name not in _COLLECTIONS:
        raise ValueError(f"name={name!r} is none of {', '.join(_COLLECTIONS)}.")
    try:
        decoupler = import_module("decoupler")
    except ImportError:
        raise ImportError(_missing("decoupler>=2")) from None
    table = getattr(decoupler.op, name)(organism=organism, **options)
    if "weight" in table:
        table = table[table["weight"] > 0]
    return {str(program): list(genes) for program, genes in table.groupby("source", sort=False)["target"]}


def from_liana(name: str = "consensus", *, by: str = "ligand") -> dict[str, list[str]]:
    """Take ligands and their receptors from liana, which ships them.

    Parameters
    ----------
    name
        Resource, one of ``liana.resource.show_resources()``.
    by
        What the programs are named after: ``"ligand"``, so that each holds the receptors of a ligand, or ``"receptor"``.

    Returns
    -------
    Genes of each program, complexes taken apart.
    """
    if by not in ("ligand", "receptor"):
        raise ValueError(f"by={by!r} is neither 'ligand' nor 'receptor'.")
    try:
        resource = import_module("liana.resource")
    except ImportError:
        raise ImportError(_missing("liana")) from None
    partner = "receptor" if by == "ligand" else "ligand"
    pairs = resource.select_resource(name).groupby(by, sort=False)[partner]
    return {
        str(program): list(dict.fromkeys(gene for partner in partners for gene in partner.split(_COMPLEX)))
        for program, partners in pairs
    }


def _missing(package: str) -> str:
    return (
        f"These programs come from {package}, which is not installed; get it with `pip install '{package}'`, or read a "
        "GMT file with read_gmt."
    )
