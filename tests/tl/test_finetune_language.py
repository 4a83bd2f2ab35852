"""From groups of cells to a model that talks about them: what is learned, what is written, and what it is used with."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from safetensors.numpy import load_file

import sc_c2s as c2s
from sc_c2s.engine import LocalEngine
from sc_c2s.models import directory, gene_token_ids, load
from sc_c2s.prompts import describe
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.tl import finetune
from sc_c2s.tl._finetune_language import split_groups
from sc_c2s.training import language, language_run, sft
from sc_c2s.training.sft import last_checkpoint

FAST: dict[str, Any] = {
    "groupby": ["cell_type", "lot"],
    "label_key": "cell_type",
    "n_cells": 3,
    "n_genes": 5,
    "n_epochs": 1,
    "lora_rank": 2,
    "device": "cpu",
    "dtype": "float32",
}


@pytest.fixture(autouse=True)
def short_texts(monkeypatch) -> None:
    """Models with random weights never come to an end."""
    monkeypatch.setattr(language, "MAX_TOKENS", 16)


def add_columns(adata: AnnData) -> AnnData:
    """Four lots of each type; a fifth type of cell is in every lot, so that groups are mixed, and a site for each lot."""
    adata.obs["lot"] = [f"lot{i}" for i in (np.arange(adata.n_obs) // 3) % 4]
    adata.obs["site"] = np.where(adata.obs["lot"].isin(["lot0", "lot1"]), "blood", "lung")
    return adata


@pytest.fixture
def adata(make_cells) -> AnnData:
    return add_columns(make_cells(144))


@pytest.fixture
def watched(monkeypatch) -> list[Any]:
    """What was to be learned: the rows of each training."""
    seen, train = [], sft.train

    def watch(model: Any, tokenizer: Any, rows: Any, *args: Any, **how: Any) -> Any:
        seen.extend(rows)
        return train(model, tokenizer, rows, *args, **how)

    monkeypatch.setattr(sft, "train", watch)
    return seen


@pytest.fixture
def stopped(monkeypatch) -> list[Any]:
    """Rows as they would be learned; training itself is not begun."""
    seen: list[Any] = []

    def peek(model: Any, tokenizer: Any, rows: Any, *args: Any, **how: Any) -> None:
        seen.extend(rows)
        raise InterruptedError

    monkeypatch.setattr(sft, "train", peek)
    return seen


def rows_of(stopped: list[Any], adata: AnnData, base: Path, path: Path, **how: Any) -> Any:
    with pytest.raises(InterruptedError):
        finetune(adata, model=base, output_dir=path, **{"task": "summarize", **FAST, **how})
    return stopped[-1]


@pytest.mark.parametrize("gene_tokens", [True, False])
@pytest.mark.parametrize("task", ["summarize", "ask", ["summarize", "ask"]])
def test_what_is_written(adata, pretrained, tmp_path, task, gene_tokens) -> None:
    path = tmp_path / "model"
    finetune(adata, task=task, model=pretrained, output_dir=path, gene_tokens=gene_tokens, context="site", **FAST)
    tasks = [task] if isinstance(task, str) else task
    card = directory.read(path)
    assert (card.task, card.groupby) == (tasks, "cell_type | lot")
    assert card.family == ("marked" if gene_tokens else "english")
    assert set(card.genes) <= set(adata.var_names)
    assert {name: card.language[name] for name in ("n_cells", "n_genes", "evidence")} == {
        "n_cells": 3,
        "n_genes": 5,
        "evidence": False,
    }
    assert card.language["columns"] == {
        "groupby": ["cell_type", "lot"],
        "label_key": "cell_type",
        "sample_key": None,
        "subgroup_key": None,
        "context": ["site"],
    }
    assert {card.data[f"n_{which}"] for which in ("train", "validation", "test")} == {9, 1, 2}
    assert len(gene_token_ids(load(path, device="cpu").tokenizer)) == (len(card.genes) if gene_tokens else 0)
    files = {file.name for file in path.iterdir()}
    assert {"c2s.json", "README.md", "history.csv", "adapter_config.json", "adapter_model.safetensors"} <= files
    assert not {"checkpoints", "run.json"} & files, "nothing of the training stays"
    page = (path / "README.md").read_text(encoding="utf-8")
    assert all(f"sc_c2s.tl.{name}(adata" in page for name in tasks)

    stored = adata.uns["c2s_finetune"]
    assert set(stored) == {"history", "metrics", "model", "n_unlabelled", "params"}
    assert stored["params"]["label_key"] == "cell_type"
    assert stored["params"]["context"] == "site"
    assert list(stored["metrics"].index) == ["validation", "test"]
    assert ("composition_error" in stored["metrics"]) == ("summarize" in tasks)
    assert ("accuracy" in stored["metrics"]) == ("ask" in tasks)
    assert stored["history"]["val_loss"].notna().all()


def test_the_test_scores_are_those_of_the_written_model(adata, pretrained, tmp_path) -> None:
    """Opened again, it answers the same questions about the same cells in the same way."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        report = language_run.Talking.report
        patch.setattr(
            language_run.Talking,
            "report",
            lambda self, model, tokenizer: seen.append(self) or report(self, model, tokenizer),
        )
        finetune(adata, task="ask", model=pretrained, output_dir=tmp_path / "m", **FAST | {"learning_rate": 1e-2})
    there = load(tmp_path / "m", device="cpu")
    again = seen[0].report(there.model, there.tokenizer)
    pd.testing.assert_frame_equal(
        pd.DataFrame.from_dict(again, orient="index"), adata.uns["c2s_finetune"]["metrics"], atol=1e-6
    )


