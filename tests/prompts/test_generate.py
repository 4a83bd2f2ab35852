"""What a model is asked when it is to write a cell, and what is understood of free text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.prompts import annotate_answer, condition_words, find_condition, generate_answer, generate_prompt

BOTH = {"cell_type": "B cell", "condition": "stim"}


def test_known_prompts() -> None:
    assert generate_prompt({"cell_type": "B cell"}, family="nano") == "cell_type : =B%20cell <cell>"
    assert generate_prompt(BOTH, family="nano") == "cell_type%20|%20condition : =B%20cell%20|%20stim <cell>"
    assert generate_prompt({}, family="nano") == "<cell>"
    assert generate_prompt(BOTH, family="english", organism="human", n_genes=50) == (
        "The most active 50 genes of one human cell with cell type B cell and condition stim, strongest first:"
    )
    assert generate_prompt({}, family="english") == "The most active genes of one cell, strongest first:"
    assert generate_answer("CD3D  IL7R\n") == " CD3D IL7R"


@given(value=st.text(min_size=1), other=st.text(min_size=1))
def test_a_nano_is_asked_in_single_words(value, other) -> None:
    """And for one grouping in the very word that it answers with."""
    prompt = generate_prompt({"a b": value, "c": other}, family="nano")
    assert prompt.split() == prompt.split(" ")
    groupings, values = condition_words({"a b": value, "c": other}, "nano")
    assert prompt.split(" ") == [groupings, ":", values, "<cell>"]
    assert condition_words({"a b": value}, "nano")[1] == annotate_answer(value, "nano").strip()


KNOWN = [("B",), ("CD4 T",), ("CD14+ Mono",), ("T",), ("Hepatocytes",), ("Dendritic",)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Generate gene list for healthy hepatocytes", ("Hepatocytes",)),
        ("one hepatocyte, please", ("Hepatocytes",)),
        ("Generate gene list for B cells", ("B",)),
        ("CD4 T cells", ("CD4 T",)),
        ("a cd14+ mono cell.", ("CD14+ Mono",)),
        ("kidney tubule cells", None),
        ("Bcells", None),
        ("B or T", None),
        ("", None),
    ],
)
def test_free_text(text, expected) -> None:
    assert find_condition(text, KNOWN) == expected


def test_free_text_with_several_groupings() -> None:
    known = [("B cells", "ctrl"), ("B cells", "stim"), ("T cells", "stim")]
    assert find_condition("a stim B cell", known) == ("B cells", "stim")
    assert find_condition("a B cell", known) is None
    assert find_condition("anything", [()]) is None


@given(st.lists(st.text("abcXYZ +-/0123", min_size=3).map(str.strip).filter(bool), min_size=1, max_size=5))
def test_every_condition_is_found_by_its_own_name(names) -> None:
    """The longest of them in any case, unless another one differs in blanks or capitals alone."""
    longest = max(names, key=len)
    plain = [" ".join(name.casefold().split()) for name in names]
    values = [(name,) for name in dict.fromkeys(names)]
    found = find_condition(f"Generate gene list for {longest}, please", values)
    if plain.count(" ".join(longest.casefold().split())) == 1:
        assert found == (longest,)
