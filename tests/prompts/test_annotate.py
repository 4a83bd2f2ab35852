"""Prompts and answers of the annotation task."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.prompts import FAMILIES, NANO, annotate_answer, annotate_prompt, get_family, parse_annotation

LABELS = ["CD4 T", "CD4 T naive", "CD14+/CD16+ Mono", "B, memory", "Dendritic"]


def test_nano_is_single_words() -> None:
    prompt = annotate_prompt("CD3D  IL7R\tCD4", family="nano", groupby="cell type")
    assert prompt == "<cell> CD3D IL7R CD4 </cell> cell%20type :"
    assert annotate_answer("CD4 T", "nano") == " =CD4%20T"
    assert annotate_answer("CD3D", "nano").strip() not in annotate_prompt("CD3D", family="nano").split()


def test_nano_words_are_those_of_the_prompt() -> None:
    prompt = annotate_prompt("CD3D", family=NANO, groupby="condition")
    assert set(prompt.split()) == {"CD3D", "condition", *NANO.words}


def test_english_states_the_genes_written() -> None:
    prompt = annotate_prompt("CD3D IL7R CD4", family="english", groupby="cell_type", organism="human")
    assert prompt == (
        "The 3 most active genes of one human cell, strongest first: CD3D IL7R CD4.\nThe cell type of this cell is:"
    )
    assert annotate_prompt("CD3D", family="english").startswith("The 1 most active gene of one cell")
    assert annotate_answer("CD4 T", "english") == " CD4 T"


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_and_answer_meet_at_one_space(family: str) -> None:
    text = annotate_prompt("CD3D CD4", family=family) + annotate_answer("CD4 T", family)
    assert "  " not in text
    assert not annotate_prompt("CD3D CD4", family=family).endswith(" ")


@pytest.mark.parametrize("family", FAMILIES)
@given(label=st.text(min_size=1).filter(lambda s: s == s.strip() and "\n" not in s and len(s.splitlines()) == 1))
def test_answers_read_back(family: str, label: str) -> None:
    assert parse_annotation(annotate_answer(label, family), [label, label + "2"], family=family) == label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" CD4 T", "CD4 T"),
        (" CD4 T naive\nThe tissue", "CD4 T naive"),
        ("cd4 t.", "CD4 T"),
        ('"Dendritic"', "Dendritic"),
        (" B, memory", "B, memory"),
        (" CD14+/CD16+ Mono", "CD14+/CD16+ Mono"),
        (" CD4 T something else", None),
        (" CD3D IL7R CD4", None),
        ("", None),
    ],
)
def test_only_a_whole_label_counts(text: str, label: str | None) -> None:
    assert parse_annotation(text, LABELS, family="english") == label


def test_quoting_never_mixes_labels_up() -> None:
    for label in ("A B", "A%20B"):
        assert parse_annotation(annotate_answer(label, "nano"), ["A%20B", "A B"], family="nano") == label


def test_case_decides_between_twins() -> None:
    assert parse_annotation("T", ["t", "T"], family="english") == "T"
    assert parse_annotation("Tt", ["tT", "TT"], family="english") is None


def test_unknown_family() -> None:
    with pytest.raises(ValueError, match=r"no prompt family 'latin'; choose one of 'nano', 'english'"):
        get_family("latin")
