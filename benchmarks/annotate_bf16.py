"""How far bfloat16 and batching move the probabilities of one model: ``python benchmarks/annotate_bf16.py MODEL``.

MODEL is a directory that ``c2s demo`` wrote; the cells are scanpy's 700. Prints the largest and the mean change of a
probability, and the share of cells whose label changes, against float32 in batches of 64.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import scanpy as sc

import sc_c2s as c2s


def annotate(model: str, order: np.ndarray, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and labels, in the order of the file."""
    adata = sc.datasets.pbmc68k_reduced()[order].copy()
    c2s.tl.annotate(adata, model=model, use_raw=True, **options)
    back = np.argsort(order)
    return adata.obsm["c2s_cell_type_proba"][back], adata.obs["c2s_cell_type"].astype(str).to_numpy()[back]


def main() -> None:
    """Print the table."""
    sc.settings.verbosity = 0
    model, order = sys.argv[1], np.arange(700)
    proba, label = annotate(model, order, dtype="float32", batch_size=64)
    shuffled = np.random.default_rng(0).permutation(order)
    runs = {
        "float32, batches of 1": (order, {"dtype": "float32", "batch_size": 1}),
        "float32, shuffled cells": (shuffled, {"dtype": "float32", "batch_size": 64}),
        "bfloat16, batches of 64": (order, {"dtype": "bfloat16", "batch_size": 64}),
    }
    rows = {}
    for name, (cells, options) in runs.items():
        other, other_label = annotate(model, cells, **options)
        change = np.abs(other - proba)
        rows[name] = {"largest": change.max(), "mean": change.mean(), "labels changed": (label != other_label).mean()}
    print(pd.DataFrame.from_dict(rows, orient="index").to_string(float_format="{:.2e}".format))


if __name__ == "__main__":
    main()
