"""The command line: what it says, what it writes, and how it fails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anndata
import mudata
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scanpy as sc
from anndata import AnnData
from typer.testing import CliRunner, Result

import sc_c2s as c2s
from sc_c2s.cli import app
from sc_c2s.engine import LocalEngine
from sc_c2s.models import directory, nano

N_OPTIONS = {
    "demo": 10,
    "sentences": 7,
    "finetune": 26,
    "annotate": 17,
    "generate": 13,
    "summarize": 22,
    "ask": 22,
    "chat": 19,
    "info": 1,
}
COMMANDS = tuple(N_OPTIONS)


@pytest.fixture(scope="module", autouse=True)
def tiny_nano() -> Iterator[None]:
    before = sc.settings.verbosity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
        yield
    sc.settings.verbosity = before


def c2s_(*arguments: object, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)


@pytest.fixture(scope="module")
def files(make_cells, tmp_path_factory) -> Path:
    """The same cells in a file of every kind, and a model for them."""
    folder = tmp_path_factory.mktemp("cli")
    adata: AnnData = make_cells()
    adata.write_h5ad(folder / "cells.h5ad")
    adata.write_zarr(folder / "cells.zarr")
    proteins = AnnData(adata.X[:, :3].toarray(), obs=adata.obs[[]])
    proteins.var_names = ["CD3", "CD4", "CD8"]
    mudata.MuData({"rna": adata.copy(), "prot": proteins}).write_h5mu(folder / "cells.h5mu")
    (folder / "cells.csv").touch()
    return folder


@pytest.fixture(scope="module")
def model(files, tiny_nano) -> tuple[Result, Path]:
    path = files / "model"
    return c2s_("finetune", files / "cells.h5ad", "--label", "cell_type", "--out", path, "--epochs", 3), path


def test_help_names_every_command() -> None:
    result = c2s_("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout
    assert c2s_().exit_code == 2, "nothing asked for"
    assert "Usage" in c2s_().output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_explains_every_option(command) -> None:
    result = c2s_(command, "--help")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("  --")]
    for i in options:
        said = lines[i].split("  ")[2:] + ([] if i + 1 == len(lines) else [lines[i + 1]])
        assert any(len(part.strip()) > 5 for part in said), lines[i]
    assert len(options) == N_OPTIONS[command]


def test_info() -> None:
    result = c2s_("info")
    assert result.exit_code == 0
    for name in ("sc_c2s", "torch", "transformers", "Python", "Devices:"):
        assert name in result.stdout


@pytest.mark.parametrize(
    ("file", "options"), [("cells.h5ad", ()), ("cells.zarr", ()), ("cells.h5mu", ("--mod", "rna"))]
)
def test_sentences(files, tmp_path, adata, file, options) -> None:
    out = tmp_path / "sentences.parquet"
    result = c2s_("sentences", files / file, "--out", out, "--n-genes", 5, *options)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"sentences  {out}\n"
    table = pq.read_table(out)
    c2s.pp.to_sentences(adata, n_genes=5)
    assert table["cell"].to_pylist() == list(adata.obs_names)
    assert table["cell_sentence"].to_pylist() == list(adata.obs["cell_sentence"])


def test_finetune(model) -> None:
    result, path = model
    assert result.exit_code == 0, result.output
    card = directory.read(path)
    assert card.data["n_train"] + card.data["n_validation"] + card.data["n_test"] == 60
    assert f"model      {path}" in result.stdout
    assert f"{card.metrics['test']['accuracy']:.3f}" in result.stdout


def test_a_model_goes_on_with_rewards(files, model, tmp_path) -> None:
    call = ("finetune", files / "cells.h5ad", "--label", "cell_type", "--model", model[1], "--method", "grpo")
    result = c2s_(*call, "--steps", 2, "--reward", "label_match", "--reward-weight", 2, "--out", tmp_path / "better")
    assert result.exit_code == 0, result.output
    assert "these are not the cells" not in result.output, "the seed gives the same split"
    card = directory.read(tmp_path / "better")
    assert card.base["rewards"] == ["label_match"]
    assert f"{card.metrics['test']['accuracy']:.3f}" in result.stdout
    history = directory.read_history(tmp_path / "better")
    assert history["reward"].to_numpy() == pytest.approx(2 * history["reward_label_match"].to_numpy())
    refused = c2s_(*call, "--reward", "beauty", "--out", tmp_path / "worse")
    assert refused.exit_code == 2
    assert "There is no reward 'beauty'" in refused.output


def test_a_seed_and_a_split_are_passed_on(files, tmp_path) -> None:
    result = c2s_(
        *("finetune", files / "cells.h5mu", "--label", "cell_type", "--out", tmp_path / "model", "--mod", "rna"),
        *("--epochs", 1, "--split", "donor", "--seed", 3, "--n-genes", 6, "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    there = mudata.read_h5mu(files / "cells.h5mu")["rna"]
    c2s.tl.finetune(
        there,
        groupby="cell_type",
        split_key="donor",
        output_dir=tmp_path / "same",
        n_epochs=1,
        n_genes=6,
        rng=3,
        device="cpu",
    )
    one, other = directory.read(tmp_path / "model"), directory.read(tmp_path / "same")
    assert one.metrics == other.metrics
    assert (one.seed, one.recipe) == (other.seed, other.recipe)


@pytest.mark.parametrize(
    ("file", "out", "options"),
    [
        ("cells.h5ad", "new.h5ad", ()),
        ("cells.h5ad", "folder/new.zarr", ()),
        ("cells.zarr", "new.h5ad", ("--batch-size", "7")),
        ("cells.h5mu", "new.h5mu", ("--mod", "rna")),
    ],
)
def test_annotate(files, model, tmp_path, adata, file, out, options) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="From 0.4 .update", category=FutureWarning)
        result = c2s_(
            "annotate", files / file, "--model", model[1], "--out", tmp_path / out, "--device", "cpu", *options
        )
    assert result.exit_code == 0, result.output
    read = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr, ".h5mu": mudata.read_h5mu}
    stored = read[Path(out).suffix](tmp_path / out)
    stored = stored["rna"] if options == ("--mod", "rna") else stored
    c2s.tl.annotate(adata, model=model[1], device="cpu")
    assert list(stored.obs["c2s_cell_type"]) == list(adata.obs["c2s_cell_type"])
    for label, n in adata.obs["c2s_cell_type"].value_counts().items():
        assert f"{label}" in result.stdout
        assert f" {n}\n" in result.stdout


def test_annotate_groups(files, pretrained, tmp_path, adata) -> None:
    out = tmp_path / "new.h5ad"
    result = c2s_(
        *("annotate", files / "cells.h5ad", "--model", pretrained, "--out", out, "--level", "group"),
        *("--group-key", "cell_type", "--groupby", "tissue", "--labels", "blood", "--labels", "lung"),
        *("--n-cells", 3, "--seed", 2, "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    c2s.tl.annotate(
        adata,
        model=str(pretrained),
        level="group",
        group_key="cell_type",
        groupby="tissue",
        labels=["blood", "lung"],
        n_cells=3,
        rng=2,
        device="cpu",
    )
    stored, groups = anndata.read_h5ad(out), adata.uns["c2s_cell_type"]["groups"]
    assert list(stored.obs["c2s_cell_type"]) == list(adata.obs["c2s_cell_type"])
    for name, row in groups.iterrows():
        [line] = [line for line in result.stdout.splitlines() if line.startswith(name)]
        assert line.split()[-2:] == [row["label"], f"{row['confidence']:.3f}"]
    refused = c2s_("annotate", files / "cells.h5ad", "--model", pretrained, "--out", out, "--level", "group")
    assert refused.exit_code == 2
    assert "group_key= is missing" in refused.stderr


def test_unknown_below(files, model, tmp_path) -> None:
    out = tmp_path / "new.h5ad"
    result = c2s_("annotate", files / "cells.h5ad", "--model", model[1], "--out", out, "--unknown-below", 1)
    assert result.exit_code == 0, result.output
    assert set(anndata.read_h5ad(out).obs["c2s_cell_type"]) == {"unknown"}


def test_demo_on_own_cells(files, tmp_path) -> None:
    out = tmp_path / "out"
    result = c2s_("demo", "--h5ad", files / "cells.h5ad", "--label", "cell_type", "--out", out, "--epochs", 2)
    assert result.exit_code == 0, result.output
    assert {file.name for file in out.iterdir()} == {"annotated.h5ad", "model", "report.html"}
    for said in ("sc_c2s nano", "logistic regression", "nearest centroid", "majority class", "macro-F1", "by chance"):
        assert said in result.stdout
    for name in ("annotated.h5ad", "model", "report.html"):
        assert str(out / name) in result.stdout
    assert "cells.h5ad, annotated from cell sentences" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("finetune", "nowhere.h5ad", "--label", "x", "--out", "m"), "There is no file 'nowhere.h5ad': check the path"),
        (("sentences", "{}/cells.csv", "--out", "s"), "is neither .h5ad nor .h5mu nor .zarr: convert it"),
        (("finetune", "{}/cells.h5ad", "--label", "celltype", "--out", "{}/m"), "obs has no column 'celltype'"),
        (("finetune", "{}/cells.h5mu", "--label", "cell_type", "--out", "{}/m"), "A MuData needs mod="),
        (("finetune", "{}/cells.h5ad", "--label", "cell_type", "--out", "{}/m", "--use-raw"), "needs adata.raw"),
        (("annotate", "{}/cells.h5ad", "--model", "{}/none", "--out", "{}/a.h5ad"), "There is no directory"),
        (("annotate", "{}/cells.h5ad", "--model", "{}/cells.zarr", "--out", "{}/a.h5ad"), "holds no model"),
        (("summarize", "nowhere.h5ad"), "There is no file 'nowhere.h5ad': check the path"),
        (("summarize", "{}/cells.h5ad", "--model", "{}/none"), "There is no directory"),
        (("summarize", "{}/cells.h5mu", "--model", "{}/none"), "A MuData needs mod="),
        (("ask", "{}/cells.h5ad", "  ", "--model", "{}/none"), "The question is empty: ask something."),
        (("ask", "{}/cells.h5ad", "What?", "--choice", "a"), "choices= holds fewer than two different answers"),
        (("ask", "{}/cells.h5ad", "What?", "--engine", "cloud"), "engine='cloud' has to be one of 'local', 'server'"),
        (("chat", "{}/cells.h5ad", "--groupby", "cell_type"), "about one group: name it with --group, or leave out"),
        (("demo", "--label", "cell_type"), "--label belongs to your own cells: give them with --h5ad FILE"),
        (("demo", "--h5ad", "{}/cells.h5ad"), "--label is missing: name the column of obs"),
        (("demo", "--h5ad", "{}/cells.h5ad", "--label", "x", "--out", "{}/d"), "obs has no column 'x'"),
    ],
)
def test_errors_are_one_line(files, arguments, message) -> None:
    result = c2s_(*(argument.format(files) for argument in arguments))
    assert result.exit_code == 2
    assert result.stdout == ""
    last = result.stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith("c2s: ")
    assert message in last
    assert "Traceback" not in result.stderr


def test_wrong_options_are_explained() -> None:
    result = c2s_("annotate", "x.h5ad", "--model", "m", "--out", "o.h5ad", "--unknown-below", "2")
    assert result.exit_code == 2
    assert "--unknown-below" in result.stderr
    assert "Invalid value" in result.stderr


def test_bugs_keep_their_traceback(monkeypatch) -> None:
    monkeypatch.setattr("sc_c2s._session.info_text", lambda: 1 / 0)
    assert isinstance(c2s_("info").exception, ZeroDivisionError)


@pytest.fixture(scope="module")
def writer(make_cells, tmp_path_factory) -> Path:
    """A model that generates."""
    path = tmp_path_factory.mktemp("writer")
    make_cells(90).write_h5ad(path / "cells.h5ad")
    result = c2s_(
        *("finetune", path / "cells.h5ad", "--label", "cell_type", "--task", "generate", "--task", "annotate"),
        *("--epochs", 2, "--out", path / "model", "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    assert "nats_per_gene" in result.stdout
    assert "accuracy" in result.stdout
    return path / "model"


def test_a_gene_list_for_a_prompt(writer, adata) -> None:
    call = ("generate", "--model", writer, "--prompt", "Generate gene list for healthy B cells", "--n-genes", 6)
    one, same, other = c2s_(*call), c2s_(*call), c2s_(*call, "--seed", 1)
    assert one.exit_code == 0, one.output
    words = one.stdout.split()
    assert 1 <= len(words) <= 6
    assert set(words) <= set(adata.var_names)
    assert len(set(words)) == len(words)
    assert one.stdout == same.stdout != other.stdout
    several = c2s_(*call, "--n-cells", 3)
    assert len(several.stdout.strip().split("\n")) == 3


def test_generated_files(writer, files, tmp_path) -> None:
    result = c2s_("generate", files / "cells.h5ad", "--model", writer, "--out", tmp_path / "beside.h5ad")
    assert result.exit_code == 0, result.output
    beside = anndata.read_h5ad(tmp_path / "beside.h5ad")
    assert beside.obsm["c2s_generated"].shape[0] == beside.n_obs
    result = c2s_(
        *("generate", "--model", writer, "--condition", "T cell, CD4/CD8", "--condition", "B cell"),
        *("--n-cells", 2, "--out", tmp_path / "new.h5ad"),
    )
    assert result.exit_code == 0, result.output
    new = anndata.read_h5ad(tmp_path / "new.h5ad")
    assert list(new.obs["cell_type"]) == ["T cell, CD4/CD8"] * 2 + ["B cell"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", "Generate gene list for healthy hepatocytes"), "does not know the condition"),
        (("--condition", "Hepatocyte", "--out", "x.h5ad"), "does not know the condition 'Hepatocyte'"),
        ((), "--out is missing"),
    ],
)
def test_what_cannot_be_generated(writer, arguments, message) -> None:
    result = c2s_("generate", "--model", writer, *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr.rstrip("\n").split("\n")[-1]


def test_a_model_that_does_not_generate(model) -> None:
    result = c2s_("generate", "--model", model[1], "--prompt", "B cells")
    assert result.exit_code == 2
    assert "was trained to annotate, not to write cells" in result.stderr


def hear(monkeypatch, said: str) -> list[list[dict[str, str]]]:
    """Have every model say this, and keep what it is asked."""
    heard: list[list[dict[str, str]]] = []

    def chat(self: LocalEngine, conversations: list, **how: object) -> list[str]:
        heard.extend(list(conversation) for conversation in conversations)
        return [said] * len(conversations)

    monkeypatch.setattr(LocalEngine, "chat", chat)
    return heard


ABOUT = ("--groupby", "cell_type", "--label-key", "cell_type", "--n-cells", 3, "--n-genes", 5, "--device", "cpu")


@pytest.mark.parametrize(
    ("file", "out", "options"), [("cells.h5ad", "new.h5ad", ()), ("cells.h5mu", "new.h5mu", ("--mod", "rna"))]
)
def test_summarize(files, pretrained, tmp_path, adata, file, out, options) -> None:
    result = c2s_(
        *("summarize", files / file, "--model", pretrained, *ABOUT, "--evidence", "--context", "donor"),
        *("--style", "caption", "--max-tokens", 6, "--seed", 4, "--out", tmp_path / out, *options),
    )
    assert result.exit_code == 0, result.output
    c2s.tl.summarize(
        adata,
        model=str(pretrained),
        groupby=["cell_type"],
        label_key="cell_type",
        context=["donor"],
        evidence=True,
        style="caption",
        n_cells=3,
        n_genes=5,
        max_tokens=6,
        rng=4,
        device="cpu",
    )
    stored = mudata.read_h5mu(tmp_path / out)["rna"] if options else anndata.read_h5ad(tmp_path / out)
    texts = c2s.get.summary(adata)
    pd.testing.assert_frame_equal(c2s.get.summary(stored), texts, check_dtype=False)
    assert stored.uns["c2s_summary"]["params"]["style"] == "caption"
    for name, text in texts["text"].items():
        assert f"\n{name}\n{text}\n[" in result.stdout
    assert f"written    {tmp_path / out}" in result.stdout


def test_what_is_printed_of_a_text(files, pretrained, monkeypatch) -> None:
    """What the data confirm is counted, what they contradict is shown."""
    heard = hear(monkeypatch, "They are B cells.")
    result = c2s_("summarize", files / "cells.h5ad", "--model", pretrained, *ABOUT, "--group", "B cell")
    assert result.exit_code == 0, result.output
    assert result.stdout == "\nB cell\nThey are B cells.\n[1 confirmed]\n"
    assert len(heard) == 1
    result = c2s_(
        "ask", files / "cells.h5ad", "What are they?", "--model", pretrained, *ABOUT, "--group", "CD14+ monocyte"
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[1:4] == ["CD14+ monocyte", "They are B cells.", "[1 contradicted]"]
    assert lines[4].startswith("    'B cells': said B cells: present, found ")
    heard = hear(monkeypatch, "Hello.")
    result = c2s_("summarize", files / "cells.h5ad", "--model", pretrained, "--n-cells", 3, "--n-genes", 5)
    assert result.stdout == "\nall cells\nHello.\n[no claim that can be looked up]\n"


def test_ask_with_choices(files, pretrained, tmp_path, adata) -> None:
    result = c2s_(
        *("ask", files / "cells.h5ad", "Which?", "--model", pretrained, *ABOUT),
        *("--choice", "GENE1", "--choice", "x", "--out", tmp_path / "new.h5ad"),
    )
    assert result.exit_code == 0, result.output
    table = c2s.get.summary(anndata.read_h5ad(tmp_path / "new.h5ad"), key="c2s_answer")
    assert set(table["question"]) == {"Which?"}
    for name, row in table.iterrows():
        printed = f"\n{name}\n{row['text']}\n    {row['proba_GENE1']:.3f} GENE1\n    {row['proba_x']:.3f} x\n["
        assert printed in result.stdout


@pytest.mark.parametrize("ends", ["\nnever asked\n", ""])
def test_chat(files, pretrained, monkeypatch, ends) -> None:
    heard = hear(monkeypatch, "They are B cells.")
    typed = f"What are they?\nAre you sure?\n{ends}"
    result = c2s_("chat", files / "cells.h5ad", "--model", pretrained, *ABOUT, "--group", "B cell", typed=typed)
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "B cell: 20 cells, of which 3 are shown. Ask about them; an empty line ends.\n"
        "They are B cells.\n[1 confirmed]\nThey are B cells.\n[1 confirmed]\n"
    )
    first, second = heard
    assert [turn["role"] for turn in first] == ["system", "user"]
    assert [turn["role"] for turn in second] == ["system", "user", "assistant", "user"]
    assert first[-1]["content"].endswith("What are they?")
    assert second[:2] == first, "the same cells stay in view"
    assert [turn["content"] for turn in second[2:]] == ["They are B cells.", "Are you sure?"]


def test_chat_with_a_real_model(files, pretrained) -> None:
    call = ("chat", files / "cells.h5mu", "--mod", "rna", "--model", pretrained, "--n-cells", 3, "--n-genes", 5)
    results = [c2s_(*call, "--max-tokens", 5, typed="What are they?\nWhy?") for _ in range(2)]
    assert results[0].exit_code == 0, results[0].output
    assert results[0].stdout.startswith("all cells: 60 cells, of which 3 are shown.")
    assert results[0].stdout.count("\n[") == 2
    assert results[0].stdout == results[1].stdout


def test_finetune_to_talk(files, pretrained, tmp_path) -> None:
    adata = anndata.read_h5ad(files / "cells.h5ad")
    adata.obs["lot"] = [f"lot{i // 3 % 4}" for i in range(60)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    result = c2s_(
        *("finetune", tmp_path / "cells.h5ad", "--label", "cell_type", "--label", "lot", "--model", pretrained),
        *("--task", "summarize", "--task", "ask", "--label-key", "cell_type", "--context", "lot", "--evidence"),
        *("--sample-key", "donor", "--style", "caption", "--n-cells", 2, "--n-genes", 4, "--epochs", 1),
        *("--out", tmp_path / "model", "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    card = directory.read(tmp_path / "model")
    assert card.task == ["summarize", "ask"]
    assert card.language == {
        "n_cells": 2,
        "n_genes": 4,
        "style": "caption",
        "evidence": True,
        "columns": {
            "groupby": ["cell_type", "lot"],
            "label_key": "cell_type",
            "sample_key": "donor",
            "subgroup_key": None,
            "context": ["lot"],
        },
    }
    assert f"{card.metrics['test']['accuracy']:.3f}" in result.stdout
    assert f"{card.metrics['test']['composition_error']:.3f}" in result.stdout
    said = c2s_(
        "ask", tmp_path / "cells.h5ad", "Which?", "--model", tmp_path / "model", "--choice", "a", "--choice", "b"
    )
    assert said.exit_code == 0, said.output
    assert "\nall cells\n" in said.stdout
