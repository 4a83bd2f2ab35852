"""Cells of scVI, written by an interpreter that has scvi-tools: train.h5ad, wanted numbers and out.h5ad as arguments."""

import json
import sys

import anndata as ad

from sc_c2s import metrics

train, wanted, out, seed = sys.argv[1:]
cells = metrics.scvi_cells(
    ad.read_h5ad(train), groupby="kind", mask_var="written", n_cells=json.loads(wanted), rng=int(seed)
)
cells.write_h5ad(out)
