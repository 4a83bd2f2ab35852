"""Sentences with known errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sc_c2s import metrics
from sc_c2s.metrics import sentences as module

GENES = ["A", "B", "C", "D", "E"]
SENTENCES = ["A B C", "A B  C", "C B A", "A A B zz", "D E", None]
LABELS = ["x", "x", "x", "y", "y", "y"]
KNOWN = ["C B A", "D E A B"]


def test_shares_by_hand() -> None:
    table = metrics.generated_sentences(SENTENCES, genes=GENES, labels=LABELS, known=KNOWN)
    assert list(table.index) == ["x", "y", "(mean)"]
    assert table["n"].tolist() == [3, 2, 5]
    assert table["n_genes"].tolist() == [3, 3, 3]
    assert table["valid"].tolist() == pytest.approx([1, 5 / 6, 11 / 12])
    assert table["unique"].tolist() == pytest.approx([1, 5 / 6, 11 / 12])
    assert table["distinct"].tolist() == pytest.approx([1 / 3, 1, 2 / 3])
    assert table["memorised"].tolist() == pytest.approx([1 / 3, 0, 1 / 6])
    # {A, B} shares two of three genes with the first known sentence, {D, E} two of four with the second.
    assert table["overlap"].tolist() == pytest.approx([1, (2 / 3 + 2 / 4) / 2, (1 + 7 / 12) / 2])


def test_without_labels_all_words_count_the_same() -> None:
    table = metrics.generated_sentences(pd.Series(SENTENCES, dtype="category"), genes=GENES)
    assert list(table.columns) == ["n", "n_genes", "valid", "unique", "distinct"]
    assert list(table.index) == ["(all)"]
    row = table.loc["(all)"]
    pd.testing.assert_frame_equal(metrics.generated_sentences(pa.array(SENTENCES), genes=GENES), table)
    assert row["n"] == 5
    assert row["valid"] == pytest.approx(14 / 15)
    assert row["unique"] == pytest.approx(14 / 15)
    assert row["distinct"] == pytest.approx(3 / 5)


def test_equal_sentences_of_two_labels_are_not_distinct() -> None:
    table = metrics.generated_sentences(["A B", "A B", "C"], genes=GENES, labels=pd.Categorical(["x", "y", "y"]))
    assert table["distinct"].tolist() == [0, 0.5, 0.25]


def test_sentences_without_label_are_left_out() -> None:
    table = metrics.generated_sentences(["A B", "zz", "C"], genes=GENES, labels=["x", None, np.nan])
    assert table["n"].tolist() == [1, 1]
    assert table.loc["x", "valid"] == 1


def test_an_empty_sentence_is_one_without_words() -> None:
    table = metrics.generated_sentences(["", "A B"], genes=GENES, known=["B"])
    assert table.loc["(all)", ["n", "n_genes", "valid", "overlap"]].tolist() == [2, 1, 1, 0.25]
    nothing = metrics.generated_sentences([""], genes=GENES)
    assert nothing.loc["(all)", "n_genes"] == 0
    assert np.isnan(nothing.loc["(all)", "valid"])


def test_overlap_is_that_of_sets_also_in_pieces(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(40)]
    found, known = ([" ".join(rng.permutation(genes)[: rng.integers(1, 20)]) for _ in range(n)] for n in (23, 17))
    expected = [
        max(len(set(a.split()) & set(b.split())) / len(set(a.split()) | set(b.split())) for b in known) for a in found
    ]
    for at_once in (module._PAIRS_AT_ONCE, 17 * 5, 3):
        monkeypatch.setattr(module, "_PAIRS_AT_ONCE", at_once)
        table = metrics.generated_sentences(found, genes=genes, known=known)
        assert table.loc["(all)", "overlap"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sentences": "A B"}, TypeError, r"write \[sentence\]"),
        ({"sentences": [1, 2]}, TypeError, "must be strings"),
        ({"sentences": [None]}, ValueError, "no sentence to look at"),
        ({"sentences": ["A"], "labels": ["x", "y"]}, ValueError, "1 sentences and 2 labels"),
        ({"sentences": ["A"], "known": []}, ValueError, "known= holds no sentence"),
    ],
)
def test_bad_input(arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        metrics.generated_sentences(**arguments, genes=GENES)