def test_no_group_is_in_two_sets_and_no_test_cell_is_learned_from(adata, pretrained, tmp_path, watched) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].mask(np.arange(adata.n_obs) < 3)
    finetune(adata, task=["summarize", "ask"], model=pretrained, output_dir=tmp_path / "m", **FAST)
    group = adata.obs["cell_type"].astype(str) + " | " + adata.obs["lot"]
    known = adata.obs["c2s_split"].notna()
    assert known.sum() == adata.n_obs - 3
    assert (adata.obs["c2s_split"][known].astype(str).groupby(group[known]).nunique() == 1).all()

    [rows] = watched
    train = adata[(adata.obs["c2s_split"] == "train").to_numpy()]
    assert set(rows.groups.cells) == set(train.obs_names)
    asked = {item.group for item in rows.items}
    assert {name for name in asked if not name.startswith("mixture ")} == set(
        group[known & (adata.obs["c2s_split"] == "train")]
    )
    assert len(asked & set(rows.groups.names[-rows.groups.n_mixtures :])) > 3
    assert directory.read(tmp_path / "m").data["n_train"] == len(asked) - rows.groups.n_mixtures
    # The rest that a training group is set against is training cells and nothing else.
    name = rows.groups.names[0]
    own = (train.obs["cell_type"].astype(str) + " | " + train.obs["lot"] == name).to_numpy()
    counts = train.X.toarray() > 0
    facts = rows.groups.facts[name]
    np.testing.assert_allclose(facts.genes["share"], counts[own].mean(axis=0))
    np.testing.assert_allclose(facts.genes["share_rest"], counts[~own].mean(axis=0))
    # What stands in the prompts are sentences of training cells of the group.
    shown = {line.partition(": ")[2] for line in rows.row(0, 0)[0].splitlines() if line[:1].isdigit() and ": " in line}
    recipe, genes = Recipe(n_genes=5, organism=rows.groups.organism), np.asarray(adata.var_names)
    written = recipe.write(train.X[own], genes, np.asarray(train.obs_names[own]), vocabulary=rows.vocabulary)
    of_group = {" ".join(f"<{gene}>" for gene in sentence.split()) for sentence in written}
    assert len(shown) == 3
    assert shown <= of_group


