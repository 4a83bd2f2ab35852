"""GRPO, RLOO and PPO, stock, on one task to one held-out score: is one cheaper than another?

    python benchmarks/grpo_ppo.py --ppo-python PATH

A nano that writes cells (scanpy's 700, ten types) is trained on with rewards. It is asked for a cell of a type that is drawn evenly,
and writes 32 tokens, freely: all methods draw as TRL draws, from all tokens. The end and the padding are never drawn, so that
length says nothing. The reward is ``rl.rewards.rank_weighted_overlap`` with a training cell of the type. The held-out score is the
same, of 256 fresh completions with all test cells of their types; it is taken outside the clock.

An update learns from 64 completions: of 8 prompts (``grpo``, ``rloo``), or of 64 prompts with a value model that starts as a nano with a
head of zeros (``ppo``, 4 epochs on them as is TRL's default; ``ppo, 1 epoch``). The learning rate is constant, for each method the one
of three whose mean validation score over 30 updates is best without a divergence (seed 1000, which is not used again). All else is
what TRL gives it: it clips gradients for GRPO and RLOO, and not for PPO.
``--kl`` is GRPO's and RLOO's ``beta`` and PPO's ``kl_coef``: one number, but not one strength. GRPO divides rewards by their spread
and has its divergence beside them in the loss; in the other two it is subtracted from the rewards, whose spread is small. With 0
there is no such difference.

The last TRL with a PPO trainer is 1.12.0, in ``trl.experimental.ppo``. ``--ppo-python`` is an interpreter that has it, and this package;
all methods then run there, on one TRL. Without it GRPO and RLOO run in this one. PPO wants a reward model: it gets a module that
reads completions as text and calls the function, and draws the training cell itself (``_ppo_run.py``).

To be reached is what the worst run of the weakest method has at the end (mean of its last three scores), less 0.005, on the rising
curve nearest to the scores (isotonic regression); and, as that is little, for each other method beside GRPO what the worst run of
the two has. Shown is what it takes to get there from the start, and halfway there.
``completions`` were rewarded, ``forward`` tokens went through a model (drawing, policy, values, reference), ``backward`` ones also back;
``work`` is forward and twice backward, a pass back costing two: this depends neither on the machine nor on how it is programmed.
``seconds`` and ``cpu`` seconds do. Each run has one thread, and as many run at a time as there are cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scanpy as sc
from _data import load
from sklearn.isotonic import IsotonicRegression

import sc_c2s as c2s
from sc_c2s.models import directory
from sc_c2s.prompts import generate_prompt

TYPE, SETS = "bulk_labels", ("train", "validation", "test")
N_WORDS, N_COMPLETIONS, TUNING_SEED, HAIR = 32, 64, 1000, 0.005
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {"method": "grpo", "n_generations": 8},
    "rloo": {"method": "rloo", "n_generations": 8},
    "ppo": {"method": "ppo", "n_generations": 1, "n_epochs": 4},
    "ppo, 1 epoch": {"method": "ppo", "n_generations": 1, "n_epochs": 1},
}
RATES = {name: [3e-4, 1e-3, 3e-3] if name == "grpo" else [1e-4, 3e-4, 1e-3] for name in METHODS}
COSTS = ["seconds", "cpu", "update", "completions", "generated", "forward", "backward", "work"]


def prepared(folder: Path) -> Path:
    """Train the nano, and write prompts and sentences of each type; what is there is used."""
    model, data = folder / "nano", folder / "data.json"
    if not data.is_file():
        adata = load("pbmc68k")
        c2s.tl.finetune(adata, task="generate", groupby=TYPE, use_raw=True, output_dir=model, rng=0)
        card = directory.read(model)
        written = adata.raw.to_adata()[:, card.genes].copy()
        c2s.pp.to_sentences(written, n_genes=N_WORDS)
        cells = adata.obs.assign(sentence=written.obs["cell_sentence"])
        cells = cells[cells["c2s_split"].notna().to_numpy()].astype({TYPE: str, "c2s_split": str})
        learned = sorted(set(cells.loc[cells["c2s_split"] == "train", TYPE]))
        found: dict[str, Any] = {"prompts": {n: generate_prompt({TYPE: n}, family=card.family) for n in learned}}
        for which in SETS:
            here = cells[cells["c2s_split"] == which]
            found[which] = {name: list(some) for name, some in here.groupby(TYPE)["sentence"]}
        data.write_text(json.dumps(found))
    return data


def run(name: str, rate: float, seed: int, kl: float, n_updates: int, folder: Path, options: argparse.Namespace) -> Any:
    """Train once, in a process of its own."""
    out = folder / f"{name.replace(', ', '-').replace(' ', '')}-{rate:g}-{seed}-{kl:g}-{n_updates}.json"
    if not out.is_file():
        job = METHODS[name] | {
            "model": str(folder / "nano"),
            "data": str(folder / "data.json"),
            "rate": rate,
            "seed": seed,
            "kl": kl,
            "n_words": N_WORDS,
            "n_completions": N_COMPLETIONS,
            "n_updates": n_updates,
            "every": options.every,
            "threads": 1,
        }
        out.with_suffix(".job").write_text(json.dumps(job))
        script = Path(__file__).with_name("_ppo_run.py")
        call = [options.ppo_python or sys.executable, str(script), str(out.with_suffix(".job")), str(out)]
        done = subprocess.run(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(out.read_text())


def curve(found: Any) -> pd.DataFrame:
    table = pd.DataFrame(found["rows"])
    table["work"] = table["forward"] + 2 * table["backward"]
    return table


def tuned(names: Sequence[str], kl: float, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Learning rate of each method, by the validation cells."""

    def score(one: tuple[str, float]) -> float:
        table = curve(run(*one, TUNING_SEED, kl, options.tuning_updates, folder, options))
        return float(table["validation"].mean())

    asked = [(name, rate) for name in names for rate in options.rates or RATES[name]]
    with ThreadPoolExecutor(options.jobs) as pool:
        scores = pd.Series(list(pool.map(score, asked)), index=pd.MultiIndex.from_tuples(asked)).unstack()
    print(
        f"mean validation score of a run, by learning rate\n{scores.loc[list(names)].round(4).to_string()}", flush=True
    )
    return {name: float(scores.loc[name].idxmax()) for name in names}


