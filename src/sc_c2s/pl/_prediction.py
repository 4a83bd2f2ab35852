"""A stored prediction and the real cells around it: the same genes, one scale, by context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from sc_c2s import _keys, get
from sc_c2s.data import Cells, combined, open_cells, open_results
from sc_c2s.sentences.inverse import log_expression

from ._axes import BLUE, GREEN, ORANGE
from ._pair import _stored_colours

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

CONTROL, REAL, PREDICTED = "control", "real", "predicted"
COLOURS = {CONTROL: BLUE, REAL: GREEN, PREDICTED: ORANGE}
"""Kinds of cells: real ones before, real ones after, predicted ones after."""
LEAST_REAL = 3
"""Fewest real perturbed cells of a context that ``tl.perturb`` compares a prediction with."""


@dataclass(frozen=True)
class Kind:
    """Cells × genes in log1p counts per 10,000, sparse or dense, and the context of each."""

    x: Any
    contexts: np.ndarray

    def __len__(self) -> int:
        return len(self.contexts)

    def of(self, context: str) -> Any:
        """Give the cells of a context."""
        return self.x[self.contexts == context]

    def mean(self, context: str) -> np.ndarray:
        """Mean of every gene in a context."""
        return np.asarray(self.of(context).mean(axis=0), dtype=np.float64).ravel()


@dataclass(frozen=True)
class Prediction:
    """What the pictures of a prediction show.

    Attributes
    ----------
    perturbation, control, condition_key
        What was predicted, the value of control cells, and the column of ``obs`` with both.
    genes
        Those at hand that were predicted.
    contexts
        Those at hand that were predicted, in the stored order.
    changes
        Predicted change of every gene (contexts × genes).
    kinds
        Cells of each kind by its name; always all three, of which the real perturbed ones may be none.
    context_colours
        Those that scanpy stored, if there is one for every context.
    """

    perturbation: str
    control: str
    condition_key: str
    genes: pd.Index
    contexts: list[str]
    changes: np.ndarray
    kinds: dict[str, Kind]
    context_colours: dict[str, str] | None

    @property
    def there(self) -> dict[str, Kind]:
        """The kinds of which there are cells."""
        return {name: kind for name, kind in self.kinds.items() if len(kind)}

    @property
    def compared(self) -> list[str]:
        """Contexts with real perturbed cells and a prediction."""
        known = ~np.isnan(self.changes).any(axis=1)
        return [
            context
            for context, here in zip(self.contexts, known, strict=True)
            if here
            and (self.kinds[REAL].contexts == context).sum() >= LEAST_REAL
            and (self.kinds[CONTROL].contexts == context).any()
        ]

    def need_real(self) -> None:
        """Refuse a prediction that there is nothing to compare with."""
        if not self.compared:
            raise ValueError(
                f"There is nothing to compare the prediction with: no predicted context has {LEAST_REAL} real cells "
                f"with {self.perturbation!r} in obs[{self.condition_key!r}]. Add such cells to the data and run "
                "tl.perturb again, or use pl.perturbed_embedding and pl.perturbed_program, which need none."
            )

    def real_change(self, context: str) -> np.ndarray:
        """Mean of the real perturbed less that of the real control cells of a context."""
        return self.kinds[REAL].mean(context) - self.kinds[CONTROL].mean(context)

    def predicted_change(self, context: str) -> np.ndarray:
        """Predicted change of a context."""
        return self.changes[self.contexts.index(context)]


def open_prediction(data: AnnData | MuData, *, key: str, mod: str | None) -> Prediction:
    """Find a stored prediction, and the real cells as ``tl.perturb`` read them."""
    made = get.perturbed(data, key=key, mod=mod)
    adata = open_results(data, mod).adata
    stored, params = adata.uns[key], made.uns[key]["params"]
    cells = open_cells(
        data,
        mod=mod,
        layer=params.get("layer"),
        use_raw=bool(params.get("use_raw", False)),
        gene_symbols=params.get("gene_symbols"),
        writable=False,
    )
    genes = made.var_names[made.var_names.isin(cells.genes)]
    values = {CONTROL: str(params["control"]), REAL: str(stored["perturbation"])}
    groupby = [str(name) for name in np.atleast_1d(params["groupby"])]
    contexts = _contexts(cells, groupby, all_cells=str(stored["contexts"][0]))
    predicted = adata.obs[_keys.sentence(key)].notna().to_numpy()
    shown = [name for name in map(str, stored["contexts"]) if name in set(contexts[predicted])]
    if not shown:
        raise ValueError(
            f"No cell with a prediction has one of the contexts of uns[{key!r}]: obs[{groupby}] is no longer what it was, "
            "so run tl.perturb again."
        )
    of_context = np.isin(contexts, shown)
    condition = _condition(cells, str(params["condition_key"]), values[CONTROL])
    rows = {name: of_context & (condition == value) for name, value in values.items()}
    return Prediction(
        perturbation=values[REAL],
        control=values[CONTROL],
        condition_key=str(params["condition_key"]),
        genes=genes,
        contexts=shown,
        changes=_changes(stored, shown, genes),
        kinds={
            **_read(cells, genes, rows, contexts),
            PREDICTED: Kind(made[:, genes].X[of_context[predicted]], contexts[predicted & of_context]),
        },
        context_colours=_stored_colours(cells, groupby, shown),
    )


def _contexts(cells: Cells, groupby: Sequence[str], *, all_cells: str) -> np.ndarray:
    """Context of each cell; NaN where there is none, and one for all cells where these are not told apart."""
    if not groupby:
        return np.full(cells.n_obs, all_cells, dtype=object)
    return combined([cells.labels(name) for name in groupby]).to_numpy(dtype=object)


def _condition(cells: Cells, condition_key: str, control: str) -> np.ndarray:
    """Perturbation of each cell."""
    try:
        return cells.labels(condition_key).to_numpy(dtype=object)
    except KeyError:
        # tl.perturb takes all cells for control cells then.
        return np.full(cells.n_obs, control, dtype=object)


def _changes(stored: Mapping[str, Any], contexts: Sequence[str], genes: pd.Index) -> np.ndarray:
    """Predicted changes (contexts × genes)."""
    rows = pd.Index(np.asarray(stored["contexts"], dtype=object).astype(str)).get_indexer(contexts)
    columns = pd.Index(np.asarray(stored["var_names"], dtype=object)).get_indexer(genes)
    return np.asarray(stored["changes"], dtype=np.float64)[np.ix_(rows, columns)]


def _read(cells: Cells, genes: pd.Index, rows: Mapping[str, np.ndarray], contexts: np.ndarray) -> dict[str, Kind]:
    """Read the real cells of each kind; all genes of a cell set its scale."""
    chosen = np.logical_or.reduce(list(rows.values()))
    columns = pd.Index(cells.genes).get_indexer(genes)
    parts = [log_expression(block[chosen[some]])[:, columns] for some, block in cells.chunks()]
    x = sparse.vstack(parts, format="csr")
    return {name: Kind(x[here[chosen]], contexts[here]) for name, here in rows.items()}
