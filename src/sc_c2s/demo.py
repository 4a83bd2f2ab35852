"""The main job from end to end: cells in, an annotated file, a model and a report out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from . import _keys

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

ANNOTATED, MODEL, REPORT = "annotated", "model", "report.html"
MAX_UMAP_CELLS = 20_000
"""A picture of more cells says no more, and takes minutes."""


@dataclass(frozen=True)
class Demo:
    """What the demo found and where it is.

    Attributes
    ----------
    table
        A row a method, a column a score, on the test cells.
    annotated, model, report
        The annotated cells, the model directory and the report.
    """

    table: pd.DataFrame
    annotated: Path
    model: Path
    report: Path


def run(
    data: AnnData | MuData,
    out: str | Path,
    *,
    groupby: str,
    title: str,
    mod: str | None = None,
    layer: str | None = None,
    use_raw: bool = False,
    gene_symbols: str | None = None,
    rng: int = 0,
    **options: Any,
) -> Demo:
    """Split, write sentences, train a nano, annotate the test cells and compare with simple methods.

    Parameters
    ----------
    data
        Cells with labels. Results are written into them.
    out
        Folder for what comes out.
    groupby
        Column of `obs` with the labels.
    title
        Heading of the report.
    mod, layer, use_raw, gene_symbols
        Where the expression is, as in :func:`~sc_c2s.pp.to_sentences`.
    rng
        Seed.
    options
        Anything else for :func:`~sc_c2s.tl.finetune`.

    Returns
    -------
    The table and the paths.
    """
    from . import metrics, pp, tl

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    where: dict[str, Any] = {"mod": mod, "layer": layer, "use_raw": use_raw, "gene_symbols": gene_symbols}
    pp.to_sentences(data, n_genes=None, rng=rng, **where)
    tl.finetune(data, groupby=groupby, output_dir=out / MODEL, rng=rng, **where, **options)
    tl.annotate(data, model=out / MODEL, **where)

    table = score(data, groupby=groupby, **where)
    adata = data if mod is None else data[mod]
    _add_umap(data, **where)
    annotated = out / (f"{ANNOTATED}.h5ad" if mod is None else f"{ANNOTATED}.h5mu")
    data.write(annotated)
    write_report(
        out / REPORT, data, adata, table.rename(columns=metrics.HEADINGS), groupby=groupby, title=title, mod=mod
    )
    return Demo(table, annotated, out / MODEL, out / REPORT)


def score(data: AnnData | MuData, *, groupby: str, **where: Any) -> pd.DataFrame:
    """Score the predicted labels of the test cells, beside simple methods on the same cells.

    The simple methods see the expression of all genes in log1p counts per 10,000, and learn from the training and the
    validation cells together, as they have nothing to choose.
    """
    from .data import open_cells
    from .metrics import annotation_baselines, annotation_table
    from .sentences.inverse import log_expression

    cells = open_cells(data, **where)
    x, split = log_expression(cells.matrix()), cells.obs(_keys.SPLIT).astype(object).to_numpy()
    test, learn = split == "test", np.isin(split, ["train", "validation"])
    truth = cells.labels(groupby).to_numpy()
    labels = [str(label) for label in cells.adata.uns[_keys.CELL_TYPE]["labels"]]
    proba = pd.DataFrame(cells.adata.obsm[_keys.proba(_keys.CELL_TYPE)][test], columns=labels)
    predicted = cells.obs(_keys.CELL_TYPE).astype(object).to_numpy()[test]
    known = np.isin(truth, labels) & learn
    baselines = annotation_baselines(x[known], truth[known], x[test], labels=labels)
    return annotation_table({"sc_c2s nano": (predicted, proba), **baselines}, truth[test])


def _add_umap(data: AnnData | MuData, **where: Any) -> None:
    """Lay the cells out where the user has not done so."""
    import scanpy as sc
    from anndata import AnnData

    from .data import open_cells
    from .sentences.inverse import log_expression

    cells = open_cells(data, **where)
    if "X_umap" in cells.adata.obsm or cells.n_obs > MAX_UMAP_CELLS:
        return
    log = AnnData(log_expression(cells.matrix()))
    sc.pp.highly_variable_genes(log, n_top_genes=min(2000, log.n_vars - 1))
    sc.pp.pca(log, n_comps=min(30, min(log.shape) - 1))
    sc.pp.neighbors(log)
    sc.tl.umap(log)
    cells.write(obsm={"X_umap": log.obsm["X_umap"]})


def write_report(
    path: Path,
    data: AnnData | MuData,
    adata: AnnData,
    table: pd.DataFrame,
    *,
    groupby: str,
    title: str,
    mod: str | None,
) -> None:
    """Gather tables and pictures in one page."""
    import matplotlib.pyplot as plt

    from . import pl
    from .data import open_results
    from .report import write_report as write_page

    with plt.rc_context({"figure.dpi": 120}):
        figures: dict[str, Any] = {
            "True and predicted label of the test cells": pl.confusion(data, groupby, mod=mod, show=False),
            "Does the confidence mean what it says?": pl.calibration(data, groupby, mod=mod, show=False),
            "Training": pl.training(data, mod=mod, show=False),
            "Rank and expression": pl.rank_fit(data, mod=mod, show=False),
        }
        truth, test = open_results(data, mod).labels(groupby), (adata.obs[_keys.SPLIT] == "test").to_numpy()
        if "X_umap" in adata.obsm:
            layout, predicted = adata.obsm["X_umap"], adata.obs[_keys.CELL_TYPE]
            colors = _colors([*adata.uns[_keys.CELL_TYPE]["labels"], *truth.dropna().unique()])
            figures["All cells, true label"] = _umap(layout, truth, colors)
            figures["Test cells, predicted label"] = _umap(layout[test], predicted[test], colors)
        example = adata.obs_names[test][0]
        figures[f"The sentence of {example}"] = pl.sentence(data, example, mod=mod, show=False)
        n = adata.obs[_keys.SPLIT].value_counts()
        write_page(
            path,
            title=title,
            lead=(
                "Every score is of test cells, which neither the training nor any choice has seen. "
                "The simple methods learned from the expression of all genes, in the training and validation cells."
            ),
            facts={
                "training cells": int(n.get("train", 0)),
                "validation cells": int(n.get("validation", 0)),
                "test cells": int(n.get("test", 0)),
                "cells without a label": int(truth.isna().sum()),
                "labels": len(adata.uns[_keys.CELL_TYPE]["labels"]),
                "genes": adata.n_vars,
            },
            tables={f"Predicting {groupby}": table},
            figures=figures,
        )
        plt.close("all")


def _colors(labels: list[str]) -> dict[str, str]:
    """One colour for each label, the same in every picture."""
    from scanpy.plotting.palettes import default_20, default_102

    labels = list(dict.fromkeys(labels))
    palette = default_20 if len(labels) <= len(default_20) else default_102
    return {label: palette[i % len(palette)] for i, label in enumerate(labels)}


def _umap(layout: np.ndarray, labels: pd.Series, colors: dict[str, str]) -> Any:
    """Draw labels of any kind on a layout."""
    import matplotlib.pyplot as plt
    import scanpy as sc
    from anndata import AnnData

    labels = labels.astype(object).map(str, na_action="ignore")
    shown = pd.Categorical(labels, categories=[label for label in colors if (labels == label).any()])
    cells = AnnData(obs=pd.DataFrame({"label": shown}, index=labels.index), obsm={"X_umap": layout})
    _, ax = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    sc.pl.umap(cells, color="label", palette=colors, ax=ax, show=False, title="", frameon=False)
    return ax