def reached(table: pd.DataFrame, target: float) -> pd.Series:
    """What it took to get to a score for the first time, on the rising curve nearest to the scores."""
    scores = IsotonicRegression().fit_transform(table["update"], table["test"])
    after = int(np.argmax(scores >= target))
    if scores[after] < target:
        return pd.Series(np.nan, index=COSTS)
    if after == 0:
        return table.loc[0, COSTS].astype(float)
    share = (target - scores[after - 1]) / (scores[after] - scores[after - 1])
    return table.loc[after - 1, COSTS] + share * (table.loc[after, COSTS] - table.loc[after - 1, COSTS])


def compared(
    names: Sequence[str], rates: dict[str, float], kl: float, folder: Path, options: argparse.Namespace
) -> pd.DataFrame:
    curves: dict[tuple[str, int], pd.DataFrame] = {}
    versions = {}
    asked = [(name, seed) for seed in range(options.seeds) for name in names]
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = pool.map(lambda one: run(one[0], rates[one[0]], one[1], kl, options.updates, folder, options), asked)
        for (name, seed), found in zip(asked, runs, strict=True):
            table = curves[name, seed] = curve(found)
            versions[name] = found["versions"]
            print(
                f"{name}, rate {rates[name]:g}, seed {seed}: {table['test'].iloc[-1]:.3f} after "
                f"{table['seconds'].iloc[-1]:.0f} s",
                flush=True,
            )
    print("; ".join(sorted({" ".join(f"{k} {v}" for k, v in one.items()) for one in versions.values()})))
    whole = pd.concat(curves, names=["method", "seed"]).reset_index(["method", "seed"])
    for shown in ("test", "different", "seconds"):
        means = whole.pivot_table(index="update", columns="method", values=shown, sort=False)[list(names)]
        print(f"\n{shown}, mean over {options.seeds} seeds\n{means.round(3).to_string()}")
    last = whole[whole["update"] == options.updates].groupby("method", sort=False)[COSTS].mean() / options.updates
    print(f"\nof one update\n{last.round(2).to_string()}")

    ends = {one: table["test"].iloc[-3:].mean() for one, table in curves.items()}
    by_end = pd.Series(ends).groupby(level=0, sort=False).agg(["mean", "std"])
    print(f"\nscore at the end (last three)\n{by_end.round(4).to_string()}")
    begun = float(np.mean([table["test"].iloc[0] for table in curves.values()]))
    weakest = by_end["mean"].idxmin()
    told = {f"all, to what {weakest} reaches": list(names)}
    told |= {f"to what {name} reaches": ["grpo", name] for name in names[1:] if name != weakest}
    ratios = {}
    for what, some in told.items():
        target = min(end for (name, _), end in ends.items() if name in some) - HAIR
        for share in (0.5, 1.0):
            goal = begun + share * (target - begun)
            took = pd.DataFrame({one: reached(table, goal) for one, table in curves.items() if one[0] in some}).T
            took.index.names = ["method", "seed"]
            print(f"\n{what}: {goal:.3f}, {share:.0%} of the way from {begun:.3f}; mean over seeds")
            print(took.groupby("method", sort=False).mean().round(1).to_string())
            for name in some[1:]:
                ratio = took.loc[name] / took.loc["grpo"]
                whole_ratio = took.loc[name].mean() / took.loc["grpo"].mean()
                ratios[f"{name} / grpo", f"{goal:.3f}"] = [
                    f"{whole_ratio[cost]:.2f} ({', '.join(f'{x:.2f}' for x in sorted(ratio[cost]))})" for cost in COSTS
                ]
    table = pd.DataFrame(ratios, index=COSTS).T.sort_index(level=0, sort_remaining=False)
    same = ["completions", "generated"]  # so many to each update
    print("\nratios: of the means (within each seed)\n" + table.drop(columns=same).to_string(), flush=True)
    return whole.assign(kl=kl)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ppo-python", help="interpreter that has trl 1.12.0 and this package; all methods run there")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--tuning-updates", type=int, default=30)
    parser.add_argument("--every", type=int, default=5, help="updates between two scores")
    parser.add_argument("--kl", type=float, nargs="+", default=[0.0, 0.02], help="rates are chosen at the first")
    parser.add_argument("--rates", type=float, nargs="+", help="learning rates to choose among, for all methods")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, of one thread each")
    parser.add_argument("--keep", help="folder to keep the nano and all runs in; those that are there are used")
    parser.add_argument("--out", help="CSV file for all curves")
    options = parser.parse_args()
    sc.settings.verbosity = "warning"
    pd.set_option("display.width", 250)
    names = [name for name in options.methods if options.ppo_python or METHODS[name]["method"] != "ppo"]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        prepared(folder)
        rates, tables = tuned(names, options.kl[0], folder, options), []
        for kl in options.kl:
            print(f"== kl {kl:g}", flush=True)
            tables.append(compared(names, rates, kl, folder, options))
    if options.out:
        pd.concat(tables).to_csv(options.out, index=False)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} minutes in all")


if __name__ == "__main__":
    main()
