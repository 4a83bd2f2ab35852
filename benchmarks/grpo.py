"""Rewards beside supervised training that goes on for as long: from the same supervised nano, on cells that neither has seen.

    python benchmarks/grpo.py types doses cells labels --seeds 3

``types``: Kang et al., each of some cell types in turn is held out (``benchmarks/perturbation.py``); the nano tells what IFN-beta
changes. ``doses``: an L1000 plate, one dose of every compound is held out (``benchmarks/perturbation_names.py``). ``cells``: a nano that
writes cells of every type with and without IFN-beta, set beside test cells (a fifth, drawn at random). ``labels``: cell types of Kang
et al. (13 types on 2,708 cells); rare types are those with less than 5 % of the cells. ``scrambled name``, ``shuffled conditions`` and
``shuffled labels`` are the start asked for something else, or with its answers exchanged among the cells.

``start`` is the supervised nano. ``supervised, continued`` is trained on from there on the same examples for the same wall-clock
seconds as the slowest of the rewards, with a new warm-up and decay of the learning rate. Each of them keeps the state that
is best on validation cells. ``scfid_ifn`` is the Fréchet distance over the interferon genes (Hallmark interferon alpha and gamma)
between predicted (or written) and real cells under IFN-beta, as far as these genes are among those of the model; no reward sees it.
``watched`` is the score on validation cells that the state is chosen by: of the start, the best one, and of the last state.

``hacks`` are rewards that can be won without biology (types, first fold): what they do to the held-out scores, and when the guard
stops them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded, see the installation page

import anndata as ad
import numpy as np
import pandas as pd
import perturbation as kang_types
import perturbation_names as names
import scanpy as sc
import torch
from _data import load
from sklearn.linear_model import LogisticRegression

import sc_c2s as c2s
from sc_c2s.data import as_labels, combined
from sc_c2s.metrics import frechet_distance
from sc_c2s.metrics.generation import MEAN
from sc_c2s.models import directory
from sc_c2s.rl import rewards

SPLIT = "split.csv"
START, CONTINUED = "start", "supervised, continued"
Finetune = Callable[..., None]
Score = Callable[[Path], dict[str, float]]


def compared(
    folder: Path, finetune: Finetune, score: Score, options: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    """Scores of the start, of every kind of rewards, and of supervised training for as long; and how each went."""
    start = folder / "start"
    if not directory.is_model_directory(start):
        finetune(output_dir=start)
    rows: list[dict[str, Any]] = [{"method": START, **score(start)}]
    histories, longest = {}, 0.0
    for name, how in options.items():
        where = folder / "rewarded"
        shutil.rmtree(where, ignore_errors=True)
        clock = time.perf_counter()
        finetune(output_dir=where, model=start, method="grpo", **how)
        seconds = time.perf_counter() - clock
        longest = max(longest, seconds)
        history = directory.read_history(where)
        histories[name] = history
        rows.append(
            {
                "method": name,
                **score(where),
                "seconds": seconds,
                "kl": history["kl"].iloc[-1] if "kl" in history else np.nan,  # none without a reference
                "entropy": history["entropy"].iloc[-1],
                "reward_from": history["reward"].iloc[0],
                "reward_to": history["reward"].iloc[-1],
                **watched(history),
            }
        )
    past = directory.read_history(start)
    epochs = max(round(longest * past["epoch"].iloc[-1] / past["seconds"].iloc[-1]), 1)
    where = folder / "continued"
    shutil.rmtree(where, ignore_errors=True)
    clock = time.perf_counter()
    finetune(output_dir=where, model=start, n_epochs=epochs)
    rows.append({"method": CONTINUED, **score(where), "seconds": time.perf_counter() - clock})
    return rows, histories


def watched(history: pd.DataFrame) -> dict[str, float]:
    """Say how the score went that the state is chosen by."""
    score = history[next(name for name in history if name.startswith("val_"))]
    return {"watched_from": score.iloc[0], "watched_best": score.max(), "watched_to": score.iloc[-1]}


def interferon(genes: pd.Index) -> np.ndarray:
    """Columns of the interferon genes."""
    sets = kang_types.programs(genes)
    return np.flatnonzero(genes.isin([*sets["ifn_alpha"], *sets["ifn_gamma"]]))


def types(
    seed: int, options: argparse.Namespace, kinds: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    adata = kang_types.kang()
    log = kang_types.as_log(adata)
    rows, histories = [], {}
    for fold in options.types or kang_types.folds(adata, "types"):
        out = {kang_types.TYPE: fold}
        tested = kang_types.held(adata, out)
        control = (adata.obs[kang_types.CONDITION] == kang_types.CONTROL).to_numpy()
        before, after = log[tested & control], log[tested & ~control]

        def score(model: Path, before: ad.AnnData = before, after: ad.AnnData = after) -> dict[str, float]:
            cells = adata[before.obs_names].copy()
            c2s.tl.perturb(cells, model=model, perturbation=kang_types.PERTURBED, groupby=kang_types.TYPE)
            made = c2s.get.perturbed(cells)
            still, real = (np.asarray(x[:, made.var_names].X.mean(axis=0)).ravel() for x in (before, after))
            predicted = np.asarray(made.X).mean(axis=0)
            ifn = interferon(made.var_names)
            return {
                "pearson_delta": c2s.metrics.pearson_delta(still, real, predicted),
                "kendall_delta": c2s.metrics.kendall_delta(still, real, predicted),
                "r2_delta": c2s.metrics.r2_delta(still, real, predicted),
                "mae": float(np.abs(predicted - real).mean()),
                "scfid_ifn": frechet_distance(np.asarray(made.X)[:, ifn], after[:, made.var_names[ifn]].X.toarray()),
                "mean_ifn": float(((predicted - real)[ifn] ** 2).sum()),
            }

        def finetune(output_dir: Path, out: dict[str, str] = out, **how: Any) -> None:
            c2s.tl.finetune(
                adata.copy(),
                task="perturb",
                condition_key=kang_types.CONDITION,
                control=kang_types.CONTROL,
                groupby=[kang_types.TYPE, kang_types.DONOR],
                held_out=out,
                mask_var="highly_variable",
                output_dir=output_dir,
                rng=seed,
                **({} if "method" in how else {"n_top_genes": 0}),
                **how,
            )

        with kept(options, f"types-{fold.replace(' ', '_')}-{seed}") as folder:
            found, went = compared(folder, finetune, score, kinds)
            found += without_model(folder / "start", adata[tested].copy())
        rows += [{"fold": fold, "seed": seed, **row} for row in found]
        histories |= {f"{fold}, {name}": history for name, history in went.items()}
        report(rows[-len(found) :])
    return rows, histories


def without_model(model: Path, cells: ad.AnnData) -> list[dict[str, Any]]:
    """Scores of what needs no model, and of the model asked for something else."""
    c2s.tl.perturb(cells, model=model, perturbation=kang_types.PERTURBED, groupby=kang_types.TYPE)
    metrics = cells.uns["c2s_perturbed"]["metrics"]
    found = metrics[metrics["source"] != "model"].groupby("source", sort=False)["pearson_delta"].mean()
    return [{"method": name, "pearson_delta": value} for name, value in found.items()]


def doses(
    seed: int, options: argparse.Namespace, kinds: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    some = names.plate(seed)
    genes = pd.Index(some.adata.var_names)

    def judged(told: np.ndarray) -> dict[str, float]:
        pairs = list(zip(told, some.real, strict=True))
        return {
            "kendall_delta": float(
                np.mean([c2s.metrics.kendall_delta(some.still, some.still + b, some.still + a) for a, b in pairs])
            ),
            "pearson_delta": float(
                np.mean([c2s.metrics.pearson_delta(some.still, some.still + b, some.still + a) for a, b in pairs])
            ),
            "mae": float(np.abs(told - some.real).mean()),
            "discrimination": float(np.mean(c2s.metrics.discrimination_score(told, some.real))),
        }

    def told(model: Path) -> np.ndarray:
        return names.asked(model, some.adata[some.control].copy(), some.out, genes)

    def finetune(output_dir: Path, **how: Any) -> None:
        learned = {"n_epochs": options.dose_epochs, **how, "n_top_genes": 0}
        c2s.tl.finetune(
            some.adata.copy(),
            task="perturb",
            output_dir=output_dir,
            rng=seed,
            **(how if "method" in how else learned),
            **some.how,
        )

    with kept(options, f"doses-{seed}") as folder:
        found, went = compared(folder, finetune, lambda model: judged(told(model)), kinds)
        scrambled = np.roll(told(folder / "start"), 1, axis=0)
    others = {"scrambled name": scrambled, **some.others, "no change": np.zeros_like(some.real)}
    found += [{"method": name, **judged(changes)} for name, changes in others.items()]
    report(found)
    return [{"fold": "doses", "seed": seed, **row} for row in found], went


def cells(
    seed: int, options: argparse.Namespace, kinds: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    adata = kang_types.kang()
    columns = [kang_types.TYPE, kang_types.CONDITION]

    def finetune(output_dir: Path, **how: Any) -> None:
        more = {} if "method" in how else {"n_top_genes": 1000}
        cells = adata.copy()
        c2s.tl.finetune(
            cells,
            task="generate",
            groupby=columns,
            mask_var="highly_variable",
            output_dir=output_dir,
            rng=seed,
            **more,
            **how,
        )
        cells.obs["c2s_split"].rename("set").to_csv(output_dir.parent / SPLIT, index=False)

    log = kang_types.as_log(adata)
    log.obs["kind"] = combined([as_labels(log.obs[name]) for name in columns])

    def tables(model: Path) -> dict[str, pd.DataFrame]:
        """Scores of written cells beside test cells, in principal components and over the interferon genes."""
        genes = pd.Index(directory.read(model).genes)
        learn, test = (log[set_of(model.parent) == which, genes].copy() for which in ("train", "test"))
        sizes = test.obs["kind"].value_counts()
        test = test[test.obs["kind"].isin(sizes.index[sizes >= options.least])].copy()
        bare = ad.AnnData(obs=test.obs[[*columns, "kind"]], var=test.var[[]])
        c2s.tl.generate(bare, model=model, rng=seed)
        made = c2s.get.generated(bare)[:, genes].copy()
        made.obs["kind"] = test.obs["kind"]
        ifn = interferon(genes)
        under = (test.obs[kang_types.CONDITION] == kang_types.PERTURBED).to_numpy()
        treated = (learn.obs[kang_types.CONDITION] == kang_types.PERTURBED).to_numpy()
        how = {"groupby": "kind", "rng": seed}
        return {
            "scfid": c2s.metrics.generation(test, made, reference=learn, **how),
            "scfid_ifn": c2s.metrics.generation(
                test[under].copy(),
                made[under].copy(),
                reference=learn[treated].copy(),
                embedding=lambda some: some[:, genes[ifn]].to_df().to_numpy(),
                **how,
            ),
        }

    def scores(found: dict[str, pd.DataFrame], source: str) -> dict[str, float]:
        return {name: float(table.loc[(source, MEAN), "scfid"]) for name, table in found.items()}

    with kept(options, f"cells-{seed}") as folder:
        found, went = compared(folder, finetune, lambda model: scores(tables(model), "generated"), kinds)
        of_start = tables(folder / "start")
    others = ("shuffled conditions", "real", "independent genes")
    found += [{"method": source, **scores(of_start, source)} for source in others]
    report(found)
    return [{"fold": "cells", "seed": seed, **row} for row in found], went


def labels(
    seed: int, options: argparse.Namespace, kinds: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    adata = load("kang")
    column = "cell_type_seurat"
    adata = adata[adata.obs[column].notna()].copy()
    share = adata.obs[column].astype(str).value_counts(normalize=True)
    rare = list(share.index[share < 0.05])

    def finetune(output_dir: Path, **how: Any) -> None:
        cells = adata.copy()
        c2s.tl.finetune(cells, groupby=column, output_dir=output_dir, rng=seed, **how)
        cells.obs["c2s_split"].rename("set").to_csv(output_dir.parent / SPLIT, index=False)

    def score(model: Path, *, shuffle: bool = False) -> dict[str, float]:
        test = adata[set_of(model.parent) == "test"].copy()
        c2s.tl.annotate(test, model=model)
        told = test.obs["c2s_cell_type"].astype(str).to_numpy()
        return scored(test.obs[column].astype(str), np.random.default_rng(seed).permutation(told) if shuffle else told)

    log = kang_types.as_log(adata)

    def scored(real: pd.Series, found: Any) -> dict[str, float]:
        whole = c2s.metrics.annotation(real.to_numpy(), np.asarray(found))
        by_label = c2s.metrics.annotation_by_label(real.to_numpy(), np.asarray(found))
        rare_f1 = float(by_label["f1"][by_label.index.isin(rare)].mean())
        return {"accuracy": whole["accuracy"], "macro_f1": whole["macro_f1"], "macro_f1_rare": rare_f1}

    def regression(folder: Path, weight: str | None) -> dict[str, float]:
        learn, test = (log[set_of(folder) == which] for which in ("train", "test"))
        y, real = (part.obs[column].astype(str) for part in (learn, test))
        told = LogisticRegression(max_iter=1000, class_weight=weight).fit(learn.X, y).predict(test.X)
        return scored(real, told)

    with kept(options, f"labels-{seed}") as folder:
        found, went = compared(folder, finetune, score, kinds)
        found.append({"method": "shuffled labels", **score(folder / "start", shuffle=True)})
        for name, weight in (("logistic regression", None), ("the same, rare labels weigh more", "balanced")):
            found.append({"method": name, **regression(folder, weight)})
    report(found)
    return [{"fold": "labels", "seed": seed, **row} for row in found], went


@contextmanager
def kept(options: argparse.Namespace, name: str) -> Iterator[Path]:
    """A folder that stays where one was asked for."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary) / name
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def set_of(folder: Path) -> np.ndarray:
    """Set of each cell."""
    return pd.read_csv(folder / SPLIT)["set"].to_numpy()


