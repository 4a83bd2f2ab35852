"""The one door between AnnData or MuData and everything else: rows come out in chunks, results go back at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from . import _keys
from .sentences.symbols import check_names, looks_like_ensembl

if TYPE_CHECKING:
    from mudata import MuData

CHUNK_SIZE = 2048
"""Cells read at once."""

_CSC_BYTES = 2**28  # of rows taken from a file by columns in one go
_CSC_CELLS = 2**25  # matrix cells read from it at once


@dataclass(frozen=True)
class Cells:
    """The cells that a function was given, whatever they came in.

    Attributes
    ----------
    adata
        The cells: the object itself, the modality of a MuData, or the copy of either.
    genes
        Names that go into sentences, of the genes that ``mask_var`` keeps.
    params
        The choices made here, for ``uns[key]["params"]``.
    mask
        Which columns of the matrix these genes are; ``None`` if all.
    """

    adata: AnnData
    genes: np.ndarray
    params: dict[str, Any]
    mask: np.ndarray | None
    _data: AnnData | MuData = field(repr=False)
    _copied: bool = field(repr=False)
    _matrix: Any = field(repr=False)
    _rows: np.ndarray | None = field(repr=False)
    _columns: np.ndarray | None = field(repr=False)

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.adata.n_obs

    @property
    def n_vars(self) -> int:
        """Number of genes, without those that ``mask_var`` leaves out."""
        return len(self.genes)

    @property
    def obs_names(self) -> pd.Index:
        """Names of the cells."""
        return self.adata.obs_names

    def chunks(self, size: int = CHUNK_SIZE, *, all_genes: bool = False) -> Iterator[tuple[slice, sparse.csr_matrix]]:
        """Read the cells block by block.

        Dense, CSR and CSC matrices in memory, on disk (``backed``) and as dask arrays all work; of the last two only
        the block at hand is read. CSC files hold no rows: they are read once for about every 256 MB.

        Parameters
        ----------
        size
            Cells in a block.
        all_genes
            Give all columns, not only those of ``mask_var``.

        Returns
        -------
        The rows, and their values as 32-bit floats, without stored zeros.
        """
        for rows, block in _blocks(self._matrix, self._rows, self._columns, self.n_obs, size):
            x = _canonical(block)
            if self._lowest(x) == 0:
                x = x.copy()
                x.eliminate_zeros()
            yield rows, x if all_genes or self.mask is None else x[:, self.mask]

    def matrix(self) -> sparse.csr_matrix:
        """Read all cells, see :meth:`chunks`.

        Returns
        -------
        Cells × genes.
        """
        return sparse.vstack([x for _, x in self.chunks()], format="csr")

    def obs(self, key: str) -> pd.Series:
        """Read a column of ``obs``; with MuData also one of the whole object.

        Parameters
        ----------
        key
            Name of the column.

        Returns
        -------
        The column, a value a cell.
        """
        if key in self.adata.obs:
            return self.adata.obs[key]
        if self.params["mod"] is not None:
            for name in (f"{self.params['mod']}:{key}", key):
                if name in self._data.obs:
                    return self._data.obs[name].reindex(self.obs_names)
        columns = ", ".join(map(str, self.adata.obs.columns)) or "none"
        raise KeyError(f"obs has no column {key!r}; its columns are: {columns}.")

    def labels(self, key: str) -> pd.Series:
        """Column of `obs` as strings, NaN where there is none; where a label is missing, 1.0 is still "1"."""
        return as_labels(self.obs(key))

    def write(
        self,
        *,
        obs: Mapping[str, Any] | None = None,
        obsm: Mapping[str, Any] | None = None,
        layers: Mapping[str, Any] | None = None,
        uns: Mapping[str, Any] | None = None,
    ) -> None:
        """Write results, all at once; with MuData the columns also go to the whole object, as ``"mod:key"``.

        Parameters
        ----------
        obs
            Columns, a value a cell.
        obsm
            Arrays, a row a cell.
        layers
            Matrices, cells × genes.
        uns
            Anything else.
        """
        columns = {key: self._column(values) for key, values in (obs or {}).items()}
        for key, value in (layers or {}).items():
            self.adata.layers[key] = value
        for key, value in (obsm or {}).items():
            self.adata.obsm[key] = value
        for key, value in (uns or {}).items():
            self.adata.uns[key] = value
        for key, column in columns.items():
            self.adata.obs[key] = column
            if self.params["mod"] is not None:
                self._data.obs[f"{self.params['mod']}:{key}"] = column.reindex(self._data.obs_names)

    def result(self) -> AnnData | MuData | None:
        """Hand over what the public function returns.

        Returns
        -------
        The copy if one was asked for, else ``None``.
        """
        return self._data if self._copied else None

    def _column(self, values: Any) -> pd.Series:
        if isinstance(values, pd.Series):
            values = values.array
        # Objects stay objects: anndata does not write the string types that pandas would make of them.
        kind = object if isinstance(values, np.ndarray) and values.dtype == object else None
        return pd.Series(values, index=self.obs_names, dtype=kind)

    def _lowest(self, x: sparse.csr_matrix) -> float:
        """Find the lowest stored value; refuse those that have no place in an order of expression."""
        if x.nnz == 0:
            return np.inf
        low, high = x.data.min(), x.data.max()
        if not np.isfinite(low) or not np.isfinite(high):
            raise ValueError(f"{self._source} holds NaN or infinite values: fill or drop them first.")
        if low < 0:
            layers = f" (there are: {', '.join(self.adata.layers)})" if len(self.adata.layers) else ""
            raise ValueError(
                f"{self._source} holds negative values, as scaled data do, and these have no order of expression: "
                f"take counts or log-normalised values with use_raw=True or layer=…{layers}."
            )
        return low

    @property
    def _source(self) -> str:
        if self.params["use_raw"]:
            return "raw.X"
        return "X" if self.params["layer"] is None else f"layers[{self.params['layer']!r}]"


def as_labels(column: pd.Series) -> pd.Series:
    """Write the values of a column as strings, NaN where there is none; where a label is missing, 1.0 is still "1"."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")  # pandas makes floats of whole numbers where one is missing
    return column.astype(object).where(column.notna(), np.nan).map(str, na_action="ignore")


