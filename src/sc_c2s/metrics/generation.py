"""How well generated cells stand in for real ones, beside what says nothing and what cannot be beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .distances import median_bandwidth
from .embedding import N_FOR_BANDWIDTH, Embed, as_embedding, embedding_name, points_of
from .fold_changes import top_gene_overlap, top_genes
from .measures import by_condition
from .sources import CONDITION, bare, draw, independent, parts, shuffled, sizes, with_common_genes

if TYPE_CHECKING:
    from anndata import AnnData

GENERATED, REAL, SHUFFLED, INDEPENDENT = "generated", "real", "shuffled conditions", "independent genes"
MEAN = "(mean)"
"""Condition of the row that averages the conditions of a source."""
_TRUTH, _SPARE = "(compared with)", "(spare)"


def generation(
    real: AnnData,
    generated: AnnData,
    *,
    groupby: str | Sequence[str],
    others: Mapping[str, AnnData] | None = None,
    reference: AnnData | None = None,
    embedding: str | Embed = "pca",
    n_comps: int = 50,
    max_cells: int = 1000,
    n_top: int = 50,
    rng: int = 0,
) -> pd.DataFrame:
    """Compare generated cells with real ones, condition by condition.

    Every measure is taken on as many real as generated cells (the fewest that any source has of a condition), and for these
    sources in turn:

    `"generated"`
        The generated cells.
    `"real"`
        Real cells that are not those compared with: the best that can be asked for.
    `"shuffled conditions"`
        The generated cells with their conditions exchanged at random: what a generator reaches that does not heed the
        condition.
    `"independent genes"`
        Real cells of the condition, each gene drawn from another cell: right means and variances, no cell behind them.
    The names of `others`
        Cells of other generators.

    Parameters
    ----------
    real
        Real cells to compare with, best cells that no model was trained on, in log1p counts per 10,000.
    generated
        Generated cells in the same units. Genes are matched by name; those that all sources have are compared.
    groupby
        Column of `obs` with the conditions, or several columns, whose combinations are the conditions. Cells without one are
        left out.
    others
        Cells of other generators by the name they get in the table, for example those of :func:`scvi_cells`.
    reference
        Other real cells, those that the model was trained on for example: half of each condition for the sources `"real"`
        and `"independent genes"`, the other half for the principal components. By default two thirds of ``real``, which the
        comparison then does without.
    embedding
        Space of the distances and classifiers: ``"pca"`` (principal components of real cells that are not compared), the name
        of an array in `obsm` of all objects (without `"independent genes"`, which has none), or a function of an AnnData with
        the compared genes, a row a cell.
    n_comps
        Number of principal components, at most one less than there are genes or cells.
    max_cells
        Most cells of a condition that are compared.
    n_top
        Number of genes in the comparison of top genes.
    rng
        Seed of the draws.

    Returns
    -------
    A row for each source and condition, and their mean over the conditions (condition ``"(mean)"``; conditions where a
    measure is NaN are left out of its mean), with

    `scfid`, `mmd`, `energy`, `sliced_wasserstein`
        Distances in the embedding: :func:`frechet_distance`, :func:`mmd` with the median distance of the real cells as
        bandwidth, :func:`energy_distance`, :func:`sliced_wasserstein`. Lower is better.
    `gene_wasserstein`
        Mean of :func:`gene_wasserstein` over the genes, in log1p counts per 10,000. Lower is better.
    `knn_3`, `knn_5`, `knn_10`, `knn_25`
        Share of the cells to which so many nearest real cells give their own condition. Higher is better.
    `auc`
        Area under the curve of a support vector machine with a Gaussian kernel that tells the cells from real ones of their
        condition (five-fold cross-validation): 0.5 where it cannot. NaN for conditions with fewer than 10 cells.
    `mean_correlation`, `variance_correlation`, `dropout_correlation`
        Pearson correlation over genes of mean, variance and share of zeros.
    `rare_genes`
        Share of the genes that fewer than 5 % of the real cells express which occur at all; NaN where there are none.
    `lfc_pearson`, `lfc_slope`, `de_overlap`
        Agreement of the differences between conditions: :func:`fold_change_agreement`, :func:`top_gene_overlap`.
    `diversity`
        Mean rank distance (1 - Spearman's correlation over the genes that either cell expresses) between two cells of the
        condition, over that of the real cells: 1 is right, below 1 is too uniform.
    `n`, `n_genes`, `embedding`, `bandwidth`
        What the values depend on: cells, genes, space and kernel width.

    Conditions with too few real cells (three in ``real`` and five in ``reference``, or eight in ``real`` alone, are needed)
    are left out with a warning.

    Raises
    ------
    ValueError
        If there is nothing to compare (no common gene, or fewer than two conditions with enough real cells), if a generator
        lacks a condition that the real cells have (it would look better for what it cannot do), or if `X` holds counts or
        NaN.
    """
    generator = np.random.default_rng(rng)
    truth, sources, spare = _sets(real, generated, others or {}, reference, groupby, max_cells, generator)
    if isinstance(embedding, str) and embedding != "pca":
        del sources[INDEPENDENT]
    embed = as_embedding(embedding, spare, n_comps)
    truth_space = points_of(embed, truth, REAL)
    bandwidth = median_bandwidth(truth_space[:: 1 + len(truth_space) // N_FOR_BANDWIDTH])
    top = top_genes(truth, groupby=CONDITION, n_top=n_top)
    conditions = truth.obs[CONDITION].to_numpy()  # of all sources, as they were drawn by condition
    n = pd.Series(conditions).value_counts(sort=False).tolist()
    about = {"n_genes": truth.n_vars, "embedding": embedding_name(embedding, truth_space), "bandwidth": bandwidth}
    tables = {}
    for name, cells in sources.items():
        space = points_of(embed, cells, name)
        table = by_condition(truth.X, cells.X, truth_space, space, conditions, bandwidth=bandwidth, seed=rng)
        table["de_overlap"] = top_gene_overlap(top, top_genes(cells, groupby=CONDITION, n_top=n_top))
        table.loc[MEAN] = table.mean()
        tables[name] = table.assign(n=[*n, sum(n)], **about)
    return pd.concat(tables, names=["source", "condition"])


def _sets(
    real: AnnData,
    generated: AnnData,
    others: Mapping[str, AnnData],
    reference: AnnData | None,
    groupby: str | Sequence[str],
    max_cells: int,
    rng: np.random.Generator,
) -> tuple[AnnData, dict[str, AnnData], AnnData]:
    """Cells to compare with, the sources by name, as many cells of each, and real cells that are none of these."""
    if taken := [name for name in (GENERATED, REAL, SHUFFLED, INDEPENDENT, _TRUTH, _SPARE) if name in others]:
        raise ValueError(f"The table has a source {taken[0]!r} of its own: give the one in others= another name.")
    given = {name: bare(cells, groupby, name) for name, cells in {GENERATED: generated, **others}.items()}
    if reference is None:
        truth, second, spare = parts(bare(real, groupby, REAL), 3, rng)
    else:
        truth = bare(real, groupby, REAL)
        second, spare = parts(bare(reference, groupby, "reference"), 2, rng)
    sets = with_common_genes({_TRUTH: truth, REAL: second, _SPARE: spare, **given})
    spare = sets.pop(_SPARE)
    n = sizes(
        {"real": sets[_TRUTH], "reference": sets[REAL]}, {name: sets[name] for name in given}, max_cells=max_cells
    )
    truth, made, second = (draw(sets[name], n, rng) for name in (_TRUTH, GENERATED, REAL))
    sources = {
        GENERATED: made,
        REAL: second,
        SHUFFLED: shuffled(made, rng),
        INDEPENDENT: independent(second, rng),
    }
    spare = draw(spare, spare.obs[CONDITION].value_counts(sort=False).clip(upper=max_cells), rng)
    # Last, so that they change nothing of what was drawn before.
    return truth, sources | {name: draw(sets[name], n, rng) for name in others}, spare
