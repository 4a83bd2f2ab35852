"""Real cells for benchmarks: a folder beside the checkout, or the one that SC_C2S_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad

NAMES = {
    "pbmc3k": "pbmc3k_raw_labelled",
    "kang": "kang2018_ifnb_pbmc_13999",
    "papalexi": "papalexi_eccite_thp1_20729x299",
    "l1000": "l1000_ljp005_a375_24h_377x978",
    "cosmx": "cosmx_lung_2814x960",
    "visium": "visium_lymph_1000x2000",
}
"""Short names of the data sets."""


def data_dir() -> Path:
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("SC_C2S_DATA", beside))
    if not folder.is_dir():
        raise SystemExit(f"No data in {folder}: set SC_C2S_DATA to the folder that holds them.")
    return folder


def load(name: str) -> ad.AnnData:
    """Open a data set by its short name, the name of its file, or scanpy's 700 cells as ``pbmc68k``."""
    if name == "pbmc68k":
        import scanpy as sc

        return sc.datasets.pbmc68k_reduced()
    return ad.read_h5ad(data_dir() / f"{NAMES.get(name, name)}.h5ad")
