"""What the perturbation task learns from, and what it is judged on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.sparse as sp

from sc_c2s.prompts import perturbation_parts
from sc_c2s.training.cells import LabelledCells
from sc_c2s.training.perturb import JUDGED_PROMPTS, LEAST_JUDGED, Perturbing
from sc_c2s.training.plan import LEAST_ROWS, PerturbingPlan, make_plan
from sc_c2s.training.split import TRAIN, VALIDATION

GENES = np.array([f"GENE{i}" for i in range(12)], dtype=object)


@dataclass(frozen=True)
class Small:
    """As much of a start as a plan asks for."""

    small: bool = True
    family: str = "nano"
    rate: float | None = None


def task(names: list[str], *, replicates: int = 1, validation: int = 0) -> Perturbing:
    """Six control cells and some cells of each perturbation."""
    rng = np.random.default_rng(0)
    done = ["control"] * 6 + [name for name in names for _ in range(replicates + validation)]
    split = [TRAIN] * 6 + [which for _ in names for which in [TRAIN] * replicates + [VALIDATION] * validation]
    x = sp.csr_matrix(rng.poisson(3, size=(len(done), len(GENES))).astype(np.float32))
    plan = make_plan(
        Small(),  # type: ignore[arg-type]
        n_train=len(done),
        organism=None,
        seed=0,
        tasks=("perturb",),
        perturbing=PerturbingPlan("condition", "control", min_cells=1),
    )
    data = LabelledCells(
        x=x,
        log=x.log1p().tocsr(),
        genes=GENES,
        cells=np.arange(len(done)).astype(str),
        labels=np.array(done, dtype=object),
        split=np.array(split, dtype=object),
        groupby="condition",
        organism=None,
        conditions=np.array(done, dtype=object)[:, None],
        groupings=("condition",),
    )
    return Perturbing(data, plan, np.arange(len(GENES)), small=True)


DOSES = [f"drug{i} + {dose} um" for i in range(6) for dose in (1, 10, 100)]


def test_measured_once_a_tenth_is_put_aside_whose_parts_are_learned_elsewhere() -> None:
    asked = task(["odd", *DOSES])
    left = {name for _, name in asked.left_out}
    assert len(left) == int(0.1 * (len(DOSES) + 1))
    assert {one.perturbation for one in asked.checked} == left
    learned = Counter(part for name in ["odd", *DOSES] if name not in left for part in perturbation_parts(name))
    assert all(learned[part] for name in left for part in perturbation_parts(name))


def test_what_is_put_aside_is_not_learned_and_all_else_is() -> None:
    asked = task(["odd", *DOSES])
    rows = asked.rows()
    shown = Counter(asked.kinds[kind] for kind in rows.kind)
    left = {name for _, name in asked.left_out}
    assert set(shown) == {"control", "odd", *DOSES} - left
    assert len(rows.kind) >= LEAST_ROWS * (len(DOSES) + 1 - len(left)) * 0.9


def test_names_that_share_nothing_are_all_learned() -> None:
    asked = task([f"drug{i}" for i in range(20)])
    assert not asked.left_out
    assert len(asked.checked) == 20


def test_with_validation_cells_nothing_is_put_aside() -> None:
    asked = task(DOSES, replicates=2, validation=1)
    assert not asked.left_out
    assert {one.perturbation for one in asked.checked} == set(DOSES)


@pytest.mark.parametrize("n", [3, 400])
def test_judging_reads_about_as_much_however_many_pairs_there_are(n) -> None:
    asked = task([f"drug{i}" for i in range(n)])
    read = [len(one.cells) for one in asked.checked]
    assert len(read) == n
    assert max(read) <= max(JUDGED_PROMPTS // n, LEAST_JUDGED)
    assert min(read) >= min(LEAST_JUDGED, 6)
