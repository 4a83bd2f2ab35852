"""What the data say about a group of cells: the facts that a text about it is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sc_c2s.sentences.symbols import check_names

PSEUDOCOUNT = 1.0
"""Counts per 10,000 that are added to both means of a fold change, as in :func:`sc_c2s.metrics.log_fold_changes`."""
LEAST_SHARE = 0.1
"""A gene counts as expressed by a group where at least this share of its cells shows it."""
LEAST_CHANGE = 0.25
"""A gene counts as higher or lower from this log fold change (base 2) on."""


@dataclass(frozen=True, eq=False)
class GroupFacts:
    """Facts of a group of cells, beside those of all other cells.

    Attributes
    ----------
    n_cells
        Cells of the group.
    genes
        A row for each gene of the data, under its symbol, with

        `share`, `share_rest`
            Share of the group's cells, and of all others, that express it.
        `mean`, `mean_rest`
            Mean of log1p counts per 10,000.
        `log_fold_change`
            Group against rest, base 2, see :func:`group_facts`.

        What is said of the rest is NaN where there is none.
    composition
        Share of the group's labelled cells that has each label of the data, the largest first; also labels that only
        other cells have, with 0. ``None`` where no cell of the group has a label.
    context
        For each column that was named, the share of the group's cells that has each value of the data, the largest
        first. Cells without a value do not count; columns without any value in the group are left out.
    """

    n_cells: int
    genes: pd.DataFrame
    composition: pd.Series | None
    context: Mapping[str, Mapping[str, float]]


def group_facts(
    log: sparse.csr_matrix,
    genes: Sequence[str] | np.ndarray,
    members: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    context: Mapping[str, ArrayLike] | None = None,
) -> GroupFacts:
    r"""Collect the facts of one group of cells.

    The fold change is that of :func:`sc_c2s.metrics.log_fold_changes`,

    .. math:: \log_2 \frac{m_\mathrm{group} + 1}{m_\mathrm{rest} + 1}

    with :math:`m` the mean of the counts per 10,000. The 1 keeps genes near zero that hardly any cell expresses.

    Parameters
    ----------
    log
        Cells × genes in log1p counts per 10,000.
    genes
        Symbol of each gene, none twice.
    members
        Whether each cell belongs to the group. All others are the rest.
    labels
        Cell type of each cell, NaN or None where there is none.
    context
        Columns that describe the cells, such as tissue or condition: a value for each cell, NaN or None where there is
        none.

    Returns
    -------
    The facts. The cost is one pass over the matrix; for many groups of the same cells take :func:`facts_of_groups`.
    """
    inside = np.asarray(members)
    if inside.dtype != bool:
        raise TypeError("members= is a mask: give True or False for each cell.")
    groups = pd.Series(inside).map({True: "members", False: None})
    if not inside.any():
        raise ValueError("The group has no cells.")
    return facts_of_groups(log, genes, groups, labels=labels, context=context)["members"]


def facts_of_groups(
    log: sparse.csr_matrix,
    genes: Sequence[str] | np.ndarray,
    groups: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    context: Mapping[str, ArrayLike] | None = None,
) -> dict[str, GroupFacts]:
    """Collect the facts of each group, in one pass over the matrix.

    Parameters
    ----------
    log, genes
        As for :func:`group_facts`.
    groups
        Group of each cell, NaN or None for cells of none: they belong to every group's rest.
    labels, context
        As for :func:`group_facts`.

    Returns
    -------
    The facts of each group, under its name, in the order of the names.
    """
    x = sparse.csr_matrix(log)
    groups = _series(groups, "groups=", x.shape[0])
    columns = {name: _series(values, f"context= {name!r}", x.shape[0]) for name, values in (context or {}).items()}
    types = None if labels is None else _series(labels, "labels=", x.shape[0])
    names = pd.Index(np.asarray(genes, dtype=object), name="gene")
    if len(names) != x.shape[1]:
        raise ValueError(f"There are {len(names)} genes, and the matrix has {x.shape[1]} columns.")
    check_names(names.to_numpy(), "facts are looked up by symbol, so make them unique")

    codes, found = pd.factorize(groups, sort=True)  # -1 for cells of no group
    sums = np.stack([_sums(x[codes == code]) for code in range(-1, len(found))])
    total = sums.sum(axis=0)
    facts = {}
    for code, name in enumerate(found):
        inside = codes == code
        shares = {column: _shares(values, inside) for column, values in columns.items()}
        facts[name] = GroupFacts(
            n_cells=int(inside.sum()),
            genes=_table(sums[code + 1], int(inside.sum()), total - sums[code + 1], int((~inside).sum()), names),
            composition=None if types is None else _shares(types, inside),
            context={c: _as_dict(value) for c, value in shares.items() if value is not None},
        )
    return facts


def markers(facts: GroupFacts, n: int, *, least_share: float = LEAST_SHARE) -> list[str]:
    """Genes that set a group apart.

    Parameters
    ----------
    facts
        Facts of the group.
    n
        The most genes to give.
    least_share
        Share of the group's cells that has to express a gene.

    Returns
    -------
    Genes whose log fold change is 0.25 or more, the largest first. Where there is no rest, the genes of highest mean.
    """
    table = facts.genes[facts.genes["share"] >= least_share]
    if table["log_fold_change"].isna().all():
        return list(table.sort_values("mean", ascending=False, kind="stable").index[:n])
    table = table[table["log_fold_change"] >= LEAST_CHANGE]
    return list(table.sort_values("log_fold_change", ascending=False, kind="stable").index[:n])


def _series(values: ArrayLike, name: str, n_cells: int) -> pd.Series:
    """Values as strings, None where there is none."""
    series = pd.Series(np.asarray(values, dtype=object))
    if len(series) != n_cells:
        raise ValueError(f"{name} has {len(series)} values for {n_cells} cells: give one for each cell.")
    return series.map(str, na_action="ignore").where(series.notna(), None)


def _sums(x: sparse.csr_matrix) -> NDArray[np.float64]:
    """Cells that show each gene, sum of the logarithms and of the counts (3 × genes), without making anything dense."""
    values = x.data.astype(np.float64)
    parts = (values > 0, values, np.expm1(values))
    return np.stack([np.bincount(x.indices, weights=part, minlength=x.shape[1]) for part in parts])


def _table(group: NDArray[np.float64], n: int, rest: NDArray[np.float64], n_rest: int, names: pd.Index) -> pd.DataFrame:
    # What is left of a difference of sums is noise where no cell of the rest shows the gene.
    rest = np.where(rest[0] > 0, np.maximum(rest, 0), 0) / (n_rest or np.nan)
    group = group / n
    fold = np.log2(group[2] + PSEUDOCOUNT) - np.log2(rest[2] + PSEUDOCOUNT)
    columns = {
        "share": group[0],
        "share_rest": rest[0],
        "mean": group[1],
        "mean_rest": rest[1],
        "log_fold_change": fold,
    }
    return pd.DataFrame(columns, index=names)


def _shares(values: pd.Series, inside: NDArray[np.bool_]) -> pd.Series | None:
    """Share of each value of the data among the group's cells that have one."""
    counts = values[inside].value_counts()
    if not len(counts):
        return None
    every = counts.reindex(sorted(values.dropna().unique()), fill_value=0)
    return (every / counts.sum()).sort_values(ascending=False, kind="stable")


def _as_dict(shares: pd.Series) -> dict[str, float]:
    return {str(value): float(share) for value, share in shares.items()}