def test_a_donor_tears_a_group(adata, pretrained, tmp_path) -> None:
    with pytest.raises(
        ValueError, match=r"has cells in several sets.*Add the column of split_key= to groupby="
    ) as said:
        finetune(
            adata,
            task="summarize",
            model=pretrained,
            output_dir=tmp_path / "m",
            split_key="donor",
            **FAST | {"groupby": "cell_type"},
        )
    assert "\n" not in str(said.value)
    finetune(
        adata,
        task="summarize",
        model=pretrained,
        output_dir=tmp_path / "m",
        split_key="donor",
        **FAST | {"groupby": ["cell_type", "donor"]},
    )
    split = adata.obs["c2s_split"].astype(str)
    assert (split.groupby(adata.obs["donor"].astype(str)).nunique() == 1).all()


def test_validation_groups_are_taken_whole_from_a_given_split() -> None:
    group = pd.Series(np.repeat([f"g{i}" for i in range(10)], 6))
    by = pd.Series(np.where(group.isin(["g0", "g1"]), "test", "train"))
    split = split_groups(group, by=by, validation=0.2, test=0.2, rng=np.random.default_rng(0))
    assert (split.groupby(group).nunique() == 1).all()
    assert (split[by == "test"] == "test").all()
    assert group[split == "validation"].nunique() == 2
    with pytest.raises(ValueError, match="leaves one training group, and none to choose on"):
        split_groups(
            group, by=by.where(group.isin(["g0", "g2"])), validation=0.2, test=0.2, rng=np.random.default_rng(0)
        )


def test_what_it_was_trained_with_is_what_it_is_used_with(adata, pretrained, tmp_path) -> None:
    path = tmp_path / "model"
    finetune(
        adata, task=["summarize", "ask"], model=pretrained, output_dir=path, style="caption", evidence=True, **FAST
    )
    heard: list[Any] = []
    chat = LocalEngine.chat
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalEngine, "chat", lambda self, said, **how: heard.extend(said) or chat(self, said, **how))
        how = {"model": path, "groupby": "cell_type", "label_key": "cell_type", "device": "cpu", "max_tokens": 4}
        c2s.tl.summarize(adata, **how)
        c2s.tl.ask(adata, "What are they?", **how)
        c2s.tl.summarize(adata, **how, n_cells=2, n_genes=4, style="abstract", evidence=False, key_added="other")
    shown = adata.uns["c2s_summary"]["summaries"]
    assert (shown["n_cells"].unique().tolist(), shown["n_genes"].unique().tolist()) == ([3], [5])
    params = adata.uns["c2s_summary"]["params"]
    assert (params["style"], params["evidence"], params["family"]) == ("caption", True, "marked")
    first, question, other = (heard[i][-1]["content"] for i in (0, 3, 6))
    for text in (first, question):
        assert "the 5 most active genes" in text
        assert "Cell types: 100% B cell." in text
        assert "<GENE" in text
    assert "in one sentence" in first
    assert question.endswith("What are they?")
    assert "the 4 most active genes" in other
    assert "Cell types" not in other
    assert "three or four sentences" in other


def test_the_texts_of_the_user_are_what_is_learned(adata, pretrained, tmp_path, stopped) -> None:
    texts = {"B cell | lot0": "A mature B cell text.", "T cell, CD4/CD8 | lot1": ["One.", "Another."]}
    split = np.where(adata.obs["lot"] == "lot2", "validation", "train")
    adata.obs["fold"] = split
    rows = rows_of(stopped, adata, pretrained, tmp_path / "m", texts=texts, split_key="fold", test_size=0)
    said = {item.group: {rows.row(i, k)[1] for k in range(12)} for i, item in enumerate(rows.items)}
    assert said["B cell | lot0"] == {"A mature B cell text."}
    assert said["T cell, CD4/CD8 | lot1"] == {"One.", "Another."}
    of_template = said["B cell | lot1"]
    assert len(of_template) > 1, "the wording of the template is drawn"
    assert all("100% B cell" in text for text in of_template)
    # Each time other cells of the group are shown.
    first = next(i for i, item in enumerate(rows.items) if item.group == "B cell | lot0")
    assert len({rows.row(first, k)[0] for k in range(5)}) == 5
    assert rows.row(first, 3) == rows.row(first, 3)


