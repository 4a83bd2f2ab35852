"""Gene tokens from end to end: trained, written, opened, gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from safetensors.numpy import load_file
from scipy import sparse

import sc_c2s as c2s
from sc_c2s.engine import LocalEngine
from sc_c2s.models import directory, gene_token_ids, load
from sc_c2s.prompts import annotate_prompt
from sc_c2s.training import sft

FAST: dict[str, Any] = {
    "groupby": "cell_type",
    "n_epochs": 2,
    "batch_size": 8,
    "n_genes": 8,
    "lora_rank": 4,
    "learning_rate": 1e-2,
    "device": "cpu",
    "dtype": "float32",
}


@pytest.fixture(params=["tied", "untied"])
def base(request: pytest.FixtureRequest, make_llama: Any, piece_tokenizer: Any, tmp_path: Path) -> Path:
    make_llama(len(piece_tokenizer), tied=request.param == "tied").save_pretrained(tmp_path / "base")
    piece_tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Models in memory at the end of training, with their tokenizers."""
    seen, train = [], sft.train

    def watch(model: Any, tokenizer: Any, *args: Any, **options: Any) -> Any:
        trained, history = train(model, tokenizer, *args, **options)
        seen.append((trained, tokenizer))
        return trained, history

    monkeypatch.setattr(sft, "train", watch)
    return seen


def vectors(path: Path) -> np.ndarray:
    [found] = [
        x for name, x in load_file(path / "adapter_model.safetensors").items() if "embed" in name or "head" in name
    ]
    return found


def scores(model: Any, tokenizer: Any, path: Path) -> np.ndarray:
    genes = directory.read(path).genes
    prompts = [annotate_prompt(" ".join(genes[i : i + 5]), family="marked", groupby="cell_type") for i in range(4)]
    return LocalEngine(model, tokenizer, quiet=True).score(prompts, [" B cell", " CD14+ monocyte"])


def test_a_trained_model_is_opened_as_it_was(base, adata, tmp_path, spied, capfd) -> None:
    path = tmp_path / "model"
    c2s.tl.finetune(adata, model=base, output_dir=path, **FAST)
    assert "Warning" not in capfd.readouterr().err
    card, opened = directory.read(path), load(path, device="cpu")
    assert card.family == "marked"
    assert list(gene_token_ids(opened.tokenizer)) == card.genes
    [(model, tokenizer)] = spied
    np.testing.assert_allclose(scores(opened.model, opened.tokenizer, path), scores(model, tokenizer, path), atol=1e-4)
    assert vectors(path).shape == (len(card.genes), 32), "the rows of the genes and not the table"
    assert not np.allclose(vectors(path), scores_at_start(base, card.genes), atol=1e-3), "they were trained"
    check_reported(adata, path)


def scores_at_start(base: Path, genes: list[str]) -> np.ndarray:
    model = c2s.models.add_gene_tokens(load(base, device="cpu"), genes)
    table = model.model.get_input_embeddings().weight.detach().numpy()
    return table[list(gene_token_ids(model.tokenizer).values())]


def check_reported(adata: AnnData, path: Path) -> None:
    c2s.tl.annotate(adata, model=path, device="cpu")
    test = (adata.obs["c2s_split"] == "test").to_numpy()
    proba, labels = adata.obsm["c2s_cell_type_proba"][test], list(adata.uns["c2s_cell_type"]["labels"])
    truth, told = adata.obs["cell_type"][test], adata.obs["c2s_cell_type"][test]
    found = c2s.metrics.annotation(truth, told, proba=proba, labels=labels)
    assert found["log_loss"] == pytest.approx(adata.uns["c2s_finetune"]["metrics"].loc["test", "log_loss"], abs=1e-4)


def test_cells_are_told_apart(base, make_cells, tmp_path) -> None:
    adata = make_cells(240, 12)
    # Labels that differ from their first piece on.
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories(["X1", "Y2", "Z3"])
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "model", **FAST | {"n_epochs": 12, "n_genes": 4})
    metrics = adata.uns["c2s_finetune"]["metrics"]
    assert metrics.loc["test", "accuracy"] > 0.6, "a third is chance"


def test_training_goes_on(base, adata, tmp_path, spied) -> None:
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "first", **FAST)
    first = vectors(tmp_path / "first")
    more = adata[:, ::-1].copy()
    more.var_names = [*more.var_names[:-1], "NEW"]  # one gene is gone, and one has come
    c2s.tl.finetune(more, model=tmp_path / "first", output_dir=tmp_path / "second", split_key="c2s_split", **FAST)
    card, opened = directory.read(tmp_path / "second"), load(tmp_path / "second", device="cpu")
    assert card.family == "marked"
    assert set(card.genes) == set(directory.read(tmp_path / "first").genes) - {"GENE0"}
    assert list(gene_token_ids(opened.tokenizer)) == directory.read(tmp_path / "first").genes
    second = vectors(tmp_path / "second")
    assert second.shape == first.shape
    moved = np.abs(second - first).max(axis=1)
    assert 0 < moved.max() < 0.5, "it went on from where it was"
    np.testing.assert_allclose(
        scores(opened.model, opened.tokenizer, tmp_path / "second"),
        scores(*spied[-1], tmp_path / "second"),
        atol=1e-4,
    )


