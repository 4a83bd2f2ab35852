"""Sentences of many cells, chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import pyarrow as pa
from scipy import sparse
from tqdm.auto import tqdm

from sc_c2s._progress import progress
from sc_c2s._random import resolve_rng
from sc_c2s.data import Cells
from sc_c2s.sentences.ranking import hash_names, rank_genes
from sc_c2s.sentences.text import write_sentences

TIES = ("hash", "random")


class Chunk(NamedTuple):
    """Sentences of some cells.

    Attributes
    ----------
    rows
        Which cells.
    x
        Their expression, of all genes.
    sentences
        Their sentences.
    n_expressed
        Genes that each expresses, before the cut.
    """

    rows: slice
    x: sparse.csr_matrix
    sentences: pa.LargeStringArray
    n_expressed: np.ndarray


def stream(
    cells: Cells,
    *,
    n_genes: int | None,
    ties: str,
    rng: int | np.random.Generator | None,
    random_state: int | np.random.Generator | None,
    chunk_size: int,
) -> Iterator[Chunk]:
    """Write the sentences of cells chunk by chunk, in their order.

    While one chunk is read, those before it are ranked and written in threads.

    Parameters
    ----------
    cells
        The cells.
    n_genes
        Genes kept of each cell; ``None`` keeps all.
    ties
        ``"hash"`` or ``"random"``.
    rng
        Seed or generator of random ties.
    random_state
        The same under its older name.
    chunk_size
        Cells in a chunk.

    Returns
    -------
    The chunks.
    """
    if ties not in TIES:
        raise ValueError(f"ties={ties!r} is not known: choose {' or '.join(map(repr, TIES))}.")
    for name, number in {"n_genes": n_genes, "chunk_size": chunk_size}.items():
        if number is not None and (not isinstance(number, int | np.integer) or number < 1):
            raise ValueError(f"{name}={number!r} must be a whole number from 1 on.")
    cell_hash, gene_hash = hash_names(cells.obs_names), hash_names(cells.genes)
    generator = resolve_rng(rng, random_state)
    if ties == "random":
        cell_hash = cell_hash ^ generator.integers(2**64, dtype=np.uint64)

    def work(rows: slice, x: sparse.csr_matrix) -> Chunk:
        kept = x if cells.mask is None else x[:, cells.mask]
        ranked = rank_genes(kept, n_genes=n_genes, cell_hash=cell_hash[rows], gene_hash=gene_hash)
        return Chunk(rows, x, write_sentences(ranked, cells.genes), ranked.n_expressed)

    n_threads = min(numba.get_num_threads(), 8)
    with (
        progress(total=cells.n_obs, desc="cell sentences", unit="cell") as bar,
        ThreadPoolExecutor(n_threads) as pool,
    ):
        waiting: deque[Future[Chunk]] = deque()
        for rows, x in cells.chunks(chunk_size, all_genes=True):
            waiting.append(pool.submit(work, rows, x))
            if len(waiting) > n_threads:
                yield _next(waiting, bar)
        while waiting:
            yield _next(waiting, bar)


def _next(waiting: deque[Future[Chunk]], bar: tqdm) -> Chunk:
    chunk = waiting.popleft().result()
    bar.update(len(chunk.n_expressed))
    return chunk
