"""Three sets of cells: one to learn from, one to choose on, one that only reports."""

from __future__ import annotations

import numpy as np
import pandas as pd

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SETS = (TRAIN, VALIDATION, TEST)


def split_cells(
    labels: pd.Series,
    *,
    by: pd.Series | None = None,
    validation: float = 0.1,
    test: float = 0.2,
    rng: np.random.Generator,
    n_least: int = 2,
) -> pd.Series:
    """Assign every labelled cell to a set.

    Parameters
    ----------
    labels
        Label of every cell; cells without one are in no set.
    by
        Either the split itself (nothing but ``"train"``, ``"validation"`` and ``"test"``; where validation cells are
        missing they are taken from the training cells), or a group, such as the donor, that stays in one piece.
    validation, test
        Share of the cells in these sets.
    rng
        Draws the split.
    n_least
        Fewest different labels that make sense.

    Returns
    -------
    ``"train"``, ``"validation"``, ``"test"`` or NaN for every cell.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            f"validation_size={validation} and test_size={test} leave no cells for one of the sets: use shares above 0 "
            "(test_size may be 0) that add up to less than 1."
        )
    known = labels.notna().to_numpy()
    if known.sum() < 3 or labels.nunique() < n_least:
        raise ValueError(
            f"There are {known.sum()} cells with a label and {labels.nunique()} different labels: give a groupby= column "
            "with two or more labels to tell apart."
        )
    split: pd.Series = pd.Series(np.nan, index=labels.index, dtype=object)
    said = set() if by is None else set(by.dropna().astype(str))
    if (others := sorted(said - set(SETS))) and {name.lower() for name in said} & set(SETS):
        raise ValueError(f"split_key= says 'train', 'validation' or 'test', not {others[0]!r}: rename it.")
    if by is not None and said <= set(SETS):
        given = by.astype(object).where(by.notna() & known, np.nan)
        split = pd.Series(given.to_numpy(), index=labels.index, dtype=object)
        if not (split == TRAIN).any():
            raise ValueError("The split column names no training cells: mark some cells 'train'.")
        if not (split == VALIDATION).any():
            _draw(split, labels, TRAIN, VALIDATION, validation / max(1 - test, validation), rng)
        return split
    split[known] = TRAIN
    if by is not None:
        return _split_groups(split, by, {TEST: test, VALIDATION: validation}, rng)
    if test:
        _draw(split, labels, TRAIN, TEST, test, rng)
    _draw(split, labels, TRAIN, VALIDATION, validation / (1 - test), rng)
    return split


def _draw(
    split: pd.Series, labels: pd.Series, source: str, target: str, share: float, rng: np.random.Generator
) -> None:
    """Move a share of every label from one set to another; at least one cell of each label stays."""
    pool = np.flatnonzero((split == source).to_numpy())
    names = labels.iloc[pool].astype(str).to_numpy()
    for name in np.unique(names):
        cells = rng.permutation(pool[names == name])
        # Rounding at random keeps the expected share right where a label has few cells.
        n = min(int(share * len(cells) + rng.random()), len(cells) - 1)
        split.iloc[cells[:n]] = target
    if not (split == target).any():
        spare = pool[pd.Series(names).duplicated(keep=False).to_numpy()]
        if not len(spare):
            raise ValueError(f"No cell is left for the {target} set: every label needs two cells or more.")
        split.iloc[rng.choice(spare)] = target


def _split_groups(split: pd.Series, groups: pd.Series, shares: dict[str, float], rng: np.random.Generator) -> pd.Series:
    """Move a share of the groups, each of them whole, to the other sets."""
    split = split.where(groups.notna().to_numpy(), np.nan)
    names = groups.astype(object).where(split.notna().to_numpy(), None).to_numpy()
    groups_left = list(rng.permutation(sorted({str(name) for name in names if name is not None})))
    shares = {name: share for name, share in shares.items() if share}
    if len(groups_left) <= len(shares):
        raise ValueError(
            f"split_key= has {len(groups_left)} groups, but {len(shares) + 1} sets that share none are needed: "
            "use a column with more groups, or one that says train, validation and test."
        )
    wanted = {name: max(round(share * len(groups_left)), 1) for name, share in shares.items()}
    while sum(wanted.values()) >= len(groups_left):
        wanted[max(wanted, key=lambda name: wanted[name])] -= 1
    for name, n in wanted.items():
        chosen, groups_left = set(groups_left[:n]), groups_left[n:]
        split[np.array([str(group) in chosen for group in names])] = name
    return split
