"""Turns about one group: what is shown again, what is forgotten, and what is written."""

from __future__ import annotations

import anndata
import pytest

import sc_c2s as c2s
from sc_c2s.tl._chat import open_chat

WHERE = {"layer": None, "use_raw": False, "gene_symbols": None, "mod": None, "device": "cpu", "rng": 0}
SHOWN = {"label_key": "cell_type", "sample_key": None, "context": (), "evidence": None, "n_cells": 2, "n_genes": 6}


def chat_with(adata, engine, **how):
    shown = {**SHOWN, **how}
    return open_chat(adata, model=engine, groupby="cell_type", group="B cell", **WHERE, **shown)


def test_every_turn_sees_those_before_it_and_the_same_cells(adata, parrot):
    engine = parrot(lambda text: f"about {text.splitlines()[-1]}")
    talk = chat_with(adata, engine)
    answers = [talk.ask(question)[0] for question in ("one?", "two?", "three?")]
    assert answers == ["about one?", "about two?", "about three?"]
    first, second, third = engine.heard
    assert [turn["content"] for turn in third][1:] == [
        first[1]["content"],
        "about one?",
        "two?",
        "about two?",
        "three?",
    ]
    assert second[:2] == first[:2]


def test_claims_are_checked_in_every_turn(adata, parrot):
    talk = chat_with(adata, parrot(lambda text: "They are B cells, not monocytes."))
    for question in ("what?", "sure?"):
        _, claims = talk.ask(question)
        assert set(claims["verdict"]) == {"confirmed"}


def test_the_oldest_turns_are_forgotten_once_they_do_not_fit(adata, parrot):
    engine = parrot(lambda text: "word " * 20, context=130)
    talk = chat_with(adata, engine)
    talk.max_tokens = 10
    for number in range(12):
        talk.ask(f"question number {number}?")
    lengths = engine.count([engine.written(one) for one in engine.heard])
    assert lengths.max() + 10 <= 130
    last = [turn["content"] for turn in engine.heard[-1] if turn["role"] == "user"]
    assert last[-1] == "question number 11?"
    assert 1 < len(last) < 12, "some turns are there, the first ones are not"
    assert not any("number 1?" in text for text in last)
    assert len(talk.history) == 12


def test_one_question_that_does_not_fit_is_refused(adata, parrot):
    talk = chat_with(adata, parrot(context=40))
    with pytest.raises(ValueError, match="do not fit into the model's context of 40 tokens"):
        talk.ask("what?")
    assert talk.history == []


def test_a_character_that_no_file_takes_is_left_out(adata, parrot, tmp_path):
    c2s.tl.ask(adata, "what?", model=parrot(lambda text: "B\0 cells"))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad").uns["c2s_answer"]["answers"]
    assert back["text"].tolist() == ["B cells"]
