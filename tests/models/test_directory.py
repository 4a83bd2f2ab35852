"""What stands beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from sc_c2s.models import directory
from sc_c2s.models.directory import ModelCard
from sc_c2s.sentences.inverse import RankFit, fit_rank_expression

LABELS = ["B cell", "T cell, CD4/CD8"]


@pytest.fixture
def rank_fit() -> RankFit:
    x = sparse.random(60, 30, density=0.5, random_state=0, format="csr", dtype=np.float32)
    return fit_rank_expression(x, np.arange(60) % 5 == 0)


@pytest.fixture
def card(rank_fit) -> ModelCard:
    return ModelCard(
        task=["annotate"],
        groupby="cell_type",
        labels=LABELS,
        genes=["CD3D", "β-globin"],
        recipe={"n_genes": None, "ties": "hash", "organism": "human", "normalisation": "none"},
        family="nano",
        temperature=1.25,
        n_views=2,
        rank_fit=rank_fit.to_dict(),
        base={"name": "nano", "revision": None, "dtype": "float32"},
        metrics={
            "validation": {"accuracy": np.float64(0.9), "macro_f1": 0.875, "n": np.int64(10)},
            "test": {"accuracy": 0.8125, "macro_f1": 0.75, "balanced_accuracy": 0.7, "ece": 0.0625, "n": 16},
        },
        data={"fingerprint": "0123abcd", "n_train": 100},
        seed=7,
        versions={"torch": "2.13.0"},
    )


def test_round_trip(tmp_path, card, rank_fit) -> None:
    directory.write(tmp_path / "new" / "folder", card)
    read = directory.read(str(tmp_path / "new" / "folder"))
    before, after = asdict(card), asdict(read)
    fit = RankFit.from_dict(after.pop("rank_fit"))
    before.pop("rank_fit")
    assert after == before
    for name, value in asdict(rank_fit).items():
        np.testing.assert_array_equal(getattr(fit, name), value)


def test_levels_have_a_file_of_their_own(tmp_path, card) -> None:
    levels = {"values": np.array([2.5, 1], dtype=np.float32), "counts": np.array([1, 7])[::-1]}
    directory.write(tmp_path, replace(card, levels=levels))
    assert "levels" not in json.loads((tmp_path / directory.CARD).read_text())
    after = directory.read(tmp_path).levels
    for name, values in levels.items():
        np.testing.assert_array_equal(after[name], values)
    directory.clear(tmp_path)
    directory.write(tmp_path, card)
    assert directory.read(tmp_path).levels == {}, "those of an earlier model are gone"


def test_the_page_of_a_model_that_writes(tmp_path, card) -> None:
    conditions = {"groupby": ["kind"], "values": [["B", "on"], ["T", "off"]], "n_cells": [3, 4]}
    metrics = {"test": {"nats_per_gene": 5.25}}
    directory.write(
        tmp_path, replace(card, task=["generate"], labels=[], conditions=conditions, metrics=metrics, temperature=1.0)
    )
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "`sc_c2s.tl.generate(adata, model=<this directory>)`" in page
    assert "- **Conditions**: B, on; T, off" in page
    assert "| cells | nats_per_gene |" in page
    assert "| test | 5.250 |" in page
    for other in ("tl.annotate(", "Labels", "Temperature", "unknown_below", "accuracy"):
        assert other not in page
    assert directory.read(tmp_path).conditions == conditions


def test_history_round_trip(tmp_path, card) -> None:
    history = pd.DataFrame({"step": [1, 2], "train_loss": [np.nan, 0.5], "val_loss": [0.75, 0.25]})
    directory.write(tmp_path, card, history=history)
    pd.testing.assert_frame_equal(directory.read_history(tmp_path), history)


def test_a_newer_format_is_refused(tmp_path, card) -> None:
    directory.write(tmp_path, card)
    file = tmp_path / "c2s.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))
    with pytest.raises(ValueError, match="has format version 99, this sc_c2s reads up to 1: update sc-c2s"):
        directory.read(tmp_path)


def test_fields_of_a_later_release_of_this_format_are_ignored(tmp_path, card) -> None:
    directory.write(tmp_path, card)
    file = tmp_path / "c2s.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"not_yet_thought_of": 1}))
    assert directory.read(tmp_path).labels == LABELS


def test_no_card(tmp_path) -> None:
    assert not directory.is_model_directory(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds no c2s.json: give a directory that tl.finetune wrote"):
        directory.read(tmp_path)


def test_the_page_for_readers(tmp_path, card) -> None:
    directory.write(tmp_path, card)
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    for said in (*LABELS, "annotate `cell_type`", "torch 2.13.0", "0123abcd", "n_genes = None", "1.250"):
        assert said in page
    assert "| test | 0.812 | 0.750 | 0.700 | 0.062 |" in page
    assert "| validation | 0.900 | 0.875 |  |  |" in page
    head = page.split("---")[1]
    assert "library_name: transformers" in head, "what the hub reads"


def test_interrupted_writing_leaves_no_card(tmp_path, card, monkeypatch) -> None:
    monkeypatch.setattr(directory, "_page", lambda card: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        directory.write(tmp_path, card)
    assert not directory.is_model_directory(tmp_path)


def test_what_json_does_not_take_leaves_no_card(tmp_path, card) -> None:
    card.data["cells"] = object()
    with pytest.raises(TypeError, match="object does not go into c2s.json"):
        directory.write(tmp_path, card)
    assert not directory.is_model_directory(tmp_path)


def test_clearing_takes_the_model_and_leaves_the_rest(tmp_path, card) -> None:
    directory.write(tmp_path, card)
    for name in ("config.json", "adapter_config.json", "model.safetensors", "notes.txt"):
        (tmp_path / name).touch()
    directory.clear(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"README.md", "notes.txt"}


def test_foreign_models(tmp_path, card) -> None:
    assert not directory.holds_foreign_model(tmp_path)
    (tmp_path / "config.json").touch()
    assert directory.holds_foreign_model(tmp_path)
    directory.write(tmp_path, card)
    assert not directory.holds_foreign_model(tmp_path)
