"""Groups mixed anew from the cells of others, so that what a group is has to be read off its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sc_c2s._random import named_rng

from .groups import Groups

N_WAYS = 5
"""How often all cells are dealt out anew."""
MOST = 50
"""Most mixtures each time, beside two for each place: every one is looked through for its markers."""
CONCENTRATION = 0.3
"""Of the Dirichlet distribution by which the cells of a type are dealt out: below 1 most of them go to few groups."""
FEWEST = 10
"""Smaller mixtures are left out."""


def with_mixtures(groups: Groups, *, seed: int, n_ways: int = N_WAYS) -> Groups:
    """Add groups that are mixed from all the cells: each cell type is dealt out among them at random.

    A model that is asked about a few dozen groups learns their answers, and which answers are frequent; of mixtures neither
    helps. Cells that differ in where they are from, or in their sample, are never mixed, so that what is said of the context stays
    true. There are about as many mixtures, each time, as there are groups, up to fifty.

    Parameters
    ----------
    groups
        Groups of labelled cells.
    seed
        Deals out the cells.
    n_ways
        How often that is done; each time a cell comes into one mixture.

    Returns
    -------
    The groups and the mixtures; the groups as they are where cells are not labelled.
    """
    if groups.labels is None:
        return groups
    both = joined([groups, *(_mixed(groups, way, seed) for way in range(n_ways))])
    return replace(both, n_mixtures=len(both.names) - len(groups.names))


def joined(several: Sequence[Groups]) -> Groups:
    """Put groups of the same cells together."""
    return replace(
        several[0],
        names=[name for one in several for name in one.names],
        facts={name: one.facts[name] for one in several for name in one.names},
        markers={name: one.markers[name] for one in several for name in one.names},
        members={name: one.members[name] for one in several for name in one.names},
    )


def _mixed(groups: Groups, way: int, seed: int) -> Groups:
    """Deal out all cells once."""
    assert groups.labels is not None
    rng = named_rng(seed, f"mixtures {way}")
    known = [groups.labels, *groups.context.values(), *([] if groups.samples is None else [groups.samples])]
    # By name, so that the order of the cells changes nothing.
    by_name = np.argsort(groups.cells.astype(str), kind="stable")
    table = pd.DataFrame(dict(enumerate(known))).iloc[by_name].fillna("").astype(str)
    label, *places = table.columns
    found = np.full(len(table), np.nan, dtype=object)
    n = min(len(groups.names), MOST)
    for number, (_, here) in enumerate(table.groupby(places) if places else [("", table)]):
        n_mixtures = max(round(n * len(here) / len(table)), 2)
        for _, cells in here.groupby(label):
            shares = rng.dirichlet(np.full(n_mixtures, CONCENTRATION))
            dealt = rng.choice(n_mixtures, size=len(cells), p=shares)
            found[cells.index.to_numpy()] = [f"mixture {way}.{number}.{one}" for one in dealt]
    sizes = pd.Series(found).value_counts()
    names = sorted(set(sizes.index[sizes >= FEWEST]) - set(groups.names))
    return groups.again(found, names)
