"""How well generated cells stand in for real ones, beside what says nothing and what cannot be beaten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from sc_c2s.sentences.inverse import is_counts

from .distances import energy_distance, frechet_distance, gene_wasserstein, median_bandwidth, mmd, sliced_wasserstein
from .fold_changes import fold_change_agreement, top_gene_overlap, top_genes

if TYPE_CHECKING:
    from anndata import AnnData

GENERATED, REAL, SHUFFLED, INDEPENDENT = "generated", "real", "shuffled conditions", "independent genes"
MEAN = "(mean)"
"""Condition of the row that averages the conditions of a source."""
NEIGHBOURS = (3, 5, 10, 25)
RARE = 0.05
"""A gene is rare in a condition where fewer of its real cells than this share express it."""
N_RANK_PAIRS = 500
N_TREES = 100

Embed = Callable[["AnnData"], ArrayLike]


def generation(
    real: AnnData,
    generated: AnnData,
    *,
    groupby: str | Sequence[str],
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

    Parameters
    ----------
    real
        Real cells to compare with, best cells that no model was trained on, in log1p counts per 10,000.
    generated
        Generated cells in the same units. Genes are matched by name; those of both are compared.
    groupby
        Column of `obs` with the conditions, or several columns, whose combinations are the conditions.
    reference
        Real cells for the sources `"real"` and `"independent genes"`: those that the model was trained on, for example. By
        default half of ``real``, which the comparison then does without.
    embedding
        Space of the distances and classifiers: ``"pca"`` (principal components of all real cells), the name of an array in
        `obsm` of all objects (without `"independent genes"`, which has none), or a function of an AnnData.
    n_comps
        Number of principal components.
    max_cells
        Most cells of a condition that are compared.
    n_top
        Number of genes in the comparison of top genes.
    rng
        Seed of the draws.

    Returns
    -------
    A row for each source and condition, and their mean over the conditions (condition ``"(mean)"``), with

    `scfid`, `mmd`, `energy`, `sliced_wasserstein`
        Distances in the embedding: :func:`frechet_distance`, :func:`mmd` with the median distance of the real cells as
        bandwidth, :func:`energy_distance`, :func:`sliced_wasserstein`. Lower is better.
    `gene_wasserstein`
        Mean of :func:`gene_wasserstein` over the genes, in log1p counts per 10,000. Lower is better.
    `knn_3`, `knn_5`, `knn_10`, `knn_25`
        Share of the cells to which so many nearest real cells give their own condition. Higher is better.
    `auc`
        Area under the curve of extremely randomised trees that tell the cells from real ones of their condition (five-fold
        cross-validation): 0.5 where it cannot. NaN for conditions with fewer than 10 cells.
    `mean_correlation`, `variance_correlation`, `dropout_correlation`
        Pearson correlation over genes of mean, variance and share of zeros.
    `rare_genes`
        Share of the genes that fewer than 5 % of the real cells express which occur at all.
    `lfc_pearson`, `lfc_slope`, `de_overlap`
        Agreement of the differences between conditions: :func:`fold_change_agreement`, :func:`top_gene_overlap`.
    `diversity`
        Mean rank distance (1 - Spearman's correlation over the genes that either cell expresses) between two cells of the
        condition, over that of the real cells: 1 is right, below 1 is too uniform.
    `n`, `n_genes`, `embedding`, `bandwidth`
        What the values depend on: cells, genes, space and kernel width.

    Raises
    ------
    ValueError
        If there is nothing to compare (no common gene, or fewer than two conditions with three cells), or if `X` holds
        counts.
    """
    generator = np.random.default_rng(rng)
    real, generated = _with_conditions(real, groupby), _with_conditions(generated, groupby)
    if reference is None:
        real, reference = _halves(real, generator)
    else:
        reference = _with_conditions(reference, groupby)
    real, generated, reference = _common_genes(real, generated, reference)
    shuffled = generated.copy()
    shuffled.obs[_CONDITION] = generator.permutation(shuffled.obs[_CONDITION].to_numpy())
    sources = {GENERATED: generated, REAL: reference, SHUFFLED: shuffled}
    if not isinstance(embedding, str) or embedding == "pca":
        sources[INDEPENDENT] = _independent(reference, generator)

    everyone = {"": real, **sources}
    found = pd.DataFrame({name: cells.obs[_CONDITION].value_counts() for name, cells in everyone.items()})
    smallest = found.fillna(0).min(axis=1)
    sizes = smallest[smallest >= LEAST_CELLS].clip(upper=max_cells).astype(int).sort_index()
    if len(sizes) < 2:
        raise ValueError(
            f"Only {len(sizes)} conditions have {LEAST_CELLS} cells or more in all sets; two are needed, so check groupby=."
        )
    everyone = {name: _draw(cells, sizes, generator) for name, cells in everyone.items()}
    # Components of both: those of one set would fit it better than the other, which trees notice.
    embed = _embedding(embedding, sp.vstack([real.X, reference.X]), n_comps)
    space = {name: np.asarray(embed(cells), dtype=np.float64) for name, cells in everyone.items()}
    truth = everyone.pop("")
    bandwidth = median_bandwidth(space[""])
    top = top_genes(truth, groupby=_CONDITION, n_top=n_top)
    about = {"n_genes": truth.n_vars, "embedding": _name(embedding, space[""]), "bandwidth": bandwidth}
    tables = {}
    for name, cells in everyone.items():
        table = _score(truth, cells, space[""], space[name], bandwidth=bandwidth, seed=rng)
        table["de_overlap"] = top_gene_overlap(top, top_genes(cells, groupby=_CONDITION, n_top=n_top))
        table.loc[MEAN] = table.mean()
        tables[name] = table.assign(n=[*sizes, int(sizes.sum())], **about)
    return pd.concat(tables, names=["source", "condition"])


