"""From the rank of a gene back to its expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from scipy import linalg, optimize, sparse

_STEPS = 33  # nodes of the table along the rank
_SIZES = 6  # nodes along the number of expressed genes
_SMOOTH = 1e-3  # weight of a smooth table against the data, where data are few


@dataclass(frozen=True)
class RankFit:
    """Expected expression of a gene, given its rank and the number of genes that the cell expresses.

    A table, read by linear interpolation. One side is the logarithm of the rank as a share of the logarithm of the
    number of expressed genes: 0 is the first gene, 1 the last, whatever the cell. The other side is that number, on
    a logarithmic scale. Values fall with the rank. The number of genes tells most of the depth of a cell, and with it
    what the many genes of a single count are worth.

    Attributes
    ----------
    table
        Expression at the nodes.
    steps
        Nodes along the rank, from 0 to 1.
    sizes
        Nodes along the number of expressed genes.
    line
        Intercept and slope of the straight line in log10(1 + rank), the reference.
    r2
        Share of variance explained over the non-zeros of cells that the fit has not seen.
    r2_line
        The same of the straight line.
    n_cells
        Cells that the fit has seen.
    n_cells_held_out
        Cells that it has not seen.
    """

    table: np.ndarray
    steps: np.ndarray
    sizes: np.ndarray
    line: np.ndarray
    r2: float
    r2_line: float
    n_cells: int
    n_cells_held_out: int

    def predict(self, rank: np.ndarray, n_expressed: np.ndarray) -> np.ndarray:
        """Give the expected expression.

        Parameters
        ----------
        rank
            Ranks, from 0.
        n_expressed
            Number of expressed genes of the cell, for each rank.

        Returns
        -------
        Expression, never rising with the rank within a cell.
        """
        rank, n_expressed = np.broadcast_arrays(np.asarray(rank), np.asarray(n_expressed))
        i, u = _between(np.log1p(rank) / np.log1p(np.maximum(n_expressed, 1)), self.steps)
        j, v = _between(np.log1p(n_expressed), np.log1p(self.sizes))
        low = self.table[i, j] * (1 - v) + self.table[i, j + 1] * v
        high = self.table[i + 1, j] * (1 - v) + self.table[i + 1, j + 1] * v
        return (low * (1 - u) + high * u).astype(np.float32)

    def predict_line(self, rank: np.ndarray) -> np.ndarray:
        """Give what the straight line expects.

        Parameters
        ----------
        rank
            Ranks, from 0.

        Returns
        -------
        Expression.
        """
        return (self.line[0] + self.line[1] * np.log10(1 + np.asarray(rank))).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Write as plain arrays and numbers, which every file format takes.

        Returns
        -------
        The attributes by name.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> RankFit:
        """Read what :meth:`to_dict` wrote.

        Parameters
        ----------
        fields
            The attributes by name.

        Returns
        -------
        The fit.
        """
        arrays = {name: np.asarray(fields[name], dtype=np.float64) for name in ("table", "steps", "sizes", "line")}
        return cls(
            **arrays,
            r2=float(fields["r2"]),
            r2_line=float(fields["r2_line"]),
            n_cells=int(fields["n_cells"]),
            n_cells_held_out=int(fields["n_cells_held_out"]),
        )


def fit_rank_expression(values: sparse.csr_matrix, held_out: np.ndarray) -> RankFit:
    """Fit expression to rank and number of expressed genes.

    Parameters
    ----------
    values
        Cells × genes on a logarithmic scale, zeros not stored.
    held_out
        Which cells the fit does not see and is judged by. If they have no values, R² is NaN.

    Returns
    -------
    The fit.
    """
    seen, unseen = values[~held_out], values[held_out]
    steps = 1 - (1 - np.linspace(0, 1, _STEPS)) ** 1.5  # denser at the end, where most genes are
    sizes = _sizes(np.diff(seen.indptr))
    rank, _, y = ranked_values(seen)
    rank_unseen, n_expressed, y_unseen = ranked_values(unseen)
    fit = RankFit(
        table=_fit_table(seen.indptr, y, steps, sizes),
        steps=steps,
        sizes=sizes,
        line=_fit_line(rank, y),
        r2=np.nan,
        r2_line=np.nan,
        n_cells=seen.shape[0],
        n_cells_held_out=unseen.shape[0],
    )
    r2 = _r2(y_unseen, fit.predict(rank_unseen, n_expressed))
    return replace(fit, r2=r2, r2_line=_r2(y_unseen, fit.predict_line(rank_unseen)))


def is_counts(x: sparse.csr_matrix) -> bool:
    """Tell counts from values that are normalised already: counts are whole numbers.

    Parameters
    ----------
    x
        Cells × genes.

    Returns
    -------
    Whether all values are whole.
    """
    return bool(np.all(x.data == np.rint(x.data)))


def log_expression(x: sparse.csr_matrix, totals: np.ndarray | None = None) -> sparse.csr_matrix:
    """Put expression on the scale of the package: log1p of counts per 10,000.

    Parameters
    ----------
    x
        Cells × genes: counts, or values on a logarithmic scale already, which are left alone.
    totals
        Counts of each whole cell, where ``x`` holds only some of the genes.

    Returns
    -------
    Cells × genes.
    """
    if not is_counts(x):
        return x
    totals = np.asarray(x.sum(axis=1)).ravel() if totals is None else totals
    per_count = np.divide(1e4, totals, out=np.zeros(len(totals)), where=totals > 0)
    data = np.log1p(x.data * np.repeat(per_count, np.diff(x.indptr))).astype(np.float32)
    return sparse.csr_matrix((data, x.indices, x.indptr), shape=x.shape)


def ranked_values(values: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the non-zeros of each cell by falling value.

    Parameters
    ----------
    values
        Cells × genes, zeros not stored.

    Returns
    -------
    For each of them its rank from 0, the number of expressed genes of its cell, and its value.
    """
    n = np.diff(values.indptr)
    rank = np.arange(values.nnz) - np.repeat(values.indptr[:-1], n)
    return rank, np.repeat(n, n), _sort_rows(values)


