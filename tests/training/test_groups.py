from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training.groups import Groups


@pytest.fixture
def groups(make_cells) -> Groups:
    """Two groups: one of a single type, one of all three."""
    adata = make_cells(120)
    types = adata.obs["cell_type"].astype(str).to_numpy()
    group = np.array(["mixed"] * 60 + ["other"] * 60, dtype=object)
    group[60:][types[60:] == "B cell"] = "pure"
    group[-3:] = np.nan
    return Groups.gather(
        adata.X,
        log_expression(adata.X),
        group,
        ["mixed", "pure"],
        genes=adata.var_names.to_numpy(),
        cells=adata.obs_names.to_numpy(),
        labels=types,
        context={"donor": adata.obs["donor"].astype(str).to_numpy()},
        strata=types,
        samples=adata.obs["donor"].astype(str).to_numpy(),
    )


def test_members_and_facts_are_those_of_the_group(groups):
    assert groups.members["mixed"].tolist() == list(range(60))
    assert groups.facts["pure"].composition.to_dict() == {"B cell": 1.0, "CD14+ monocyte": 0.0, "T cell, CD4/CD8": 0.0}
    assert groups.facts["mixed"].composition.round(2).tolist() == [0.33, 0.33, 0.33]


def test_markers_are_the_genes_of_the_type(groups):
    # The first four genes are those of B cells.
    assert set(groups.markers["pure"][:4]) == {"GENE0", "GENE1", "GENE2", "GENE3"}


def test_a_marker_is_higher_by_the_test_and_by_its_mean():
    """A gene of few cells that show much of it has a low mean of logarithms and a high mean."""
    counts = np.zeros((40, 3))
    counts[:, 0] = 50  # the same everywhere
    counts[:20, 1] = 20
    counts[:20, 2], counts[20:30, 2] = 3, 8  # logarithms 1.39 and 1.10, means 3 and 4
    counts += np.random.default_rng(0).uniform(0, 0.1, counts.shape)
    log = sparse.csr_matrix(np.log1p(counts))
    names = np.array(["SAME", "HIGH", "ISG15"])
    group = np.array(["a"] * 20 + ["b"] * 20, dtype=object)
    groups = Groups.gather(log, log, group, ["a", "b"], genes=names, cells=np.arange(40).astype(str))
    assert groups.markers == {"a": ["HIGH"], "b": []}
    assert groups.facts["a"].genes.loc["ISG15", "mean"] > groups.facts["a"].genes.loc["ISG15", "mean_rest"]
    assert groups.facts["b"].genes.loc["ISG15", "log_fold_change"] > 0


def test_cells_are_drawn_within_a_sample_and_by_type(groups):
    cells = groups.draw("mixed", 6, np.random.default_rng(0))
    assert len(set(groups.samples[cells])) == 1
    assert len(set(groups.strata[cells])) == 3


def test_text_shows_the_genes_that_the_model_reads(groups):
    cells = groups.members["pure"][:2]
    text = groups.text(cells, n_genes=3, family="english", vocabulary=np.array(["GENE0", "GENE1", "GENE9"]))
    lines = text.splitlines()
    assert len(lines) == 3
    assert set(" ".join(line.split(": ")[1] for line in lines[1:]).split()) <= {"GENE0", "GENE1", "GENE9"}


def test_evidence_is_the_facts(groups):
    assert groups.evidence("pure").splitlines()[0] == "Cell types: 100% B cell."


def test_a_group_of_all_cells_has_no_markers(make_cells):
    adata = make_cells(30)
    groups = Groups.gather(
        sparse.csr_matrix(adata.X),
        log_expression(adata.X),
        np.full(30, "all", dtype=object),
        ["all"],
        genes=adata.var_names.to_numpy(),
        cells=adata.obs_names.to_numpy(),
    )
    assert groups.markers == {"all": []}
    assert groups.facts["all"].composition is None