def combined(columns: Sequence[pd.Series]) -> pd.Series:
    """Join the labels of one column or more; NaN for a cell that lacks one of them."""
    together = columns[0].copy()
    for column in columns[1:]:
        together = together + _keys.JOIN + column
    return together


def open_cells(
    data: AnnData | MuData,
    *,
    mod: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    mask_var: str | np.ndarray | None = None,
    copy: bool = False,
    readable: bool = True,
    writable: bool = True,
) -> Cells:
    """Open AnnData or MuData.

    Parameters
    ----------
    data
        The cells.
    mod
        Modality of a MuData.
    layer
        Layer to read in place of ``X``.
    use_raw
        Read ``raw.X`` in place of ``X``.
    gene_symbols
        Column of ``var`` with the gene names, where ``var_names`` are ids.
    mask_var
        Column of ``var``, or one boolean a gene: which genes to use.
    copy
        Work on a copy.
    readable
        Look for the matrix. Functions that only read and write results do not need one.
    writable
        Refuse at once an object that cannot take results.

    Returns
    -------
    The cells.
    """
    adata, mod = find_modality(data, mod)
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise ValueError(f"There is nothing in the object: it has {adata.n_obs} cells and {adata.n_vars} genes.")
    if adata.isbacked and copy:
        raise ValueError("copy=True would read the whole file: leave it out, or pass data.to_memory().")
    if adata.isbacked and adata.is_view and writable:
        raise ValueError("A view of a backed object cannot take results: pass the whole object, or data.to_memory().")
    if mod is not None and writable and not (adata.obs_names.is_unique and data.obs_names.is_unique):
        raise ValueError("Cell names of a MuData must be unique: call data.obs_names_make_unique() first.")
    var = _genes_of(adata, layer, use_raw)
    matrix, rows, columns = _find(adata, layer, use_raw) if readable else (None, None, None)
    mask = _mask(var, mask_var)
    genes = _names(var, gene_symbols, mask)
    params = {
        "mod": mod,
        "layer": layer,
        "use_raw": use_raw,
        "gene_symbols": gene_symbols,
        "mask_var": mask_var if mask_var is None or isinstance(mask_var, str) else "array",
    }
    if copy:
        data = data.copy()
        adata, _ = find_modality(data, mod)
    return Cells(adata, genes, params, mask, data, copy, matrix, rows, columns)


