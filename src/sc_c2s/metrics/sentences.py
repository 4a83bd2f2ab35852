"""What generated sentences are made of, and how much of them the model knows by heart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from sc_c2s.sentences.text import Parsed, as_text, read_sentences

from .generation import MEAN

ALL = "(all)"
"""Row of sentences without labels."""
_PAIRS_AT_ONCE = 2**24


def generated_sentences(
    sentences: ArrayLike,
    *,
    genes: Sequence[str] | NDArray[np.str_],
    labels: ArrayLike | None = None,
    known: ArrayLike | None = None,
) -> pd.DataFrame:
    """Look for errors, repeats and training sentences among generated sentences.

    Give held-out real sentences in place of the generated ones to see which values are to be expected.

    Parameters
    ----------
    sentences
        Generated sentences, for example ``adata.obs["c2s_generated_sentence"]``. Missing ones are left out.
    genes
        Names of the genes that may occur.
    labels
        Condition of each sentence, in the same order. Sentences without one are left out.
    known
        Sentences that the model was trained on.

    Returns
    -------
    A row for each label and their mean (``"(mean)"``); without labels one row, ``"(all)"``. The columns are

    `n`
        Sentences.
    `n_genes`
        Mean number of words.
    `valid`
        Share of the words that are known genes.
    `unique`
        Share of the words that do not repeat a gene before them in the sentence.
    `distinct`
        Share of the sentences that no other one equals, of whatever label.

    and, with `known`,

    `memorised`
        Share of the sentences that equal a known one, word by word.
    `overlap`
        How much of a sentence stands in the known one that is nearest to it, whatever the order: the genes that both have
        over the genes that either has (Jaccard index), highest over the known ones, mean over the sentences.
    """
    text = _text(sentences)
    label = pd.Series([ALL] * len(text) if labels is None else np.asarray(labels, dtype=object), dtype=object)
    if len(label) != len(text):
        raise ValueError(f"There are {len(text)} sentences and {len(label)} labels; give one label to each sentence.")
    there = (text.notna() & label.notna()).to_numpy()
    text, label = text[there], label[there].astype(str)
    if text.empty:
        raise ValueError("There is no sentence to look at: all are missing, or have no label.")
    parsed = read_sentences(text, genes)
    words = np.diff(parsed.indptr) + parsed.n_unknown + parsed.n_repeated
    each = pd.DataFrame(
        {
            "words": words,
            "unknown": parsed.n_unknown,
            "repeated": parsed.n_repeated,
            "distinct": ~text.duplicated(False),
        }
    )
    if known is not None:
        learnt = _text(known).dropna()
        if learnt.empty:
            raise ValueError("known= holds no sentence: give the training sentences, or leave it out.")
        each["memorised"] = text.isin(set(learnt)).to_numpy()
        each["overlap"] = _highest_overlap(
            *(_sets(found, len(genes)) for found in (parsed, read_sentences(learnt, genes)))
        )
    groups = each.groupby(label.to_numpy())
    n_words = groups["words"].sum()
    table = pd.DataFrame(
        {
            "n": groups.size(),
            "n_genes": groups["words"].mean(),
            "valid": 1 - groups["unknown"].sum() / n_words,
            "unique": 1 - groups["repeated"].sum() / n_words,
            **{name: groups[name].mean() for name in ("distinct", "memorised", "overlap") if name in each},
        }
    )
    if labels is not None:
        table.loc[MEAN] = table.mean()
        table["n"] = [*groups.size(), len(each)]
    return table.rename_axis("label")


def _text(sentences: ArrayLike) -> pd.Series:
    """Sentences with single spaces between the words; missing ones stay missing."""
    text = pd.Series(as_text(sentences).to_numpy(zero_copy_only=False), dtype=object)
    return text.str.split().str.join(" ").mask(pd.isna(np.asarray(sentences, dtype=object)))


def _sets(parsed: Parsed, n_genes: int) -> sp.csr_matrix:
    """Genes of each sentence, as a matrix of ones."""
    ones = np.ones(len(parsed.indices), dtype=np.float32)
    return sp.csr_matrix((ones, parsed.indices, parsed.indptr), shape=(len(parsed), n_genes))


def _highest_overlap(found: sp.csr_matrix, known: sp.csr_matrix) -> NDArray[np.float32]:
    """Jaccard index of each set with the one among the known that it has most in common with."""
    sizes, known_sizes = (np.diff(sets.indptr).astype(np.float32) for sets in (found, known))
    step = max(_PAIRS_AT_ONCE // len(known_sizes), 1)
    highest = np.empty(len(sizes), dtype=np.float32)
    for start in range(0, len(sizes), step):
        part = slice(start, start + step)
        both = (found[part] @ known.T).toarray()
        highest[part] = (both / np.maximum(sizes[part, None] + known_sizes - both, 1)).max(axis=1)
    return highest