_CONDITION = "_condition"
LEAST_CELLS = 3


def _with_conditions(adata: AnnData, groupby: str | Sequence[str]) -> AnnData:
    """Cells that have a condition, bare of everything else but arrays."""
    from anndata import AnnData

    columns = [groupby] if isinstance(groupby, str) else list(groupby)
    if missing := [column for column in columns if column not in adata.obs]:
        raise KeyError(f"obs has no column {missing[0]!r}: name the conditions with groupby=.")
    known = adata.obs[columns].notna().all(axis=1).to_numpy()
    part = adata[known]
    x = sp.csr_matrix(part.X)
    if x.nnz and is_counts(x):
        raise ValueError(
            "X holds counts; the comparison needs log1p counts per 10,000: sc.pp.normalize_total, sc.pp.log1p."
        )
    condition = part.obs[columns].astype(str).agg(" | ".join, axis=1)
    bare = AnnData(
        x,
        obs=pd.DataFrame({_CONDITION: condition.to_numpy()}, index=part.obs_names.astype(str)),
        var=pd.DataFrame(index=part.var_names),
    )
    for name in part.obsm:
        bare.obsm[name] = part.obsm[name]
    return bare


def _halves(adata: AnnData, rng: np.random.Generator) -> tuple[AnnData, AnnData]:
    """Cut every condition in two."""
    order = rng.permutation(adata.n_obs)
    place = (
        pd.Series(adata.obs[_CONDITION].to_numpy()[order]).groupby(adata.obs[_CONDITION].to_numpy()[order]).cumcount()
    )
    second = np.zeros(adata.n_obs, dtype=bool)
    second[order] = place.to_numpy() % 2 == 1
    return adata[~second].copy(), adata[second].copy()


def _common_genes(real: AnnData, *others: AnnData) -> list[AnnData]:
    common = real.var_names[np.logical_and.reduce([real.var_names.isin(other.var_names) for other in others])]
    if not len(common):
        raise ValueError("Real and generated cells have no gene in common: check that var_names are of one kind.")
    return [adata[:, common].copy() for adata in (real, *others)]


def _independent(adata: AnnData, rng: np.random.Generator) -> AnnData:
    """Shuffle every gene among the cells of a condition."""
    mixed = adata.copy()
    conditions = adata.obs[_CONDITION].to_numpy()
    order = np.argsort(conditions, kind="stable")
    blocks = [
        sp.csr_matrix(rng.permuted(adata.X[conditions == name].toarray(), axis=0)) for name in np.unique(conditions)
    ]
    mixed.X = sp.vstack(blocks, format="csr")[np.argsort(order)]
    mixed.obsm.clear()
    return mixed


def _draw(adata: AnnData, sizes: pd.Series, rng: np.random.Generator) -> AnnData:
    """As many cells of each condition as are compared, condition by condition."""
    conditions = adata.obs[_CONDITION].to_numpy()
    chosen = [rng.choice(np.flatnonzero(conditions == name), size=n, replace=False) for name, n in sizes.items()]
    return adata[np.concatenate(chosen)].copy()


