"""Which cells of a group are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def draw_cells(
    members: np.ndarray,
    n: int,
    *,
    rng: np.random.Generator,
    strata: np.ndarray | None = None,
    samples: np.ndarray | None = None,
) -> np.ndarray:
    """Draw cells that stand for a group.

    Parameters
    ----------
    members
        Numbers of the group's cells.
    n
        Number of cells to draw; all of them, in an order that is drawn, if there are no more.
    rng
        Draws.
    strata
        Stratum of each member, such as its subcluster: each is as large a part of the drawn cells as of the group, to the
        nearest cell (largest remainders, ties drawn).
    samples
        Sample of each member, such as its donor: all drawn cells are of one. One with ``n`` cells or more is drawn, by its size;
        where there is none, the largest is taken.

    Returns
    -------
    Numbers of the cells.
    """
    if n < 1:
        raise ValueError(f"n_cells={n} shows no cell: use 1 or more.")
    members = np.asarray(members)
    if samples is not None:
        inside = _one_sample(np.asarray(samples), n, rng)
        members, strata = members[inside], None if strata is None else np.asarray(strata)[inside]
    n = min(n, len(members))
    if strata is None:
        return rng.permutation(members)[:n]
    names, stratum = np.unique(np.asarray(strata).astype(str), return_inverse=True)
    wanted = np.bincount(stratum, minlength=len(names)) * n / len(members)
    take = np.floor(wanted).astype(int)
    # The largest remainders get the cells that are left; a tiny draw decides between equals.
    order = np.argsort(-(wanted - take) + 1e-9 * rng.random(len(names)))
    take[order[: n - take.sum()]] += 1
    drawn = [rng.permutation(members[stratum == i])[:k] for i, k in enumerate(take)]
    return rng.permutation(np.concatenate(drawn))


def members_by_name(cells: np.ndarray, group: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Find the cells of each group, by their names: what is drawn of them does not depend on the order of the cells.

    Parameters
    ----------
    cells
        Names of the cells.
    group
        Group of each cell; NaN where there is none.
    names
        Groups to look for.

    Returns
    -------
    Numbers of the cells of each group.
    """
    by_name = np.argsort(np.asarray(cells).astype(str), kind="stable")
    group = np.asarray(group, dtype=object)[by_name]
    return {name: by_name[group == name] for name in names}


def _one_sample(samples: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Members of the sample that was drawn."""
    names, sizes = np.unique(samples.astype(str), return_counts=True)
    enough = np.where(sizes >= n, sizes, 0)
    if not enough.any():
        enough = np.where(sizes == sizes.max(), sizes, 0)
    return np.flatnonzero(samples.astype(str) == rng.choice(names, p=enough / enough.sum()))