def test_evidence_and_style_are_in_the_rows(adata, pretrained, tmp_path, stopped) -> None:
    rows = rows_of(
        stopped, adata, pretrained, tmp_path / "m", evidence=True, style="caption", context=["site"], gene_tokens=False
    )
    group = rows.items[0].group
    prompt, text = rows.row(0, 0)
    kind, lot = group.split(" | ")
    site = "blood" if lot in ("lot0", "lot1") else "lung"
    assert f"Cell types: 100% {kind}." in prompt
    assert f"site: 100% {site}." in prompt
    facts = rows.groups.facts[group]
    composition = facts.composition.to_dict()
    assert text == describe(composition, rows.groups.markers[group], {}, style="caption", organism=rows.groups.organism)


def test_a_text_is_learned(adata, pretrained, tmp_path, watched) -> None:
    """What every group is said to be becomes the most probable of texts that were equally probable."""
    names = {f"{kind} | lot{i}" for kind in adata.obs["cell_type"].cat.categories for i in range(4)}
    finetune(
        adata,
        task="summarize",
        model=pretrained,
        output_dir=tmp_path / "m",
        texts=dict.fromkeys(names, "BBBB"),
        **FAST | {"n_epochs": 10, "learning_rate": 2e-2},
    )
    prompts, said = [watched[0].row(i, 0)[0] for i in range(4)], ["AAAA", "BBBB", "CCCC", "DDDD"]
    there = load(tmp_path / "m", device="cpu")
    scores = LocalEngine(there.model, there.tokenizer).score(prompts, said)
    others = np.delete(scores, 1, axis=1)
    assert (scores[:, 1] > others.max(axis=1) + 1).all()
    assert np.ptp(others, axis=1).max() < 1


def test_anndata_and_mudata_are_the_same(adata, pretrained, make_muon, tmp_path) -> None:
    """And so is the second call with the same seed, whatever its name; and all of it goes through a file."""
    mdata = make_muon(adata.copy())
    how = FAST | {"task": ["summarize", "ask"], "model": pretrained, "context": ["site", "lot"]}
    finetune(adata, output_dir=tmp_path / "alone", **how, random_state=5)
    finetune(mdata, output_dir=tmp_path / "within", mod="rna", **how, rng=5)
    within = mdata["rna"]
    pd.testing.assert_series_equal(within.obs["c2s_split"], adata.obs["c2s_split"])
    one, other = adata.uns["c2s_finetune"], within.uns["c2s_finetune"]
    pd.testing.assert_frame_equal(other["metrics"], one["metrics"])
    pd.testing.assert_frame_equal(other["history"].drop(columns="seconds"), one["history"].drop(columns="seconds"))
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("alone", "within"))
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-5, atol=1e-7)

    adata.write_h5ad(tmp_path / "cells.h5ad")
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    for back in (anndata.read_h5ad(tmp_path / "cells.h5ad"), mudata.read_h5mu(tmp_path / "cells.h5mu")["rna"]):
        stored = back.uns["c2s_finetune"]
        pd.testing.assert_frame_equal(stored["metrics"], one["metrics"], check_dtype=False)
        assert list(stored["params"]["groupby"]) == ["cell_type", "lot"]
        assert list(stored["params"]["context"]) == ["site", "lot"]


def test_another_seed_is_another_run(adata, pretrained, tmp_path, stopped) -> None:
    one, same, other = (
        set(rows_of(stopped, adata, pretrained, tmp_path / "m", rng=seed).groups.cells) for seed in (1, 1, 2)
    )
    assert one == same != other


