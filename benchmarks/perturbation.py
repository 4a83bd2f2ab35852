"""Perturbed cells that were never seen: a nano beside what needs no model.

    python benchmarks/perturbation.py types donors --seeds 3

``types``: Kang et al., each cell type in turn is held out: its cells under IFN-beta are not seen, its control cells are.
``donors``: the same for each of the three donors whose cells have a type. A nano learns from pairs within type and donor, on the
2,000 most variable genes of all labelled cells (scanpy's default), and reads every control cell of what was held out. Means of
types are compared, over these 2,000 genes; a gene that the nano does not know is left unchanged.

``falls in proportion`` is the similarity-weighted shift with falls scaled to the level of the gene, as the nano tells them:
no model, but the same idea. ``scrambled name`` is the nano asked for the other name (the control), ``shuffled contexts`` its
predictions for another type. ``hybrid`` is half the nano and half that shift of the training contexts (``shift_weight=0.5``); with a
scrambled name only the nano's half is asked for something else. ``several seeds`` is the mean over all seeds. ``nano, shuffled
cells`` are the cells with the change that the nano tells of as many control cells of other types.

The task was designed on these eight types: no other data of this kind are at hand.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from _data import data_dir, load
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

import sc_c2s as c2s
from sc_c2s.metrics.context_weights import similarity_weights
from sc_c2s.sentences.changes import at_level, in_proportion

CONDITION, CONTROL, PERTURBED, TYPE, DONOR = "condition", "ctrl", "stim", "cell_type_kang", "donor"
SHOWN = [
    *("pearson_delta", "pearson_delta_top20", "pearson_delta_top50", "pearson_delta_top100", "mae", "de_overlap"),
    *("de_direction", "mmd", "energy", "sliced_wasserstein", "scfid", "gene_wasserstein", "kendall"),
]
NANO = "nano"
NANOS, HYBRIDS = "nano, several seeds", "hybrid, several seeds"


def kang() -> ad.AnnData:
    """Labelled cells with counts, and which genes vary most."""
    adata = load("kang")
    adata = adata[adata.obs[TYPE].notna()].copy()
    log = as_log(adata)
    adata.var["highly_variable"] = sc.pp.highly_variable_genes(log, n_top_genes=2000, inplace=False)[
        "highly_variable"
    ].to_numpy()
    return adata


def as_log(adata: ad.AnnData) -> ad.AnnData:
    log = adata.copy()
    sc.pp.normalize_total(log, target_sum=1e4)
    sc.pp.log1p(log)
    return log


def folds(adata: ad.AnnData, task: str) -> dict[str, dict[str, str]]:
    """What is held out in each fold."""
    column = TYPE if task == "types" else DONOR
    names = sorted(set(adata.obs[column].astype(str)))
    return {name: {column: name} for name in names}


def held(adata: ad.AnnData, out: dict[str, str]) -> np.ndarray:
    return np.logical_and.reduce([(adata.obs[name].astype(str) == value).to_numpy() for name, value in out.items()])


def filled(predicted: ad.AnnData, controls: ad.AnnData) -> ad.AnnData:
    """Predicted cells with all genes of the control cells; what was not predicted is as it was."""
    controls = controls[predicted.obs_names]
    x = controls.X.toarray()
    x[:, controls.var_names.get_indexer(predicted.var_names)] = predicted.X
    return ad.AnnData(x, obs=predicted.obs.copy(), var=controls.var[[]].copy())


def falls_in_proportion(train: ad.AnnData, controls: ad.AnnData) -> ad.AnnData:
    """Shift of the types alike, falls in proportion to the level of the gene."""
    names, means, shifts = [], [], []
    for name in sorted(set(train.obs[TYPE].astype(str))):
        here = train[(train.obs[TYPE].astype(str) == name).to_numpy()]
        before, after = (here[(here.obs[CONDITION] == value).to_numpy()].X for value in (CONTROL, PERTURBED))
        if min(before.shape[0], after.shape[0]) >= 3:
            names.append(name)
            means.append(np.asarray(before.mean(axis=0)).ravel())
            shifts.append(np.asarray(after.mean(axis=0)).ravel() - means[-1])
    seen, moved = np.stack(means), np.stack(shifts)
    made = controls.copy()
    made.X = controls.X.toarray()
    for name in sorted(set(controls.obs[TYPE].astype(str))):
        here = (controls.obs[TYPE].astype(str) == name).to_numpy()
        own = np.asarray(controls[here].X.mean(axis=0)).ravel()
        weights = similarity_weights(seen, own)
        level = weights @ seen
        made.X[here] += at_level(in_proportion(weights @ moved, level, level), own, level)
    made.obs[CONDITION] = PERTURBED
    return made


def shuffled_cells(
    model: Path, controls: ad.AnnData, tested: ad.AnnData, everything: ad.AnnData, seed: int
) -> ad.AnnData:
    """Control cells with the change that the model tells of control cells of other types."""
    rng = np.random.default_rng(seed)
    types = tested.obs[TYPE].astype(str).to_numpy()
    others = everything[(everything.obs[CONDITION] == CONTROL).to_numpy()]
    kinds = others.obs[TYPE].astype(str).to_numpy()
    rows = np.array([rng.choice(np.flatnonzero(kinds != name)) for name in types])
    strangers = ad.AnnData(others.X[rows], obs=tested.obs.copy(), var=others.var.copy())
    c2s.tl.perturb(strangers, model=model, perturbation=PERTURBED, groupby=TYPE)
    stored = strangers.uns["c2s_perturbed"]
    columns = controls.var_names.get_indexer(stored["var_names"])
    x = controls.X.toarray()
    for name, change in zip(stored["contexts"], stored["changes"], strict=True):
        x[np.ix_(controls.obs[TYPE].astype(str) == name, columns)] += change
    made = cells_of(x, controls)
    made.obs[CONDITION] = PERTURBED
    return made


def predictions(model: Path, tested: ad.AnnData) -> dict[str, ad.AnnData]:
    """Cells by the model, and by the model under another name."""
    c2s.tl.perturb(tested, model=model, perturbation=[PERTURBED, CONTROL], groupby=TYPE)
    found = {NANO: c2s.get.perturbed(tested, key=f"c2s_perturbed_{PERTURBED}")}
    found["scrambled name"] = c2s.get.perturbed(tested, key=f"c2s_perturbed_{CONTROL}")
    found["scrambled name"].obs[CONDITION] = PERTURBED
    c2s.tl.perturb(tested, model=model, perturbation=PERTURBED, groupby=TYPE, shift_weight=0.5)
    found["hybrid"] = c2s.get.perturbed(tested)
    return found


def train(
    adata: ad.AnnData, out: dict[str, str], folder: Path, seed: int, *, epochs: int | None, pairing: str = "random"
) -> None:
    """Train a nano on all but the perturbed cells that are held out."""
    c2s.tl.finetune(
        adata.copy(),
        task="perturb",
        condition_key=CONDITION,
        control=CONTROL,
        groupby=[TYPE, DONOR],
        held_out=out,
        mask_var="highly_variable",
        n_top_genes=0,
        n_epochs=epochs,
        pairing=pairing,
        output_dir=folder,
        rng=seed,
    )


def one(
    adata: ad.AnnData, fold: str, out: dict[str, str], seeds: list[int], options: argparse.Namespace
) -> dict[int, pd.DataFrame]:
    with threadpool_limits(limits=options.threads):
        torch.set_num_threads(options.threads)
        return measured(adata, fold, out, seeds, options)


def measured(
    adata: ad.AnnData, fold: str, out: dict[str, str], seeds: list[int], options: argparse.Namespace
) -> dict[int, pd.DataFrame]:
    """Table of each seed for what one fold holds out."""
    genes = adata.var_names[adata.var["highly_variable"]]
    log = as_log(adata)[:, genes].copy()
    tested = held(adata, out)
    control = (adata.obs[CONDITION] == CONTROL).to_numpy()
    real, controls = log[tested].copy(), log[tested & control].copy()
    learned = log[~(tested & ~control)].copy()
    enough = (
        real.obs.groupby([TYPE, CONDITION], observed=True).size().unstack(fill_value=0).min(axis=1) >= options.least
    )
    kept = enough.index[enough]
    real, controls = (one[one.obs[TYPE].isin(kept).to_numpy()].copy() for one in (real, controls))
    how = {"condition_key": CONDITION, "control": CONTROL, "groupby": TYPE}
    others = c2s.metrics.perturbation_baselines(learned[~held(learned, out)].copy(), controls, **how)
    others["falls in proportion"] = falls_in_proportion(learned[~held(learned, out)].copy(), controls)

    tables, made = {}, {NANO: [], "hybrid": []}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(options.keep or temporary) / f"{'-'.join(out)}-{fold.replace(' ', '_')}-{seed}"
            start = time.perf_counter()
            if not c2s.models.directory.is_model_directory(folder):
                train(adata, out, folder, seed, epochs=options.epochs, pairing=options.pairing)
            trained = time.perf_counter() - start
            chosen = adata[controls.obs_names].copy()
            start = time.perf_counter()
            found = predictions(folder, chosen)
            asked = time.perf_counter() - start
            strangers = shuffled_cells(folder, controls, chosen, adata, seed)
        cells = {name: filled(one, controls) for name, one in found.items()} | {"nano, shuffled cells": strangers}
        # The shift keeps its name, the model gets the wrong one.
        half = (cells["scrambled name"].X + others["falls in proportion"].X) / 2
        cells["hybrid, scrambled name"] = cells_of(half, cells["scrambled name"])
        for name, some in made.items():
            some.append(cells[name].X)
        predicted = cells.pop(NANO)
        table = c2s.metrics.perturbation(real, predicted, others=others | cells, gene_sets=programs(genes), **how)
        tables[seed] = table.assign(fold=fold, seed=seed, training_s=trained, cells_per_s=3 * len(chosen) / asked)
        print(
            f"{fold}, seed {seed}: {table.loc[('predicted', '(mean)', '(mean)'), 'pearson_delta']:.3f}, {trained:.0f} s",
            flush=True,
        )
    if len(seeds) > 1:
        predicted, hybrid = (cells_of(np.mean(some, axis=0), predicted) for some in made.values())
        table = c2s.metrics.perturbation(real, predicted, others={HYBRIDS: hybrid}, gene_sets=programs(genes), **how)
        tables[-1] = table.assign(fold=fold, seed=-1)
    return tables


def cells_of(x: np.ndarray, like: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(x, obs=like.obs.copy(), var=like.var.copy())


def programs(genes: pd.Index) -> dict[str, list[str]]:
    """Programs of the response, by their genes at hand."""
    sets = c2s.metrics.read_gmt(data_dir() / "knowledge" / "h.all.v7.5.1.symbols.gmt")
    wanted = {
        "ifn_alpha": "INTERFERON_ALPHA_RESPONSE",
        "ifn_gamma": "INTERFERON_GAMMA_RESPONSE",
        "apoptosis": "APOPTOSIS",
    }
    return {name: [gene for gene in sets[f"HALLMARK_{full}"] if gene in genes] for name, full in wanted.items()}


def summary(tables: list[pd.DataFrame]) -> None:
    """Print what is compared, fold by fold and on average, with the spread over seeds."""
    whole = pd.concat([table.reset_index() for table in tables])
    pairs = whole[whole["context"] != "(mean)"].copy()
    pairs["source"] = np.where(pairs["seed"] == -1, pairs["source"].replace("predicted", NANOS), pairs["source"])
    pairs["source"] = pairs["source"].replace("predicted", NANO)
    pairs = pairs[(pairs["seed"] >= 0) | pairs["source"].isin([NANOS, HYBRIDS])]
    order = list(dict.fromkeys(pairs["source"]))
    shown = [name for name in [*SHOWN, *(n for n in pairs if str(n).startswith("program_"))] if name in pairs]
    by_seed = pairs.groupby(["source", "seed"], sort=False)[shown].mean()
    print("\nmeans over all types, mean over seeds (sd over seeds of pearson_delta)")
    means = by_seed.groupby("source").mean().loc[order]
    means.insert(1, "sd", by_seed["pearson_delta"].groupby("source").std())
    print(means.round(3).to_string())
    print("\npearson_delta, type by type, mean over seeds")
    names = ["fold", "context"] if (pairs["fold"] != pairs["context"]).any() else ["context"]
    print(
        pairs.pivot_table(index="source", columns=names, values="pearson_delta", sort=False)
        .loc[order]
        .round(3)
        .to_string()
    )
    seen = pairs.groupby(["source", *names], sort=False)["pearson_delta"].mean().unstack("source")
    better = seen[["mean shift", "nearest context"]].max(axis=1)
    for name in (NANO, "hybrid"):
        print(
            f"{name}: above the better one of mean shift and nearest context in {(seen[name] > better).sum()} of {len(seen)}"
        )
    if "fold" in names:
        print("\npearson_delta, mean over the contexts of each fold")
        print(seen.groupby("fold").mean().T.loc[order].round(3).to_string())
    print("\nsd over seeds")
    spread = pairs[pairs["source"] == NANO].groupby(names)["pearson_delta"].std()
    print(spread.round(3).to_string())
    print(f"\ntraining {whole['training_s'].mean():.0f} s a fold, {whole['cells_per_s'].mean():.0f} cells/s read")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="+", choices=["types", "donors"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--pairing", default="random")
    parser.add_argument(
        "--least", type=int, default=3, help="fewest control and perturbed cells of a type that is compared"
    )
    parser.add_argument("--keep", help="folder to keep models in; those that are there are used, whatever they are")
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time, each on its share of the cores")
    parser.add_argument("--out", help="CSV file for all rows")
    options = parser.parse_args()
    options.threads = max((os.cpu_count() or 1) // options.jobs, 1)
    adata = kang()
    seeds = list(range(options.first_seed, options.first_seed + options.seeds))
    for task in options.task:
        print(f"== {task}", flush=True)
        found = Parallel(n_jobs=options.jobs)(
            delayed(one)(adata, fold, out, seeds, options) for fold, out in folds(adata, task).items()
        )
        tables = [table for some in found for table in some.values()]
        summary(tables)
        if options.out:
            pd.concat([table.reset_index() for table in tables]).to_csv(f"{options.out}-{task}.csv", index=False)


if __name__ == "__main__":
    main()
