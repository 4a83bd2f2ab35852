"""Generated cells: what is written where, that conditions are heeded, and that nothing else matters."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from sc_c2s.get import generated
from sc_c2s.models import directory, nano
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.sentences.levels import Levels
from sc_c2s.sentences.text import read_sentences
from sc_c2s.tl import annotate, finetune, generate
from sc_c2s.tl._prompted import prompted

TYPES = ("B cell", "CD14+ monocyte", "T cell, CD4/CD8")
FAST: dict[str, Any] = {"batch_size": 16, "device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module", autouse=True)
def one_layer() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nano, "build", partial(nano.build, n_layers=1))
        yield


@pytest.fixture(scope="module")
def model(make_cells, one_layer, tmp_path_factory) -> Path:
    """A model that annotates and generates."""
    path = tmp_path_factory.mktemp("writer") / "model"
    finetune(
        make_cells(150),
        groupby="cell_type",
        task=["annotate", "generate"],
        output_dir=path,
        n_epochs=4,
        **FAST,
    )
    return path


def test_what_is_written(any_data, model) -> None:
    adata = any_data.adata
    adata.obs["cell_type"] = adata.obs["cell_type"].mask(np.isin(np.arange(adata.n_obs), [3, 8]))
    before = adata.X.copy()
    assert generate(any_data.data, model=model, **any_data.where) is None
    x, stored, sentences = adata.obsm["c2s_generated"], adata.uns["c2s_generated"], adata.obs["c2s_generated_sentence"]
    assert sparse.issparse(x)
    assert x.dtype == np.float32
    assert list(stored["var_names"]) == directory.read(model).genes
    assert x.shape == (adata.n_obs, len(stored["var_names"]))
    assert set(stored) == {"var_names", "space", "params", "n_failed"}
    assert (stored["space"], stored["n_failed"]) == ("log1p CP10k", 2)
    assert list(stored["params"]["groupby"]) == ["cell_type"]
    np.testing.assert_array_equal(np.flatnonzero(sentences.isna()), [3, 8])
    assert x[[3, 8]].nnz == 0
    parsed = read_sentences(sentences.dropna(), stored["var_names"])
    assert not parsed.n_unknown.any()
    assert not parsed.n_repeated.any()
    assert (x.getnnz(axis=1)[sentences.notna()] == np.diff(parsed.indptr)).all()
    assert (x.data > 0).all()
    # Expression falls along the sentence.
    first = x[0].toarray().ravel()[parsed.indices[: parsed.indptr[1]]]
    assert (np.diff(first) <= 0).all()
    np.testing.assert_array_equal(adata.X.toarray(), before.toarray())
    made = generated(any_data.data, **any_data.where)
    assert made.n_obs == adata.n_obs - 2
    if any_data.where:
        assert "rna:c2s_generated_sentence" in any_data.data.obs


def test_conditions_are_heeded(adata, model) -> None:
    """Every type has four genes of its own."""
    generate(adata, model=model)
    made = generated(adata)
    for kind, name in enumerate(TYPES):
        own = [f"GENE{i}" for i in range(4 * kind, 4 * kind + 4)]
        mean = (
            pd.Series(np.asarray(made[:, own].X.mean(axis=1)).ravel()).groupby(made.obs["cell_type"].to_numpy()).mean()
        )
        assert mean.idxmax() == name
        assert mean[name] > 1.5 * mean.drop(name).max()


def test_the_same_model_annotates(adata, model) -> None:
    annotate(adata, model=model)
    assert (adata.obs["c2s_cell_type"].astype(str) == adata.obs["cell_type"].astype(str)).mean() > 0.7
    generate(adata, model=model)
    made = generated(adata)
    annotate(made, model=model)
    assert (made.obs["c2s_cell_type"].astype(str) == made.obs["cell_type"].astype(str)).mean() > 0.6


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_batch_does_not_matter(adata, model, temperature) -> None:
    for name, size in (("one", 1), ("many", 64)):
        generate(adata, model=model, temperature=temperature, batch_size=size, key_added=name)
    assert list(adata.obs["one_sentence"]) == list(adata.obs["many_sentence"])
    assert (adata.obsm["one"] != adata.obsm["many"]).nnz == 0
    n = adata.obs["one_sentence"].str.split().str.len()
    same_type = adata.obs["cell_type"] == TYPES[0]
    starts = adata.obs["one_sentence"][same_type].str.split().str[: n[same_type].min()].map(tuple)
    assert (starts.nunique() == 1) == (temperature == 0)


def test_anndata_and_mudata_are_the_same(adata, mdata, model) -> None:
    generate(adata, model=model, rng=3)
    generate(mdata, model=model, rng=3, mod="rna")
    assert list(adata.obs["c2s_generated_sentence"]) == list(mdata["rna"].obs["c2s_generated_sentence"])
    assert (adata.obsm["c2s_generated"] != mdata["rna"].obsm["c2s_generated"]).nnz == 0


def test_the_seed_decides(adata, model) -> None:
    one, same, other = (generate(adata, model=model, rng=rng, copy=True) for rng in (1, 1, 2))
    assert list(one.obs["c2s_generated_sentence"]) == list(same.obs["c2s_generated_sentence"])
    assert list(one.obs["c2s_generated_sentence"]) != list(other.obs["c2s_generated_sentence"])
    assert "c2s_generated" not in adata.obsm


@pytest.mark.parametrize("kind", ["h5ad", "zarr", "h5mu"])
def test_round_trip(adata, mdata, model, tmp_path, kind) -> None:
    path = tmp_path / f"cells.{kind}"
    if kind == "h5mu":
        generate(mdata, model=model, mod="rna")
        mdata.write(path)
        before, after = mdata["rna"], mudata.read_h5mu(path)["rna"]
    else:
        generate(adata, model=model)
        (adata.write_h5ad if kind == "h5ad" else adata.write_zarr)(path)
        before, after = adata, (anndata.read_h5ad if kind == "h5ad" else anndata.read_zarr)(path)
    assert list(before.obs["c2s_generated_sentence"]) == list(after.obs["c2s_generated_sentence"])
    assert (before.obsm["c2s_generated"] != sparse.csr_matrix(after.obsm["c2s_generated"])).nnz == 0
    np.testing.assert_array_equal(generated(before).X.toarray(), generated(after).X.toarray())
    assert list(after.uns["c2s_generated"]["params"]["groupby"]) == ["cell_type"]


@pytest.mark.parametrize(
    ("conditions", "n_cells", "expected"),
    [
        (TYPES[1], 5, [TYPES[1]] * 5),
        ([TYPES[1], TYPES[0]], None, [TYPES[1], TYPES[0]]),
        ([(TYPES[2],)], 2, [TYPES[2]] * 2),
        ({"cell_type": [TYPES[0], TYPES[2]]}, 2, [TYPES[0], TYPES[0], TYPES[2], TYPES[2]]),
        (pd.DataFrame({"cell_type": [TYPES[0]], "other": [1]}), None, [TYPES[0]]),
    ],
)
def test_new_cells(model, conditions, n_cells, expected, tmp_path) -> None:
    made = generate(model=model, conditions=conditions, n_cells=n_cells)
    assert isinstance(made, AnnData)
    assert list(made.obs["cell_type"]) == expected
    assert list(made.var_names) == directory.read(model).genes
    assert (made.X.getnnz(axis=1) == made.obs["c2s_generated_sentence"].str.split().str.len()).all()
    made.write_h5ad(tmp_path / "made.h5ad")
    assert list(anndata.read_h5ad(tmp_path / "made.h5ad").obs["cell_type"]) == expected


def test_conditions_are_drawn_as_often_as_they_were_seen(model) -> None:
    made = generate(model=model, n_cells=60, n_genes=2)
    shares = made.obs["cell_type"].value_counts(normalize=True)
    assert set(shares.index) == set(TYPES)
    assert shares.max() < 0.55
    assert (made.X.getnnz(axis=1) == 2).all()


def test_cells_are_as_long_as_the_training_cells(model) -> None:
    card = directory.read(model)
    levels = Levels.from_dict(card.levels)
    own = levels.n_genes[levels.groups == card.conditions["values"].index([TYPES[0]])]
    made = generate(model=model, conditions=TYPES[0], n_cells=200).X
    found = made.getnnz(axis=1)
    assert set(found) <= set(own)
    np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), np.quantile(own, [0.25, 0.5, 0.75]), atol=1.5)


def test_balanced_cells_scatter_less(model) -> None:
    """How often each gene is shown, over many draws of a few cells; a cell by itself is as probable as ever."""
    shown = {
        balanced: np.stack(
            [
                generate(model=model, conditions=TYPES[0], n_cells=20, rng=seed, balanced=balanced).X.getnnz(axis=0)
                for seed in range(12)
            ]
        )
        for balanced in (False, True)
    }
    scatter = {balanced: counts.var(axis=0, ddof=1).mean() for balanced, counts in shown.items()}
    assert scatter[True] < 0.6 * scatter[False]
    means = [counts.mean(axis=0) for counts in shown.values()]
    assert np.corrcoef(means)[0, 1] > 0.95


def test_the_temperature_of_the_model_is_the_default(adata, model) -> None:
    own = directory.read(model).sampling_temperature
    assert 0.5 <= own <= 1.5
    assert own != 1
    for name, temperature in (("default", None), ("own", own), ("one", 1.0)):
        generate(adata, model=model, temperature=temperature, key_added=name)
    assert adata.uns["default"]["params"]["temperature"] == own
    assert list(adata.obs["default_sentence"]) == list(adata.obs["own_sentence"])
    assert list(adata.obs["default_sentence"]) != list(adata.obs["one_sentence"])


def test_values_are_those_of_a_training_cell(make_cells, model) -> None:
    made = generate(model=model, conditions=TYPES[1], n_cells=20)
    real = make_cells(150)
    log = log_expression(sparse.csr_matrix(real.X))[:, real.var_names.get_indexer(made.var_names)]
    known = [np.sort(row.data) for row in log[(real.obs["cell_type"] == TYPES[1]).to_numpy()]]
    for cell, sentence in zip(made.X, made.obs["c2s_generated_sentence"], strict=True):
        assert any(len(one) == cell.nnz and np.allclose(one, np.sort(cell.data)) for one in known)
        written = cell.toarray()[0, made.var_names.get_indexer(sentence.split())]
        assert (np.diff(written) <= 0).all()
    shorter = generate(model=model, conditions=TYPES[1], n_cells=20, n_genes=5).X
    assert (shorter.getnnz(axis=1) == 5).all()
    np.testing.assert_allclose(shorter.max(axis=1).toarray(), made.X.max(axis=1).toarray())


def test_several_groupings_and_none(make_cells, tmp_path) -> None:
    adata = make_cells(150)
    adata.obs["kind"] = np.where(np.arange(150) % 2, "on", "off")
    finetune(adata, groupby=["cell_type", "kind"], task="generate", output_dir=tmp_path / "two", n_epochs=1, **FAST)
    assert list(adata.uns["c2s_finetune"]["metrics"].columns) == ["nats_per_gene"]
    made = generate(model=tmp_path / "two", conditions=[(TYPES[0], "on"), (TYPES[1], "off")], n_cells=2)
    assert list(made.obs["kind"]) == ["on", "on", "off", "off"]
    generate(adata, model=tmp_path / "two")
    assert list(adata.uns["c2s_generated"]["params"]["groupby"]) == ["cell_type", "kind"]
    with pytest.raises(ValueError, match="trained to generate, not to annotate"):
        annotate(adata, model=tmp_path / "two")

    finetune(adata, groupby=None, task="generate", output_dir=tmp_path / "any", n_epochs=1, **FAST)
    made = generate(model=tmp_path / "any", n_cells=4)
    assert list(made.obs.columns) == ["c2s_generated_sentence"]
    generate(adata, model=tmp_path / "any", key_added="any")
    assert adata.obs["any_sentence"].notna().all()


def test_learning_to_write_helps(make_cells, tmp_path) -> None:
    """Against drawing genes by their overall abundance, which says nothing of types."""
    adata = make_cells(300)
    finetune(adata, groupby="cell_type", task="generate", output_dir=tmp_path / "m", n_epochs=3, **FAST)
    learn = adata[adata.obs["c2s_split"] == "train"].X.toarray()
    test = adata[adata.obs["c2s_split"] == "test"].X.toarray()
    weight = learn.mean(axis=0)
    total = n = 0.0
    for cell in test:
        left = weight.copy()
        for gene in np.argsort(-cell, kind="stable")[: (cell > 0).sum()]:
            total, n = total - np.log(left[gene] / left.sum()), n + 1
            left[gene] = 0
    assert adata.uns["c2s_finetune"]["metrics"].loc["test", "nats_per_gene"] < total / n - 0.1


@pytest.mark.parametrize(
    ("text", "expected"), [("Generate gene list for B cells", TYPES[0]), ("a CD14+ monocyte", TYPES[1])]
)
def test_free_text(model, text, expected) -> None:
    [line] = prompted(text, model, rng=5, n_genes=8, device="cpu")
    words = line.split()
    assert len(set(words)) == len(words) <= 8
    own = 4 * TYPES.index(expected)
    assert len({f"GENE{i}" for i in range(own, own + 4)} & set(words)) >= 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda adata, model: generate(model=model), ValueError, "Without data there is nothing"),
        (lambda adata, model: generate(adata, model=model, n_cells=0), ValueError, "n_cells=0"),
        (lambda adata, model: generate(adata, model=model, temperature=-1), ValueError, "temperature=-1"),
        (
            lambda adata, model: generate(model=model, conditions="Neuron"),
            ValueError,
            "does not know the condition 'Neuron'. It knows: B cell; CD14",
        ),
        (
            lambda adata, model: generate(adata, model=model, groupby="donor"),
            ValueError,
            "by 'cell_type', not by 'donor'",
        ),
        (
            lambda adata, model: generate(adata[:, :5].copy(), model=model, mod="rna"),
            ValueError,
            "names a modality of a MuData",
        ),
        (lambda adata, model: generate(model=model, conditions={"donor": "a"}), KeyError, "has no 'cell_type'"),
        (
            lambda adata, model: generate(model=model, conditions=[("a", "b")]),
            ValueError,
            "a value for each of cell_type",
        ),
        (
            lambda adata, model: prompted("Generate gene list for healthy hepatocytes", model, device="cpu"),
            ValueError,
            "does not know the condition 'Generate gene list for healthy hepatocytes'. It knows: B cell",
        ),
        (lambda adata, model: generate(adata, model=3), TypeError, "model= has to be a path"),
    ],
)
def test_bad_input(adata, model, call, error, message) -> None:
    before = adata.copy()
    with pytest.raises(error, match=message.replace("+", r"\+")):
        call(adata, model)
    assert set(adata.obsm) == set(before.obsm)
    assert set(adata.uns) == set(before.uns)


def test_cells_of_an_unknown_condition(adata, model) -> None:
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.add_categories("Neuron")
    adata.obs.loc[adata.obs_names[4], "cell_type"] = "Neuron"
    with pytest.raises(ValueError, match="does not know the condition 'Neuron'"):
        generate(adata, model=model)
    assert "c2s_generated" not in adata.obsm


def test_a_model_that_only_annotates(adata, tmp_path) -> None:
    finetune(adata, groupby="cell_type", output_dir=tmp_path / "m", n_epochs=1, **FAST)
    with pytest.raises(ValueError, match="trained to annotate, not to write cells"):
        generate(adata, model=tmp_path / "m")


@pytest.mark.parametrize("task", ["generate", ["annotate", "generate"]])
def test_a_pretrained_model_with_several_tokens_a_gene(pretrained, adata, tmp_path, task) -> None:
    """Asked in prose, through an adapter: genes are still known, and none comes twice."""
    path = tmp_path / "adapter"
    options = {"n_epochs": 1, "n_genes": 8, "lora_rank": 2, **FAST}
    finetune(adata, groupby="cell_type", task=task, model=pretrained, output_dir=path, **options)
    card = directory.read(path)
    assert (card.family, card.recipe["n_genes"]) == ("english", 8)
    assert card.metrics["test"]["nats_per_gene"] > 0
    generate(adata, model=path, device="cpu")
    parsed = read_sentences(adata.obs["c2s_generated_sentence"], card.genes)
    assert not parsed.n_unknown.any()
    assert not parsed.n_repeated.any()
    lengths = np.diff(parsed.indptr)
    assert 1 <= lengths.min() <= lengths.max() <= 8
    few = generate(model=path, conditions=TYPES[0], n_cells=3, n_genes=2, device="cpu")
    assert (few.X.getnnz(axis=1) == 2).all()


def test_a_model_that_names_no_genes_writes_those_it_is_given(pretrained) -> None:
    genes = ["GENE1", "GENE10", "GENE12", "MT-CO1"]
    lines = prompted("A cell of the blood:", pretrained, genes=genes, n_cells=3, n_genes=3, device="cpu")
    for line in lines:
        words = line.split()
        assert len(set(words)) == len(words) <= 3
        assert set(words) <= set(genes)
    with pytest.raises(ValueError, match="does not say which genes it knows"):
        prompted("A cell of the blood:", pretrained, device="cpu")
    with pytest.raises(ValueError, match="does not say which genes and conditions"):
        generate(model=pretrained, n_cells=1, device="cpu")