def report(rows: list[dict[str, Any]]) -> None:
    print(pd.DataFrame(rows).set_index("method").round(4).to_string(), flush=True)


KINDS: dict[str, dict[str, dict[str, Any]]] = {
    "types": {"change": {"rewards": ["r2_delta"]}, "change and rank": {"rewards": ["r2_delta", "kendall_tau"]}},
    "doses": {"rank": {"rewards": ["kendall_tau"]}},
    "cells": {"distribution": {"rewards": ["distribution"]}},
    "labels": {"label": {"rewards": ["label_match"]}},
}
"""Rewards that are tried in each task."""
TASKS = {"types": types, "doses": doses, "cells": cells, "labels": labels}


def hacks(options: argparse.Namespace) -> None:
    """Rewards that can be won without biology."""
    genes, fold = kang_types.kang().var_names, (options.types or ["B cells"])[0]
    program = kang_types.programs(genes)["ifn_gamma"]
    kinds = {
        "program alone": {"rewards": [partial(rewards.gene_program, program=program)], "beta": 0.0},
        "program alone, unguarded": {
            "rewards": [partial(rewards.gene_program, program=program)],
            "beta": 0.0,
            "tolerance": 1e9,
        },
    }
    rows, histories = types(0, argparse.Namespace(**{**vars(options), "types": [fold]}), kinds)
    for name, history in histories.items():
        print(f"\n{name}\n{history.round(3).to_string(index=False)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="+", choices=[*TASKS, "hacks"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--types", nargs="+", help="which of the types are held out, all if not given")
    parser.add_argument("--dose-epochs", type=int, default=3)
    parser.add_argument(
        "--least", type=int, default=20, help="fewest test cells of a kind that written ones are set beside"
    )
    parser.add_argument("--steps", type=int, help="steps of every training with rewards")
    parser.add_argument("--words", type=int, help="words of an answer")
    parser.add_argument("--rate", type=float, help="learning rate")
    parser.add_argument("--beta", type=float)
    parser.add_argument("--keep", help="folder to keep models in; the supervised ones that are there are used")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", help="CSV file for all rows")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sc.settings.verbosity = "warning"
    pd.set_option("display.width", 250)
    given = {
        key: value
        for key, value in {
            "n_steps": options.steps,
            "n_words": options.words,
            "learning_rate": options.rate,
            "beta": options.beta,
        }.items()
        if value is not None
    }
    for task in options.task:
        print(f"== {task}", flush=True)
        if task == "hacks":
            hacks(options)
            continue
        kinds = {name: {**how, **given} for name, how in KINDS[task].items()}
        rows = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            rows += TASKS[task](seed, options, kinds)[0]
        table = pd.DataFrame(rows)
        if options.out:
            table.to_csv(f"{options.out}-{task}.csv", index=False)
        summary(table)


