"""What a model that perturbs keeps of its training cells, so that methods without a model can be set beside it."""

from __future__ import annotations

import numpy as np

from sc_c2s.metrics.context_shifts import N_COMPS

from .pairs import NONE, Pairs

MOST_POINTS = 2000
"""Control cells that are kept, as points, for neighbours to be looked for among them."""


def kept_shifts(pairs: Pairs, *, seed: int) -> dict[str, np.ndarray]:
    """Arrays of a model's card.

    Parameters
    ----------
    pairs
        Training cells.
    seed
        Draws control cells where there are many.

    Returns
    -------
    ``control_means`` (contexts × genes) and ``shifts`` (contexts × perturbations × genes, NaN where there are too few cells);
    ``centre`` (genes) and ``components`` (components × genes) of the training cells, ``points`` (control cells × components)
    and ``point_contexts``, the number of the context of each.
    """
    from sklearn.decomposition import PCA

    x = pairs.log[pairs.perturbation != NONE]
    fitted = PCA(min(N_COMPS, *np.subtract(x.shape, 1)), svd_solver="arpack", random_state=seed).fit(x)
    rng, most = np.random.default_rng(seed), max(MOST_POINTS // len(pairs.contexts), 1)
    cells = [np.sort(rng.permutation(pairs.cells(context, pairs.control))[:most]) for context in pairs.contexts]
    return {
        "control_means": pairs.control_means.astype(np.float32),
        "shifts": pairs.shifts.astype(np.float32),
        "centre": fitted.mean_.astype(np.float32),
        "components": fitted.components_.astype(np.float32),
        "points": fitted.transform(pairs.log[np.concatenate(cells)]).astype(np.float32),
        "point_contexts": np.repeat(np.arange(len(cells)), [len(some) for some in cells]).astype(np.int32),
    }