def _sort_rows(values: sparse.csr_matrix) -> np.ndarray:
    out = -values.data
    for start, stop in pairwise(values.indptr):
        out[start:stop].sort()
    return -out


def _between(x: np.ndarray, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the node below each ``x``, and how far on the way to the next one it is; no way leads beyond the ends."""
    i = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
    return i, np.clip((x - nodes[i]) / (nodes[i + 1] - nodes[i]), 0, 1)


def _sizes(n_expressed: np.ndarray) -> np.ndarray:
    present = n_expressed[n_expressed > 0]
    sizes = np.unique(np.quantile(present, np.linspace(0, 1, _SIZES))) if len(present) else np.ones(1)
    return sizes if len(sizes) > 1 else np.array([sizes[0], 2 * sizes[0]])


def _fit_line(rank: np.ndarray, y: np.ndarray) -> np.ndarray:
    if not len(y):
        return np.zeros(2)
    x = np.log10(1 + rank)
    dx = x - x.mean()
    spread = dx @ dx
    slope = (dx @ y) / spread if spread > 0 else 0.0
    return np.array([y.mean() - slope * x.mean(), slope])


def _fit_table(indptr: np.ndarray, y: np.ndarray, steps: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Least squares over all tables that fall with the rank, with a light pull towards smooth ones."""
    shape = len(steps), len(sizes)
    n_nodes = len(steps) * len(sizes)
    gram, moment = np.zeros((n_nodes, n_nodes)), np.zeros(n_nodes)
    log1p = np.log1p(np.arange(max(np.diff(indptr), default=0) + 1))
    _sum_up(indptr, y, log1p, steps, np.log1p(sizes), gram, moment)
    bend = sparse.kron(_difference(_difference(sparse.identity(shape[0]))), sparse.identity(shape[1]))
    slope = sparse.kron(sparse.identity(shape[0]), _difference(sparse.identity(shape[1])))
    weight = _SMOOTH * max(len(y), 1) / len(moment)
    gram += weight * (bend.T @ bend + slope.T @ slope).toarray()
    gram += 1e-9 * weight * np.identity(len(moment))
    # A falling table is a sum of non-negative steps from the last rank up, which makes it a non-negative problem.
    stairs = np.kron(np.triu(np.ones((shape[0], shape[0]))), np.identity(shape[1]))
    root = linalg.cholesky(gram)
    heights, _ = optimize.nnls(root @ stairs, linalg.solve_triangular(root, moment, trans="T"))
    return (stairs @ heights).reshape(shape)


def _difference(rows: sparse.spmatrix) -> sparse.csr_matrix:
    rows = sparse.csr_matrix(rows)
    return rows[1:] - rows[:-1]


def _r2(y: np.ndarray, predicted: np.ndarray) -> float:
    total = np.square(y - y.mean(dtype=np.float64), dtype=np.float64).sum() if len(y) else 0.0
    return 1 - float(np.square(y - predicted, dtype=np.float64).sum() / total) if total > 0 else np.nan


@numba.njit(cache=True, nogil=True)
def _sum_up(
    indptr: np.ndarray,
    y: np.ndarray,
    log1p: np.ndarray,
    steps: np.ndarray,
    log_sizes: np.ndarray,
    gram: np.ndarray,
    moment: np.ndarray,
) -> None:
    """Add up the normal equations of least squares; every point weighs on the four nodes around it."""
    width = len(log_sizes)
    node = np.empty(4, dtype=np.int64)
    weight = np.empty(4)
    for cell in range(len(indptr) - 1):
        size = log1p[indptr[cell + 1] - indptr[cell]]
        j = 0
        while j < width - 2 and size >= log_sizes[j + 1]:
            j += 1
        v = min(max((size - log_sizes[j]) / (log_sizes[j + 1] - log_sizes[j]), 0.0), 1.0)
        i = 0
        for point in range(indptr[cell], indptr[cell + 1]):
            step = log1p[point - indptr[cell]] / size
            while i < len(steps) - 2 and step >= steps[i + 1]:
                i += 1
            u = (step - steps[i]) / (steps[i + 1] - steps[i])
            for corner in range(4):
                down, right = corner // 2, corner % 2
                node[corner] = (i + down) * width + j + right
                weight[corner] = (u if down else 1 - u) * (v if right else 1 - v)
            for a in range(4):
                moment[node[a]] += weight[a] * y[point]
                for b in range(4):
                    gram[node[a], node[b]] += weight[a] * weight[b]