def find_modality(data: AnnData | MuData, mod: str | None) -> tuple[AnnData, str | None]:
    """Find the AnnData to work on.

    Parameters
    ----------
    data
        The cells.
    mod
        Modality of a MuData.

    Returns
    -------
    The AnnData, and the modality it is of.
    """
    if isinstance(data, AnnData):
        if mod is not None:
            raise ValueError(f"mod={mod!r} names a modality of a MuData, and this is an AnnData: leave it out.")
        return data, None
    if not isinstance(getattr(data, "mod", None), Mapping):
        raise TypeError(f"data must be an AnnData or a MuData, not {type(data).__name__}.")
    names = ", ".join(repr(name) for name in data.mod)
    if mod is None:
        raise ValueError(f"A MuData needs mod=, one of {names}.")
    if mod not in data.mod:
        raise KeyError(f"The MuData has no modality {mod!r}; it has {names}.")
    return data.mod[mod], mod


def open_results(data: AnnData | MuData, mod: str | None) -> Cells:
    """Open cells for their results alone, so that neither the matrix nor the names of the genes matter.

    Parameters
    ----------
    data
        The cells.
    mod
        Modality of a MuData.

    Returns
    -------
    The cells, without a matrix to read.
    """
    adata, mod = find_modality(data, mod)
    return Cells(adata, adata.var_names.to_numpy(), {"mod": mod}, None, data, False, None, None, None)


def _genes_of(adata: AnnData, layer: str | None, use_raw: bool) -> pd.DataFrame:
    """Table of the genes to read."""
    if use_raw and layer is not None:
        raise ValueError("use_raw=True and layer= exclude each other: pass one of them.")
    if use_raw and adata.raw is None:
        raise ValueError("use_raw=True needs adata.raw, which is not set: leave it out, or use layer=.")
    return adata.raw.var if use_raw else adata.var


def _find(adata: AnnData, layer: str | None, use_raw: bool) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
    """Find the matrix to read, and which of its rows and columns to take (``None``: all)."""
    if layer is not None:
        if layer not in adata.layers:
            raise KeyError(f"There is no layer {layer!r}; there are: {', '.join(adata.layers) or 'none'}.")
        return adata.layers[layer], None, None
    if adata.isbacked and adata.is_view:
        # The view itself would read all its cells at once, and cannot be cut any further.
        parent = adata._adata_ref
        rows = np.arange(parent.n_obs)[adata._oidx]
        if use_raw:
            return parent.raw.X, rows, None
        return parent.X, rows, np.arange(parent.n_vars)[adata._vidx]
    matrix = adata.raw.X if use_raw else adata.X
    if matrix is None:
        raise ValueError("The object has no X: name a layer with layer=, or pass use_raw=True.")
    return matrix, None, None


def _mask(var: pd.DataFrame, mask_var: str | np.ndarray | None) -> np.ndarray | None:
    if mask_var is None:
        return None
    if isinstance(mask_var, str):
        if mask_var not in var:
            raise KeyError(f"var has no column {mask_var!r} for mask_var=; its columns are: {_columns(var)}.")
        mask = var[mask_var].to_numpy()
    else:
        mask = np.asarray(mask_var)
    if mask.dtype != bool or mask.shape != (len(var),):
        raise ValueError(f"mask_var must be one boolean for each of the {len(var)} genes.")
    if not mask.any():
        raise ValueError("mask_var leaves no gene.")
    return mask


