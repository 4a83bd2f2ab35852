"""Facts of a group against the plain way to compute them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sc_c2s.metrics import facts_of_groups, grounding, group_facts, log_fold_changes, markers

COUNTS = np.array([[4, 0, 1, 0], [2, 0, 0, 0], [0, 3, 1, 0], [0, 0, 2, 0], [1, 1, 1, 0]], dtype=float)
LOG = sparse.csr_matrix(np.log1p(COUNTS))
GENES = ["CD3D", "MS4A1", "MALAT1", "XIST"]
GROUPS = np.array(["a", "a", "b", "b", None], dtype=object)


def test_shares_means_and_fold_changes_by_hand() -> None:
    facts = group_facts(LOG, GENES, GROUPS == "a")
    assert facts.n_cells == 2
    assert facts.genes.loc["CD3D", ["share", "share_rest"]].tolist() == pytest.approx([1, 1 / 3])
    expected = [np.log([5, 3]).mean(), np.log(2) / 3]
    assert facts.genes.loc["CD3D", ["mean", "mean_rest"]].tolist() == pytest.approx(expected)
    assert facts.genes.loc["CD3D", "log_fold_change"] == pytest.approx(np.log2((3 + 1) / (1 / 3 + 1)))
    assert facts.genes.loc["XIST"].tolist() == [0, 0, 0, 0, 0], "a gene that no cell shows"
    assert facts.composition is None
    assert facts.context == {}


def test_the_fold_change_is_that_of_the_other_metrics() -> None:
    rng = np.random.default_rng(0)
    log = sparse.random(60, 30, density=0.4, rng=rng, format="csr")
    groups = rng.choice(["x", "y", "z"], 60)
    expected = log_fold_changes(log, groups)
    for name, facts in facts_of_groups(log, [f"G{i}" for i in range(30)], groups).items():
        np.testing.assert_allclose(facts.genes["log_fold_change"], expected.loc[name], atol=1e-12)


def test_many_groups_at_once_are_as_one_by_one() -> None:
    labels = ["T", "T", "B", np.nan, "T"]
    context = {"donor": ["1", "2", "1", "1", None]}
    every = facts_of_groups(LOG, GENES, GROUPS, labels=labels, context=context)
    assert list(every) == ["a", "b"]
    for name, facts in every.items():
        alone = group_facts(LOG, GENES, GROUPS == name, labels=labels, context=context)
        pd.testing.assert_frame_equal(facts.genes, alone.genes)
        pd.testing.assert_series_equal(facts.composition, alone.composition)
        assert (facts.context, facts.n_cells) == (alone.context, alone.n_cells)


def test_labels_and_context_are_shares_of_the_cells_that_have_one() -> None:
    facts = group_facts(
        LOG,
        GENES,
        np.array([True, True, True, True, False]),
        labels=["T", "T", "B", np.nan, "NK"],
        context={"donor": [1.0, 1.0, 1.0, 2.0, 3.0], "batch": [None, None, None, None, "x"]},
    )
    assert facts.composition.to_dict() == {"T": 2 / 3, "B": 1 / 3, "NK": 0}
    assert list(facts.composition.index) == ["T", "B", "NK"], "the largest first, also those of other cells"
    assert facts.context == {"donor": {"1.0": 0.75, "2.0": 0.25, "3.0": 0.0}}
    assert group_facts(LOG, GENES, GROUPS == "b", labels=["T", "T", None, None, "B"]).composition is None


def test_without_a_rest() -> None:
    facts = group_facts(LOG, GENES, np.ones(5, dtype=bool))
    assert facts.genes[["share_rest", "mean_rest", "log_fold_change"]].isna().all(axis=None)
    assert markers(facts, 2) == ["CD3D", "MALAT1"], "by mean"


def test_markers_are_higher_and_expressed() -> None:
    facts = facts_of_groups(LOG, GENES, GROUPS)
    assert markers(facts["a"], 5) == ["CD3D"]
    assert markers(facts["b"], 5) == ["MS4A1", "MALAT1"]
    assert markers(facts["b"], 1) == ["MS4A1"]
    assert markers(facts["b"], 5, least_share=0.6) == ["MALAT1"], "MS4A1 is in half of the cells"


def test_markers_are_what_grounding_calls_higher() -> None:
    dense = np.full((4, 3), np.log1p(99.0))
    dense[0] = np.log1p([99 * 1.1, 99 * 1.3, 99 / 1.3])
    facts = group_facts(sparse.csr_matrix(dense), ["MALAT1", "CD3D", "MS4A1"], np.arange(4) == 0)
    assert markers(facts, 3) == ["CD3D"], "MALAT1 is higher by a tenth"
    said = grounding("MALAT1 is high, CD3D is high.", facts).set_index("words")["verdict"]
    assert said.tolist() == ["contradicted", "confirmed"]


def test_stored_zeros_are_zeros() -> None:
    log = LOG.copy()
    log.data[0] = 0
    assert group_facts(log, GENES, GROUPS == "a").genes.loc["CD3D", "share"] == 0.5


def test_what_the_rest_does_not_show_is_zero_there() -> None:
    """Sums of the rest are differences, which leave noise."""
    rng = np.random.default_rng(1)
    dense = rng.exponential(size=(50, 3)) * 5
    dense[25:] = 0
    facts = group_facts(sparse.csr_matrix(dense), ["A1", "A2", "A3"], np.arange(50) < 25)
    assert (facts.genes[["share_rest", "mean_rest"]] == 0).all(axis=None)


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="members= is a mask"):
        group_facts(LOG, GENES, [0, 1])
    with pytest.raises(ValueError, match="no cells"):
        group_facts(LOG, GENES, np.zeros(5, dtype=bool))
    with pytest.raises(ValueError, match="3 genes, and the matrix has 4"):
        group_facts(LOG, GENES[:3], np.ones(5, dtype=bool))
    with pytest.raises(ValueError, match="occur more than once"):
        group_facts(LOG, ["CD3D"] * 4, np.ones(5, dtype=bool))
    with pytest.raises(ValueError, match="labels= has 1 values for 5 cells"):
        group_facts(LOG, GENES, np.ones(5, dtype=bool), labels=["T"])
