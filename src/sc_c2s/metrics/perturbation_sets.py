"""The sets of cells that :func:`sc_c2s.metrics.perturbation` compares, by context and perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scanpy import logging as logg

from sc_c2s.data import as_labels

from .sources import LEAST_CELLS, conditions_of

if TYPE_CHECKING:
    from anndata import AnnData

CONTEXT, PERTURBATION = "_context", "_perturbation"
"""``obs`` columns of every set."""
ONE_CONTEXT = "all"

Rows = NDArray[np.intp]


class Pair(NamedTuple):
    """What is compared with one another."""

    context: str
    perturbation: str


class Source(NamedTuple):
    """Cells that are taken for a prediction."""

    cells: AnnData
    rows: dict[Pair, Rows]
    """Which cells stand for which pair; a pair may have none."""


def labelled(
    adata: AnnData,
    condition_key: str,
    groupby: str | Sequence[str] | None,
    name: str,
    *,
    default: str | None = None,
    real: bool = True,
) -> AnnData:
    """Cells that have a perturbation and a context, without anything else but arrays.

    Parameters
    ----------
    adata
        Cells in log1p counts per 10,000.
    condition_key
        Column of `obs` with the perturbation.
    groupby
        Columns of `obs` whose combinations are the contexts.
    name
        What to call the set in errors.
    default
        Perturbation of all cells where the column is missing; without it that is an error.
    real
        Whether values below zero are an error.

    Returns
    -------
    A copy.
    """
    from anndata import AnnData

    if condition_key not in adata.obs and default is None:
        raise KeyError(
            f"obs has no column {condition_key!r} in the set {name!r}: name the perturbation with condition_key=."
        )
    if not adata.var_names.is_unique:
        raise ValueError(f"Gene names occur twice in the set {name!r}: call var_names_make_unique() first.")
    given = as_labels(adata.obs[condition_key]) if condition_key in adata.obs else default
    obs = pd.DataFrame({PERTURBATION: given}, index=adata.obs_names)
    obs[CONTEXT] = ONE_CONTEXT if groupby is None else conditions_of(adata, groupby, name)
    kept = obs.notna().all(axis=1).to_numpy()
    x = sp.csr_matrix(adata.X[kept]) if sp.issparse(adata.X) else np.asarray(adata.X[kept])
    _check(np.asarray(x.data if sp.issparse(x) else x), name, real=real)
    cells = AnnData(
        x, obs=obs[kept].set_axis(adata.obs_names[kept].astype(str)), var=pd.DataFrame(index=adata.var_names)
    )
    for key in adata.obsm:
        cells.obsm[key] = adata.obsm[key][kept]
    return cells


def _check(values: NDArray[np.floating], name: str, *, real: bool) -> None:
    if not np.isfinite(values).all():
        raise ValueError(f"X holds NaN or infinite values in the set {name!r}; leave these cells out.")
    if values.any() and np.array_equal(values, np.rint(values)):
        kind = "counts"
    elif real and values.size and values.min() < 0:
        kind = "negative values"
    else:
        return
    raise ValueError(
        f"X holds {kind} in the set {name!r}; the comparison needs log1p counts per 10,000: "
        "sc.pp.normalize_total, sc.pp.log1p."
    )


def rows_of(cells: AnnData) -> dict[Pair, Rows]:
    """Positions of the cells of each context and perturbation.

    Parameters
    ----------
    cells
        Result of :func:`labelled`.

    Returns
    -------
    Positions by pair, in order.
    """
    found = cells.obs.groupby([CONTEXT, PERTURBATION], observed=True).indices
    return {Pair(*pair): np.sort(found[pair]) for pair in sorted(found)}


def pairs_to_compare(
    real: dict[Pair, Rows], given: Mapping[str, dict[Pair, Rows]], *, condition_key: str, control: str
) -> list[Pair]:
    """Contexts and perturbations with enough cells in every set.

    A pair that real cells lack is left out with a warning. One that a predictor lacks is an error: a predictor must not
    look better for what it cannot do.

    Parameters
    ----------
    real
        Real cells by pair, control cells among them.
    given
        The same of each predictor.
    condition_key
        Column with the perturbation, for errors.
    control
        Perturbation of control cells.

    Returns
    -------
    The pairs, in order.
    """
    if not any(pair.perturbation == control for pair in real):
        raise ValueError(f"No cell of real has {control!r} in {condition_key!r}: name control cells with control=.")

    def n(rows: dict[Pair, Rows], pair: Pair) -> int:
        return len(rows.get(pair, ()))

    everything = sorted({pair for rows in (real, *given.values()) for pair in rows if pair.perturbation != control})
    pairs = [pair for pair in everything if min(n(real, pair), n(real, Pair(pair.context, control))) >= LEAST_CELLS]
    if left_out := [f"{pair.perturbation} in {pair.context}" for pair in everything if pair not in set(pairs)]:
        logg.warning(
            f"not compared, as fewer than {LEAST_CELLS} real control or perturbed cells are there: "
            + ", ".join(left_out)
        )
    if not pairs:
        raise ValueError(
            f"There is no context with {LEAST_CELLS} real control cells and {LEAST_CELLS} real perturbed ones: check "
            "condition_key=, control= and groupby=."
        )
    for name, rows in given.items():
        for pair in pairs:
            if n(rows, pair) < LEAST_CELLS:
                raise ValueError(
                    f"The set {name!r} has {n(rows, pair)} cells of {pair.perturbation!r} in the context "
                    f"{pair.context!r} and needs {LEAST_CELLS}: add some, or leave these cells out of the real ones."
                )
    return pairs


def rotated(rows: dict[Pair, Rows], pairs: Sequence[Pair]) -> dict[Pair, Rows]:
    """Take for each context the cells of the next one with the same perturbation.

    Parameters
    ----------
    rows
        Predicted cells by pair.
    pairs
        Pairs that are compared.

    Returns
    -------
    Cells by pair; those of the first context for the last, and none for a perturbation with a single context.
    """
    found: dict[Pair, Rows] = {}
    for perturbation in {pair.perturbation for pair in pairs}:
        same = [pair for pair in pairs if pair.perturbation == perturbation]
        if len(same) > 1:
            found |= {pair: rows[after] for pair, after in zip(same, [*same[1:], same[0]], strict=True)}
    return found
