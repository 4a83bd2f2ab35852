"""From a model directory to another one, with rewards."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from safetensors.numpy import load_file

import sc_c2s as c2s
from sc_c2s.models import directory, nano
from sc_c2s.rl import grpo, rewards
from sc_c2s.training.sft import last_checkpoint

PLACE: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
LEARN: dict[str, dict[str, Any]] = {
    "annotate": {"groupby": "cell_type", "n_epochs": 2, "learning_rate": 1e-3},
    "generate": {"task": "generate", "groupby": ["cell_type", "treatment"], "n_epochs": 2},
    "perturb": {
        "task": "perturb",
        "groupby": "cell_type",
        "condition_key": "treatment",
        "control": "none",
        "held_out": {"cell_type": "B cell", "treatment": "IL-6"},
        "n_epochs": 1,
    },
}
REWARD: dict[str, dict[str, Any]] = {
    task: {**{k: v for k, v in how.items() if k not in ("n_epochs", "learning_rate")}, "method": "grpo"}
    for task, how in LEARN.items()
}
SMALL = {"n_steps": 4, "batch_size": 4, "n_generations": 4}


@pytest.fixture(scope="module", autouse=True)
def tiny_nano() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, width=64, n_layers=1, n_heads=2))
        yield


@pytest.fixture(scope="module")
def trained(make_treated_cells, tiny_nano, tmp_path_factory) -> dict[str, tuple[AnnData, Path]]:
    """Cells and a supervised model of each task."""
    found = {}
    for task, how in LEARN.items():
        adata, path = make_treated_cells(), tmp_path_factory.mktemp(task) / "model"
        c2s.tl.finetune(adata, output_dir=path, validation_size=0.25, **how, **PLACE)
        found[task] = adata, path
    return found


def improve(trained, task: str, path: Path, data: Any = None, **how: Any) -> AnnData:
    adata, model = trained[task]
    data = adata.copy() if data is None else data
    options = {**REWARD[task], **SMALL, "split_key": "c2s_split", "n_words": 8, **how}
    c2s.tl.finetune(data, model=model, output_dir=path, **options, **PLACE)
    return data


def weights(path: Path) -> dict[str, np.ndarray]:
    return load_file(path / "model.safetensors")


SCORES = {
    "annotate": ["log_prob", "accuracy", "macro_f1"],
    "generate": ["fidelity"],
    "perturb": ["r2_delta", "pearson_delta", "kendall_delta"],
}
USUAL = {"annotate": "label_match", "generate": "distribution", "perturb": "r2_delta"}


@pytest.mark.parametrize("task", LEARN)
def test_what_is_written(trained, tmp_path, task) -> None:
    before = weights(trained[task][1])
    adata = improve(trained, task, tmp_path / "model", rng=1)
    stored = adata.uns["c2s_finetune"]
    history = stored["history"]
    assert history["step"].tolist() == [1, 2, 3, 4]
    parts = [f"reward_{USUAL[task]}", "kl", "entropy", "length", "n_tokens", *(f"val_{name}" for name in SCORES[task])]
    assert {"reward", "seconds", *parts} <= set(history)
    np.testing.assert_allclose(history["reward"], history[f"reward_{USUAL[task]}"])
    assert history["length"].eq(1 if task == "annotate" else 8).all()
    assert history["kl"].iloc[0] == pytest.approx(0, abs=1e-5), "it starts where the model is"
    assert history["kl"].iloc[-1] > 0
    assert history["seconds"].is_monotonic_increasing
    assert stored["params"]["method"] == "grpo"
    assert list(stored["params"]["rewards"]) == [USUAL[task]]
    old, card = directory.read(trained[task][1]), directory.read(tmp_path / "model")
    assert (card.genes, card.labels, card.recipe, card.family) == (old.genes, old.labels, old.recipe, old.family)
    assert card.base["name"] == str(trained[task][1])
    assert card.task == [task]
    if task == "perturb":
        assert card.perturbations["scale"] == old.perturbations["scale"]
    pd.testing.assert_series_equal(
        adata.obs["c2s_split"].astype(str), trained[task][0].obs["c2s_split"].astype(str), check_names=False
    )
    assert not last_checkpoint(tmp_path / "model")
    np.testing.assert_equal(weights(trained[task][1]), before, "the model at the start is left alone")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    pd.testing.assert_frame_equal(
        read_h5ad(tmp_path / "cells.h5ad").uns["c2s_finetune"]["history"], history, check_index_type=False
    )


@pytest.mark.parametrize("task", LEARN)
def test_the_same_again_and_in_a_mudata(trained, make_muon, tmp_path, task) -> None:
    improve(trained, task, tmp_path / "one", rng=3)
    mdata = make_muon(trained[task][0].copy())
    improve(trained, task, tmp_path / "other", data=mdata, mod="rna", rng=3)
    first, second = weights(tmp_path / "one"), weights(tmp_path / "other")
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-4, atol=1e-6)
    assert "c2s_finetune" in mdata.mod["rna"].uns


def test_it_can_be_used(trained, tmp_path) -> None:
    adata = improve(trained, "annotate", tmp_path / "annotate")
    c2s.tl.annotate(adata, model=tmp_path / "annotate", device="cpu")
    assert adata.obs["c2s_cell_type"].notna().all()
    cells = improve(trained, "perturb", tmp_path / "perturb")
    c2s.tl.perturb(cells, model=tmp_path / "perturb", perturbation="IFN", groupby="cell_type", device="cpu")
    assert np.isfinite(c2s.get.perturbed(cells).X).all()
    improve(trained, "generate", tmp_path / "generate")
    made = c2s.tl.generate(model=tmp_path / "generate", n_cells=2, device="cpu")
    assert made.n_obs == 2


def test_answers_are_what_may_be_answered(trained, tmp_path) -> None:
    seen: dict[str, list[str]] = {}

    def look(completions, known, n_asked, task, **columns):
        for text, words, n in zip(completions, known, n_asked, strict=True):
            said = text.split()
            assert len(said) == n
            assert set(said) <= set(words)
            assert task == "perturb" or len(set(said)) == n, "no gene twice"
        seen.setdefault(task, []).extend(completions)
        return [float(len(set(text.split()))) for text in completions]

    for task in ("generate", "perturb"):
        improve(trained, task, tmp_path / task, rewards=[partial(look, task=task)])
    assert all(len(set(texts)) > 1 for texts in seen.values())


def test_a_reward_is_learned(trained, tmp_path) -> None:
    """Cells are to have one gene, which is no gene of theirs, among their first ones."""

    def has_gene(completions, **columns):
        return [float("GENE35" in text.split()) for text in completions]

    adata = improve(
        trained,
        "generate",
        tmp_path,
        rewards=[has_gene],
        n_steps=30,
        n_generations=16,
        learning_rate=3e-3,
        beta=0.0,
        tolerance=1e9,
    )
    gained = adata.uns["c2s_finetune"]["history"]["reward_has_gene"]
    assert gained.iloc[-1] > gained.iloc[0] + 0.2


def test_a_hacked_reward_is_stopped_and_the_best_state_is_kept(trained, tmp_path) -> None:
    """More of one gene, whatever the cells say."""

    def more(completions, **columns):
        return [text.split().count("+GENE39") / len(text.split()) for text in completions]

    adata = improve(
        trained, "perturb", tmp_path, rewards=[more], n_steps=40, n_generations=16, learning_rate=1e-2, beta=0.0
    )
    stored = adata.uns["c2s_finetune"]
    assert "the reward rose from" in stored["stopped"]
    history = stored["history"]
    assert history["step"].max() < 40
    assert history["reward"].iloc[-1] > history["reward"].iloc[0]
    assert history["val_r2_delta"].iloc[-1] < history["val_r2_delta"].max()
    assert stored["metrics"].loc["validation", "r2_delta"] == pytest.approx(history["val_r2_delta"].max(), abs=1e-3)


def test_rewards_are_weighed_and_told_apart(trained, tmp_path) -> None:
    one, two = (partial(rewards.gene_program, program=[gene]) for gene in ("GENE0", "GENE20"))
    adata = improve(trained, "generate", tmp_path, rewards=[one, two, "validity"], reward_weights=[1, 0, 2])
    history = adata.uns["c2s_finetune"]["history"]
    parts = history[["reward_gene_program", "reward_gene_program 2", "reward_validity"]]
    np.testing.assert_allclose(history["reward"], parts @ [1, 0, 2], rtol=1e-5)
    assert history["reward_validity"].eq(1).all()
    assert (parts["reward_gene_program"] != parts["reward_gene_program 2"]).any()


def test_an_adapter_goes_on(pretrained, adata, tmp_path, capfd) -> None:
    # Labels of one length: a model that knows nothing always gives the shortest.
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories(["X1", "X2", "X3"])
    how = {"groupby": "cell_type", **PLACE}
    c2s.tl.finetune(adata, model=pretrained, output_dir=tmp_path / "sft", n_epochs=1, n_genes=6, lora_rank=2, **how)
    capfd.readouterr()
    c2s.tl.finetune(
        adata,
        model=tmp_path / "sft",
        output_dir=tmp_path / "grpo",
        method="grpo",
        split_key="c2s_split",
        learning_rate=1e-2,
        **SMALL,
        **how,
    )
    assert "Warning" not in capfd.readouterr().err
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("sft", "grpo"))
    assert before.keys() == after.keys()
    assert sorted(path.name for path in (tmp_path / "grpo").iterdir() if path.is_dir()) == [], "no second adapter"
    history = adata.uns["c2s_finetune"]["history"]
    assert history["kl"].iloc[0] == pytest.approx(0, abs=1e-5), "the reference is the adapter, not the bare model"
    assert history["kl"].iloc[-1] > 1e-6
    c2s.tl.annotate(adata, model=tmp_path / "grpo", device="cpu")


def test_going_on_after_a_kill(trained, tmp_path, monkeypatch) -> None:
    how = {"rng": 5, "n_steps": 8}
    improve(trained, "annotate", tmp_path / "whole", **how)
    n_rewarded, label_match = [], rewards.label_match

    def killed(completions, *args, **columns):
        if len(n_rewarded) == 5 and not last:
            raise KeyboardInterrupt
        n_rewarded.append(columns["trainer_state"].global_step)
        return label_match(completions, *args, **columns)

    last: list[str] = []
    monkeypatch.setattr(rewards, "label_match", killed)
    with pytest.raises(KeyboardInterrupt):
        improve(trained, "annotate", tmp_path / "killed", **how)
    assert not directory.is_model_directory(tmp_path / "killed")
    last.append(last_checkpoint(tmp_path / "killed"))
    adata = improve(trained, "annotate", tmp_path / "killed", **how)
    assert n_rewarded == [0, 1, 2, 3, 4, 5, 6, 7], "no step was made again"
    assert adata.uns["c2s_finetune"]["history"]["step"].tolist() == list(range(1, 9))
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-3, atol=1e-5)


def test_another_reward_does_not_go_on_from_the_checkpoints(trained, tmp_path, monkeypatch) -> None:
    """Also where only a parameter of the reward is another one."""
    found = []

    def peek(*args: Any, output_dir: Path, **kwargs: Any) -> None:
        checkpoint = output_dir / "checkpoints" / "checkpoint-1"
        found.append(checkpoint.is_dir())
        checkpoint.mkdir(parents=True, exist_ok=True)
        raise InterruptedError

    monkeypatch.setattr("sc_c2s.rl.improve.train", peek)
    one, other = (partial(rewards.gene_program, program=[gene]) for gene in ("GENE0", "GENE1"))
    for reward in (one, one, other, other, rewards.validity):
        with pytest.raises(InterruptedError):
            improve(trained, "generate", tmp_path, rewards=[reward])
    assert found == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("annotate", {"method": "ppo"}, "There is no method 'ppo'; choose from 'sft', 'grpo'"),
        ("annotate", {"model": "nano"}, "goes on from a model that tl.finetune trained, and 'nano' is none"),
        ("annotate", {"rewards": ["beauty"]}, "There is no reward 'beauty' for this task; name 'label_match'"),
        ("annotate", {"rewards": []}, "rewards= is empty"),
        ("annotate", {"rewards": [3]}, "give names or functions"),
        ("annotate", {"rewards": ["label_match"], "reward_weights": [1, 2]}, "1 rewards and 2 weights"),
        ("annotate", {"reward_weights": [1]}, "reward_weights= needs rewards="),
        ("annotate", {"n_generations": 1}, "leaves nothing to compare"),
        ("annotate", {"n_epochs": 3}, "n_epochs= is for method='sft'"),
        ("annotate", {"method": "sft", "rewards": ["label_match"]}, "rewards= is for method='grpo'"),
        ("annotate", {"task": "generate"}, "was trained to annotate, not to generate"),
        ("annotate", {"task": ["annotate", "generate"]}, "one task at a time"),
    ],
)
def test_what_makes_no_sense_is_refused(trained, tmp_path, task, changes, message) -> None:
    adata, model = trained[task]
    how: dict[str, Any] = {"model": model, "split_key": "c2s_split", **REWARD[task], **PLACE, **changes}
    with pytest.raises(ValueError, match=message) as caught:
        c2s.tl.finetune(adata.copy(), output_dir=tmp_path / "model", **how)
    assert "\n" not in str(caught.value)
    assert not directory.is_model_directory(tmp_path / "model")


def test_cells_that_the_model_does_not_know_are_refused(trained, tmp_path) -> None:
    adata = trained["annotate"][0].copy()
    with pytest.raises(ValueError, match="2 genes of the model are not in the data"):
        improve(trained, "annotate", tmp_path, data=adata[:, 2:].copy())
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"B cell": "plasma cell"})
    with pytest.raises(ValueError, match="has no word for '=plasma%20cell'"):
        improve(trained, "annotate", tmp_path, data=adata)
    with pytest.raises(ValueError, match="is the directory of the model that training starts from"):
        improve(trained, "annotate", trained["annotate"][1])


def test_trl_has_the_hooks_that_are_used() -> None:
    """TRL calls its hook for answers experimental."""
    from inspect import signature

    from trl import GRPOTrainer

    assert "rollout_func" in signature(GRPOTrainer.__init__).parameters
    parameters = list(signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert parameters[:6] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]
    assert grpo.RewardTrainer.__mro__[2] is GRPOTrainer