def interrupt(adata: AnnData, path: Path, **how: Any) -> None:
    """Train until the first checkpoint is whole."""

    class Killed(BaseException):
        pass

    def stop(self: Any, args: Any, state: Any, *more: Any, **rest: Any) -> None:
        if last_checkpoint(path):
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sft.OneBar, "on_step_end", stop)
        finetune(adata, output_dir=path, **how)
    assert last_checkpoint(path)


def test_training_goes_on_after_an_interruption(adata, pretrained, tmp_path, monkeypatch) -> None:
    how = FAST | {"task": "summarize", "model": pretrained, "n_epochs": 4, "rng": 3}
    path = tmp_path / "killed"
    interrupt(adata.copy(), path, **how)
    assert not directory.is_model_directory(path)

    relabelled, moved = adata.copy(), adata.copy()
    relabelled.obs["cell_kind"] = relabelled.obs["cell_type"].cat.rename_categories({"B cell": "plasma cell"})
    moved.obs["site"] = np.where(moved.obs["lot"] == "lot3", "gut", moved.obs["site"])
    adata.obs["cell_kind"] = moved.obs["cell_kind"] = adata.obs["cell_type"]
    known = how | {"label_key": "cell_kind", "context": ["site"]}
    interrupt(adata.copy(), tmp_path / "known", **known)
    goes_on = []
    for data, source, changes in (
        (adata, path, how),
        (adata, path, how | {"texts": {"B cell | lot0": "Something else."}}),
        (adata, path, how | {"rng": 4}),
        (adata, path, how | {"n_cells": 2}),
        (adata, path, how | {"resume": False}),
        (adata, tmp_path / "known", known),
        (relabelled, tmp_path / "known", known),
        (moved, tmp_path / "known", known),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(source, copy)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InterruptedError):

            def peek(*args: Any, output_dir: Path, **kwargs: Any) -> None:
                goes_on.append(bool(last_checkpoint(output_dir)))
                raise InterruptedError

            patch.setattr(sft, "train", peek)
            finetune(data, output_dir=copy, **changes)
        shutil.rmtree(copy)
    assert goes_on == [True, False, False, False, False, True, False, False]

    resumed, whole = adata.copy(), adata.copy()
    finetune(resumed, output_dir=path, **how)
    finetune(whole, output_dir=tmp_path / "whole", **how)
    first, second = (load_file(one / "adapter_model.safetensors") for one in (tmp_path / "whole", path))
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, rtol=1e-5, atol=1e-7)
    columns = ["step", "val_loss"]
    pd.testing.assert_frame_equal(
        resumed.uns["c2s_finetune"]["history"][columns], whole.uns["c2s_finetune"]["history"][columns], rtol=1e-4
    )


def test_a_model_goes_on_with_new_cells(adata, pretrained, tmp_path) -> None:
    finetune(adata, task="summarize", model=pretrained, output_dir=tmp_path / "one", n_top_genes=10, **FAST)
    genes = set(directory.read(tmp_path / "one").genes)
    finetune(adata, task="ask", model=tmp_path / "one", output_dir=tmp_path / "two", **FAST)
    assert directory.read(tmp_path / "two").task == ["ask"]
    assert set(directory.read(tmp_path / "two").genes) == genes, "only these have tokens"
    adata.var_names = [f"OTHER{i}" for i in range(adata.n_vars)]
    with pytest.raises(ValueError, match="None of the genes of .* is in the data"):
        finetune(adata, task="ask", model=tmp_path / "one", output_dir=tmp_path / "three", **FAST)


