"""Ranks to text and back, in Arrow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote as percent_encode
from urllib.parse import unquote as percent_decode

import numba
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .ranking import Ranked

_UNSAFE = r"[\s%]"
_BLOCK = 4096  # cells joined at once: keeps the words of a block in the cache and Arrow's 32-bit offsets in range


@dataclass(frozen=True)
class Parsed:
    """Gene numbers read from sentences, and what could not be read.

    Attributes
    ----------
    indptr
        The genes of sentence ``i`` are ``indices[indptr[i]:indptr[i + 1]]``.
    indices
        Gene numbers in the order of the sentence.
    ranks
        Rank of each gene in its sentence, from 0. Unknown words have a rank, repeats do not.
    n_unknown
        Words of each sentence that are no known gene.
    n_repeated
        Words of each sentence that repeat a gene before them.
    """

    indptr: np.ndarray
    indices: np.ndarray
    ranks: np.ndarray
    n_unknown: np.ndarray
    n_repeated: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1


def quote(name: str) -> str:
    """Write a name as one word: white space and ``%`` become percent codes, all else stays.

    Parameters
    ----------
    name
        A gene, protein or label.

    Returns
    -------
    A word that :func:`unquote` turns back.

    Examples
    --------
    >>> quote("B220 (CD45R)")
    'B220%20(CD45R)'
    """
    return re.sub(_UNSAFE, lambda match: percent_encode(match[0]), name)


def unquote(word: str) -> str:
    """Turn a word of :func:`quote` back into the name.

    Parameters
    ----------
    word
        A word.

    Returns
    -------
    The name.
    """
    return percent_decode(word)


def write_sentences(ranked: Ranked, genes: Sequence[str] | np.ndarray) -> pa.LargeStringArray:
    """Write ranked genes as sentences: gene names joined by single spaces.

    Parameters
    ----------
    ranked
        The genes of each cell in order.
    genes
        Names of the genes; those with white space are quoted, see :func:`quote`.

    Returns
    -------
    One sentence a cell; a cell without counts has the empty sentence.
    """
    words = _words(genes)
    blocks = []
    for start in range(0, len(ranked), _BLOCK):
        indptr = ranked.indptr[start : start + _BLOCK + 1]
        text = words.take(pa.array(ranked.indices[indptr[0] : indptr[-1]]))
        lists = pa.ListArray.from_arrays(pa.array((indptr - indptr[0]).astype(np.int32)), text)
        blocks.append(pc.binary_join(lists, pa.scalar(" ", pa.large_string())))
    return pa.concat_arrays(blocks) if blocks else pa.array([], pa.large_string())


def read_sentences(sentences: Any, genes: Sequence[str] | np.ndarray) -> Parsed:
    """Read sentences back into gene numbers.

    Words are separated by any white space. A word that is not a known gene but has commas or semicolons in it is
    read as several words, so that ``"CD3E, CD4;IL7R"`` works and a gene called ``HLA-A,B,C`` still is one. Unknown
    words and repeats are left out and counted. Names are compared as they are: ``Cd3e`` is not ``CD3E``.

    Parameters
    ----------
    sentences
        Strings in a list, array, series (categorical too) or Arrow array; missing ones count as empty.
    genes
        Names of the genes that may occur.

    Returns
    -------
    The genes in the order of the sentences, with the counts of unknown and repeated words.
    """
    known = _words(genes)
    text = as_text(sentences)
    parts = [_read(text[start : start + _BLOCK], known) for start in range(0, len(text), _BLOCK)]
    if not parts:
        none = np.zeros(0, dtype=np.int32)
        return Parsed(np.zeros(1, dtype=np.int64), none, none, none, none)
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    names = ("indices", "ranks", "n_unknown", "n_repeated")
    return Parsed(indptr, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def as_text(values: Any) -> pa.LargeStringArray:
    """Take strings from whatever holds them.

    Parameters
    ----------
    values
        A list, array, series, categorical or Arrow array of strings.

    Returns
    -------
    The strings; missing values become empty ones.
    """
    if isinstance(values, str):
        raise TypeError("sentences must be a list of strings, not one string: write [sentence].")
    if isinstance(values, pd.Series | pd.Index):
        values = values.array
    try:
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, from_pandas=True)
        if pa.types.is_null(array.type):  # nothing in it, or nothing but missing values
            array = pa.array([""] * len(array), pa.large_string())
        if not _is_text(array.type.value_type if pa.types.is_dictionary(array.type) else array.type):
            raise TypeError
        array = array.cast(pa.large_string())
    except (TypeError, pa.ArrowException):
        raise TypeError("sentences must be strings: pass the column that pp.to_sentences wrote.") from None
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.fill_null("")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _words(genes: Sequence[str] | np.ndarray) -> pa.LargeStringArray:
    if re.search(_UNSAFE, "".join(genes)):  # mostly there is nothing to quote, and many genes to look at
        genes = [quote(gene) for gene in genes]
    return pa.array(genes, pa.large_string())


def _read(text: pa.LargeStringArray, known: pa.LargeStringArray) -> Parsed:
    cells, words = _split(text)
    found = pc.index_in(words, value_set=known)
    unknown = found.is_null()
    if pc.any(pc.match_substring_regex(words.filter(unknown), "[,;]")).as_py():
        inner, words = _split(pc.if_else(unknown, pc.replace_substring_regex(words, "[,;]", " "), words))
        cells = cells[inner]
        found = pc.index_in(words, value_set=known)
    genes = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    ranks = _ranks(cells, genes, len(known))
    keep = (genes >= 0) & (ranks >= 0)
    n = len(text)
    indptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(cells[keep], minlength=n), out=indptr[1:])
    return Parsed(
        indptr,
        genes[keep],
        ranks[keep],
        np.bincount(cells[genes < 0], minlength=n).astype(np.int32),
        np.bincount(cells[ranks < 0], minlength=n).astype(np.int32),
    )


def _split(text: pa.LargeStringArray) -> tuple[np.ndarray, pa.LargeStringArray]:
    """Words, and the number of the text that each comes from."""
    lists = pc.utf8_split_whitespace(text)
    words = lists.flatten()
    cells = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    filled = pc.not_equal(words, "")
    return cells[filled.to_numpy(zero_copy_only=False)], words.filter(filled)


@numba.njit(cache=True, nogil=True)
def _ranks(cells: np.ndarray, genes: np.ndarray, n_genes: int) -> np.ndarray:
    """Rank of every word in its text, -1 for a gene that was there before."""
    seen_in = np.full(n_genes, -1, dtype=np.int64)
    ranks = np.empty(len(genes), dtype=np.int32)
    rank = 0
    for i in range(len(genes)):
        if i == 0 or cells[i] != cells[i - 1]:
            rank = 0
        if genes[i] >= 0 and seen_in[genes[i]] == cells[i]:
            ranks[i] = -1
            continue
        if genes[i] >= 0:
            seen_in[genes[i]] = cells[i]
        ranks[i] = rank
        rank += 1
    return ranks
