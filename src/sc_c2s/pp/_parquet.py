from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scanpy as sc

from sc_c2s import _keys
from sc_c2s.data import CHUNK_SIZE, open_cells

from ._stream import stream

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


def sentences_to_parquet(
    data: AnnData | MuData,
    path: str | Path,
    *,
    n_genes: int | None = 1000,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    mod: str | None = None,
    ties: str = "hash",
    rng: int | np.random.Generator | None = 0,
    random_state: int | np.random.Generator | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> None:
    """Write the sentences of every cell to a Parquet file, without holding them in memory.

    For objects opened with ``backed="r"`` that are larger than the memory. The sentences are those of
    :func:`~sc_c2s.pp.to_sentences`; the object is not changed.

    Parameters
    ----------
    data
        The cells; a view of a backed object works too.
    path
        File to write. It appears when it is complete.
    n_genes
        Longest sentence; ``None`` keeps all expressed genes.
    layer
        Layer to read in place of ``X``.
    use_raw
        Read ``raw.X`` in place of ``X``.
    gene_symbols
        Column of ``var`` with gene symbols, where ``var_names`` are Ensembl ids.
    mask_var
        Genes to use: a boolean column of ``var``, or an array.
    mod
        Modality of a MuData.
    ties
        Order of genes with the same value, ``"hash"`` or ``"random"``.
    rng
        Seed or generator of random ties.
    random_state
        The same as ``rng``, under scanpy's older name.
    chunk_size
        Cells read at once.

    Returns
    -------
    ``None``. The file has the columns ``cell`` (name), ``cell_sentence`` and ``n_genes`` (genes that the cell
    expresses, before the cut); its metadata hold the parameters, as JSON under ``sc_c2s``.

    Examples
    --------
    >>> import anndata as ad
    >>> import sc_c2s as c2s
    >>> adata = ad.read_h5ad("million_cells.h5ad", backed="r")  # doctest: +SKIP
    >>> c2s.pp.sentences_to_parquet(adata, "sentences.parquet", n_genes=200)  # doctest: +SKIP
    """
    start = sc.logging.info("writing cell sentences")
    cells = open_cells(
        data,
        mod=mod,
        layer=layer,
        use_raw=use_raw,
        gene_symbols=gene_symbols,
        mask_var=mask_var,
        writable=False,
    )
    params = json.dumps(cells.params | {"n_genes": n_genes, "ties": ties})
    schema = pa.schema(
        {"cell": pa.large_string(), _keys.SENTENCE: pa.large_string(), "n_genes": pa.int32()},
        metadata={"sc_c2s": params},
    )
    path = Path(path)
    part = path.with_name(f"{path.name}.part")
    try:
        with pq.ParquetWriter(part, schema) as writer:
            for chunk in stream(
                cells, n_genes=n_genes, ties=ties, rng=rng, random_state=random_state, chunk_size=chunk_size
            ):
                names = pa.array(cells.obs_names[chunk.rows], pa.large_string())
                writer.write_batch(pa.record_batch([names, chunk.sentences, chunk.n_expressed], schema=schema))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sc.logging.info("    finished", time=start, deep=f"wrote\n    {str(path)!r}")
