"""Annotation of test cells: a nano beside logistic regression, nearest centroid and majority class, over paired folds.

    python benchmarks/annotation.py pbmc700 pbmc3k kang pbmc3k_to_kang --folds 5

Every fold holds out a fifth of the cells as test cells. Of the others, an eighth are validation cells: the nano stops
and is calibrated on these. The simple methods have nothing to choose, so they learn from training and validation cells
together ("+val") and, as a second row, from the training cells alone. All methods see the same test cells. A nano that
was taught the labels of the same cells in shuffled order shows what the table gives to one that knows nothing
(``--shuffled``). ``A_to_B`` learns from all cells of one data set and is tested on another, under common names.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from _data import load
from sklearn.model_selection import StratifiedKFold, train_test_split

import sc_c2s as c2s
from sc_c2s.sentences.inverse import log_expression

SCORES = ["accuracy", "macro_f1", "balanced_accuracy", "ece", "ece_chance", "ece_chance_p95", "log_loss"]
NANO, REFERENCE = "nano", "logistic regression +val"
SHUFFLED = "nano, shuffled labels"
COMMON_NAMES = {
    "kang": {
        "CD14+ Monocytes": "CD14+ Mono",
        "FCGR3A+ Monocytes": "FCGR3A+ Mono",
        "CD4 T cells": "CD4 T",
        "CD8 T cells": "CD8 T",
        "B cells": "B",
        "NK cells": "NK",
        "Dendritic cells": "DC",
        "Megakaryocytes": "Platelet",
    },
    "pbmc3k": {"Naive CD4 T": "CD4 T", "Memory CD4 T": "CD4 T"},
    "pbmc700": {
        "CD14+ Monocyte": "CD14+ Mono",
        "CD19+ B": "B",
        "CD4+/CD25 T Reg": "CD4 T",
        "CD4+/CD45RA+/CD25- Naive T": "CD4 T",
        "CD4+/CD45RO+ Memory": "CD4 T",
        "CD56+ NK": "NK",
        "CD8+ Cytotoxic T": "CD8 T",
        "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T",
        "Dendritic": "DC",
    },
}
ACROSS = [f"{source}_to_{target}" for source in COMMON_NAMES for target in COMMON_NAMES if source != target]


def cells(name: str) -> sc.AnnData:
    """Cells with a ``label``; counts, or log expression for scanpy's own."""
    if name == "pbmc700":
        adata = sc.datasets.pbmc68k_reduced().raw.to_adata()
        adata.obs["label"] = adata.obs["bulk_labels"].astype(str)
        return adata
    adata, column = {
        "pbmc3k": (load("pbmc3k"), "cell_type"),
        "kang": (load("kang"), "cell_type_kang"),
    }[name]
    adata = adata[adata.obs[column].notna()].copy()
    adata.obs["label"] = adata.obs[column].astype(str)
    return adata


def folds(adata: sc.AnnData, n_folds: int, seed: int) -> list[np.ndarray]:
    """Split of the cells, one for each fold."""
    labels, splits = adata.obs["label"].to_numpy(), []
    for fold, (rest, test) in enumerate(
        StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels)
    ):
        train, validation = train_test_split(rest, test_size=1 / 8, random_state=fold)
        split = np.empty(len(labels), dtype=object)
        split[train], split[validation], split[test] = "train", "validation", "test"
        splits.append(split)
    return splits


