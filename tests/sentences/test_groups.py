from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.sentences.groups import draw_cells, members_by_name


def drawn(members, n, *, seed=0, **how):
    return draw_cells(np.asarray(members), n, rng=np.random.default_rng(seed), **how)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True), st.integers(1, 80), st.integers(0, 9))
def test_as_many_cells_as_there_are_none_twice(members, n, seed):
    cells = drawn(members, n, seed=seed)
    assert len(cells) == min(n, len(members)) == len(set(cells.tolist()))
    assert set(cells.tolist()) <= set(members)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 60), st.integers(0, 9))
def test_strata_are_in_proportion_to_the_nearest_cell(sizes, n, seed):
    strata = np.repeat(np.arange(len(sizes)), sizes)
    n = min(n, len(strata))
    cells = drawn(np.arange(len(strata)), n, seed=seed, strata=strata)
    found = np.bincount(strata[cells], minlength=len(sizes))
    assert found.sum() == n
    assert (np.abs(found - np.array(sizes) * n / len(strata)) < 1).all()


def test_all_cells_are_of_one_sample_that_has_enough():
    samples = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 3)
    seen = Counter()
    for seed in range(300):
        cells = drawn(np.arange(63), 10, seed=seed, samples=samples)
        [sample] = set(samples[cells])
        assert len(cells) == 10
        seen[sample] += 1
    # By size among those with ten cells or more: 50 to 10.
    assert set(seen) == {"a", "b"}
    assert abs(seen["a"] / 300 - 5 / 6) < 4 * (5 / 36 / 300) ** 0.5


def test_the_largest_sample_is_taken_where_none_is_large_enough():
    samples = np.array(["a"] * 4 + ["b"] * 5)
    assert sorted(drawn(np.arange(9), 20, samples=samples)) == [4, 5, 6, 7, 8]


def test_strata_of_the_sample_count_not_those_of_the_group():
    samples = np.array(["a"] * 20 + ["b"] * 2)
    strata = np.array(["x"] * 10 + ["y"] * 10 + ["z"] * 2)
    cells = drawn(np.arange(22), 10, samples=samples, strata=strata)
    assert Counter(strata[cells]) == {"x": 5, "y": 5}


def test_missing_strata_are_a_stratum():
    strata = np.array(["x", np.nan, np.nan, "x"], dtype=object)
    cells = drawn(np.arange(4), 2, strata=strata)
    assert len({str(strata[i]) for i in cells}) == 2


def test_the_seed_decides():
    members = np.arange(100)
    assert (drawn(members, 5, seed=1) == drawn(members, 5, seed=1)).all()
    assert (drawn(members, 5, seed=1) != drawn(members, 5, seed=2)).any()


def test_no_cells_are_refused():
    with pytest.raises(ValueError, match="n_cells=0"):
        drawn([1, 2], 0)


def test_members_come_by_their_names_whatever_the_order_of_the_cells():
    cells, group = np.array(["c3", "c1", "c2", "c4"]), np.array(["x", "x", "y", np.nan], dtype=object)
    found = members_by_name(cells, group, ["x", "y"])
    assert {name: cells[some].tolist() for name, some in found.items()} == {"x": ["c1", "c3"], "y": ["c2"]}
    order = [2, 3, 0, 1]
    again = members_by_name(cells[order], group[order], ["x", "y"])
    assert {name: cells[order][some].tolist() for name, some in again.items()} == {"x": ["c1", "c3"], "y": ["c2"]}