def _embedding(embedding: str | Embed, x: sp.csr_matrix, n_comps: int) -> Embed:
    if not isinstance(embedding, str):
        return embedding
    if embedding != "pca":

        def stored(adata: AnnData) -> ArrayLike:
            if embedding not in adata.obsm:
                raise KeyError(
                    f"obsm has no {embedding!r} in one of the objects: write it to all of them, or use 'pca'."
                )
            return adata.obsm[embedding]

        return stored

    from sklearn.decomposition import PCA

    fitted = PCA(min(n_comps, x.shape[0] - 1, x.shape[1]), random_state=0).fit(x.toarray())
    return lambda adata: fitted.transform(adata.X.toarray())


def _name(embedding: str | Embed, space: NDArray[np.float64]) -> str:
    name = embedding if isinstance(embedding, str) else getattr(embedding, "__name__", type(embedding).__name__)
    return f"{name} ({space.shape[1]})"


def _score(
    real: AnnData,
    other: AnnData,
    real_space: NDArray[np.float64],
    other_space: NDArray[np.float64],
    *,
    bandwidth: float,
    seed: int,
) -> pd.DataFrame:
    """Every measure but the top genes, a row for each condition."""
    conditions = real.obs[_CONDITION].to_numpy()  # the same for both, as both were drawn by condition
    neighbours = _neighbours(real_space, conditions, other_space)
    rows = {}
    for condition in np.unique(conditions):
        here = np.flatnonzero(conditions == condition)
        a, b = real_space[here], other_space[here]
        x, y = (cells.X[here].toarray().astype(np.float64) for cells in (real, other))
        rows[condition] = {
            "scfid": frechet_distance(a, b),
            "mmd": mmd(a, b, bandwidth=bandwidth),
            "energy": energy_distance(a, b),
            "sliced_wasserstein": sliced_wasserstein(a, b, rng=seed),
            "gene_wasserstein": float(gene_wasserstein(x, y).mean()),
            **{name: float((labels[here] == condition).mean()) for name, labels in neighbours.items()},
            "auc": _auc(a, b, seed=seed),
            "mean_correlation": _correlation(x.mean(axis=0), y.mean(axis=0)),
            "variance_correlation": _correlation(x.var(axis=0), y.var(axis=0)),
            "dropout_correlation": _correlation((x == 0).mean(axis=0), (y == 0).mean(axis=0)),
            "rare_genes": _rare_genes(x, y),
            "diversity": _diversity(y, seed) / (_diversity(x, seed) or np.nan),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    agreement = fold_change_agreement(real.X, conditions, other.X, conditions)
    return table.join(agreement[["lfc_pearson", "lfc_slope"]])


def _neighbours(
    real: NDArray[np.float64], labels: NDArray[np.object_], other: NDArray[np.float64]
) -> dict[str, NDArray[np.object_]]:
    """Condition that the nearest real cells give to every other cell."""
    from sklearn.neighbors import KNeighborsClassifier

    return {
        f"knn_{k}": KNeighborsClassifier(min(k, len(real))).fit(real, labels.astype(str)).predict(other)
        for k in NEIGHBOURS
    }


def _auc(real: NDArray[np.float64], other: NDArray[np.float64], *, seed: int) -> float:
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if len(real) < 10:
        return np.nan
    x, y = np.concatenate([real, other]), np.repeat([0, 1], [len(real), len(other)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    # Not a linear one: cells that are too much alike lie in the middle of the real ones, where no plane parts them.
    model = ExtraTreesClassifier(N_TREES, random_state=seed)
    return float(roc_auc_score(y, cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]))


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def _rare_genes(real: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    share = (real > 0).mean(axis=0)
    rare = (share > 0) & (share < RARE)
    return float((other[:, rare] > 0).any(axis=0).mean()) if rare.any() else np.nan


def _diversity(x: NDArray[np.float64], seed: int) -> float:
    """Mean rank distance of pairs of cells drawn at random."""
    from scipy.stats import rankdata

    rng = np.random.default_rng(seed)
    distances = []
    for _ in range(N_RANK_PAIRS):
        a, b = x[rng.choice(len(x), size=2, replace=False)]
        shown = (a > 0) | (b > 0)
        if shown.sum() > 1:
            distances.append(1 - _correlation(rankdata(a[shown]), rankdata(b[shown])))
    return float(np.nanmean(distances)) if distances else np.nan
