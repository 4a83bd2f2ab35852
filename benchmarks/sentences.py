"""Cells per second of pp.to_sentences, against cell2sentence and against the memory's speed.

python benchmarks/sentences.py --peer-python PATH_TO_A_PYTHON_WITH_CELL2SENTENCE
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import anndata as ad
import pandas as pd
import scanpy as sc
from _data import load

import sc_c2s as c2s


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peer_seconds(python: str, name: str) -> float:
    """One run in a fresh process; imports and reading are not counted."""
    script = Path(__file__).with_name("_peer_sentences.py")
    done = subprocess.run(
        [python, script, name], capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": ""}
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(next(line for line in done.stdout.splitlines() if line.startswith("seconds")).split()[1])


def copy_seconds(adata: ad.AnnData) -> float:
    """Copy the matrix and the text of all sentences once: nobody can be faster who reads one and writes the other."""
    text = "".join(adata.obs["cell_sentence"]).encode()
    return seconds(lambda: (adata.X.copy(), bytearray(text)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="kang")
    parser.add_argument("--peer-python", help="Python of an environment with cell2sentence 1.2.0")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    sc.settings.verbosity = 0

    adata = load(args.data)
    depths = {"whole sentences": None, "n_genes=200": 200}
    for n_genes in depths.values():
        c2s.pp.to_sentences(adata, n_genes=n_genes)  # compiles, or loads what is compiled
    taken: dict[str, list[float]] = {name: [] for name in [*depths, "cell2sentence", "copy"]}
    for repeat in range(args.repeats):  # in turns, so that all meet the same load of the machine
        for name, n_genes in depths.items():
            taken[name].append(seconds(lambda n_genes=n_genes: c2s.pp.to_sentences(adata, n_genes=n_genes)))
            if n_genes is None:
                taken["copy"].append(copy_seconds(adata))
        if args.peer_python and repeat < 3:
            taken["cell2sentence"].append(peer_seconds(args.peer_python, args.data))

    peer = median(taken["cell2sentence"] or [float("nan")])
    rows = {"copy of matrix and text (the limit)": taken["copy"]}
    rows |= {f"sc_c2s, {name}": taken[name] for name in depths}
    if args.peer_python:
        rows["cell2sentence, whole sentences"] = taken["cell2sentence"]
    table = pd.DataFrame(
        {
            "cells/s": {name: adata.n_obs / median(times) for name, times in rows.items()},
            "seconds": {name: median(times) for name, times in rows.items()},
            "fastest": {name: min(times) for name, times in rows.items()},
            "slowest": {name: max(times) for name, times in rows.items()},
            "× cell2sentence": {name: peer / median(times) for name, times in rows.items()},
        }
    )
    print(f"{args.data}: {adata.n_obs} cells, {adata.X.nnz / adata.n_obs:.0f} expressed genes each")
    print(table.round({"cells/s": 0, "seconds": 3, "fastest": 3, "slowest": 3, "× cell2sentence": 1}).to_string())


if __name__ == "__main__":
    main()
