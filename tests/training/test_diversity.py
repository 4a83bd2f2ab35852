"""The temperature at which cells are as diverse as real ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.training.diversity import fit_sampling_temperature
from sc_c2s.training.generate import _falling

N_CELLS, N_GENES = 120, 200


def cells(temperature: float, *, seed: int = 0) -> sparse.csr_matrix:
    """Cells of a model that is known: 40 genes drawn in turn, at a temperature."""
    rng = np.random.default_rng(seed)
    level = np.linspace(0, 4, N_GENES) / temperature
    order = np.argsort(-(level + rng.gumbel(size=(N_CELLS, N_GENES))), axis=1)[:, :40]
    values = np.tile(np.linspace(3, 1, 40), N_CELLS)
    return sparse.csr_matrix((values, order.ravel(), np.arange(0, 40 * N_CELLS + 1, 40)), shape=(N_CELLS, N_GENES))


@pytest.mark.parametrize("truth", [0.8, 1.0, 1.2])
def test_a_known_temperature_is_found(truth) -> None:
    kinds = np.arange(N_CELLS) % 3
    asked = []

    def write(temperature: float) -> sparse.csr_matrix:
        asked.append(temperature)
        return cells(temperature, seed=1)

    assert fit_sampling_temperature(write, cells(truth), kinds) == pytest.approx(truth, abs=0.1)
    assert len(asked) <= 2


def test_cells_that_say_nothing_leave_it_at_one() -> None:
    def never(temperature: float) -> sparse.csr_matrix:
        raise AssertionError("there is nothing to compare with")

    assert fit_sampling_temperature(never, cells(1)[:3], np.arange(3)) == 1
    same = cells(1)[[0] * 4]
    assert fit_sampling_temperature(never, same, np.zeros(4)) == 1


def test_it_does_not_run_away() -> None:
    """Cells that are all alike, whatever the temperature."""
    same = cells(1)[[0] * N_CELLS]
    assert fit_sampling_temperature(lambda t: same, cells(1), np.zeros(N_CELLS)) == 1.5


@pytest.mark.parametrize(
    ("n_genes", "columns", "values"),
    [(None, [2, 0, 1, 3], [3, 1, 5, 4]), (1, [2, 1], [3, 5]), (9, [2, 0, 1, 3], [3, 1, 5, 4])],
)
def test_the_first_genes_of_each_cell_in_falling_order(n_genes, columns, values) -> None:
    found = _falling(sparse.csr_matrix([[1, 0, 3, 0], [0, 0, 0, 0], [0, 5, 0, 4]]), n_genes)
    assert found.indices.tolist() == columns
    assert found.data.tolist() == values
    assert np.diff(found.indptr).tolist() == [min(n, n_genes or n) for n in (2, 0, 2)]
