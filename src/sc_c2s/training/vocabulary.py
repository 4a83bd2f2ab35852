"""Which genes a small model reads, and where their embeddings start."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse

MIN_CELLS = 3
"""A gene seen in fewer training cells teaches nothing about another cell."""
PRIOR = 10.0
"""Weight of an uninformative gene, in multiples of what chance alone makes a gene explain."""


def explained_variance(x: sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    r"""Give the share of each gene's variance that labels explain, less what they would explain by chance.

    .. math:: \varepsilon^2 = 1 - (1 - \eta^2) \frac{n - 1}{n - k}

    for :math:`n` cells of :math:`k` labels, where :math:`\eta^2` is the ratio of the sum of squares between labels to the
    whole (Kelley 1935, *An Unbiased Correlation Ratio Measure*, PNAS). Below zero and without variance it is 0.

    Parameters
    ----------
    x
        Cells × genes, log scale.
    labels
        Their labels.

    Returns
    -------
    One number between 0 and 1 for each gene.
    """
    n, k = len(labels), len(set(labels))
    if not 1 < k < n:
        return np.zeros(x.shape[1])
    between = _f_statistic(x, labels) * (k - 1)
    eta = np.divide(between, between + n - k, out=np.ones_like(between), where=np.isfinite(between))
    return np.clip(1 - (1 - eta) * (n - 1) / (n - k), 0, 1)


def informative_genes(x: sparse.csr_matrix, labels: np.ndarray, *, n_top: int | None) -> np.ndarray:
    """Choose the genes that tell labels apart.

    Genes are ordered by the F statistic of a one-way analysis of variance over the labels, or by their variance where there is
    but one label. A sentence made of all
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
    expressed = np.flatnonzero(x.getnnz(axis=0) >= min(MIN_CELLS, x.shape[0]))
    if n_top is None or len(expressed) <= n_top:
        return expressed
    candidates = x[:, expressed]
    scores = _f_statistic(candidates, labels) if len(set(labels)) > 1 else _variance(candidates)
    best = np.argsort(-scores, kind="stable")[:n_top]
    return np.sort(expressed[best])


def most_shown(written: np.ndarray, n_genes: int, *, n_top: int) -> np.ndarray:
    """Choose the genes that are written into the most sentences.

    Parameters
    ----------
    written
        Gene numbers of all sentences, one after the other.
    n_genes
        Number of genes there are.
    n_top
        Most genes to choose; those of no sentence never are.

    Returns
    -------
    Sorted gene numbers.
    """
    n_sentences = np.bincount(written, minlength=n_genes)
    best = np.argsort(-n_sentences, kind="stable")[:n_top]
    return np.sort(best[n_sentences[best] > 0])


