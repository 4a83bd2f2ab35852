"""Many perturbations: does a nano tell them apart, and what of those it never saw?

    python benchmarks/perturbation_names.py guides targets doses --seeds 3

``guides``: 25 knock-outs of Papalexi et al. (299 genes). Of every target one guide RNA, drawn anew for each seed, is held out:
the target is known, the cells are not. ``targets``: the knock-outs whose gene is among the 299 are held out, three at a time; the
model sees no cell of them, only the gene in its prompt. ``doses``: of every compound of an L1000 plate (A375, 24 h) one dose, drawn
anew for each seed, is held out; a perturbation is named "compound + dose".

``mean of all`` (for knock-outs: the guide mean) is the mean change over all training perturbations, ``same name`` the change that
training cells of the same target (compound: mean over its other doses, ``nearest dose``: the one next to it) showed. ``scrambled
name`` is the nano asked for the next perturbation in the alphabet. ``discrimination`` is 1 less the rank, from 0, of the right
perturbation among all by L1 distance, over their number: 0.5 is chance; for knock-outs the target gene itself does not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from _data import load
from scipy.stats import kendalltau

import sc_c2s as c2s
from sc_c2s.metrics import discrimination_score, pearson_delta
from sc_c2s.sentences.inverse import log_expression

TARGET, GUIDE, CONTROL = "top_grna_target", "top_grna", "non-targeting"
NAME = "perturbation"
MOST_CONTROLS = 500
"""Control cells that the nano reads: their mean is what counts."""


def train(adata: ad.AnnData, folder: Path, seed: int, options: argparse.Namespace, **how: object) -> float:
    start = time.perf_counter()
    if c2s.models.directory.is_model_directory(folder):
        return 0.0
    c2s.tl.finetune(
        adata, task="perturb", output_dir=folder, n_top_genes=0, n_epochs=options.epochs, rng=seed, resume=False, **how
    )
    return time.perf_counter() - start


def asked(model: Path, controls: ad.AnnData, names: list[str], genes: pd.Index) -> np.ndarray:
    """Changes that the model tells, mean over the control cells (perturbations × genes)."""
    found = np.zeros((len(names), len(genes)))
    for i, name in enumerate(names):
        c2s.tl.perturb(controls, model=model, perturbation=name, groupby=[])
        stored = controls.uns["c2s_perturbed"]
        found[i, genes.get_indexer(stored["var_names"])] = stored["changes"][0]
    return found


def means(x: sp.csr_matrix, kinds: np.ndarray, names: list[str]) -> np.ndarray:
    return np.stack([np.asarray(x[np.flatnonzero(kinds == name)].mean(axis=0)).ravel() for name in names])


def judged(
    name: str, predicted: np.ndarray, real: np.ndarray, tested: list[int], own: np.ndarray | None
) -> dict[str, object]:
    """Scores of predicted changes, mean over the perturbations that are tested."""
    still = np.zeros(real.shape[1])
    told = discrimination_score(predicted, real, metric="l1", exclude=own)
    return {
        "source": name,
        "pearson_delta": np.mean([pearson_delta(still, real[i], predicted[i]) for i in tested]),
        "discrimination": float(np.asarray(told)[tested].mean()),
        "mae": np.abs(predicted - real)[tested].mean(),
    }


def knock_outs(task: str, seed: int, options: argparse.Namespace) -> list[dict[str, object]]:
    adata = load("papalexi")
    rng = np.random.default_rng(seed)
    genes = pd.Index(adata.var_names)
    target = adata.obs[TARGET].astype(str).to_numpy()
    guide = adata.obs[GUIDE].astype(str).to_numpy()
    names = sorted(set(target) - {CONTROL})
    own = genes.to_numpy()[None, :] == np.array(names)[:, None]
    if task == "guides":
        out = [str(rng.choice(sorted(set(guide[target == name])))) for name in names]
        folds = [({GUIDE: out}, np.isin(guide, out), list(range(len(names))))]
    else:
        known = rng.permutation([i for i, name in enumerate(names) if name in genes])
        folds = []
        for part in np.array_split(known, 3):
            some = [names[i] for i in part]
            folds.append(({TARGET: some}, np.isin(target, some), part.tolist()))
    log = log_expression(sp.csr_matrix(adata.X))
    control = np.asarray(log[np.flatnonzero(target == CONTROL)].mean(axis=0)).ravel()
    rows = []
    for held_out, test, tested in folds:
        # Effects that predictions are compared with: of the held-out cells, and of all cells of what is not held out.
        where = test if task == "guides" else np.ones(len(target), dtype=bool)
        real = means(log[np.flatnonzero(where)], target[where], names) - control
        seen = [name for name in names if (~test & (target == name)).any()]
        learned = means(log[np.flatnonzero(~test)], target[~test], seen) - control
        average = np.tile(learned.mean(axis=0), (len(names), 1))
        same = average.copy()
        same[[names.index(name) for name in seen]] = learned
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(options.keep or temporary) / f"{task}-{seed}-{names[tested[0]]}"
            seconds = train(
                adata.copy(),
                folder,
                seed,
                options,
                condition_key=TARGET,
                control=CONTROL,
                groupby=None,
                held_out=held_out,
            )
            some = rng.permutation(np.flatnonzero(target == CONTROL))[:MOST_CONTROLS]
            told = asked(folder, adata[some].copy(), names, genes)
        sources = {
            "nano": told,
            "scrambled name": np.roll(told, 1, axis=0),
            "same name": same,
            "mean of all": average,
            "no change": np.zeros_like(real),
            "nano and same name, mean": (told + same) / 2,
        }
        rows += [
            judged(name, one, real, tested, own) | {"seed": seed, "training_s": seconds}
            for name, one in sources.items()
        ]
    return rows


@dataclass
class Doses:
    """An L1000 plate of which one dose of every compound is held out."""

    adata: ad.AnnData
    control: np.ndarray
    """Which profiles are of the vehicle."""
    out: list[str]
    """Perturbations that are held out."""
    still: np.ndarray
    """Mean of the vehicle."""
    real: np.ndarray
    """Changes under what is held out (perturbations × genes)."""
    others: dict[str, np.ndarray]
    """The same by methods without a model."""

    @property
    def how(self) -> dict[str, object]:
        """Arguments of ``tl.finetune``."""
        held_out = {NAME: self.out}
        return {"condition_key": NAME, "control": "DMSO", "groupby": None, "held_out": held_out, "min_cells": 1}


def plate(seed: int) -> Doses:
    """Read the plate and draw what is held out."""
    adata = load("l1000")
    adata.var_names = adata.var["pr_gene_symbol"].astype(str).to_numpy()
    adata.var_names_make_unique()
    compound = adata.obs["pert_iname"].astype(str).to_numpy()
    dose = pd.to_numeric(adata.obs["pert_dose"].astype(str), errors="coerce").to_numpy()
    control = adata.obs["pert_type"].astype(str).to_numpy() == "ctl_vehicle"
    name = np.where(control, "DMSO", [f"{one} + {amount:.4g} um" for one, amount in zip(compound, dose, strict=True)])
    adata.obs[NAME] = name
    adata.X = sp.csr_matrix(adata.X)
    rng = np.random.default_rng(seed)
    out = []
    for one in sorted(set(compound[~control])):
        amounts = sorted(set(dose[(compound == one) & ~control]))
        if len(amounts) > 2:
            out.append(f"{one} + {amounts[rng.integers(len(amounts))]:.4g} um")
    x = np.asarray(adata.X.toarray(), dtype=float)
    still = x[control].mean(axis=0)
    test = np.isin(name, out)
    real = means(sp.csr_matrix(x), name, out) - still
    learn = ~test & ~control
    average = np.tile((x[learn] - still).mean(axis=0), (len(out), 1))
    same, near = average.copy(), average.copy()
    for i, wanted in enumerate(out):
        one, amount = wanted.split(" + ")[0], float(wanted.split(" + ")[1].split()[0])
        here = np.flatnonzero(learn & (compound == one))
        same[i] = x[here].mean(axis=0) - still
        distance = np.abs(np.log(dose[here]) - np.log(amount))
        near[i] = x[here[distance == distance.min()]].mean(axis=0) - still
    others = {"same name": same, "nearest dose": near, "mean of all": average}
    return Doses(adata, control, out, still, real, others)


def doses(task: str, seed: int, options: argparse.Namespace) -> list[dict[str, object]]:
    some = plate(seed)
    genes, out, real, still = pd.Index(some.adata.var_names), some.out, some.real, some.still
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary) / f"{task}-{seed}"
        seconds = train(some.adata.copy(), folder, seed, options, **some.how)
        told = asked(folder, some.adata[some.control].copy(), out, genes)
    near, same = some.others["nearest dose"], some.others["same name"]
    sources = {
        "nano": told,
        "scrambled name": np.roll(told, 1, axis=0),
        **some.others,
        "no change": np.zeros_like(real),
        "nano and nearest dose, mean": (told + near) / 2,
        "same name and nearest dose, mean": (same + near) / 2,
    }
    rows = []
    for source, predicted in sources.items():
        row = judged(source, predicted, real, list(range(len(out))), None)
        row["kendall"] = np.mean([kendalltau(still + a, still + b)[0] for a, b in zip(predicted, real, strict=True)])
        row["kendall_delta"] = np.mean(
            [c2s.metrics.kendall_delta(still, still + b, still + a) for a, b in zip(predicted, real, strict=True)]
        )
        rows.append(row | {"seed": seed, "training_s": seconds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="+", choices=["guides", "targets", "doses"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--keep", help="folder to keep models in; those that are there are used, whatever they are")
    options = parser.parse_args()
    for task in options.task:
        rows = []
        for seed in range(options.seeds):
            rows += (doses if task == "doses" else knock_outs)(task, seed, options)
        table = pd.DataFrame(rows)
        order = list(dict.fromkeys(table["source"]))
        by_seed = table.groupby(["source", "seed"]).mean()
        shown = by_seed.groupby("source").mean().loc[order].drop(columns="training_s")
        shown.insert(1, "sd", by_seed["pearson_delta"].groupby("source").std())
        if "discrimination" in shown:
            shown.insert(3, "sd ", by_seed["discrimination"].groupby("source").std())
        print(
            f"== {task}, {options.seeds} seeds, training {table['training_s'].mean():.0f} s\n{shown.round(3).to_string()}",
            flush=True,
        )


if __name__ == "__main__":
    main()
