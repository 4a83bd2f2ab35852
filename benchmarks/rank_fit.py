"""How well rank and number of expressed genes tell expression, beside the straight line in log10(1 + rank).

R² over the non-zeros of held-out cells, in log1p counts per 10,000; a fifth of the cells is held out, several times.

python benchmarks/rank_fit.py
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _data import load
from scipy import sparse

from sc_c2s.sentences.inverse import fit_rank_expression, is_counts, log_expression


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["kang", "pbmc3k", "cosmx", "papalexi", "visium", "pbmc68k"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-cells", type=int, default=1000, help="cells that a fit sees, as in pp.to_sentences")
    args = parser.parse_args()

    rows = []
    for name in args.data:
        adata = load(name)
        x = sparse.csr_matrix(adata.X if adata.raw is None else adata.raw.X, dtype=np.float32)
        x.eliminate_zeros()
        for seed in range(args.seeds):
            order = np.random.default_rng(seed).permutation(adata.n_obs)
            n_held_out = adata.n_obs // 5
            seen, held_out = order[n_held_out:][: args.max_cells], order[:n_held_out]
            cells = np.concatenate([seen, held_out])
            fit = fit_rank_expression(log_expression(x[cells]), np.arange(len(cells)) >= len(seen))
            rows.append(
                {
                    "data": name + ("" if is_counts(x) else " (normalised as given)"),
                    "seen": len(seen),
                    "held out": n_held_out,
                    "line": fit.r2_line,
                    "sc_c2s": fit.r2,
                    "gain": fit.r2 - fit.r2_line,
                }
            )
    table = pd.DataFrame(rows).groupby(["data", "seen", "held out"], sort=False)
    print(table.agg(["mean", "std"]).round(4).to_string())


if __name__ == "__main__":
    main()
