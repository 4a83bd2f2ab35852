"""How well predicted effects of perturbations agree with real ones, beside no change and what real cells reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .distances import median_bandwidth
from .embedding import N_FOR_BANDWIDTH, Embed, as_embedding, embedding_name, points_of
from .generation import MEAN, REAL
from .perturbation_measures import DISTANCES, PROGRAM, Comparison, GeneSets
from .perturbation_sets import Pair, Rows, Source, labelled, pairs_to_compare, rotated, rows_of
from .sources import with_common_genes

if TYPE_CHECKING:
    from anndata import AnnData

PREDICTED, NO_CHANGE, SHUFFLED = "predicted", "no change", "shuffled contexts"


def perturbation(
    real: AnnData,
    predicted: AnnData,
    *,
    condition_key: str,
    control: str,
    groupby: str | Sequence[str] | None = None,
    others: Mapping[str, AnnData] | None = None,
    n_top: Sequence[int] = (20, 50, 100),
    gene_sets: GeneSets | None = None,
    embedding: str | Embed = "pca",
    n_comps: int = 50,
    max_cells: int = 1000,
    rng: int = 0,
) -> pd.DataFrame:
    """Compare predicted perturbed cells with real ones, for each context and perturbation.

    A change is the mean of perturbed cells less that of the real control cells of the same context, for predicted
    cells, too. The sources are

    `"predicted"`
        The predicted cells.
    The names of `others`
        Cells of other predictors.
    `"no change"`
        The real control cells of the context, taken for a prediction.
    `"shuffled contexts"`
        The predicted cells of the next context with the same perturbation: what a predictor reaches that does not heed
        the context. Only with two contexts or more; NaN for a perturbation that one context has.
    `"real"`
        Half of the real perturbed cells, which predict the other half: a ceiling. Both halves have half of the cells,
        so their means are noisier than those the other sources are compared with, and a predictor may do better where
        cells are few. NaN with fewer than six real perturbed cells.

    Parameters
    ----------
    real
        Real control and perturbed cells in log1p counts per 10,000, best cells that no model was trained on. What they
        have, all predictors have to predict.
    predicted
        Predicted cells in the same units; values may be below zero. Genes are matched by name; those that all sets have
        are compared. Control cells among them are left out.
    condition_key
        Column of `obs` with the perturbation, the predicted one for predicted cells.
    control
        Its value for control cells.
    groupby
        Column of `obs` with the context (a cell type, a cell line, a donor), or several columns, whose combinations are
        the contexts. Without it all cells are of one context, `"all"`. Cells without a context or perturbation are left
        out.
    others
        Cells of other predictors by the name they get in the table, for example those of
        :func:`perturbation_baselines`.
    n_top
        Numbers of genes of the columns `pearson_delta_top…`.
    gene_sets
        Genes of programs by name, for example those of :func:`read_gmt`.
    embedding
        Space of the distances: ``"pca"`` (principal components of the real cells), the name of an array in `obsm` of
        all objects, or a function of an AnnData with the compared genes, a row a cell.
    n_comps
        Number of principal components, at most one less than there are genes or cells.
    max_cells
        Most cells of a context and perturbation in the distances, and in the fit of the principal components.
    rng
        Seed of the draws.

    Returns
    -------
    A row for each source, context and perturbation, and their mean for each source (context and perturbation
    ``"(mean)"``; rows where a measure is NaN are left out of its mean), with

    `pearson_delta`
        Correlation of the changes over all genes: :func:`pearson_delta`. Higher is better; 0 for a prediction that
        changes nothing.
    `pearson_delta_top20`, …
        The same over the genes that change most: those with the largest t-score, of either sign, of real perturbed
        against real control cells.
    `mae`
        Mean absolute error of the mean expression, over genes, which is that of the change. Lower is better.
    `de_overlap`
        Share of the 50 genes that really change most (as above) that are among the 50 genes with the largest t-score of
        predicted against real control cells, of the genes that 5 % of the real control or perturbed cells express.
        Higher is better.
    `de_direction`
        Share of the genes that change significantly (t-test, adjusted p below 0.05) that the prediction moves the same
        way: :func:`direction_match`. NaN where no gene does.
    `discrimination`
        Whether the predicted change lies nearer (L1) to the real change of its own perturbation than to those of the
        others in the context: :func:`discrimination_score`. A gene that a perturbation is named after does not count
        for it. NaN where the context has one perturbation only.
    `mmd`, `energy`, `sliced_wasserstein`, `scfid`
        Distances in the embedding: :func:`mmd` with the median distance of the real cells as bandwidth,
        :func:`energy_distance`, :func:`sliced_wasserstein`, :func:`frechet_distance`. Lower is better. Every source has
        as many cells in it, and is compared with the same real cells (the second half), so the row `"real"` is on one
        scale with the others.
    `gene_wasserstein`
        Mean of :func:`gene_wasserstein` over the genes, of the same cells. Lower is better.
    `kendall`
        Kendall's tau-b of predicted and real mean expression, over the genes that a real control or perturbed cell of
        the context expresses. Higher is better.
    `program_…`
        Predicted less real change of the score of each gene set (:func:`program_scores`), in units of log expression: 0
        is right. In the rows ``"(mean)"`` the mean of its size, as errors of both signs would cancel.
    `n`, `n_genes`, `embedding`, `bandwidth`
        What the values depend on: cells in the distances, genes, space and kernel width.

    Contexts and perturbations with fewer than three real control or three real perturbed cells are left out with a
    warning.

    Raises
    ------
    ValueError
        If there is nothing to compare, if a predictor has fewer than three cells of a context and perturbation that the
        real cells have (it would look better for what it cannot do), or if `X` holds counts or NaN.
    """
    sets = _sets(real, predicted, others or {}, condition_key, groupby)
    rows = {name: rows_of(cells) for name, cells in sets.items()}
    given = {name: cells for name, cells in rows.items() if name != REAL}
    pairs = pairs_to_compare(rows[REAL], given, condition_key=condition_key, control=control)
    comparison = Comparison(sets[REAL], pairs, control, seed=rng)
    sources = _sources(sets, given, comparison)
    n = comparison.sizes(list(sources.values()), max_cells)
    embed = as_embedding(embedding, comparison.sample(max_cells), n_comps)
    truth = {pair: points_of(embed, sets[REAL][comparison.drawn_truth(pair, n)].copy(), REAL) for pair in pairs}
    pooled = np.concatenate(list(truth.values()))
    bandwidth = median_bandwidth(pooled[:: 1 + len(pooled) // N_FOR_BANDWIDTH])
    about = {"n_genes": sets[REAL].n_vars, "embedding": embedding_name(embedding, pooled), "bandwidth": bandwidth}
    tables = {}
    for name, source in sources.items():
        means = comparison.of_means(source, halves=name == REAL, n_top=n_top, gene_sets=gene_sets or {})
        made = {
            pair: points_of(embed, source.cells[comparison.drawn(source, pair, n)].copy(), name)
            for pair in pairs
            if pair in source.rows
        }
        distances = comparison.of_cells(source, n, truth, made, bandwidth=bandwidth)
        tables[name] = _finished(means, distances, {pair: n[pair] for pair in made}).assign(**about)
    return pd.concat(tables, names=["source", "context", "perturbation"])


def _sets(
    real: AnnData,
    predicted: AnnData,
    others: Mapping[str, AnnData],
    condition_key: str,
    groupby: str | Sequence[str] | None,
) -> dict[str, AnnData]:
    """Real cells and those of each predictor by name, with the genes that all have."""
    if taken := [name for name in (PREDICTED, NO_CHANGE, SHUFFLED, REAL) if name in others]:
        raise ValueError(f"The table has a source {taken[0]!r} of its own: give the one in others= another name.")
    sets = {REAL: labelled(real, condition_key, groupby, REAL)}
    for name, cells in {PREDICTED: predicted, **others}.items():
        sets[name] = labelled(cells, condition_key, groupby, name, real=False)
    return with_common_genes(sets)


def _sources(
    sets: Mapping[str, AnnData], given: Mapping[str, dict[Pair, Rows]], comparison: Comparison
) -> dict[str, Source]:
    """Everything that is taken for a prediction, in the order of the table."""
    sources = {name: Source(sets[name], rows) for name, rows in given.items()}
    sources[NO_CHANGE] = Source(sets[REAL], comparison.controls)
    if len({pair.context for pair in comparison.pairs}) > 1:
        sources[SHUFFLED] = Source(sets[PREDICTED], rotated(given[PREDICTED], comparison.pairs))
    sources[REAL] = Source(sets[REAL], comparison.first_half)
    return sources


def _finished(means: pd.DataFrame, distances: pd.DataFrame, n: Mapping[Pair, int]) -> pd.DataFrame:
    """Put the columns in order, and add the mean over the rows."""
    place = list(means).index("kendall")
    table = pd.concat([means.iloc[:, :place], distances[DISTANCES], means.iloc[:, place:]], axis=1)
    table["n"] = [n.get(Pair(*pair), 0) for pair in table.index]
    mean = table.mean()
    programs = table.columns[table.columns.str.startswith(PROGRAM)]
    mean[programs] = table[programs].abs().mean()
    mean["n"] = table["n"].sum()
    table.loc[(MEAN, MEAN), :] = mean
    return table.astype({"n": int})
