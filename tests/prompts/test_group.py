from __future__ import annotations

import pytest

from sc_c2s.prompts import (
    ask_conversation,
    cells_text,
    evidence_text,
    group_prompt,
    summarize_conversation,
)


def test_a_line_for_each_cell_and_numbers_as_they_are():
    text = cells_text(["CD3E CD4 IL7R", "MS4A1 CD79A LYZ"], family="english", organism="human")
    assert text == (
        "2 human cells. Each line holds the 3 most active genes of one cell, strongest first.\n"
        "1: CD3E CD4 IL7R\n"
        "2: MS4A1 CD79A LYZ"
    )


def test_cells_with_fewer_genes_are_said_to_have_fewer():
    text = cells_text(["A B C", "D"], family="english")
    assert text.splitlines()[0] == "2 cells. Each line holds the 1 to 3 most active genes of one cell, strongest first."
    assert cells_text(["A B"], family="english").startswith("1 cell. Each line holds the 2 most")


def test_genes_are_marked_inside_cells_and_nowhere_else():
    text = cells_text(["CD4 IL7R"], family="marked")
    assert text.splitlines()[1] == "1: <CD4> <IL7R>"
    [_, turn] = summarize_conversation(text, style="caption", evidence="Cell types: 100% CD4 T cells.")
    assert "Cell types: 100% CD4 T cells." in turn["content"]


def test_a_nano_reads_one_cell_at_a_time():
    with pytest.raises(ValueError, match="one cell at a time"):
        cells_text(["A B"], family="nano")


def test_evidence_is_written_by_falling_share():
    text = evidence_text(
        {"B cells": 0.246, "T cells": 0.75, "Mk": 0.004},
        ["IL7R", "LTB"],
        {"condition": {"ctrl": 0.0, "stim": 1.0}, "sampling_site": {"left": 0.5, "right": 0.5}},
    )
    assert text == (
        "Cell types: 75% T cells, 25% B cells.\n"
        "Genes higher than in other cells: IL7R, LTB.\n"
        "condition: 100% stim.\n"
        "sampling site: 50% left, 50% right."
    )
    assert evidence_text(None, [], {}) == ""


def test_a_question_stands_behind_the_cells_and_a_second_one_by_itself():
    turns = ask_conversation("1: A B", "Which type?", choices=["B", "T"], history=[("How many?", "one")])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[1]["content"] == "1: A B\n\nHow many?"
    assert turns[2]["content"] == "one"
    assert turns[3]["content"] == "Which type?\nChoose one: B; T."


def test_styles_ask_for_different_things():
    abstract, caption = (summarize_conversation("x", style=style)[-1]["content"] for style in ("abstract", "caption"))
    assert "sentences" in abstract
    assert "one sentence" in caption
    with pytest.raises(ValueError, match="no style 'poem'; choose from 'abstract', 'caption'"):
        summarize_conversation("x", style="poem")


def test_the_label_of_a_group_is_asked_for():
    prompt = group_prompt(["A B"], family="english", groupby="disease_state")
    assert prompt.endswith("1: A B\nThe disease state of these cells is:")
