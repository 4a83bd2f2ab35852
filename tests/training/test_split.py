"""Three sets that share nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.training.split import SETS, TEST, TRAIN, VALIDATION, split_cells


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cells(labels: list[str | float]) -> pd.Series:
    return pd.Series(labels, index=[f"cell{i}" for i in range(len(labels))], dtype=object)


labelled = st.lists(st.sampled_from(["B", "T", "NK", np.nan]), min_size=3, max_size=60).map(cells)


def is_enough(labels: pd.Series) -> bool:
    """Two labels, and one cell for each of the other two sets that its label can spare."""
    counts = labels.value_counts()
    return len(counts) > 1 and (counts - 1).sum() >= 2


@given(labelled.filter(is_enough), st.integers(0, 99))
def test_sets_are_disjoint_and_complete(labels, seed) -> None:
    try:
        split = split_cells(labels, rng=rng(seed))
    except ValueError as error:  # the test set drew the last cell that could be spared
        assert "No cell is left for the validation set" in str(error)
        return
    assert split.index.equals(labels.index)
    assert set(split.dropna()) <= set(SETS)
    np.testing.assert_array_equal(split.isna(), labels.isna())
    assert {TRAIN, VALIDATION} <= set(split)
    assert set(labels[split == TRAIN]) == set(labels.dropna()), "every label stays in the training set"


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.25, 0.5), (0.3, 0.0)])
def test_shares_hold_within_every_label(validation, test) -> None:
    labels = cells(["B"] * 1000 + ["T"] * 200)
    split = split_cells(labels, validation=validation, test=test, rng=rng())
    for label, n in (("B", 1000), ("T", 200)):
        counts = split[labels == label].value_counts()
        assert abs(counts.get(TEST, 0) - test * n) <= 1
        assert abs(counts[VALIDATION] - validation * n) <= 2
    assert (split == TEST).any() == (test > 0)


def test_rare_labels_get_their_share_on_average() -> None:
    labels = cells(["rare"] * 3 + ["common"] * 30)
    drawn = [(split_cells(labels, rng=rng(i))[:3] == TEST).sum() for i in range(400)]
    assert abs(np.mean(drawn) - 0.6) < 0.1


@given(labelled.filter(is_enough), st.integers(0, 9))
def test_the_same_seed_draws_the_same(labels, seed) -> None:
    labels = pd.concat([labels, cells(["B", "T"] * 10)], ignore_index=True)
    first = split_cells(labels, rng=rng(seed))
    pd.testing.assert_series_equal(split_cells(labels, rng=rng(seed)), first)


def test_another_seed_draws_another() -> None:
    labels = cells(["B", "T"] * 50)
    assert not split_cells(labels, rng=rng(1)).equals(split_cells(labels, rng=rng(2)))


def test_names_of_cells_and_labels_do_not_matter() -> None:
    """Only the order of the cells does, as the draw goes through them one label after the other."""
    labels = cells(["B", "T", np.nan] * 20)
    renamed = pd.Series(labels.map({"B": "beta", "T": "theta"}).to_numpy(), index=range(60), dtype=object)
    np.testing.assert_array_equal(
        split_cells(labels, rng=rng()).fillna("none"), split_cells(renamed, rng=rng()).fillna("none")
    )


def test_a_given_split_is_used_as_it_is() -> None:
    labels = cells(["B", "T", np.nan] * 10)
    given_split = pd.Series(rng().choice(SETS, size=30), index=labels.index, dtype="category")
    split = split_cells(labels, by=given_split, rng=rng())
    np.testing.assert_array_equal(split[labels.notna()], given_split.astype(object)[labels.notna()])
    assert split[labels.isna()].isna().all()


def test_cells_that_a_given_split_leaves_out_are_in_no_set() -> None:
    given_split = cells([TRAIN, VALIDATION, TEST, np.nan] * 5)
    split = split_cells(cells(["B", "T", "B", "T"] * 5), by=given_split, rng=rng())
    pd.testing.assert_series_equal(split, given_split)


def test_missing_validation_cells_come_from_the_training_cells() -> None:
    labels = cells(["B", "T"] * 100)
    given_split = cells([TRAIN] * 160 + [TEST] * 40)
    split = split_cells(labels, by=given_split, rng=rng())
    assert (split[given_split == TEST] == TEST).all()
    assert (split == TEST).sum() == 40
    assert (split == VALIDATION).sum() == 20, "a tenth of all cells"


group_lists = st.lists(st.tuples(st.sampled_from(["B", "T"]), st.integers(0, 8)), min_size=12, max_size=60)


@given(group_lists, st.integers(0, 99))
def test_groups_are_never_torn_apart(pairs, seed) -> None:
    labels, groups = cells([label for label, _ in pairs]), cells([f"donor{group}" for _, group in pairs])
    if labels.nunique() < 2:
        return
    if groups.nunique() < 3:
        with pytest.raises(ValueError, match="groups, but 3 sets that share none are needed"):
            split_cells(labels, by=groups, rng=rng(seed))
        return
    split = split_cells(labels, by=groups, rng=rng(seed))
    assert (split.groupby(groups).nunique() == 1).all()
    assert set(split) == set(SETS)
    n_groups = groups[split == TRAIN].nunique()
    assert n_groups >= 1
    assert abs(groups[split == TEST].nunique() - 0.2 * groups.nunique()) <= 1


def test_groups_of_numbers_and_cells_without_one() -> None:
    groups = pd.Series([1.0, 2.0, 3.0, 4.0, np.nan] * 4, index=range(20))
    labels = pd.Series(["B", "T"] * 10, index=range(20), dtype=object)
    split = split_cells(labels, by=groups, rng=rng())
    np.testing.assert_array_equal(split.isna(), groups.isna())
    assert (split.groupby(groups).nunique() == 1).all()


def test_two_groups_are_enough_without_test_cells() -> None:
    split = split_cells(cells(["B", "T"] * 4), by=cells(["x", "y", "y", "x"] * 2), test=0, rng=rng())
    assert set(split) == {TRAIN, VALIDATION}


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (["B", np.nan, np.nan], {}, "1 cells with a label"),
        (["B"] * 20, {}, "20 cells with a label and 1 different labels"),
        (["B", "T", "NK"], {}, "No cell is left for the test set: every label needs two cells"),
        (["B", "T"] * 5, {"validation": 0}, "validation_size=0 and test_size=0.2 leave no cells"),
        (["B", "T"] * 5, {"validation": 0.5, "test": 0.5}, "add up to less than 1"),
        (["B", "T"] * 5, {"by": cells([TEST, VALIDATION] * 5)}, "names no training cells"),
        (["B", "T"] * 5, {"by": cells([np.nan] * 10)}, "names no training cells"),
        (["B", "T", "B"] * 2, {"by": cells(["train", "val", "test"] * 2)}, "not 'val': rename it"),
        (["B", "T", "B"] * 2, {"by": cells(["Train", "Val", "Test"] * 2)}, "not 'Test': rename it"),
    ],
)
def test_what_cannot_be_split(labels, arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        split_cells(cells(labels), **arguments, rng=rng())
