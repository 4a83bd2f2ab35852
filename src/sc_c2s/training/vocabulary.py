"""Which genes a small model reads, and where their embeddings start."""

from __future__ import annotations

import numpy as np
from scipy import sparse

MIN_CELLS = 3
"""A gene seen in fewer training cells teaches nothing about another cell."""


def informative_genes(x: sparse.csr_matrix, labels: np.ndarray, *, n_top: int | None) -> np.ndarray:
    """Choose the genes that tell labels apart.

    Genes are ordered by the F statistic of a one-way analysis of variance over the labels. A sentence made of all
    genes begins with hundreds that every cell expresses; with these left out, more of what matters fits into less.

    Parameters
    ----------
    x
        Training cells × genes, log scale.
    labels
        Their labels.
    n_top
        Number of genes; ``None`` keeps every gene that is expressed.

    Returns
    -------
    Sorted column numbers.
    """
    from sklearn.feature_selection import f_classif

    expressed = np.flatnonzero(x.getnnz(axis=0) >= min(MIN_CELLS, x.shape[0]))
    if n_top is None or len(expressed) <= n_top:
        return expressed
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.nan_to_num(f_classif(x[:, expressed], labels)[0], nan=0.0, posinf=np.inf)
    best = np.argsort(-score, kind="stable")[:n_top]
    return np.sort(expressed[best])


def gene_embeddings(x: sparse.csr_matrix, *, n_dims: int, seed: int = 0) -> np.ndarray:
    """Place genes by the training cells they are expressed in.

    The leading right singular vectors of the standardised matrix, weighted by their singular values: genes that rise
    and fall together start close to each other, as in latent semantic analysis.

    Parameters
    ----------
    x
        Training cells × genes, log scale.
    n_dims
        Length of a vector, at most.

    Returns
    -------
    Genes × dimensions.
    """
    from sklearn.decomposition import TruncatedSVD

    dense = x.toarray().astype(np.float32)
    dense -= dense.mean(axis=0)
    # A constant in the denominator keeps genes seen in a handful of cells from ruling the first components.
    dense /= dense.std(axis=0) + 0.3
    n_dims = min(n_dims, min(dense.shape) - 1)
    svd = TruncatedSVD(n_dims, random_state=seed).fit(dense)
    return (svd.components_ * svd.singular_values_[:, None]).T
