"""The sets of cells that :func:`sc_c2s.metrics.generation` compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scanpy import logging as logg

from sc_c2s.data import as_labels, combined
from sc_c2s.sentences.inverse import is_counts

if TYPE_CHECKING:
    from anndata import AnnData

CONDITION = "_condition"
"""``obs`` column of every set."""
LEAST_CELLS = 3
"""A condition with fewer cells in a set is not compared."""


def conditions_of(adata: AnnData, groupby: str | Sequence[str], name: str) -> pd.Series:
    """Condition of each cell.

    Parameters
    ----------
    adata
        Cells.
    groupby
        Columns of `obs` whose combinations are the conditions.
    name
        What to call the set in errors.

    Returns
    -------
    The values joined by ``" | "``; NaN for a cell that lacks one of them.
    """
    columns = [groupby] if isinstance(groupby, str) else list(groupby)
    if missing := [column for column in columns if column not in adata.obs]:
        raise KeyError(f"obs has no column {missing[0]!r} in the set {name!r}: name the conditions with groupby=.")
    return combined([as_labels(adata.obs[column]) for column in columns])


def bare(adata: AnnData, groupby: str | Sequence[str], name: str) -> AnnData:
    """Cells that have a condition, without anything else but arrays.

    Parameters
    ----------
    adata
        Cells in log1p counts per 10,000.
    groupby
        Columns of `obs` whose combinations are the conditions.
    name
        What to call the set in errors.

    Returns
    -------
    A copy.
    """
    from anndata import AnnData

    condition = conditions_of(adata, groupby, name)
    if not adata.var_names.is_unique:
        raise ValueError(f"Gene names occur twice in the set {name!r}: call var_names_make_unique() first.")
    part = adata[condition.notna().to_numpy()]
    x = sp.csr_matrix(part.X, copy=True)
    x.sum_duplicates()  # brings columns into order, too
    x.eliminate_zeros()
    if not np.isfinite(x.data).all():
        raise ValueError(
            f"X holds NaN or infinite values in the set {name!r}; leave out the cells that were not generated."
        )
    if x.nnz and (is_counts(x) or x.data.min() < 0):
        kind = "negative values" if x.data.min() < 0 else "counts"
        raise ValueError(
            f"X holds {kind} in the set {name!r}; the comparison needs log1p counts per 10,000: "
            "sc.pp.normalize_total, sc.pp.log1p."
        )
    cells = AnnData(
        x,
        obs=pd.DataFrame({CONDITION: condition.dropna().to_numpy()}, index=part.obs_names.astype(str)),
        var=pd.DataFrame(index=part.var_names),
    )
    for key in part.obsm:
        cells.obsm[key] = part.obsm[key]
    return cells


def parts(adata: AnnData, n: int, rng: np.random.Generator) -> list[AnnData]:
    """Cut every condition in parts of one size, give or take a cell; the first is never the smallest.

    Parameters
    ----------
    adata
        Cells.
    n
        Number of parts.
    rng
        Generator of the order.

    Returns
    -------
    The parts.
    """
    order = rng.permutation(adata.n_obs)
    place = pd.Series(order).groupby(adata.obs[CONDITION].to_numpy()[order]).cumcount().to_numpy()
    part = np.empty(adata.n_obs, dtype=np.intp)
    part[order] = place % n
    return [adata[part == i].copy() for i in range(n)]


def with_common_genes(sets: Mapping[str, AnnData]) -> dict[str, AnnData]:
    """Restrict sets to the genes that all of them have.

    Parameters
    ----------
    sets
        The sets by name; the first one gives the order of the genes.

    Returns
    -------
    Copies.
    """
    first, *others = sets.values()
    common = first.var_names[np.logical_and.reduce([first.var_names.isin(other.var_names) for other in others])]
    if not len(common):
        raise ValueError("Real and generated cells have no gene in common: check that var_names are of one kind.")
    return {name: adata[:, common].copy() for name, adata in sets.items()}


def sizes(real: Mapping[str, AnnData], given: Mapping[str, AnnData], *, max_cells: int) -> pd.Series:
    """Cells of each condition to compare: as many as every set has.

    A condition that real cells lack is left out with a warning. One that a generator lacks is an error: a generator
    that fails on a condition must not look better for it.

    Parameters
    ----------
    real
        Sets of real cells by name.
    given
        Sets of generated cells by name.
    max_cells
        Most cells of a condition.

    Returns
    -------
    Numbers of cells by condition, two conditions or more.
    """
    counts = {name: cells.obs[CONDITION].value_counts() for name, cells in {**real, **given}.items()}
    found = pd.DataFrame(counts).fillna(0).astype(int).sort_index()
    enough = (found[[*real]] >= LEAST_CELLS).all(axis=1)
    if enough.sum() < 2:
        raise ValueError(
            f"Only {enough.sum()} conditions have {LEAST_CELLS} real cells or more in every set; two are needed, "
            "so check groupby=."
        )
    if left_out := list(found.index[~enough]):
        logg.warning(
            f"not compared, as fewer than {LEAST_CELLS} real cells have the condition in one of the sets "
            f"({', '.join(real)}): {', '.join(left_out)}"
        )
    found = found[enough]
    lacking = found[[*given]] < LEAST_CELLS
    for name in given:
        for condition in found.index[lacking[name]]:
            raise ValueError(
                f"The set {name!r} has {found.loc[condition, name]} cells of the condition {condition!r} and needs "
                f"{LEAST_CELLS}: add some, or leave this condition out of the real cells."
            )
    return found.min(axis=1).clip(upper=max_cells)


def draw(adata: AnnData, sizes: pd.Series, rng: np.random.Generator) -> AnnData:
    """Draw cells of each condition.

    Parameters
    ----------
    adata
        Cells.
    sizes
        Number of cells by condition.
    rng
        Generator of the draws.

    Returns
    -------
    As many cells of each condition, condition by condition.
    """
    conditions = adata.obs[CONDITION].to_numpy()
    chosen = [rng.choice(np.flatnonzero(conditions == name), size=n, replace=False) for name, n in sizes.items()]
    return adata[np.concatenate(chosen)].copy()


def shuffled(adata: AnnData, rng: np.random.Generator) -> AnnData:
    """Exchange the conditions of cells at random.

    Parameters
    ----------
    adata
        Cells.
    rng
        Generator of the order.

    Returns
    -------
    The cells in another order, under the conditions in the old order.
    """
    mixed = adata[rng.permutation(adata.n_obs)].copy()
    mixed.obs[CONDITION] = adata.obs[CONDITION].to_numpy()
    return mixed


def independent(adata: AnnData, rng: np.random.Generator) -> AnnData:
    """Shuffle every gene among the cells of a condition.

    Parameters
    ----------
    adata
        Cells.
    rng
        Generator of the order.

    Returns
    -------
    Cells that have the values of each gene and condition, and nothing that belongs together.
    """
    mixed = adata.copy()
    conditions = adata.obs[CONDITION].to_numpy()
    order = np.argsort(conditions, kind="stable")
    blocks = [
        sp.csr_matrix(rng.permuted(adata.X[conditions == name].toarray(), axis=0)) for name in np.unique(conditions)
    ]
    mixed.X = sp.vstack(blocks, format="csr")[np.argsort(order)]
    mixed.obsm.clear()
    return mixed
