from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scanpy as sc
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.data import CHUNK_SIZE, Cells, open_cells
from sc_c2s.sentences.inverse import RankFit, fit_rank_expression, is_counts, log_expression
from sc_c2s.sentences.ranking import hash_names
from sc_c2s.sentences.symbols import guess_organism

from ._stream import Chunk, stream

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

N_FIT = 1000
"""Cells that the fit of expression to rank is made from and judged by: more change its third digit."""


def to_sentences(
    data: AnnData | MuData,
    *,
    n_genes: int | None = 1000,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    organism: str | None = None,
    mod: str | None = None,
    ties: str = "hash",
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    key_added: str = _keys.SENTENCE,
    chunk_size: int = CHUNK_SIZE,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Write every cell as a sentence: its genes by falling expression.

    Genes without expression are left out. Ranks are the same on raw, normalised and logarithmic values, so any of
    them will do; scaled values have no such order and are refused. Dense, CSR and CSC matrices, views, dask arrays
    and backed objects work; of the latter two only one chunk at a time is in memory.

    Parameters
    ----------
    data
        The cells.
    n_genes
        Longest sentence; ``None`` keeps all expressed genes.
    layer
        Layer to read in place of ``X``.
    use_raw
        Read ``raw.X`` in place of ``X``.
    gene_symbols
        Column of ``var`` with gene symbols, where ``var_names`` are Ensembl ids. Symbols are written as they are:
        ``Cd3e`` stays ``Cd3e``. White space in a name is written as a percent code (``B220%20(CD45R)``).
    mask_var
        Genes to use: a boolean column of ``var``, or an array.
    organism
        Whose genes they are; guessed from the way the symbols are written if not given.
    mod
        Modality of a MuData.
    ties
        Order of genes with the same value. ``"hash"`` goes by a hash of cell name and gene name: it depends neither
        on the order of columns and rows nor on a seed, and favours no gene. ``"random"`` draws another such order.
    rng
        Seed or generator of random ties.
    random_state
        The same as ``rng``, under scanpy's older name.
    key_added
        Name of what is written.
    chunk_size
        Cells ranked at once.
    copy
        Return a copy.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. Written are

    `adata.obs['cell_sentence' | key_added]` : :class:`pandas.Series` (dtype ``object``)
        The sentences. A cell without counts has the empty one.
    `adata.obs['cell_sentence_n_genes' | key_added + '_n_genes']` : :class:`pandas.Series` (dtype ``int32``)
        Genes that the cell expresses, before the cut.
    `adata.uns['cell_sentence' | key_added]` : :class:`dict`
        ``params``; ``rank_fit``, which :func:`~sc_c2s.pp.from_sentences` reads expression from, with the variance it
        explains on cells it has not seen (``r2``) and that of a straight line in the logarithm of the rank
        (``r2_line``), over non-zeros; ``space``, the scale of both: ``"log1p CP10k"`` if the matrix holds counts,
        else ``"as given"``; ``organism``; ``n_vars``, the number of genes to choose from; ``n_empty``, the number of
        cells without counts.

    Raises
    ------
    ValueError
        If values are negative or NaN, gene names occur twice or are Ensembl ids, or the object is empty.

    Examples
    --------
    >>> import scanpy as sc
    >>> import sc_c2s as c2s
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> c2s.pp.to_sentences(adata, use_raw=True, n_genes=5)
    >>> adata.obs["cell_sentence"].iloc[0]
    'FTL CD74 JUNB HLA-DPA1 AIF1'
    """
    start = sc.logging.info("writing cell sentences")
    cells = open_cells(
        data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, mask_var=mask_var, copy=copy
    )
    sentences = np.empty(cells.n_obs, dtype=object)
    n_expressed = np.empty(cells.n_obs, dtype=np.int32)
    sample = _Sample(cells)
    for chunk in stream(cells, n_genes=n_genes, ties=ties, rng=rng, random_state=random_state, chunk_size=chunk_size):
        sentences[chunk.rows] = chunk.sentences.to_numpy(zero_copy_only=False)
        n_expressed[chunk.rows] = chunk.n_expressed
        sample.take(chunk)
    rank_fit, space = sample.fit()
    n_empty = int(np.count_nonzero(n_expressed == 0))
    cells.write(
        obs={key_added: sentences, _keys.n_genes(key_added): n_expressed},
        uns={
            key_added: {
                "params": cells.params | {"n_genes": n_genes, "ties": ties},
                "rank_fit": rank_fit.to_dict(),
                "space": space,
                "organism": guess_organism(cells.genes) if organism is None else organism,
                "n_vars": cells.n_vars,
                "n_empty": n_empty,
            }
        },
    )
    if n_empty:
        sc.logging.warning(f"{n_empty} cells have no counts; their sentences are empty")
    sc.logging.info(
        "    finished",
        time=start,
        deep=(
            f"added\n    {key_added!r}, the sentences (adata.obs)\n"
            f"    {_keys.n_genes(key_added)!r}, expressed genes (adata.obs)\n"
            f"    {key_added!r}, parameters and the fit of expression to rank (adata.uns)"
        ),
    )
    return cells.result()


class _Sample:
    """Cells for the fit, chosen by their names, so that it does not depend on their order."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        hashes = hash_names(cells.obs_names)
        chosen = np.argsort(hashes)[:N_FIT]
        self._chosen = np.sort(chosen)
        self._held_out = np.isin(self._chosen, chosen[: len(chosen) // 5])
        self._parts: list[sparse.csr_matrix] = []

    def take(self, chunk: Chunk) -> None:
        """Keep the chosen cells of a chunk."""
        first, last = np.searchsorted(self._chosen, [chunk.rows.start, chunk.rows.stop])
        self._parts.append(chunk.x[self._chosen[first:last] - chunk.rows.start])

    def fit(self) -> tuple[RankFit, str]:
        """Fit expression to rank; also name the scale."""
        x = sparse.vstack(self._parts, format="csr")
        totals = np.asarray(x.sum(axis=1)).ravel()
        space = "log1p CP10k" if is_counts(x) else "as given"
        x = x if self._cells.mask is None else x[:, self._cells.mask]
        values = log_expression(x, totals) if space == "log1p CP10k" else x
        return fit_rank_expression(values, self._held_out), space