def _names(var: pd.DataFrame, gene_symbols: str | None, mask: np.ndarray | None) -> np.ndarray:
    if gene_symbols is not None and gene_symbols not in var:
        raise KeyError(f"var has no column {gene_symbols!r} for gene_symbols=; its columns are: {_columns(var)}.")
    source = var.index if gene_symbols is None else var[gene_symbols]
    genes = np.asarray(source, dtype=object)
    if mask is not None:
        genes = genes[mask]
    if gene_symbols is None:
        check_names(genes, "call adata.var_names_make_unique()")
        if looks_like_ensembl(genes):
            raise ValueError(
                f"The genes are Ensembl ids (such as {genes[0]}), which no model reads: name the column of var that "
                f"holds symbols with gene_symbols=; its columns are: {_columns(var)}."
            )
    else:
        column = f"adata.var[{gene_symbols!r}]"
        check_names(genes, f"repair {column}, for example with anndata.utils.make_index_unique, or use mask_var=")
    return genes


def _columns(var: pd.DataFrame) -> str:
    return ", ".join(map(str, var.columns)) or "none"


def _blocks(
    matrix: Any, rows: np.ndarray | None, columns: np.ndarray | None, n_obs: int, size: int
) -> Iterator[tuple[slice, Any]]:
    on_disk = not isinstance(matrix, np.ndarray) and not sparse.issparse(matrix)
    by_column = getattr(matrix, "format", None) == "csc"
    if by_column and not on_disk:
        matrix = matrix.tocsr()
    # A file by columns is read as a whole for every block: make these large, then cut them.
    n_read = max(1, _rows_of(matrix, _CSC_BYTES) // size) * size if by_column and on_disk else size
    for first in range(0, n_obs, n_read):
        taken = slice(first, min(first + n_read, n_obs))
        block = _read(matrix, taken if rows is None else rows[taken], by_column=by_column and on_disk)
        if columns is not None:
            block = block[:, columns]
        for start in range(taken.start, taken.stop, size):
            part = slice(start, min(start + size, taken.stop))
            yield part, block if n_read == size else block[part.start - first : part.stop - first]


def _read(matrix: Any, rows: slice | np.ndarray, *, by_column: bool) -> Any:
    if isinstance(rows, np.ndarray):
        # Files are read in rising order.
        rising, back = np.unique(rows, return_inverse=True)
        if rising[-1] - rising[0] + 1 == len(rising):
            return _read(matrix, slice(int(rising[0]), int(rising[-1]) + 1), by_column=by_column)[back]
        return _read_rows(matrix, rising, by_column)[back]
    return _read_rows(matrix, rows, by_column)


def _read_rows(matrix: Any, rows: slice | np.ndarray, by_column: bool) -> Any:
    if by_column:
        n_cells, n_genes = matrix.shape
        width = max(1, _CSC_CELLS // n_cells)
        parts = [matrix[:, start : start + width].tocsr()[rows] for start in range(0, n_genes, width)]
        return sparse.hstack(parts, format="csr")
    block = matrix[rows]
    return block.compute() if hasattr(block, "compute") else block  # dask


def _rows_of(matrix: Any, n_bytes: int) -> int:
    """How many rows of a sparse file take this much memory."""
    n_cells = matrix.shape[0]
    stored = matrix.group["data"].shape[0]
    return int(n_cells * n_bytes / (8 * stored + 1))


def _canonical(block: Any) -> sparse.csr_matrix:
    if not isinstance(block, np.ndarray) and not sparse.issparse(block):
        raise NotImplementedError(f"Cannot read cells from {type(block).__name__}: convert it to NumPy or SciPy first.")
    x = sparse.csr_matrix(block)
    if x.dtype != np.float32:
        x = x.astype(np.float32)
    if not x.has_canonical_format:
        x = x.copy()
        x.sum_duplicates()
    return x
