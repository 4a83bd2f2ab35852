"""One recipe for the sentences of training and of use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from sc_c2s.pp import to_sentences
from sc_c2s.sentences.recipe import Recipe


def write(adata, recipe: Recipe, *, vocabulary=None, view: int = 0) -> list[str]:
    genes, cells = np.array(adata.var_names, dtype=object), np.array(adata.obs_names)
    return recipe.write(adata.X, genes, cells, vocabulary=genes if vocabulary is None else vocabulary, view=view)


@pytest.mark.parametrize("n_genes", [None, 1, 7, 500])
def test_the_sentences_of_to_sentences(adata, n_genes) -> None:
    to_sentences(adata, n_genes=n_genes)
    assert write(adata, Recipe(n_genes=n_genes)) == list(adata.obs["cell_sentence"])


def test_unknown_genes_are_dropped_before_ranking(adata) -> None:
    known = np.array([f"GENE{i}" for i in range(0, 40, 2)], dtype=object)
    alone = adata[:, known].copy()
    written = write(adata, Recipe(n_genes=5), vocabulary=known)
    assert written == write(alone, Recipe(n_genes=5))
    assert {len(sentence.split()) for sentence in written} == {5}


def test_genes_of_the_vocabulary_that_the_data_lack_do_not_matter(adata) -> None:
    more = [*adata.var_names[:10], "ELSEWHERE"]
    assert write(adata, Recipe(), vocabulary=more) == write(adata, Recipe(), vocabulary=more[:10])


def test_the_order_of_columns_does_not_matter(adata) -> None:
    backwards = adata[:, ::-1].copy()
    assert write(backwards, Recipe(n_genes=9)) == write(adata, Recipe(n_genes=9))


def test_views_change_ties_only(adata) -> None:
    value = dict(zip(adata.var_names, range(adata.n_vars), strict=True))
    dense = adata.X.toarray()
    views = [write(adata, Recipe(), view=view) for view in range(3)]
    assert views[0] != views[1] != views[2] != views[0]
    for cell, variants in enumerate(zip(*views, strict=True)):
        ranked = [[dense[cell, value[gene]] for gene in sentence.split()] for sentence in variants]
        assert ranked[0] == ranked[1] == ranked[2] == sorted(ranked[0], reverse=True)
        assert len({frozenset(sentence.split()) for sentence in variants}) == 1
    assert write(adata, Recipe(), view=1) == views[1], "the same view is the same order"


def test_without_ties_all_views_are_one() -> None:
    x = sparse.csr_matrix(np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], dtype=np.float32))
    genes, cells = np.array(["A", "B", "C"], dtype=object), np.array(["x", "y"])
    for view in range(4):
        assert Recipe().write(x, genes, cells, vocabulary=genes, view=view) == ["A C B", "B C"]


def test_names_with_white_space_are_quoted() -> None:
    genes = np.array(["B220 (CD45R)", "CD3"], dtype=object)
    x = sparse.csr_matrix(np.array([[1.0, 2.0]], dtype=np.float32))
    assert Recipe().write(x, genes, np.array(["c"]), vocabulary=genes) == ["CD3 B220%20(CD45R)"]


def test_no_gene_in_common(adata) -> None:
    assert write(adata, Recipe(), vocabulary=["Actb"]) == [""] * adata.n_obs


def test_names_that_differ_in_case_only_are_two_genes() -> None:
    genes = np.array(["CD3D", "Cd3d"], dtype=object)
    x = sparse.csr_matrix(np.array([[1.0, 2.0]], dtype=np.float32))
    assert Recipe().write(x, genes, np.array(["c"]), vocabulary=["Cd3d"]) == ["Cd3d"]


def test_card_round_trip() -> None:
    recipe = Recipe(n_genes=64, organism="mouse", normalisation="log1p")
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict({"n_genes": 3, "of_a_later_version": True}) == Recipe(n_genes=3)