def across(source: str, target: str) -> tuple[sc.AnnData, np.ndarray]:
    """All cells of one data set to learn from, those of another to be tested on, under common names.

    Of Kang's, only control cells. Labels that one of the two lacks are left out of the other, too; the 700 cells know
    only one kind of monocyte, so that others are merged for them.
    """
    parts = []
    for name in (source, target):
        part = cells(name)
        if name == "kang":
            part = part[part.obs["condition"] == "ctrl"].copy()
        part.obs["label"] = part.obs["label"].replace(COMMON_NAMES[name])
        if "pbmc700" in (source, target):
            part.obs["label"] = part.obs["label"].replace({"CD14+ Mono": "Mono", "FCGR3A+ Mono": "Mono"})
            part.X = log_expression(part.X.tocsr())  # one scale for both: the 700 come without counts
        parts.append(part)
    known = set(parts[0].obs["label"]) & set(parts[1].obs["label"])
    parts = [part[part.obs["label"].isin(known)] for part in parts]
    n = parts[0].n_obs
    split = np.array(["train"] * n + ["test"] * parts[1].n_obs, dtype=object)
    split[np.random.default_rng(0).choice(n, n // 8, replace=False)] = "validation"
    return sc.concat(parts, join="inner", keys=[source, target], index_unique="-"), split


def teach(adata: sc.AnnData, split: np.ndarray, *, groupby: str, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Labels and probabilities that a nano gives the test cells."""
    adata = adata.copy()
    adata.obs["split"] = split
    with tempfile.TemporaryDirectory() as folder:
        c2s.tl.finetune(adata, groupby=groupby, split_key="split", output_dir=Path(folder), rng=seed)
        c2s.tl.annotate(adata, model=folder)
    labels, test = [str(label) for label in adata.uns["c2s_cell_type"]["labels"]], split == "test"
    proba = pd.DataFrame(adata.obsm["c2s_cell_type_proba"][test], columns=labels)
    return adata.obs["c2s_cell_type"].astype(object).to_numpy()[test], proba


def run(adata: sc.AnnData, split: np.ndarray, *, seed: int, shuffled: bool = False) -> pd.DataFrame:
    """Scores of every method on one split."""
    start = time.perf_counter()
    found = {NANO: teach(adata, split, groupby="label", seed=seed)}
    minutes = (time.perf_counter() - start) / 60
    labels, test, truth = list(found[NANO][1].columns), split == "test", adata.obs["label"].to_numpy()
    if shuffled:
        rng, mixed = np.random.default_rng(seed), truth.copy()
        for learn in ("train", "validation"):
            mixed[split == learn] = rng.permutation(mixed[split == learn])
        adata.obs["shuffled"] = mixed
        found[SHUFFLED] = teach(adata, split, groupby="shuffled", seed=seed)
    x = log_expression(adata.X.tocsr())
    for suffix, learn in {" +val": split != "test", "": split == "train"}.items():
        simple = c2s.metrics.annotation_baselines(x[learn], truth[learn], x[test], labels=labels)
        found |= {f"{name}{suffix}": result for name, result in simple.items()}
    table = c2s.metrics.annotation_table(found, truth[test])[[*SCORES, "n"]]
    table["minutes"] = [minutes] + [np.nan] * (len(table) - 1)
    return table


def main() -> None:
    """Print one table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=[*COMMON_NAMES, *ACROSS])
    parser.add_argument("--folds", type=int, default=5, help="folds that are made")
    parser.add_argument("--run", type=int, help="folds that are run; all by default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shuffled", action="store_true", help="also teach shuffled labels")
    parser.add_argument("--csv", type=Path, help="also write every fold's scores here")
    options = parser.parse_args()
    sc.settings.verbosity = 1
    everything = []
    for name in options.data:
        if name in ACROSS:
            adata, split = across(*name.split("_to_"))
            runs = [(adata, split)] * (options.run or 3)  # the cells are given, so the seeds make the spread
        else:
            adata = cells(name)
            runs = [(adata, split) for split in folds(adata, options.folds, options.seed)][: options.run]
        results = {}
        for i, (adata, split) in enumerate(runs):
            results[i] = run(adata, split, seed=options.seed + i, shuffled=options.shuffled)
            print(f"{name} fold {i}\n{results[i].round(4).to_string()}", flush=True)
        table = pd.concat(results, names=["fold"])
        everything.append(table.assign(data=name))
        if options.csv:
            pd.concat(everything).to_csv(options.csv)
        mean, spread = (getattr(table.groupby("method", sort=False), how)() for how in ("mean", "std"))
        print(
            f"\n{name}: mean over {len(runs)} runs\n{mean.round(3).to_string()}\nstandard deviation\n{spread.round(3).to_string()}"
        )
        ours, reference = (table.xs(method, level="method")[SCORES[:3]] for method in (NANO, REFERENCE))
        print(
            f"\npaired difference to {REFERENCE}\n{c2s.metrics.paired(ours, reference).round(3).to_string()}\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
