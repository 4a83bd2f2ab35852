"""Families of prompts: what a gene is inside a cell, and outside."""

from __future__ import annotations

import pytest

from sc_c2s.prompts import ENGLISH, MARKED, NANO, annotate_answer, annotate_prompt, generate_prompt, get_family


def test_genes_are_marked_inside_a_cell_alone() -> None:
    assert annotate_prompt(" CD3D  CD4\n", family="marked", groupby="CD4 state", organism="human") == (
        "The 2 most active genes of one human cell, strongest first: <CD3D> <CD4>.\nThe CD4 state of this cell is:"
    )
    assert annotate_answer("CD4 T", "marked") == " CD4 T"
    assert MARKED.parse(" CD4 T.", ["CD4 T", "B"]) == "CD4 T"
    assert generate_prompt({"type": "CD4 T"}, family="marked") == generate_prompt({"type": "CD4 T"}, family="english")


def test_the_genes_of_a_sentence_alone() -> None:
    assert MARKED.genes(" CD3D  CD4 ") == "<CD3D> <CD4>"
    assert NANO.genes(" CD3D  CD4 ") == ENGLISH.genes("CD3D CD4") == "CD3D CD4"
    assert MARKED.genes("") == ""


def test_without_marks_it_is_english() -> None:
    marked = MARKED.cell("CD3D HLA-A", organism="mouse")
    assert marked.replace("<", "").replace(">", "") == ENGLISH.cell("CD3D HLA-A", organism="mouse")
    assert MARKED.cell("") == ENGLISH.cell("")


@pytest.mark.parametrize("gene", ["CD3D", "HLA-A,B", "a>b", "<x", "B220%20(CD45R)"])
def test_a_mark_is_taken_off_again(gene: str) -> None:
    assert MARKED.unmarked(MARKED.gene(gene)) == gene
    assert (ENGLISH.gene(gene), ENGLISH.unmarked(gene), NANO.gene(gene)) == (gene, gene, gene)


@pytest.mark.parametrize("word", ["", "CD3D", "<CD3D", "CD3D>", "<>", "<", ">"])
def test_what_is_no_marked_gene(word: str) -> None:
    assert MARKED.unmarked(word) is None


def test_a_family_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="no prompt family 'french'; choose one of 'nano', 'english', 'marked'"):
        get_family("french")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "Compared with other cells,<LYZ>,<CD3D> and<CD4>are higher.",
            "Compared with other cells, LYZ, CD3D and CD4 are higher.",
        ),
        ("They are high in <HLA-A> and CD3D.", "They are high in HLA-A and CD3D."),
        ("Genes (<LYZ>, <CD3D>): <A><B>", "Genes (LYZ, CD3D): A B"),
        ("Less than <5% of cells\n\nare > 3 < 4", "Less than <5% of cells\n\nare > 3 < 4"),
        ("", ""),
    ],
)
def test_genes_in_prose_are_words_like_any_other(written, read):
    assert MARKED.prose(written) == read
    assert ENGLISH.prose(written) == written
    assert MARKED.prose(read) == read
