"""Text: what is written is read back, whatever is in the names."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings

from sc_c2s.sentences.ranking import Ranked
from sc_c2s.sentences.text import as_text, quote, read_sentences, unquote, write_sentences

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def ranked(lists: list[list[int]]) -> Ranked:
    lengths = [len(genes) for genes in lists]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Ranked(indptr, np.array([g for genes in lists for g in genes], dtype=np.int32), np.array(lengths))


def lists_of(parsed) -> list[list[int]]:
    return [parsed.indices[a:b].tolist() for a, b in zip(parsed.indptr, parsed.indptr[1:], strict=False)]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("CD3E", "CD3E"),
        ("Cd3e", "Cd3e"),
        ("B220 (CD45R)", "B220%20(CD45R)"),
        ("100% IgG\tcontrol", "100%25%20IgG%09control"),
        ("HLA-A,B,C", "HLA-A,B,C"),
        ("γδ\u2003TCR", "γδ%E2%80%83TCR"),
    ],
)
def test_quote_known(name, word):
    assert quote(name) == word
    assert unquote(word) == name


@given(names)
def test_quoted_names_are_one_word_and_come_back(name):
    assert quote(name).split() == [quote(name)]
    assert unquote(quote(name)) == name


def test_every_white_space_that_arrow_or_python_splits_at_is_quoted():
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    arrow = pc.list_value_length(pc.utf8_split_whitespace(pa.array([f"a{c}b" for c in characters]))).to_numpy()
    split = {c for c, n_words in zip(characters, arrow, strict=True) if n_words > 1}
    assert split == {c for c in characters if c.isspace()}
    assert {c for c in characters if quote(c) != c} == split | {"%"}


def test_sentences_known():
    genes = ["CD3E", "B220 (CD45R)", "MALAT1"]
    sentences = write_sentences(ranked([[2, 0], [], [1, 2, 0]]), genes)
    assert sentences.to_pylist() == ["MALAT1 CD3E", "", "B220%20(CD45R) MALAT1 CD3E"]


def test_no_cells():
    assert write_sentences(ranked([]), ["A"]).to_pylist() == []
    assert len(read_sentences([], ["A"])) == 0


@given(st.data())
@settings(deadline=None)
def test_ranks_to_sentences_and_back(data):
    genes = data.draw(st.lists(names, min_size=1, max_size=12, unique=True))
    lists = data.draw(st.lists(st.lists(st.integers(0, len(genes) - 1), unique=True), max_size=6))
    parsed = read_sentences(write_sentences(ranked(lists), genes), genes)
    assert lists_of(parsed) == lists
    assert parsed.ranks.tolist() == [rank for genes in lists for rank in range(len(genes))]
    assert parsed.n_unknown.tolist() == parsed.n_repeated.tolist() == [0] * len(lists)


def test_more_cells_than_fit_in_one_block():
    lists = [[i % 3] if i % 5 else [] for i in range(10_000)]
    parsed = read_sentences(write_sentences(ranked(lists), list("ABC")), list("ABC"))
    assert lists_of(parsed) == lists


@pytest.mark.parametrize(
    ("sentence", "genes", "ranks", "n_unknown", "n_repeated"),
    [
        ("A B C", [0, 1, 2], [0, 1, 2], 0, 0),
        ("  A\tB\n\nC ", [0, 1, 2], [0, 1, 2], 0, 0),
        ("A, B,C;  E", [0, 1, 2, 4], [0, 1, 2, 3], 0, 0),
        ("A,", [0], [0], 0, 0),
        ("HLA-A,B,C A", [3, 0], [0, 1], 0, 0),
        ("A what B", [0, 1], [0, 2], 1, 0),
        ("A B A A C", [0, 1, 2], [0, 1, 2], 0, 2),
        ("a b", [], [], 2, 0),
        ("", [], [], 0, 0),
        (None, [], [], 0, 0),
    ],
)
def test_reading_what_others_wrote(sentence, genes, ranks, n_unknown, n_repeated):
    # Beside others: what one sentence holds must not touch the next.
    parsed = read_sentences(["B", sentence, "A B"], ["A", "B", "C", "HLA-A,B,C", "E"])
    assert lists_of(parsed) == [[1], genes, [0, 1]]
    assert parsed.ranks.tolist() == [0, *ranks, 0, 1]
    assert parsed.n_unknown.tolist() == [0, n_unknown, 0]
    assert parsed.n_repeated.tolist() == [0, n_repeated, 0]


@pytest.mark.parametrize(
    "values",
    [
        ["A B", None, "A B"],
        np.array(["A B", None, "A B"], dtype=object),
        pd.Series(["A B", np.nan, "A B"]),
        pd.Series(["A B", None, "A B"], dtype="category"),
        pd.Series(["A B", None, "A B"], dtype="string"),
        pd.Index(["A B", None, "A B"]),
        pa.array(["A B", None, "A B"]),
        pa.chunked_array([["A B", None], ["A B"]]),
        pa.array(["A B", None, "A B"]).dictionary_encode(),
    ],
    ids=lambda values: type(values).__name__,
)
def test_all_that_holds_strings_is_read(values):
    assert as_text(values).to_pylist() == ["A B", "", "A B"]


@pytest.mark.parametrize("values", [[1, 2], ["A", 2], pd.Series([1.0]), pd.Series([1, 2], dtype="category")])
def test_what_is_no_text_is_refused(values):
    with pytest.raises(TypeError, match="must be strings"):
        as_text(values)


def test_one_string_is_refused():
    with pytest.raises(TypeError, match=r"\[sentence\]"):
        as_text("A B")
