"""Values of real cells, kept without their genes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from sc_c2s.sentences import levels
from sc_c2s.sentences.levels import Levels


@given(
    cells=st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6).filter(any), min_size=3, max_size=8),
    n_genes=st.sampled_from([None, 1, 3]),
)
def test_the_values_of_every_cell_come_back(cells, n_genes) -> None:
    x = sparse.csr_matrix(np.array(cells, dtype=np.float32))
    groups = np.arange(len(cells)) % 3
    kept = Levels.from_dict(Levels.of(x, groups, np.random.default_rng(0), n_genes=n_genes).to_dict())
    assert len(kept.groups) == len(cells)
    expected = sorted(
        (g, sorted(row[row > 0], reverse=True)[:n_genes]) for g, row in zip(groups, x.toarray(), strict=True)
    )
    values = np.split(kept.take(np.arange(len(cells)), kept.n_genes), np.cumsum(kept.n_genes)[:-1])
    assert sorted((g, list(row)) for g, row in zip(kept.groups, values, strict=True)) == expected
    one = kept.take(np.array([2, 0]), np.array([1, 1]))
    np.testing.assert_array_equal(one, [values[2][0], values[0][0]])


def test_cells_are_drawn_from_their_group(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], [40, 3, 7])
    x = sparse.csr_matrix((1 + groups[:, None] + rng.random((50, 5))).astype(np.float32))
    kept = Levels.of(x, groups, rng)
    wanted = rng.integers(3, size=900)
    drawn = kept.draw(wanted, rng)
    np.testing.assert_array_equal(kept.groups[drawn], wanted)
    for group, n in enumerate((40, 3, 7)):
        assert len(np.unique(drawn[wanted == group])) == n, "every one of them is drawn some time"
    even = kept.draw(wanted, rng, balanced=True)
    np.testing.assert_array_equal(kept.groups[even], wanted)
    for group, n in enumerate((40, 3, 7)):
        times = np.unique(even[wanted == group], return_counts=True)[1]
        assert len(times) == n
        assert times.max() - times.min() <= 1
    monkeypatch.setattr(levels, "MOST_CELLS", 5)
    np.testing.assert_array_equal(np.bincount(Levels.of(x, groups, rng).groups), [5, 3, 5])
    monkeypatch.setattr(levels, "MOST", 6)
    np.testing.assert_array_equal(np.bincount(Levels.of(x, groups, rng).groups), [2, 2, 2])


def test_runs_take_little_room() -> None:
    counts = np.ones((10, 200), dtype=np.float32)
    counts[:, :5] = 3
    kept = Levels.of(sparse.csr_matrix(counts), np.zeros(10, dtype=int), np.random.default_rng(0))
    assert len(kept.values) == len(kept.counts) == 20
    assert kept.n_genes.tolist() == [200] * 10
    assert kept.take(np.array([0]), np.array([6])) == pytest.approx([3, 3, 3, 3, 3, 1])
