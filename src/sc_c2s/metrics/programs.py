"""Gene programs: sets of genes that are scored together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray


def read_gmt(path: str | Path) -> dict[str, list[str]]:
    """Read gene sets from a GMT file, the format of MSigDB and Enrichr.

    Parameters
    ----------
    path
        File with a set a line: name, description and genes, parted by tabs.

    Returns
    -------
    The genes of each set, in the order of the file.
    """
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = (field.strip() for field in line.split("\t"))
        genes = [gene for gene in rest[1:] if gene]
        if not name or not genes:
            raise ValueError(
                f"Line {number} of {path} is no gene set: write name, description and genes, parted by tabs."
            )
        if name in sets:
            raise ValueError(f"Line {number} of {path} has the name {name!r}, which another line has, too.")
        sets[name] = genes
    if not sets:
        raise ValueError(f"{path} holds no gene set.")
    return sets


def program_scores(x: Any, genes: Sequence[str], gene_sets: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Score gene sets in each cell: the mean of their genes, less the mean of all genes.

    Parameters
    ----------
    x
        Cells × genes in log expression, dense or sparse.
    genes
        Names of the columns.
    gene_sets
        Genes of each set; those that are no columns do not count.

    Returns
    -------
    Cells × sets, in units of `x`; NaN for a set none of whose genes is there.
    """
    if x.shape[1] != len(genes):
        raise ValueError(f"There are {x.shape[1]} columns and {len(genes)} gene names.")
    scores = x @ _weights(genes, gene_sets)
    return pd.DataFrame(np.asarray(scores.todense() if sp.issparse(scores) else scores), columns=list(gene_sets))


def _weights(genes: Sequence[str], gene_sets: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    """Genes × sets: what each gene adds to each score."""
    names: ArrayLike = np.asarray(genes, dtype=object)
    members = np.array([np.isin(names, list(members)) for members in gene_sets.values()], dtype=np.float64)
    members = members.reshape(len(gene_sets), len(genes)).T
    sizes = members.sum(axis=0)
    sizes[sizes == 0] = np.nan
    return members / sizes - 1 / len(genes)
