"""Peak memory and speed of pp.sentences_to_parquet over a file of a million distinct cells.

The cells are those of Kang et al., drawn with replacement and thinned count by count, so that no two are the same.
The file, some gigabytes, is made in a temporary folder and removed.

python benchmarks/streaming.py --cells 1000000
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from _data import load
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

CHUNK = 20_000
KEPT = 0.75  # of all counts


def make(path: Path, n_cells: int) -> None:
    source = load("kang")
    rng = np.random.default_rng(0)
    names = pd.Index([f"cell{i:07d}" for i in range(n_cells)])
    ad.AnnData(obs=pd.DataFrame(index=names), var=source.var[[]]).write_h5ad(path)
    with h5py.File(path, "a") as file:
        for start in range(0, n_cells, CHUNK):
            x = source.X[rng.integers(source.n_obs, size=min(CHUNK, n_cells - start))]
            x.data = rng.binomial(x.data.astype(np.int64), KEPT).astype(np.float32)
            x.eliminate_zeros()
            if start == 0:
                x.indptr = x.indptr.astype(np.int64)
                if "X" in file:
                    del file["X"]
                write_elem(file, "X", x)
            else:
                sparse_dataset(file["X"]).append(sparse.csr_matrix(x))


def stream(path: Path, out: Path, n_genes: int) -> None:
    import scanpy as sc

    import sc_c2s as c2s

    sc.settings.verbosity = 0
    adata = ad.read_h5ad(path, backed="r")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter()
    c2s.pp.sentences_to_parquet(adata, out, n_genes=n_genes)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row = {
        "cells": adata.n_obs,
        "file, GB": path.stat().st_size / 1e9,
        "Parquet, GB": out.stat().st_size / 1e9,
        "cells/s": round(adata.n_obs / seconds),
        "peak memory, GB": peak,
        "before the call": before,
    }
    print(pd.DataFrame([row]).round(2).to_string(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--n-genes", type=int, default=200)
    parser.add_argument("--stream", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stream:
        stream(*args.stream, args.n_genes)
        return
    with tempfile.TemporaryDirectory() as folder:
        cells, out = Path(folder, "cells.h5ad"), Path(folder, "sentences.parquet")
        make(cells, args.cells)
        # A process of its own: what was needed to make the file does not count.
        call = [sys.executable, __file__, "--n-genes", str(args.n_genes), "--stream", cells, out]
        subprocess.run(call, check=True, env=os.environ)


if __name__ == "__main__":
    main()