def gene_embeddings(x: sparse.csr_matrix, labels: np.ndarray, *, n_dims: int, seed: int = 0) -> np.ndarray:
    r"""Place genes by the training cells they are expressed in, and make those loud that tell labels apart.

    The direction of a gene is its leading right singular vector of the standardised matrix, weighted by the singular
    values: genes that rise and fall together start close to each other, as in latent semantic analysis. Its length is
    :math:`\sqrt{(\varepsilon^2 + c) / (1 + c)}` by :func:`explained_variance`, with :math:`c = 10 k / n` for :math:`n`
    cells of :math:`k` labels: the fewer cells there are, the less it is trusted. A decoder scales every vector to one
    length, so that a gene that says nothing would count as much as a marker; the last dimension, which is the same for
    all but for its size, makes up for that.

    Parameters
    ----------
    x
        Training cells × genes, log scale.
    labels
        Their labels.
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
    svd = TruncatedSVD(min(n_dims - 1, min(dense.shape) - 1), random_state=seed).fit(dense)
    placed = (svd.components_ * svd.singular_values_[:, None]).T
    placed /= np.maximum(np.linalg.norm(placed, axis=1, keepdims=True), 1e-6)
    if len(set(labels)) > 1:  # else there is nothing to tell apart, and no gene is louder than another
        prior = PRIOR * len(set(labels)) / len(labels)
        placed *= np.sqrt((explained_variance(x, labels) + prior) / (1 + prior))[:, None]
    rest = np.sqrt(np.maximum(1 - (placed**2).sum(axis=1, keepdims=True), 0))
    return np.hstack([placed, rest])


def writer_embeddings(
    x: sparse.csr_matrix, labels: np.ndarray, *, n_dims: int, n_conditions: int, seed: int = 0
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Place the words of a model that writes genes as well: all in one space, each kind in dimensions of its own.

    Genes stand where :func:`gene_embeddings` puts them, with two dimensions more for how abundant they are: the next gene of a
    sentence is one about as abundant. Conditions stand in the leading dimensions, one each or, where there are more of them
    than dimensions, by a singular value decomposition of their mean expression. The last dimension fills all vectors but those
    of conditions up to one length.

    Parameters
    ----------
    x
        Cells × genes, log scale.
    labels
        Condition of each cell.
    n_dims
        Length of a vector.
    n_conditions
        Number of leading dimensions for conditions; two more tell that a word is one, and that a cell begins.

    Returns
    -------
    Vectors of the genes (genes × dimensions), of each condition, and of the word that a cell begins with.
    """
    first = n_conditions + 2
    placed = gene_embeddings(x, labels, n_dims=n_dims - first - 2, seed=seed)[:, :-1]
    abundance = np.log(np.asarray(x.mean(axis=0)).ravel() + 1e-4)
    abundance = np.clip((abundance - abundance.mean()) / max(abundance.std(), 1e-6), -2.5, 2.5)
    genes = np.zeros((x.shape[1], n_dims))
    genes[:, first : first + placed.shape[1]] = 0.6 * placed
    genes[:, n_dims - 3] = 0.2 * abundance
    genes[:, n_dims - 2] = 0.05 * (abundance**2 - 1)
    genes[:, -1] = np.sqrt(np.maximum(1 - (genes**2).sum(axis=1), 0.05))

    names = sorted(set(labels))
    means = np.stack([np.asarray(x[labels == name].mean(axis=0)).ravel() for name in names])
    conditions = condition_embeddings(means, n_dims=n_dims, n_conditions=n_conditions)
    begin = nothing(n_dims)
    begin[n_conditions + 1] = 1
    return genes, dict(zip(names, conditions, strict=True)), np.sqrt(0.5) * begin


def condition_embeddings(means: np.ndarray, *, n_dims: int, n_conditions: int) -> np.ndarray:
    """Place the words of conditions in the leading dimensions, see :func:`writer_embeddings`.

    Parameters
    ----------
    means
        Mean expression of each condition (conditions × genes).
    n_dims, n_conditions
        As there.

    Returns
    -------
    Conditions × dimensions.
    """
    if len(means) <= n_conditions:
        where = np.eye(len(means), n_conditions)
    else:
        left, size, _ = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
        where = (left * size)[:, :n_conditions]
        where /= np.maximum(np.linalg.norm(where, axis=1, keepdims=True), 1e-6)
    conditions = np.zeros((len(means), n_dims))
    conditions[:, : where.shape[1]] = where
    conditions[:, n_conditions] = 1
    return np.sqrt(0.5) * conditions


def nothing(n_dims: int) -> np.ndarray:
    """Give the vector of a word that tells nothing of a cell: the direction that all of :func:`gene_embeddings` share."""
    vector = np.zeros(n_dims)
    vector[-1] = 1
    return vector


def _variance(x: sparse.csr_matrix) -> np.ndarray:
    """Give the variance of each gene."""
    mean = np.asarray(x.mean(axis=0)).ravel()
    return np.asarray(x.multiply(x).mean(axis=0)).ravel() - mean**2


def _f_statistic(x: sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """Give each gene's variance between labels over that within them; 0 where there is none at all."""
    from sklearn.feature_selection import f_classif

    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Features .* are constant")
        return np.nan_to_num(f_classif(x, labels)[0], nan=0.0, posinf=np.inf)