def test_one_bar_for_training_and_one_for_scoring(adata, pretrained, tmp_path, capfd) -> None:
    before, sc.settings.verbosity = sc.settings.verbosity, 1
    capfd.readouterr()
    try:
        finetune(adata, task=["summarize", "ask"], model=pretrained, output_dir=tmp_path / "m", **FAST)
    finally:
        sc.settings.verbosity = before
    said = capfd.readouterr()
    assert said.out == ""
    lines = [line.strip() for line in said.err.replace("\r", "\n").split("\n") if line.strip()]
    assert {line.split(":")[0] for line in lines} == {"training", "scoring"}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": "nano"}, ValueError, "A nano knows no English: .* start from a pretrained language model"),
        ({"texts": {"NK | lot0": "x"}}, ValueError, "texts= names the group 'NK | lot0', which there is not"),
        ({"groupby": None}, ValueError, "groupby= has to name the column of obs, or several, whose groups"),
        ({"groupby": "site"}, ValueError, "groupby= has 2 groups, of which whole ones are .* 3 or more are needed"),
        ({"groupby": "kind"}, KeyError, "obs has no column 'kind'"),
        ({"label_key": "kind"}, KeyError, "obs has no column 'kind'"),
        ({"context": ["kind"]}, KeyError, "obs has no column 'kind'"),
        ({"style": "poem"}, ValueError, "There is no style 'poem'; choose from 'abstract', 'caption'"),
        ({"n_cells": 0}, ValueError, "n_cells=0 shows no cell"),
        (
            {"n_cells": 12, "n_genes": 30},
            ValueError,
            r"12 cells with 30 genes .* context is 300: show fewer with n_cells=",
        ),
        ({"task": ["summarize", "annotate"]}, ValueError, "learns nothing else: use 'summarize', 'ask', or both"),
        ({"task": "ask", "texts": {"B cell | lot0": "x"}}, ValueError, "texts= is for task='summarize'"),
        (
            {"task": "ask", "label_key": None, "groupby": "lot", "mask_var": "two"},
            ValueError,
            "There is nothing to ask",
        ),
        ({"task": "annotate", "groupby": "cell_type"}, ValueError, "label_key= is for task='summarize' and task='ask'"),
        ({"condition_key": "site", "control": "blood"}, ValueError, "condition_key= is for task='perturb'"),
        ({"rewards": ["label_match"]}, ValueError, "rewards= is for method='grpo'"),
    ],
)
def test_nothing_is_written_when_it_fails(
    adata, make_llama, piece_tokenizer, tmp_path, changes, error, message
) -> None:
    model = make_llama(len(piece_tokenizer))
    model.config.max_position_embeddings = 300
    model.save_pretrained(tmp_path / "base")
    piece_tokenizer.save_pretrained(tmp_path / "base")
    adata.var["two"] = np.arange(adata.n_vars) < 2
    before = set(adata.obs)
    with pytest.raises(error, match=message) as caught:
        finetune(
            adata, output_dir=tmp_path / "model", **{"model": tmp_path / "base", "task": "summarize", **FAST, **changes}
        )
    assert "\n" not in str(caught.value)
    assert set(adata.obs) == before
    assert not adata.uns
    assert not directory.is_model_directory(tmp_path / "model")


def test_a_model_that_describes_answers_no_questions(adata, pretrained, tmp_path) -> None:
    finetune(adata, task="summarize", model=pretrained, output_dir=tmp_path / "m", **FAST)
    with pytest.raises(
        ValueError, match=r"was trained to summarize, not to answer questions.*tl.finetune\(task='ask'\)"
    ):
        c2s.tl.ask(adata, "What?", model=tmp_path / "m", device="cpu")
    with pytest.raises(ValueError, match="was trained to summarize, not to annotate"):
        c2s.tl.annotate(adata, model=tmp_path / "m", device="cpu")


def test_a_nano_does_not_talk(adata, tmp_path, monkeypatch) -> None:
    from sc_c2s.models import nano

    monkeypatch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
    finetune(adata, groupby="cell_type", output_dir=tmp_path / "nano", n_epochs=1, device="cpu")
    for call in (partial(c2s.tl.summarize, groupby="cell_type"), partial(c2s.tl.ask, question="What?")):
        with pytest.raises(ValueError, match="was trained to annotate, not to"):
            call(adata, model=tmp_path / "nano", device="cpu")
