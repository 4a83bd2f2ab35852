"""Gene programs: sets of genes that are scored together."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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


def sentence_program_score(words: Sequence[str], program: Collection[str], n: int) -> float:
    r"""Score how early the genes of a program stand in a ranked list.

    .. math:: \frac{\sum_r (1 - r / n)}{\sum_{r=0}^{k-1} (1 - r / n)}

    The upper sum runs over the places :math:`r = 0 … n - 1` at which a gene of the program stands for the first time. The
    lower one is the most that :math:`k` genes can get, as many as the program has but no more than `n`.

    Parameters
    ----------
    words
        Genes by falling rank.
    program
        Genes of the program.
    n
        Number of genes asked for; what stands behind them does not count.

    Returns
    -------
    From 0, none of the genes, to 1, nothing before them. The order within the program does not count. NaN for an empty
    program.
    """
    if n < 1:
        raise ValueError(f"n={n} has to be 1 or more: the number of genes asked for.")
    members = set(program)
    if not members:
        return np.nan
    weights = 1 - np.arange(n) / n
    # Written from the back, so that the first place of a gene is the one that stays.
    first = {word: rank for rank, word in reversed(list(enumerate(words[:n])))}
    return float(sum(weights[first[gene]] for gene in members & first.keys()) / weights[: len(members)].sum())


def change_program_score(change: ArrayLike, genes: Sequence[str], program: Sequence[str]) -> float:
    """Score a program in a change of expression: :func:`program_scores` of the change.

    Parameters
    ----------
    change
        Change of each gene.
    genes
        Their names.
    program
        Genes of the program; those that have no value do not count.

    Returns
    -------
    Mean change of the genes of the program, less that of all genes, in units of `change`. NaN if none has a value.
    """
    scores = program_scores(np.asarray(change, dtype=np.float64)[None], genes, {"program": program})
    return float(scores["program"].iloc[0])


def _weights(genes: Sequence[str], gene_sets: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    """Genes × sets: what each gene adds to each score."""
    names: ArrayLike = np.asarray(genes, dtype=object)
    members = np.array([np.isin(names, list(members)) for members in gene_sets.values()], dtype=np.float64)
    members = members.reshape(len(gene_sets), len(genes)).T
    sizes = members.sum(axis=0)
    sizes[sizes == 0] = np.nan
    return members / sizes - 1 / len(genes)
