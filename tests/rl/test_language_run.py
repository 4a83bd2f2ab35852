"""From a model that talks about groups to another one, with rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from safetensors.numpy import load_file

import sc_c2s as c2s
from sc_c2s.models import directory
from sc_c2s.rl import rewards
from sc_c2s.rl.talk import RewardedTalking
from sc_c2s.training.sft import last_checkpoint

PLACE: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
ABOUT: dict[str, Any] = {"groupby": "group", "label_key": "cell_type", "context": ["treatment"]}
LEARN: dict[str, dict[str, Any]] = {
    "ask": {"n_epochs": 7, "learning_rate": 4e-3},
    "summarize": {"n_epochs": 24, "learning_rate": 4e-3, "style": "caption"},
}
SMALL = {"n_steps": 4, "batch_size": 2, "n_generations": 4, "n_words": 8}
SCORES = {"ask": ["log_prob", "accuracy"], "summarize": ["grounding", "log_prob", "confirmed", "n_claims"]}
USUAL = {"ask": "exact_answer", "summarize": "grounding"}


def make_groups(adata: AnnData) -> AnnData:
    """Groups of two types each (three of four cells of the first), every other one treated."""
    types = adata.obs["cell_type"].astype(str).to_numpy()
    names = sorted(set(types))
    free = {name: list(np.flatnonzero(types == name)) for name in names}
    group = np.full(adata.n_obs, np.nan, dtype=object)
    for i in range(12):
        one, other = names[i % 3], names[(i + 1) % 3]
        group[[free[one].pop() for _ in range(9)] + [free[other].pop() for _ in range(3)]] = f"g{i:02d}"
    adata.obs["group"] = pd.Categorical(group)
    treated = [isinstance(name, str) and int(name[1:]) % 2 == 1 for name in group]
    adata.obs["treatment"] = pd.Categorical(np.where(treated, "IFN", "none"))
    return adata


@pytest.fixture(scope="module")
def trained(make_cells, make_llama, piece_tokenizer, tmp_path_factory) -> dict[str, tuple[AnnData, Path]]:
    """Cells and a supervised model of each task."""
    base = tmp_path_factory.mktemp("base")
    model = make_llama(len(piece_tokenizer))
    # An adapter leaves the head as it is: without this nothing could become probable.
    model.lm_head.weight.data *= 20
    model.save_pretrained(base)
    piece_tokenizer.save_pretrained(base)
    found = {}
    for task, how in LEARN.items():
        adata, path = make_groups(make_cells(180, seed=3)), tmp_path_factory.mktemp(task) / "model"
        options = {"n_cells": 3, "n_genes": 4, "lora_rank": 16, "validation_size": 0.25, **ABOUT, **how, **PLACE}
        c2s.tl.finetune(adata, task=task, model=base, output_dir=path, **options)
        found[task] = adata, path
    return found


def improve(trained, which: str, path: Path, data: Any = None, **how: Any) -> Any:
    adata, model = trained[which]
    data = adata.copy() if data is None else data
    options = {"model": model, "task": which, "method": "grpo", "split_key": "c2s_split", **ABOUT, **SMALL, **how}
    c2s.tl.finetune(data, output_dir=path, **options, **PLACE)
    return data


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_file(path / "adapter_model.safetensors")


def check_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-5)


def says_yes(completions, **columns) -> list[float]:
    return [float(text.strip() == "yes") for text in completions]


@pytest.mark.parametrize("task", LEARN)
def test_what_is_written(trained, tmp_path, task) -> None:
    before = weights(trained[task][1])
    adata = improve(trained, task, tmp_path / "model", learning_rate=1e-3, rng=1)
    stored = adata.uns["c2s_finetune"]
    history = stored["history"]
    assert history["step"].tolist() == [1, 2, 3, 4]
    parts = [f"reward_{USUAL[task]}", "kl", "entropy", "length", "n_tokens", *(f"val_{name}" for name in SCORES[task])]
    assert {"reward", "seconds", *parts} <= set(history)
    assert next(name for name in history if name.startswith("val_")) == f"val_{SCORES[task][0]}", (
        "what chose comes first"
    )
    assert history["length"].between(1, 8).all()
    assert history["kl"].iloc[0] == pytest.approx(0, abs=1e-5), "it starts where the model is"
    assert history["kl"].iloc[-1] > 0
    params = stored["params"]
    assert (params["method"], params["label_key"], params["context"]) == ("grpo", "cell_type", "treatment")
    assert list(params["rewards"]) == [USUAL[task]]
    old, card = directory.read(trained[task][1]), directory.read(tmp_path / "model")
    assert (card.genes, card.family, card.recipe, card.language) == (old.genes, old.family, old.recipe, old.language)
    assert card.base["name"] == str(trained[task][1])
    assert card.data == old.data
    assert {"validation", "test"} == set(card.metrics)
    pd.testing.assert_series_equal(
        adata.obs["c2s_split"].astype(str), trained[task][0].obs["c2s_split"].astype(str), check_names=False
    )
    assert not last_checkpoint(tmp_path / "model")
    np.testing.assert_equal(weights(trained[task][1]), before, "the model at the start is left alone")
    assert weights(tmp_path / "model").keys() == before.keys()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(
        read_h5ad(tmp_path / "cells.h5ad").uns["c2s_finetune"]["history"], history, check_index_type=False
    )
    axes = c2s.pl.training(adata, show=False)
    shown = {text.get_text() for ax in axes for text in ax.get_legend().get_texts()}
    assert {"kl", "length", *SCORES[task]} <= shown


def test_it_can_be_used(trained, tmp_path) -> None:
    adata = improve(trained, "ask", tmp_path / "ask")
    asked = {"groupby": "group", "groups": ["g00"], "device": "cpu"}
    c2s.tl.ask(adata, "Are there any B cell among these cells?", model=tmp_path / "ask", choices=["yes", "no"], **asked)
    assert adata.uns["c2s_answer"]["answers"]["text"].isin(["yes", "no"]).all()
    improve(trained, "summarize", tmp_path / "summarize")
    c2s.tl.summarize(adata, model=tmp_path / "summarize", **asked)
    assert adata.uns["c2s_summary"]["summaries"].index.tolist() == ["g00"]


def test_right_answers_are_learned(trained, tmp_path, monkeypatch) -> None:
    """Of yes and no one is right, and at first something else is said more often than not."""

    def yes_or_no(self, n, size, rng):
        return rng.choice([i for i, item in enumerate(self._rows.items) if item.question.kind == "present"], n)

    monkeypatch.setattr(RewardedTalking, "draw", yes_or_no)
    learn = {"n_steps": 40, "batch_size": 8, "n_generations": 8, "learning_rate": 1e-3, "tolerance": 1e9}
    history = improve(trained, "ask", tmp_path, beta=0.0, **learn).uns["c2s_finetune"]["history"]
    gained = history["reward_exact_answer"]
    assert gained.iloc[:2].mean() < 0.33
    assert gained.iloc[-2:].mean() > 0.4
    assert history["length"].iloc[-1] < history["length"].iloc[0], "the right answers are short ones"


def test_a_hacked_reward_is_stopped_and_the_best_state_is_kept(trained, tmp_path) -> None:
    learn = {"n_steps": 30, "batch_size": 8, "n_generations": 8, "learning_rate": 2e-3, "n_words": 6}
    stored = improve(trained, "ask", tmp_path, rewards=[says_yes], beta=0.0, **learn).uns["c2s_finetune"]
    history = stored["history"]
    assert "the reward rose from" in stored["stopped"]
    assert history["reward"].iloc[-1] > history["reward"].iloc[0] + 0.3
    assert history["val_log_prob"].iloc[-1] < history["val_log_prob"].max() - 1
    kept = history.loc[history["val_log_prob"].idxmax()]
    assert kept["step"] == 1, "no later state was better than the start"
    assert stored["metrics"].loc["validation", "accuracy"] == pytest.approx(kept["val_accuracy"])


def test_the_same_again_and_in_a_mudata(trained, make_muon, tmp_path) -> None:
    adata = improve(trained, "summarize", tmp_path / "one", rng=3, learning_rate=1e-3)
    mdata = make_muon(trained["summarize"][0].copy())
    improve(trained, "summarize", tmp_path / "other", data=mdata, mod="rna", rng=3, learning_rate=1e-3)
    check_same_weights(tmp_path / "one", tmp_path / "other")
    one, other = (data.uns["c2s_finetune"]["history"].drop(columns="seconds") for data in (adata, mdata["rna"]))
    pd.testing.assert_frame_equal(one, other, rtol=1e-3)


@pytest.mark.parametrize("task", LEARN)
def test_only_training_groups_are_asked_about(trained, tmp_path, task) -> None:
    adata, seen = trained[task][0], []

    def look(completions, prompts, group, facts, sentence, **columns):
        for prompt, one, text, name in zip(prompts, facts, sentence, group, strict=True):
            seen.append(name)
            assert "3 human cells" in prompt or "3 cells" in prompt
            assert one.n_cells == 12 or name.startswith("mixture ")
            if task == "ask":
                [answer] = {a for a, t in zip(columns["answer"], sentence, strict=True) if t == text}
                assert answer == text
            else:
                assert text.startswith("A group of")
        if task == "summarize":
            known, confirmed = columns["known"][0], columns["confirmed"][0]
            assert set(confirmed) <= set(known)
            assert group[0].startswith("mixture ") or set(confirmed) < set(known)
            assert {"GENE0", "B cell"} <= set(known)
        return [0.0] * len(completions)

    improve(trained, task, tmp_path, rewards=[look], n_steps=12)
    of_set = adata.obs.groupby("group", observed=True)["c2s_split"].first()
    train = set(of_set.index[of_set == "train"])
    assert {name for name in seen if not name.startswith("mixture ")} <= train
    assert len(set(seen)) > 3


def test_columns_that_are_left_out_are_those_of_the_model(trained, tmp_path) -> None:
    improve(trained, "ask", tmp_path / "given", rng=2)
    adata = improve(trained, "ask", tmp_path / "left out", rng=2, label_key=None, context=())
    check_same_weights(tmp_path / "given", tmp_path / "left out")
    assert adata.uns["c2s_finetune"]["params"]["label_key"] == "cell_type"


def test_going_on_after_a_kill(trained, tmp_path, monkeypatch) -> None:
    how = {"rng": 5, "n_steps": 8, "learning_rate": 1e-3}
    improve(trained, "ask", tmp_path / "whole", **how)
    n_rewarded, exact_answer = [], rewards.exact_answer

    def killed(completions, *args, **columns):
        if len(n_rewarded) == 5 and not last:
            raise KeyboardInterrupt
        n_rewarded.append(columns["trainer_state"].global_step)
        return exact_answer(completions, *args, **columns)

    last: list[Any] = []
    monkeypatch.setattr(rewards, "exact_answer", killed)
    with pytest.raises(KeyboardInterrupt):
        improve(trained, "ask", tmp_path / "killed", **how)
    assert not directory.is_model_directory(tmp_path / "killed")
    last.append(last_checkpoint(tmp_path / "killed"))
    adata = improve(trained, "ask", tmp_path / "killed", **how)
    assert n_rewarded == [0, 1, 2, 3, 4, 5, 6, 7], "no step was made again"
    assert adata.uns["c2s_finetune"]["history"]["step"].tolist() == list(range(1, 9))
    check_same_weights(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nano"}, "goes on from a model that tl.finetune trained, and 'nano' is none"),
        ({"task": "summarize"}, "was trained to ask, not to summarize"),
        ({"task": ["ask", "summarize"]}, "one task at a time"),
        ({"rewards": ["label_match"]}, "no reward 'label_match' for this task; name 'exact_answer', 'bert_score'"),
        ({"n_cells": 5}, "n_cells= is for method='sft'"),
        ({"evidence": True}, "evidence= is for method='sft'"),
        ({"style": "caption"}, "style= is for method='sft'"),
        ({"n_generations": 1}, "leaves nothing to compare"),
        ({"groupby": None}, "groupby= has to name"),
    ],
)
def test_what_makes_no_sense_is_refused(trained, tmp_path, changes, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        improve(trained, "ask", tmp_path / "model", **changes)
    assert "\n" not in str(caught.value)
    assert not directory.is_model_directory(tmp_path / "model")


def test_cells_that_the_model_does_not_know(trained, tmp_path) -> None:
    adata, model = trained["ask"]
    card = directory.read(model)
    with pytest.raises(ValueError, match="2 genes of the model are not in the data"):
        improve(trained, "ask", tmp_path / "x", data=adata[:, ~adata.var_names.isin(card.genes[:2])].copy())
    with pytest.raises(ValueError, match="is the directory of the model that training starts from"):
        improve(trained, "ask", model)
