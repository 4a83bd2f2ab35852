"""Predictions of perturbed cells that need no trained model: what any model has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scanpy import logging as logg

from .context_shifts import BLEND, N_COMPS, ContextShifts, Target
from .perturbation_sets import CONTEXT, PERTURBATION, labelled
from .sources import LEAST_CELLS

if TYPE_CHECKING:
    from anndata import AnnData

Values = NDArray[np.float64]


def perturbation_baselines(
    train: AnnData,
    controls: AnnData,
    *,
    condition_key: str,
    control: str,
    perturbations: Sequence[str] | None = None,
    groupby: str | Sequence[str] | None = None,
    rng: int = 0,
) -> dict[str, AnnData]:
    """Predict perturbed cells from the shifts that were seen in other contexts.

    Every method adds to a control cell a shift, which is a weighted sum of those of the contexts of `train` that have
    the perturbation. The shift of a context is the mean of its perturbed cells less that of its control cells; three of
    either are needed. If `train` has the very context that is predicted, it takes part like any other.

    `"mean shift"`
        All contexts weigh the same.
    `"nearest context"`
        The context whose mean control cell correlates best (Pearson, over genes) with that of the predicted context.
    `"similarity-weighted shift"`
        Weights are the softmax of these correlations over 0.05.
    `"k-NN on control cells"`
        For each cell, the contexts of the 15 nearest control cells of `train`, in 30 principal components of `train`.
    `"ridge"`
        Linear regression of each gene's shift on up to five principal components of the mean control cells, with the
        ridge penalty that predicts left out contexts best; `"mean shift"` with fewer than four contexts.
    `"best blend"`
        The sum of these five with the non-negative weights that predict left out contexts of `train` best (least
        squares over all genes, contexts and perturbations); `"mean shift"` for perturbations with fewer than three
        contexts.

    For a perturbation that `train` lacks, every context has the mean of its shifts under the other perturbations, and
    `"mean shift"` is the mean over the perturbations of their mean shifts.

    Parameters
    ----------
    train
        Control and perturbed cells in log1p counts per 10,000.
    controls
        Control cells in the same units, of the contexts whose perturbed cells are to be predicted. Genes are matched by
        name; those that both have are predicted.
    condition_key
        Column of `obs` with the perturbation.
    control
        Its value for control cells.
    perturbations
        Perturbations to predict, by default all of `train`.
    groupby
        Column of `obs` with the context (a cell type, a cell line, a donor), or several columns, whose combinations are
        the contexts. Without it all cells are of one context.
    rng
        Seed of the principal components.

    Returns
    -------
    The predicted cells of each method: for each perturbation in turn a row for each control cell, with the columns
    `groupby` of the control cell and the perturbation under `condition_key` in `obs`, and dense float32 values in `X`,
    which may be negative. `uns["weights"]` of `"best blend"` holds the weight of each method.
    """
    seen, predicted = _checked(train, controls, condition_key, control, groupby)
    project = _projection(seen.X, seed=rng)
    shifts = _seen(seen, control, project)
    wanted = list(shifts.perturbations) if perturbations is None else [str(name) for name in perturbations]
    if control in wanted:
        raise ValueError(f"perturbations holds {control!r}, which marks control cells.")
    if unseen := [name for name in wanted if name not in shifts.perturbations]:
        logg.warning(
            "predicted by the mean of all perturbations, as no context of train has enough of their cells: "
            + ", ".join(unseen)
        )
    weights = shifts.blend()
    labels = predicted.obs[CONTEXT].to_numpy()
    x = _dense(predicted.X)
    found = {name: np.empty((len(wanted), *x.shape), dtype=np.float32) for name in (*weights, BLEND)}
    for context in np.unique(labels):
        rows = np.flatnonzero(labels == context)
        target = Target(x[rows].mean(axis=0, dtype=np.float64), project(predicted.X[rows]))
        for i, name in enumerate(wanted):
            moved = shifts.predict(shifts.seen(name), target)
            for method, shift in (moved | {BLEND: shifts.blended(moved, shifts.seen(name), weights)}).items():
                found[method][i, rows] = x[rows] + shift
    obs = _obs(controls, wanted, condition_key, groupby)
    made = {name: _cells(values, obs, predicted.var) for name, values in found.items()}
    made[BLEND].uns["weights"] = weights
    return made


def _projection(x: Any, *, seed: int) -> Callable[[Any], Values]:
    from sklearn.decomposition import PCA

    return PCA(min(N_COMPS, *np.subtract(x.shape, 1)), svd_solver="arpack", random_state=seed).fit(x).transform


def _seen(train: AnnData, control: str, project: Callable[[Any], Values]) -> ContextShifts:
    """Look at what training cells say of each perturbation in each context."""
    labels, names = train.obs[CONTEXT].to_numpy(), train.obs[PERTURBATION].to_numpy()
    sizes = pd.crosstab(labels, names)
    enough = sizes.loc[sizes.get(control, pd.Series(0, sizes.index)) >= LEAST_CELLS]
    cells = [train.X[(labels == context) & (names == control)] for context in enough.index]
    shifts = ContextShifts(np.array([_mean(x) for x in cells]), [project(x) for x in cells], {})
    for name in [column for column in enough.columns if column != control]:
        contexts = tuple(int(i) for i in np.flatnonzero(enough[name] >= LEAST_CELLS))
        if contexts:
            means = [_mean(train.X[(labels == enough.index[i]) & (names == name)]) for i in contexts]
            shifts.perturbations[name] = shifts.of(contexts, np.array(means) - shifts.controls[[*contexts]])
    if not shifts.perturbations:
        raise ValueError(
            f"No context of train has {LEAST_CELLS} control cells ({control!r}) and {LEAST_CELLS} of a "
            "perturbation: check condition_key=, control= and groupby=."
        )
    return shifts


def _checked(
    train: AnnData, controls: AnnData, condition_key: str, control: str, groupby: str | Sequence[str] | None
) -> tuple[AnnData, AnnData]:
    """Both sets with the genes that both have."""
    seen = labelled(train, condition_key, groupby, "train")
    predicted = labelled(controls, condition_key, groupby, "controls", default=control)
    if predicted.n_obs != controls.n_obs:
        raise ValueError("Some cells of controls have no context or perturbation: leave them out.")
    if others := sorted(set(predicted.obs[PERTURBATION]) - {control}):
        raise ValueError(f"controls holds cells of the perturbation {others[0]!r}: leave in those of {control!r} only.")
    common = predicted.var_names[predicted.var_names.isin(seen.var_names)]
    if not len(common):
        raise ValueError("train and controls have no gene in common: check that var_names are of one kind.")
    return seen[:, common].copy(), predicted[:, common].copy()


def _obs(
    controls: AnnData, perturbations: list[str], condition_key: str, groupby: str | Sequence[str] | None
) -> pd.DataFrame:
    columns = [groupby] if isinstance(groupby, str) else list(groupby or ())
    parts = [controls.obs[columns].assign(**{condition_key: name}) for name in perturbations]
    names = [f"{cell}-{name}" for name in perturbations for cell in controls.obs_names]
    return pd.concat(parts).set_axis(names)


def _cells(values: NDArray[np.float32], obs: pd.DataFrame, var: pd.DataFrame) -> AnnData:
    from anndata import AnnData

    return AnnData(values.reshape(-1, values.shape[-1]), obs=obs.copy(), var=var.copy())


def _dense(x: Any) -> NDArray[np.float32]:
    return np.asarray(x.toarray() if sp.issparse(x) else x, dtype=np.float32)


def _mean(x: Any) -> Values:
    return np.asarray(x.mean(axis=0, dtype=np.float64), dtype=np.float64).ravel()
