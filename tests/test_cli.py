"""The command line: what it says, what it writes, and how it fails."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anndata
import mudata
import pyarrow.parquet as pq
import pytest
import scanpy as sc
from anndata import AnnData
from typer.testing import CliRunner, Result

import sc_c2s as c2s
from sc_c2s.cli import app
from sc_c2s.models import directory, nano

COMMANDS = ("demo", "sentences", "finetune", "annotate", "generate", "info")


@pytest.fixture(scope="module", autouse=True)
def tiny_nano() -> Iterator[None]:
    before = sc.settings.verbosity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, width=32, n_layers=1, n_heads=2))
        yield
    sc.settings.verbosity = before


def c2s_(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


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
    assert (
        len(options) == {"demo": 10, "sentences": 7, "finetune": 20, "annotate": 12, "generate": 13, "info": 1}[command]
    )


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
