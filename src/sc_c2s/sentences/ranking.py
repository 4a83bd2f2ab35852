"""Genes of each cell by falling expression: CSR rows in, gene numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd
from scipy import sparse

_KEY_BYTES = 6  # what is sorted: four bytes of value, two of tie hash


@dataclass(frozen=True)
class Ranked:
    """Gene numbers of many cells, each cell's by falling expression.

    Attributes
    ----------
    indptr
        The genes of cell ``i`` are ``indices[indptr[i]:indptr[i + 1]]``.
    indices
        Gene (column) numbers.
    n_expressed
        Genes above zero in each cell, before any cut.
    """

    indptr: np.ndarray
    indices: np.ndarray
    n_expressed: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1


def hash_names(names: Sequence[str] | np.ndarray | pd.Index) -> np.ndarray:
    """Hash names to 64 bits that stay the same between runs, versions and machines.

    Parameters
    ----------
    names
        Cell or gene names.

    Returns
    -------
    One unsigned integer a name.
    """
    return pd.util.hash_array(np.asarray(names, dtype=object), categorize=False)


def rank_genes(x: sparse.csr_matrix, *, n_genes: int | None, cell_hash: np.ndarray, gene_hash: np.ndarray) -> Ranked:
    """Rank the genes of each cell by falling value; zeros are left out.

    Genes of equal value are ordered by a hash of cell and gene, so that the order depends on neither the order of
    the columns nor that of the rows, and no gene is at a disadvantage for its name.

    Parameters
    ----------
    x
        Cells × genes, no negative values.
    n_genes
        Genes kept of each cell; ``None`` keeps all.
    cell_hash
        Hash of each cell's name, see :func:`hash_names`.
    gene_hash
        Hash of each gene's name.

    Returns
    -------
    The ranked genes.
    """
    limit = x.shape[1] if n_genes is None else n_genes
    indptr = x.indptr.astype(np.int64, copy=False)
    data = x.data.astype(np.float32, copy=False)
    n_expressed = _count_expressed(indptr, data)
    out = np.zeros(x.shape[0] + 1, dtype=np.int64)
    np.cumsum(np.minimum(n_expressed, limit), out=out[1:])
    indices = np.empty(out[-1], dtype=np.int32)
    # Room for the widest cell, and once more, as sorting goes from one to the other and back.
    width = max(np.diff(indptr), default=0) + 1
    keys, genes = np.empty((2, width), dtype=np.uint64), np.empty((2, width), dtype=np.int32)
    _rank_rows(indptr, x.indices, data.view(np.uint32), cell_hash, gene_hash, keys, genes, out, indices)
    return Ranked(out, indices, n_expressed)


def _count_expressed(indptr: np.ndarray, data: np.ndarray) -> np.ndarray:
    expressed = data > 0
    if expressed.all():
        return np.diff(indptr).astype(np.int32)
    before = np.concatenate([[0], np.cumsum(expressed)])
    return np.diff(before[indptr]).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _mix(bits: np.uint64) -> np.uint64:
    """Stir 64 bits (the finaliser of SplitMix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _rank_rows(
    indptr: np.ndarray,
    columns: np.ndarray,
    value_bits: np.ndarray,
    cell_hash: np.ndarray,
    gene_hash: np.ndarray,
    keys: np.ndarray,
    genes: np.ndarray,
    out: np.ndarray,
    indices: np.ndarray,
) -> None:
    # No `if` in the inner loops: which genes are kept cannot be foreseen, and a wrong guess costs a processor more
    # than writing one gene too much, which the next one overwrites.
    counts = np.empty(256, dtype=np.int64)
    for cell in range(len(indptr) - 1):
        start, stop = indptr[cell], indptr[cell + 1]
        lowest = np.uint32(0xFFFFFFFF)
        for i in range(start, stop):
            lowest = min(lowest, value_bits[i] - np.uint32(1))  # a zero turns into the highest number
        lowest += np.uint32(1)
        # The genes of the lowest value, mostly a count of one, are the most by far and often not needed: they wait.
        done, end = out[cell], out[cell + 1]
        for waiting in range(2):
            if done == end:
                break
            n = 0
            for i in range(start, stop):
                # One integer a gene: the value above (the bits of positive floats are in the order of the floats; the
                # complement makes the highest come first), 16 bits of tie hash below.
                bits = value_bits[i]
                keys[0, n] = np.uint64(~bits) << np.uint64(16)
                genes[0, n] = columns[i]
                n += (bits == lowest) if waiting else (bits > lowest) & (bits < np.uint32(0x80000000))
            for i in range(n):
                keys[0, i] |= _mix(cell_hash[cell] ^ gene_hash[genes[0, i]]) >> np.uint64(48)
            if n > end - done:
                n = _keep_smallest(keys, genes, n, end - done, counts)
            side = _radix_sort(keys, genes, n, counts)
            # Some pairs of genes share a key: their own hashes decide.
            for i in range(1, n):
                j = i
                while (
                    j > 0
                    and keys[side, j - 1] == keys[side, j]
                    and gene_hash[genes[side, j - 1]] > gene_hash[genes[side, j]]
                ):
                    genes[side, j - 1], genes[side, j] = genes[side, j], genes[side, j - 1]
                    j -= 1
            for i in range(min(n, end - done)):
                indices[done] = genes[side, i]
                done += 1


@numba.njit(cache=True, nogil=True)
def _differing_bits(keys: np.ndarray, n: int) -> np.uint64:
    bits = np.uint64(0)
    for i in range(n):
        bits |= keys[0, i] ^ keys[0, 0]
    return bits


@numba.njit(cache=True, nogil=True)
def _keep_smallest(keys: np.ndarray, genes: np.ndarray, n: int, kept: int, counts: np.ndarray) -> int:
    """Move the ``kept`` smallest keys, and few more, to the front: byte by byte from the top."""
    shift = np.uint64(8 * _KEY_BYTES)
    differ = _differing_bits(keys, n)
    while shift > 0 and differ >> (shift - np.uint64(8)) == 0:
        shift -= np.uint64(8)
    prefix = keys[0, 0] >> shift
    before, inside = 0, n
    while shift > 0 and before + inside > kept + kept // 8:
        above, shift = shift, shift - np.uint64(8)
        counts[:] = 0
        for i in range(n):
            counts[(keys[0, i] >> shift) & np.uint64(255)] += keys[0, i] >> above == prefix
        byte = 0
        while before + counts[byte] < kept:
            before += counts[byte]
            byte += 1
        inside = counts[byte]
        prefix = (prefix << np.uint64(8)) | np.uint64(byte)
    m = 0
    for i in range(n):
        keys[0, m], genes[0, m] = keys[0, i], genes[0, i]
        m += keys[0, i] >> shift <= prefix
    return m


@numba.njit(cache=True, nogil=True)
def _radix_sort(keys: np.ndarray, genes: np.ndarray, n: int, counts: np.ndarray) -> int:
    """Sort by key, one byte a pass from the lowest; says in which of the two rows the result is."""
    differ = _differing_bits(keys, n)
    side = 0
    for byte in range(_KEY_BYTES):
        shift = np.uint64(8 * byte)
        if (differ >> shift) & np.uint64(255) == 0:
            continue  # this byte is the same in all keys, as the low bits of small counts are
        counts[:] = 0
        for i in range(n):
            counts[(keys[side, i] >> shift) & np.uint64(255)] += 1
        position = 0
        for value in range(256):
            position, counts[value] = position + counts[value], position
        for i in range(n):
            digit = (keys[side, i] >> shift) & np.uint64(255)
            keys[1 - side, counts[digit]] = keys[side, i]
            genes[1 - side, counts[digit]] = genes[side, i]
            counts[digit] += 1
        side = 1 - side
    return side
