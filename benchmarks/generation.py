"""Generated cells against held-out real ones: a nano beside scVI, independent genes, shuffled conditions and real cells.

    python benchmarks/generation.py pbmc3k kang pbmc700 --seeds 3 --scvi-python PATH

Three tenths of the cells of each kind (a cell type; for Kang et al. a cell type and a treatment) are test cells, a tenth
validation cells. The nano learns from the others, and writes one cell for every test cell of a kind with 20 of them or more.
Those of a kind are drawn evenly (``balanced``); ``drawn for themselves`` are cells of the same model that are not.
Its genes are those that tell the kinds of training cells apart best. The real cells that set the bar are training cells, as
many as there are test cells. ``by abundance`` is no model: it draws genes by their mean level in the kind. It borrows the values
of training cells as the model's cells do, and so does ``other sentences``: the model's sentences of shuffled kinds, with values
of the kind asked for. ``temperature`` rows are the same model at another one. ``fitted values`` are the model's sentences with
values from the fit of expression to rank in place of borrowed ones, ``gene-aware values`` the same with a correction for each
gene, and for each gene in a kind, shrunk by how often it was seen; its last row has sentences of shuffled kinds. ``resampled`` are training cells drawn with replacement: what
a generator gives that has learned these cells, and nothing beyond, to perfection. scVI learns from the counts of the same training
cells and genes, with the kind as a covariate of its decoder, and draws from its prior; it needs an interpreter that has
scvi-tools (``--scvi-python``).

``recognised`` is the share of cells that logistic regression, trained on the expression of the training cells, takes for the
kind that was asked for. Distances are measured in principal components, and over 50 gene programs (mean expression of the
Hallmark gene sets).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from _data import data_dir, load
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

import sc_c2s as c2s
from sc_c2s.data import as_labels, combined
from sc_c2s.metrics.generation import MEAN
from sc_c2s.models import directory
from sc_c2s.sentences.inverse import fit_rank_expression, log_expression
from sc_c2s.sentences.levels import Levels
from sc_c2s.training.split import split_cells

LEAST = 20
PRIOR = 10
"""Weight of what is known without a gene, in places where it was seen."""
GROUPINGS = {"pbmc3k": ["cell_type"], "kang": ["cell_type_kang", "condition"], "pbmc700": ["bulk_labels"]}
SHOWN = [
    *("scfid", "mmd", "energy", "sliced_wasserstein", "gene_wasserstein", "knn_3", "knn_5", "knn_10", "knn_25", "auc"),
    *("mean_correlation", "variance_correlation", "dropout_correlation", "rare_genes"),
    *("lfc_pearson", "lfc_slope", "de_overlap", "diversity"),
]


def cells(name: str, seed: int) -> ad.AnnData:
    """Cells with their kind and set; counts in X (log expression for scanpy's own) and log expression in a layer."""
    adata = load("pbmc68k") if name == "pbmc700" else load(name)
    if name == "pbmc700":
        adata = adata.raw.to_adata()
    groupings = GROUPINGS[name]
    adata = adata[adata.obs[groupings].notna().all(axis=1)].copy()
    adata.X = sp.csr_matrix(adata.X, dtype=np.float32)
    adata.layers["log"] = log_expression(adata.X)
    adata.obs["kind"] = combined([as_labels(adata.obs[name]) for name in groupings])
    split = split_cells(adata.obs["kind"], validation=0.1, test=0.3, rng=np.random.default_rng(seed))
    adata.obs["split"] = split.to_numpy()
    return adata


def programs() -> Callable[[ad.AnnData], np.ndarray]:
    """Mean expression of each Hallmark gene set: a space that nothing is fitted for."""
    lines = (data_dir() / "knowledge" / "h.all.v7.5.1.symbols.gmt").read_text().splitlines()
    sets = [line.split("\t")[2:] for line in lines]

    def hallmark(adata: ad.AnnData) -> np.ndarray:
        found = [adata.var_names.isin(genes) for genes in sets]
        return np.stack(
            [np.asarray(adata.X[:, mask].mean(axis=1)).ravel() for mask in found if mask.sum() >= 3], axis=1
        )

    return hallmark


def as_log(adata: ad.AnnData, genes: pd.Index) -> ad.AnnData:
    """Bare cells in log1p counts per 10,000 of the whole cell."""
    part = adata[:, genes]
    return ad.AnnData(part.layers["log"].copy(), obs=part.obs[["kind"]].copy(), var=pd.DataFrame(index=genes))


def by_abundance(train: ad.AnnData, wanted: pd.Series, seed: int) -> ad.AnnData:
    """Cells without a model: genes drawn by their mean level in the kind, none twice, and the same way back to expression."""
    rng = np.random.default_rng(seed)
    names, codes = np.unique(train.obs["kind"], return_inverse=True)
    levels = Levels.of(train.X, codes, rng)
    models = levels.draw(np.searchsorted(names, wanted), rng)
    overall = np.asarray(train.X.expm1().mean(axis=0)).ravel()
    level = {}
    for kind in names:
        here = (train.obs["kind"] == kind).to_numpy()
        mean = (np.asarray(train.X[here].expm1().sum(axis=0)).ravel() + overall) / (here.sum() + 1)
        level[kind] = np.log(mean + 1e-6)
    rows = [
        np.argsort(-(level[kind] + rng.gumbel(size=train.n_vars)))[:n]
        for kind, n in zip(wanted, levels.n_genes[models], strict=True)
    ]
    return with_values(rows, levels.take(models, levels.n_genes[models]), wanted, train.var_names)


def other_sentences(made: ad.AnnData, seed: int) -> ad.AnnData:
    """The genes of cells of other kinds, in their order, with the values of the kind that was asked for."""
    shuffled = np.random.default_rng(seed).permutation(made.n_obs)
    rows, values = [], []
    for cell, sentence in enumerate(made.obs["c2s_generated_sentence"].iloc[shuffled]):
        genes = made.var_names.get_indexer(sentence.split())
        falling = -np.sort(-made.X[cell].data)
        n = min(len(genes), len(falling))
        rows.append(genes[:n])
        values.append(falling[:n])
    return with_values(rows, np.concatenate(values), made.obs["kind"], made.var_names)


def fitted_values(made: ad.AnnData, train: ad.AnnData, seed: int, *, gene_aware: bool) -> ad.AnnData:
    """The model's sentences with values from the fit of expression to rank."""
    rng = np.random.default_rng(seed)
    fit = fit_rank_expression(train.X, np.arange(train.n_obs) % 5 == 0)
    names, codes = np.unique(train.obs["kind"], return_inverse=True)
    correction = np.zeros((len(names), train.n_vars))
    if gene_aware:
        total, seen = np.zeros_like(correction), np.zeros_like(correction)
        for code, cell in zip(codes, train.X, strict=True):
            falling = np.lexsort((rng.random(cell.nnz), -cell.data))
            total[code, cell.indices[falling]] += cell.data[falling] - fit.predict(np.arange(cell.nnz), cell.nnz)
            seen[code, cell.indices] += 1
        whole = total.sum(axis=0) / (seen.sum(axis=0) + PRIOR)
        correction = (total + PRIOR * whole) / (seen + PRIOR)
    rows = [made.var_names.get_indexer(text.split()) for text in made.obs["c2s_generated_sentence"]]
    of = np.searchsorted(names, made.obs["kind"])
    values = [
        np.maximum(fit.predict(np.arange(len(row)), len(row)) + correction[code, row], 0)
        for row, code in zip(rows, of, strict=True)
    ]
    return with_values(rows, np.concatenate(values), made.obs["kind"], made.var_names)


def resampled(train: ad.AnnData, wanted: pd.Series, seed: int) -> ad.AnnData:
    """Training cells of the same kinds, drawn with replacement."""
    rng, kinds = np.random.default_rng(seed), train.obs["kind"].to_numpy()
    chosen = [rng.choice(np.flatnonzero(kinds == kind)) for kind in wanted]
    obs = pd.DataFrame({"kind": wanted.to_numpy()}, index=[f"cell_{i}" for i in range(len(chosen))])
    return ad.AnnData(train.X[chosen], obs=obs, var=train.var[[]])


def with_values(rows: list[np.ndarray], values: np.ndarray, kinds: pd.Series, genes: pd.Index) -> ad.AnnData:
    """Cells from the genes of each and all their values."""
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    x = sp.csr_matrix((values, np.concatenate(rows), indptr), shape=(len(rows), len(genes)))
    x.sort_indices()
    obs = pd.DataFrame({"kind": kinds.to_numpy()}, index=[f"cell_{i}" for i in range(len(rows))])
    return ad.AnnData(x, obs=obs, var=pd.DataFrame(index=genes))


def by_scvi(train: ad.AnnData, genes: pd.Index, wanted: pd.Series, python: str, seed: int, out: Path) -> ad.AnnData:
    """Cells of scVI, by an interpreter that has it."""
    if not out.is_file():
        with tempfile.TemporaryDirectory() as folder:
            # Whole cells, so that levels are those of whole cells; the genes to model are marked.
            var = pd.DataFrame({"written": train.var_names.isin(genes)}, index=train.var_names)
            cells, made = Path(folder) / "train.h5ad", Path(folder) / "out.h5ad"
            ad.AnnData(train.X, obs=train.obs[["kind"]], var=var).write_h5ad(cells)
            script = Path(__file__).with_name("_scvi_cells.py")
            call = [python, str(script), str(cells), json.dumps(wanted.to_dict()), str(made), str(seed)]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            shutil.move(made, out)
    return ad.read_h5ad(out)


def model_of(adata: ad.AnnData, name: str, seed: int, folder: Path, options: argparse.Namespace) -> Path:
    """Train a model on the training cells, unless there is one."""
    where, groupings = folder / f"{name}-{seed}", GROUPINGS[name]
    if not directory.is_model_directory(where):
        c2s.tl.finetune(
            adata,
            task=["annotate", "generate"] if options.both else "generate",
            groupby=groupings if len(groupings) > 1 else groupings[0],
            split_key="split",
            output_dir=where,
            n_top_genes=options.genes,
            n_epochs=options.epochs,
            rng=seed,
        )
    return where


def one(name: str, seed: int, options: argparse.Namespace) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Tables of one split: scores in each space, and sentences."""
    if options.keep:
        return measured(name, seed, Path(options.keep), options)
    with tempfile.TemporaryDirectory() as folder:
        return measured(name, seed, Path(folder), options)


def measured(
    name: str, seed: int, folder: Path, options: argparse.Namespace
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Tables of one split, with models in a folder."""
    torch.set_num_threads(max((os.cpu_count() or 1) // options.jobs, 1))
    adata = cells(name, seed)
    clock = time.perf_counter()
    where = model_of(adata, name, seed, folder, options)
    trained = time.perf_counter()
    sizes = adata.obs["kind"][adata.obs["split"] == "test"].value_counts()
    tested = adata[(adata.obs["split"] == "test") & adata.obs["kind"].isin(sizes.index[sizes >= LEAST])].copy()
    made = written_by(where, tested, seed, options)
    written = time.perf_counter()
    others = {"drawn for themselves": written_by(where, tested, seed, options, balanced=False)}
    others |= {
        f"temperature {t}": written_by(where, tested, seed, options, temperature=t) for t in options.other_temperatures
    }
    genes = made.var_names
    learn = adata[(adata.obs["split"] == "train") & adata.obs["kind"].isin(tested.obs["kind"])]
    train, test = as_log(learn, genes), as_log(tested, genes)
    others["other sentences"] = other_sentences(made, seed)
    others["fitted values"] = fitted_values(made, train, seed, gene_aware=False)
    others["gene-aware values"] = fitted_values(made, train, seed, gene_aware=True)
    others["resampled"] = resampled(train, test.obs["kind"], seed)
    others["by abundance"] = by_abundance(train, test.obs["kind"], seed)
    swapped = made.copy()
    order = np.random.default_rng(seed).permutation(made.n_obs)
    swapped.obs["c2s_generated_sentence"] = made.obs["c2s_generated_sentence"].to_numpy()[order]
    gene_aware_others = fitted_values(swapped, train, seed, gene_aware=True)
    if options.scvi_python and name != "pbmc700":
        counts = sizes[sizes >= LEAST]
        others["scVI"] = by_scvi(learn, genes, counts, options.scvi_python, seed, folder / f"{name}-{seed}-scvi.h5ad")
    others["gene-aware, other sentences"] = gene_aware_others  # last, so that it changes no draw of the others
    tables = {}
    for space in ("pca", programs()):
        table = c2s.metrics.generation(
            test, made, groupby="kind", reference=train, others=others, embedding=space, rng=seed
        )
        tables[str(table["embedding"].iloc[0])] = table
    model = LogisticRegression(max_iter=1000).fit(train.X, train.obs["kind"])
    recognised = {"generated": made, "real": test, **others}
    shares = {key: (model.predict(x[:, genes].X) == x.obs["kind"].astype(str)).mean() for key, x in recognised.items()}
    for table in tables.values():
        table["recognised"] = pd.Series(table.index.get_level_values(0), index=table.index).map(shares)
    words = pd.Series(made.obs["c2s_generated_sentence"].to_numpy())
    known = [sentences_of(part) for part in (train, test)]
    told = {
        "generated": c2s.metrics.generated_sentences(words, genes=genes, known=known[0]),
        "real test cells": c2s.metrics.generated_sentences(known[1], genes=genes, known=known[0]),
    }
    about = pd.concat(told, names=["source"])
    print(
        f"{name} seed {seed}: trained in {(trained - clock) / 60:.1f} min, {test.n_obs} cells of "
        f"{int(about.loc['generated', 'n_genes'].iloc[0])} genes written in {written - trained:.0f} s at temperature "
        f"{made.uns['temperature']:.3f}",
        flush=True,
    )
    return tables, about


def written_by(model: Path, tested: ad.AnnData, seed: int, options: argparse.Namespace, **how: object) -> ad.AnnData:
    """A cell of the model for each test cell, over its own genes."""
    cells = ad.AnnData(obs=tested.obs, var=tested.var[[]])
    how = {"temperature": options.temperature, "top_p": options.top_p, "min_p": options.min_p} | how
    c2s.tl.generate(cells, model=model, rng=seed, **how)
    made = c2s.get.generated(cells)
    made.obs["kind"] = tested.obs["kind"]
    made.uns["temperature"] = cells.uns["c2s_generated"]["params"]["temperature"]
    return made[:, pd.Index(cells.uns["c2s_generated"]["var_names"])].copy()


def sentences_of(adata: ad.AnnData) -> pd.Series:
    """Cell sentences of cells."""
    copy = adata.copy()
    c2s.pp.to_sentences(copy, n_genes=None)
    return copy.obs["cell_sentence"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=list(GROUPINGS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=7)
    parser.add_argument("--genes", type=int, help="genes that tell the kinds apart best; 0 for all")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--temperature", type=float, help="instead of the model's own")
    parser.add_argument("--other-temperatures", type=float, nargs="*", default=[])
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--min-p", type=float, default=0.0)
    parser.add_argument("--both", action="store_true", help="train for annotation as well")
    parser.add_argument("--keep", help="folder to keep models and the cells of scVI in; those that are there are used")
    parser.add_argument("--scvi-python", help="interpreter that has scvi-tools")
    parser.add_argument("--jobs", type=int, default=1, help="seeds at a time, each on its share of the cores")
    parser.add_argument("--conditions", action="store_true", help="print every condition of the first seed")
    options = parser.parse_args()
    pd.set_option("display.width", 250)
    for name in options.data:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        runs = Parallel(n_jobs=options.jobs)(delayed(one)(name, seed, options) for seed in seeds)
        for space in runs[0][0]:
            found = pd.concat({seed: tables[space] for seed, (tables, _) in enumerate(runs)}, names=["seed"])
            means = found.xs(MEAN, level="condition")[[*SHOWN, "recognised", "n", "n_genes", "bandwidth"]]
            order = runs[0][0][space].index.get_level_values(0).unique()
            print(f"\n{name}, {space}, mean over {len(runs)} seeds")
            print(means.groupby("source").mean().loc[order].T.round(3).to_string())
            if len(runs) > 1:
                print("standard deviation over the seeds")
                print(means.groupby("source").std().loc[order].T.round(3).to_string())
            if options.conditions:
                print(
                    found.loc[0][["scfid", "knn_5", "auc", "lfc_pearson", "lfc_slope", "de_overlap", "n"]]
                    .round(3)
                    .to_string()
                )
        sentences = pd.concat({seed: about for seed, (_, about) in enumerate(runs)}, names=["seed"])
        print(f"\n{name}, sentences\n{sentences.groupby('source').mean().round(3).to_string()}\n", flush=True)


if __name__ == "__main__":
    main()
