from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from sc_c2s import _keys
from sc_c2s.data import Cells, find_modality, open_cells
from sc_c2s.sentences.inverse import RankFit
from sc_c2s.sentences.text import Parsed, read_sentences

if TYPE_CHECKING:
    import pyarrow as pa
    from mudata import MuData


def from_sentences(
    data: AnnData | MuData,
    *,
    key: str = _keys.SENTENCE,
    sentences: Sequence[str] | pd.Series | pa.Array | None = None,
    n_expressed: Sequence[int] | np.ndarray | None = None,
    key_added: str = _keys.RECONSTRUCTED,
    as_anndata: bool = False,
    mod: str | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """Read expression back from sentences.

    The rank of a gene in its sentence, and the number of genes that the cell expresses, tell its expression by the
    fit that :func:`~sc_c2s.pp.to_sentences` made. Words are separated by white space; in words that are no gene,
    commas and semicolons separate too. A word that is no gene of the object is left out but holds its rank; a gene
    that was named before is left out and holds none. Both are counted. A sentence without a gene gives a cell
    without expression.

    Parameters
    ----------
    data
        Cells with sentences by :func:`~sc_c2s.pp.to_sentences`.
    key
        What :func:`~sc_c2s.pp.to_sentences` was told as ``key_added``.
    sentences
        Other sentences to read with the genes and the fit of ``data``, for example generated ones.
    n_expressed
        Number of genes that each of these cells expresses. By default the number of words, which is right where
        sentences were not cut short.
    key_added
        Name of what is written.
    as_anndata
        Return the result as a new object, with all genes that the sentences were written from, in place of a layer.
        Always so with ``sentences``.
    mod
        Modality of a MuData.
    copy
        Return a copy.

    Returns
    -------
    ``None``, the copy with ``copy=True``, or with ``as_anndata=True`` or ``sentences`` a new
    :class:`~anndata.AnnData`: expression in ``X``, and the words that were left out in ``obs['n_unknown']`` and
    ``obs['n_repeated']``. Else written are

    `adata.layers['c2s_reconstructed' | key_added]` : :class:`scipy.sparse.csr_matrix` (dtype ``float32``)
        Expression, in the space that ``uns[key]['space']`` names.
    `adata.uns['c2s_reconstructed' | key_added]` : :class:`dict`
        ``params``, ``space``, and how much was left out in all sentences: ``n_unknown``, ``n_repeated``,
        ``n_empty`` (sentences without a gene).

    Raises
    ------
    KeyError
        If there are no sentences or no fit.

    Examples
    --------
    >>> import scanpy as sc
    >>> import sc_c2s as c2s
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> c2s.pp.to_sentences(adata, use_raw=True)
    >>> c2s.pp.from_sentences(adata)
    >>> adata.layers["c2s_reconstructed"].shape
    (700, 765)
    """
    start = sc.logging.info("reading cell sentences")
    new = as_anndata or sentences is not None
    cells, made = _open(data, key, mod=mod, new=new, copy=copy and not new)
    obs = cells.adata.obs
    if sentences is None:
        sentences = cells.obs(key)
        n_expressed = cells.obs(_keys.n_genes(key)).to_numpy() if n_expressed is None else n_expressed
    else:
        names = sentences.index if isinstance(sentences, pd.Series) else range(len(sentences))
        obs = pd.DataFrame(index=pd.Index(names).astype(str))
    parsed = read_sentences(sentences, cells.genes)
    x = _expression(parsed, RankFit.from_dict(made["rank_fit"]), n_expressed, cells.n_vars)
    about = {
        "params": {"key": key, "mod": mod},
        "space": str(made["space"]),
        "n_unknown": int(parsed.n_unknown.sum()),
        "n_repeated": int(parsed.n_repeated.sum()),
        "n_empty": int(np.count_nonzero(np.diff(parsed.indptr) == 0)),
    }
    if about["n_unknown"] or about["n_repeated"]:
        sc.logging.warning(f"left out {about['n_unknown']} unknown words and {about['n_repeated']} repeats")
    if new:
        sc.logging.info("    finished", time=start)
        return _new(x, obs, cells.genes, parsed, {key_added: about})
    cells.write(layers={key_added: x}, uns={key_added: about})
    sc.logging.info("    finished", time=start, deep=f"added\n    {key_added!r}, expression (adata.layers)")
    return cells.result()


def _open(data: AnnData | MuData, key: str, *, mod: str | None, new: bool, copy: bool) -> tuple[Cells, dict[str, Any]]:
    """Open the cells with the genes that their sentences were written from, and find how they were written."""
    made = find_modality(data, mod)[0].uns.get(key, {})
    if "rank_fit" not in made:
        raise KeyError(f"uns[{key!r}] has no fit of expression to rank: call pp.to_sentences first, or name its key=.")
    params = made["params"]
    use_raw = bool(params["use_raw"]) and new  # a layer is as wide as X
    cells = open_cells(
        data,
        mod=mod,
        use_raw=use_raw,
        gene_symbols=params["gene_symbols"],
        copy=copy,
        readable=False,
        writable=not new,
    )
    return cells, made


def _expression(
    parsed: Parsed, fit: RankFit, n_expressed: Sequence[int] | np.ndarray | None, n_genes: int
) -> sparse.csr_matrix:
    n_read = np.diff(parsed.indptr)
    n_words = n_read + parsed.n_unknown
    n_expressed = n_words if n_expressed is None else np.asarray(n_expressed)
    if n_expressed.shape != n_words.shape:
        raise ValueError(f"n_expressed must be one number for each of the {len(parsed)} sentences.")
    values = fit.predict(parsed.ranks, np.repeat(np.maximum(n_expressed, n_words), n_read))
    x = sparse.csr_matrix((values, parsed.indices, parsed.indptr), shape=(len(parsed), n_genes))
    x.sort_indices()
    return x


def _new(x: sparse.csr_matrix, obs: pd.DataFrame, genes: np.ndarray, parsed: Parsed, uns: dict[str, Any]) -> AnnData:
    obs = obs.assign(n_unknown=parsed.n_unknown, n_repeated=parsed.n_repeated)
    return AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(genes)), uns=uns)