def test_rewards_go_on(base, adata, tmp_path, capfd) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories(["X1", "X2", "X3"])
    where = {"groupby": "cell_type", "device": "cpu", "dtype": "float32"}
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "sft", **FAST)
    capfd.readouterr()
    c2s.tl.finetune(
        adata,
        model=tmp_path / "sft",
        output_dir=tmp_path / "grpo",
        method="grpo",
        split_key="c2s_split",
        learning_rate=1e-2,
        n_steps=2,
        batch_size=4,
        n_generations=4,
        **where,
    )
    assert "Warning" not in capfd.readouterr().err
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("sft", "grpo"))
    assert {name: x.shape for name, x in before.items()} == {name: x.shape for name, x in after.items()}
    history = adata.uns["c2s_finetune"]["history"]
    assert history["kl"].iloc[0] == pytest.approx(0, abs=1e-5)
    assert directory.read(tmp_path / "grpo").family == "marked"
    check_reported(adata, tmp_path / "grpo")


class Killed(Exception):
    pass


def test_a_run_that_was_stopped_goes_on(base, adata, tmp_path, monkeypatch) -> None:
    options = FAST | {"n_epochs": 4}
    whole, resumed = adata.copy(), adata.copy()
    c2s.tl.finetune(whole, model=base, output_dir=tmp_path / "whole", **options)
    judge, seen = sft.Judged.evaluate, []

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.state.global_step)
        if len(seen) == 6:
            raise Killed
        return judge(self, *args, **kwargs)

    path = tmp_path / "model"
    with monkeypatch.context() as patched:
        patched.setattr(sft.Judged, "evaluate", stop)
        with pytest.raises(Killed):
            c2s.tl.finetune(adata.copy(), model=base, output_dir=path, **options)
    checkpoint = Path(str(sft.last_checkpoint(path)))
    shapes = {name: x.shape for name, x in load_file(checkpoint / "adapter_model.safetensors").items()}
    assert max(n for n, _ in shapes.values()) < 300, "no table of embeddings in a checkpoint"
    c2s.tl.finetune(resumed, model=base, output_dir=path, **options)
    columns = ["step", "train_loss", "val_loss", "val_accuracy"]
    pd.testing.assert_frame_equal(
        resumed.uns["c2s_finetune"]["history"][columns], whole.uns["c2s_finetune"]["history"][columns], rtol=1e-4
    )
    np.testing.assert_allclose(vectors(path), vectors(tmp_path / "whole"), atol=1e-5)


def test_genes_that_no_sentence_shows_are_left_out(base, adata, tmp_path) -> None:
    counts = adata.X.toarray()
    counts[:, -3:] = np.minimum(counts[:, -3:], 1)
    counts[:, :20] += 2  # 20 genes before those in every cell
    adata.X = sparse.csr_matrix(counts)
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "all", **FAST | {"n_epochs": 1})
    genes = directory.read(tmp_path / "all").genes
    assert not {"GENE37", "GENE38", "GENE39"} & set(genes)
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "few", n_top_genes=10, **FAST | {"n_epochs": 1})
    assert len(directory.read(tmp_path / "few").genes) == 10


def test_without_gene_tokens(base, adata, tmp_path) -> None:
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "plain", gene_tokens=False, **FAST | {"n_epochs": 1})
    assert directory.read(tmp_path / "plain").family == "english"
    assert gene_token_ids(load(tmp_path / "plain", device="cpu").tokenizer) == {}
    with pytest.raises(ValueError, match="was trained without gene tokens: leave out gene_tokens="):
        c2s.tl.finetune(adata, model=tmp_path / "plain", output_dir=tmp_path / "more", gene_tokens=True, **FAST)


def test_other_genes_altogether(base, adata, tmp_path) -> None:
    c2s.tl.finetune(adata, model=base, output_dir=tmp_path / "model", **FAST | {"n_epochs": 1})
    mouse = adata.copy()
    mouse.var_names = [name.title() for name in mouse.var_names]
    with pytest.raises(ValueError, match="None of the genes of .* is in the data: .*gene_symbols="):
        c2s.tl.finetune(mouse, model=tmp_path / "model", output_dir=tmp_path / "more", **FAST)
    shutil.rmtree(tmp_path / "more")
    with pytest.raises(ValueError, match="was trained with gene tokens"):
        c2s.tl.finetune(adata, model=tmp_path / "model", output_dir=tmp_path / "more", gene_tokens=False, **FAST)


def test_who_cannot_have_gene_tokens(base, adata, tmp_path) -> None:
    for task in ("generate", ["annotate", "generate"]):
        with pytest.raises(ValueError, match="Gene tokens are for models that read cells"):
            c2s.tl.finetune(adata, task=task, model=base, output_dir=tmp_path / "x", gene_tokens=True, **FAST)
    with pytest.raises(ValueError, match="A nano has one token for every gene by itself: leave out gene_tokens="):
        c2s.tl.finetune(adata, output_dir=tmp_path / "x", gene_tokens=False, **FAST)
    with pytest.raises(ValueError, match="gene_tokens= is for method='sft'"):
        c2s.tl.finetune(
            adata, model=base, output_dir=tmp_path / "x", method="grpo", gene_tokens=True, groupby="cell_type"
        )
