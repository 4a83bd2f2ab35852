"""Real cells and generated ones side by side: the same genes, one scale, conditions in one order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s import _keys, get
from sc_c2s.data import Cells, combined, open_cells
from sc_c2s.sentences.inverse import log_expression

from ._palette import Palette, colour_conditions

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

ALL = "all cells"
"""The only condition where none was asked for."""


@dataclass(frozen=True)
class Some:
    """Cells × genes in log1p counts per 10,000, and the condition of each."""

    x: sparse.csr_matrix
    conditions: np.ndarray

    def of(self, condition: str) -> sparse.csr_matrix:
        """Give the cells of a condition."""
        return self.x[self.conditions == condition]


@dataclass(frozen=True)
class Pair:
    """What a picture compares; conditions are the keys of their colours, in order."""

    real: Some
    generated: Some
    genes: pd.Index
    colours: dict[str, str]

    @property
    def shared(self) -> list[str]:
        """Conditions of which there are cells on both sides."""
        return [name for name in self.colours if all((s.conditions == name).any() for s in (self.real, self.generated))]


def open_pair(
    data: AnnData | MuData,
    generated: AnnData | None,
    *,
    groupby: str | Sequence[str] | None,
    key: str,
    mod: str | None,
    layer: str | None,
    use_raw: bool,
    gene_symbols: str | None,
    palette: Palette | None = None,
) -> Pair:
    """Find the real cells, and the generated ones: those given, or those that are stored beside the real ones."""
    columns = [] if groupby is None else [groupby] if isinstance(groupby, str) else list(groupby)
    cells = open_cells(data, mod=mod, layer=layer, use_raw=use_raw, gene_symbols=gene_symbols, writable=False)
    labels = _labels(cells, columns, "real")
    if generated is None:
        generated = get.generated(data, key=key, mod=mod)
        others = open_cells(generated, writable=False)
        # Not from their own obs: columns that only the whole MuData has are theirs as well.
        other_labels = labels[cells.adata.obs[_keys.sentence(key)].notna().to_numpy()]
    else:
        symbols = gene_symbols if gene_symbols in generated.var else None
        others = open_cells(generated, gene_symbols=symbols, writable=False)
        other_labels = _labels(others, columns, "generated")

    genes = pd.Index(cells.genes)[np.isin(cells.genes, others.genes)]
    if not len(genes):
        raise ValueError("Real and generated cells have no gene in common: check that the gene names are of one kind.")
    conditions = _in_order(cells, columns, labels, other_labels)
    if palette is None:
        palette = _stored_colours(cells, columns, conditions)
    pair = Pair(
        _some(cells, labels, genes),
        _some(others, other_labels, genes),
        genes,
        colour_conditions(conditions, palette),
    )
    if not pair.shared:
        raise ValueError(f"Real and generated cells have no condition of obs[{groupby!r}] in common.")
    return pair


def _labels(cells: Cells, columns: Sequence[str], which: str) -> pd.Series:
    """Condition of each cell; missing where one of the columns is."""
    if not columns:
        return pd.Series(ALL, index=cells.obs_names)
    try:
        return combined([cells.labels(column) for column in columns])
    except KeyError as error:
        raise KeyError(f"Of the {which} cells, {error.args[0]}") from None


def _some(cells: Cells, labels: pd.Series, genes: pd.Index) -> Some:
    known = labels.notna().to_numpy()
    x = log_expression(cells.matrix())[known][:, pd.Index(cells.genes).get_indexer(genes)]
    return Some(x, labels.to_numpy(dtype=object)[known])


def _in_order(cells: Cells, columns: Sequence[str], *labels: pd.Series) -> list[str]:
    """All conditions, by the order of their categories; those that only generated cells have come last."""
    there = pd.unique(pd.concat(labels).dropna())
    known = [_keys.JOIN.join(names) for names in product(*(_categories(cells, column) for column in columns))]
    position = {name: i for i, name in enumerate(known)}
    return sorted(there, key=lambda name: (position.get(name, len(known)), name))


def _categories(cells: Cells, column: str) -> list[str]:
    values = cells.obs(column)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return [str(name) for name in values.cat.categories]
    return sorted(cells.labels(column).dropna().unique())


def _stored_colours(cells: Cells, columns: Sequence[str], conditions: Sequence[str]) -> dict[str, str] | None:
    """Colours that scanpy keeps for a column, if there is one for every condition."""
    if len(columns) != 1:
        return None
    colours = dict(zip(_categories(cells, columns[0]), cells.adata.uns.get(f"{columns[0]}_colors", ()), strict=False))
    return colours if set(conditions) <= set(colours) else None
