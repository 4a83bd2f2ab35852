"""Whether generated or predicted cells keep the differences between groups that real cells show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from anndata import AnnData

LEAST_SHARE = 0.05
"""A gene counts as expressed where at least this share of the real cells of a group, or of the others, shows it."""


def log_fold_changes(x: Any, labels: ArrayLike, *, pseudocount: float = 1.0) -> pd.DataFrame:
    r"""Log fold change of every group against the rest.

    .. math:: \log_2 \frac{m_\mathrm{group} + p}{m_\mathrm{rest} + p}

    with :math:`m` the mean of the counts per 10,000 and :math:`p` the pseudocount. Scanpy's formula has the exponential
    of the mean logarithm in place of :math:`m` and a :math:`p` near zero, which lets genes rule that hardly any cell
    expresses.

    Parameters
    ----------
    x
        Cells × genes in log1p counts per 10,000, dense or sparse.
    labels
        Group of each cell, two groups at least.
    pseudocount
        Counts per 10,000 that are added to both means.

    Returns
    -------
    Groups × genes; columns are numbered.
    """
    names, codes = np.unique(np.asarray(labels, dtype=object).astype(str), return_inverse=True)
    if len(names) < 2:
        raise ValueError("A fold change needs cells of two groups or more.")
    mean, rest = _group_means(_counts(x), codes, len(names))
    return pd.DataFrame(np.log2(mean + pseudocount) - np.log2(rest + pseudocount), index=names)


def fold_change_agreement(
    real: Any, real_labels: ArrayLike, other: Any, other_labels: ArrayLike, *, least_share: float = LEAST_SHARE
) -> pd.DataFrame:
    """Compare the fold changes that other cells show with those of real cells, group by group.

    Parameters
    ----------
    real
        Real cells × genes, in log1p counts per 10,000.
    real_labels
        Group of each of them.
    other
        Other cells × the same genes, in the same units.
    other_labels
        Group of each of them. Groups that both have are compared; the rest of a group is made of these groups only.
    least_share
        A gene takes part in a group's comparison where this share of the real cells of the group, or of the rest,
        expresses it.

    Returns
    -------
    A row for each group with

    `lfc_pearson`
        Correlation over the genes.
    `lfc_slope`
        Slope of the other cells' fold changes on the real ones (least squares): below 1 where differences shrink.
    `n_genes`
        Genes that were compared.
    """
    rows = {}
    for group, pairs in paired_fold_changes(real, real_labels, other, other_labels, least_share=least_share).items():
        a, b = (pairs - pairs.mean()).to_numpy().T
        product, size = float(a @ b), float(a @ a)
        rows[group] = {
            "lfc_pearson": product / np.sqrt(size * (b @ b)) if size and b @ b else np.nan,
            "lfc_slope": product / size if size else np.nan,
            "n_genes": len(a),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def paired_fold_changes(
    real: Any, real_labels: ArrayLike, other: Any, other_labels: ArrayLike, *, least_share: float = LEAST_SHARE
) -> dict[str, pd.DataFrame]:
    """Log fold changes that :func:`fold_change_agreement` compares.

    Parameters
    ----------
    real, real_labels, other, other_labels, least_share
        As there.

    Returns
    -------
    For each group a table with a row for each of the genes that it compares, under their numbers, and the columns `real`
    and `other`.
    """
    real_labels, other_labels = (np.asarray(y, dtype=object).astype(str) for y in (real_labels, other_labels))
    shared = sorted(set(real_labels) & set(other_labels))
    if len(shared) < 2:
        raise ValueError("Fold changes need two groups or more that both sets of cells have.")
    in_real, in_other = (np.flatnonzero(np.isin(y, shared)) for y in (real_labels, other_labels))
    real, other, real_labels, other_labels = (
        real[in_real],
        other[in_other],
        real_labels[in_real],
        other_labels[in_other],
    )
    truth, found = log_fold_changes(real, real_labels), log_fold_changes(other, other_labels)
    shown = sp.csr_matrix(real) > 0
    share, rest = _group_means(shown.astype(np.float64), np.unique(real_labels, return_inverse=True)[1], len(shared))
    expressed = np.maximum(share, rest) >= least_share
    return {
        group: pd.DataFrame({"real": truth.loc[group], "other": found.loc[group]})[expressed[i]]
        for i, group in enumerate(shared)
    }


def top_genes(adata: AnnData, *, groupby: str, n_top: int = 50, method: str = "t-test") -> dict[str, list[str]]:
    """Genes that set each group apart most, by :func:`scanpy.tl.rank_genes_groups` against the rest.

    Parameters
    ----------
    adata
        Cells in log1p counts per 10,000; it is not changed.
    groupby
        Column of `obs` with the groups.
    n_top
        Genes of each group.
    method
        Test; ``"t-test"`` or ``"wilcoxon"``.

    Returns
    -------
    Gene names for each group of two cells or more, best first.
    """
    import scanpy as sc
    from anndata import AnnData

    labels = adata.obs[groupby].astype(str)
    sizes = labels.value_counts()
    kept = labels.isin(sizes.index[sizes > 1]).to_numpy()
    # A bare copy: results of an earlier test, layers and .raw stay out of it.
    bare = AnnData(adata.X[kept], obs=pd.DataFrame({"group": labels[kept].astype("category")}), var=adata.var[[]])
    bare.uns["log1p"] = {"base": None}
    if bare.obs["group"].nunique() < 2:
        raise ValueError("Differences need two groups of two cells or more.")
    sc.tl.rank_genes_groups(bare, "group", method=method, use_raw=False, n_genes=min(n_top, bare.n_vars))
    names = bare.uns["rank_genes_groups"]["names"]
    return {group: list(names[group]) for group in names.dtype.names}


def top_gene_overlap(real: dict[str, list[str]], other: dict[str, list[str]]) -> pd.Series:
    """Share of the real cells' top genes that are among the other cells' top genes.

    Parameters
    ----------
    real, other
        Results of :func:`top_genes`.

    Returns
    -------
    A share for each group of the real cells; NaN where the others have no such group.
    """
    shares = {
        group: len(set(genes) & set(other[group])) / len(genes) if group in other else np.nan
        for group, genes in real.items()
    }
    return pd.Series(shares, dtype=float, name="de_overlap")


def _counts(x: Any) -> Any:
    """Undo log1p."""
    return x.expm1() if sp.issparse(x) else np.expm1(np.asarray(x, dtype=np.float64))


def _group_means(x: Any, codes: NDArray[np.intp], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each group, and of all cells that are not in it (groups × genes)."""
    sizes = np.bincount(codes, minlength=n)[:, None]
    member = sp.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n, len(codes)))
    sums = member @ x
    sums = np.asarray(sums.todense() if sp.issparse(sums) else sums, dtype=np.float64)
    return sums / sizes, (sums.sum(axis=0) - sums) / (sizes.sum() - sizes)