def summary(table: pd.DataFrame) -> None:
    """Print means over folds, mean and spread over seeds, and changes from the supervised training that went on."""
    by_seed = table.drop(columns="fold").groupby(["method", "seed"], sort=False).mean()
    order = list(dict.fromkeys(table["method"]))
    print(f"\nmean over {table['seed'].nunique()} seeds (and all folds)")
    print(by_seed.groupby("method").mean().loc[order].round(4).to_string())
    print("sd over seeds")
    print(by_seed.groupby("method").std().loc[order].round(4).to_string())
    base = by_seed.xs(CONTINUED).mean()
    if "scfid_ifn" in table:
        pairs = table.pivot_table(index=["fold", "seed"], columns="method", values="scfid_ifn", sort=False)
        ratio = pairs.div(pairs[CONTINUED], axis=0)
        print("scfid_ifn over that of continued training: pairs of fold and seed below, equal, above; lowest, highest")
        for name in (name for name in order if name in ratio and name != CONTINUED):
            r = ratio[name].dropna()
            same = np.isclose(r, 1)
            print(
                f"  {name}: {(r[~same] < 1).sum()}, {same.sum()}, {(r[~same] > 1).sum()}; {r.min():.3f}, {r.max():.3f}"
            )
    print(f"change from {CONTINUED!r}, in per cent")
    print((100 * (by_seed.groupby("method").mean() / base - 1)).loc[order].round(1).to_string(), flush=True)


if __name__ == "__main__":
    main()
