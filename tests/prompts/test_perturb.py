"""What a model is asked about a perturbation."""

from __future__ import annotations

import pytest

from sc_c2s.prompts import change_answer, perturb_prompt, perturbation_parts


def test_parts_of_a_combination_in_one_order() -> None:
    assert perturbation_parts("IL-6 + IFN-gamma") == perturbation_parts("IFN-gamma + IL-6") == ["IFN-gamma", "IL-6"]
    assert perturbation_parts("TNF+") == ["TNF+"]
    assert perturbation_parts(" + ") == []


def test_the_bare_prompt() -> None:
    prompt = perturb_prompt("CD3E ACTB", "IFN beta", family="nano", condition_key="condition")
    assert prompt == "<cell> CD3E ACTB </cell> condition : =IFN%20beta"


def test_a_gene_that_is_perturbed_stands_in_the_prompt_also_where_the_cell_lacks_it() -> None:
    prompt = perturb_prompt("CD3E ACTB", "STAT1 + IRF1", family="nano", condition_key="guide", genes={"STAT1"})
    assert prompt == "<cell> CD3E ACTB </cell> STAT1 guide : =IRF1 =STAT1"


def test_prose_names_cell_and_perturbation() -> None:
    prompt = perturb_prompt(
        "CD3E ACTB", "IFN-beta + IL-6", family="english", condition_key="drug_name", organism="human"
    )
    assert "2 most active genes of one human cell, strongest first: CD3E ACTB." in prompt
    assert "drug name is IFN-beta and IL-6" in prompt
    assert not prompt.endswith(" ")


@pytest.mark.parametrize("word", ["+ISG15", "-ISG15", "="])
def test_an_answer_starts_with_one_space(word: str) -> None:
    assert change_answer(word) == f" {word}"


def test_what_has_no_word_is_not_spelled() -> None:
    prompt = perturb_prompt(
        "CD3E", "IRF1 + STAT1", family="nano", condition_key="guide", genes={"IRF1"}, known={"STAT1"}
    )
    assert prompt == "<cell> CD3E </cell> IRF1 guide : =<unnamed> =STAT1"
