from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

HISTORY = pd.DataFrame(
    {
        "step": [10, 20, 30, 40],
        "epoch": [0.5, 1.0, 1.5, 2.0],
        "seconds": [1.0, 2.0, 3.0, 4.0],
        "train_loss": [2.0, 1.0, 0.5, 0.25],
        "val_loss": [np.nan, 0.9, np.nan, 1.1],
        "val_accuracy": [np.nan, 0.7, np.nan, 0.75],
    }
)


@pytest.fixture(autouse=True)
def closed_figures():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.fixture
def annotated(any_data):
    """Results of an annotation and a training, some of them wrong, unknown or absent; half of the cells are test cells."""
    adata = any_data.adata
    rng = np.random.default_rng(0)
    labels = adata.obs["cell_type"].cat.categories
    proba = rng.dirichlet([0.4] * len(labels), adata.n_obs).astype(np.float32)
    # mostly the truth: the highest probability goes to the true label in two cells of three
    for row in np.flatnonzero(rng.random(adata.n_obs) < 0.6):
        true, top = adata.obs["cell_type"].cat.codes.iloc[row], proba[row].argmax()
        proba[row, [true, top]] = proba[row, [top, true]]
    predicted = labels.to_numpy()[proba.argmax(axis=1)].astype(object)
    predicted[proba.max(axis=1) < 0.5] = "unknown"
    proba[4], predicted[4] = np.nan, None
    adata.obs["c2s_cell_type"] = pd.Categorical(predicted, categories=[*labels, "unknown"])
    adata.obs["c2s_cell_type_confidence"] = proba.max(axis=1)
    adata.obsm["c2s_cell_type_proba"] = proba
    adata.uns["c2s_cell_type"] = {"labels": labels.to_numpy().astype(object), "params": {}}
    adata.obs["c2s_split"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 4 < 2, "test", "train"))
    adata.obs["cell_type"] = adata.obs["cell_type"].where(np.arange(adata.n_obs) != 8)
    adata.uns["c2s_finetune"] = {"history": HISTORY.copy()}
    return any_data


@pytest.fixture
def with_perturbed(any_data):
    """What tl.perturb writes for IFN: of all genes but four, and of one that is not at hand.

    IFN raises four genes; the model predicts that, too little of it, and some noise. Cell 6, a control cell, has no prediction, and
    only two cells of the last type are real perturbed ones.
    """
    adata, rng = any_data.adata, np.random.default_rng(3)
    treatment = np.where(np.arange(adata.n_obs) // 3 % 2 == 0, "none", "IFN").astype(object)
    counts = adata.X.toarray()
    counts[np.ix_(treatment == "IFN", np.arange(20, 24))] += rng.poisson(6, ((treatment == "IFN").sum(), 4))
    adata.X = sparse.csr_matrix(counts, dtype=np.float32)
    types = adata.obs["cell_type"].astype(object).to_numpy()
    treatment[np.flatnonzero((types == "T cell, CD4/CD8") & (treatment == "IFN"))[2:]] = "IL-6"
    adata.obs["treatment"] = pd.Categorical(treatment)
    names = [*adata.var_names[:-5:-1], *adata.var_names[:-8], "ELSEWHERE"]
    columns = adata.var_names.get_indexer(names)
    log = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))[:, columns]
    contexts = list(adata.obs["cell_type"].cat.categories)
    effect = np.where(np.isin(names, [f"GENE{i}" for i in range(20, 24)]), 2.0, 0.0)
    changes = (effect + rng.normal(0, 0.3, (3, len(names)))).astype(np.float32)
    asked = (treatment == "none") & (np.arange(adata.n_obs) != 6)
    made = np.full((adata.n_obs, len(names)), np.nan, dtype=np.float32)
    made[asked] = np.maximum(log[asked] + changes[[contexts.index(name) for name in types[asked]]], 0)
    sources = ("model", "scrambled name", "no change", "mean shift")
    adata.obsm["c2s_perturbed"] = made
    sentences = np.full(adata.n_obs, np.nan, dtype=object)
    sentences[asked] = "GENE20 GENE1"
    adata.obs["c2s_perturbed_sentence"] = sentences
    adata.uns["c2s_perturbed"] = {
        "var_names": np.array(names, dtype=object),
        "space": "log1p CP10k",
        "perturbation": "IFN",
        "contexts": np.array(contexts, dtype=object),
        "n_cells": np.array([10, 10, 10]),
        "novelty": np.zeros(3),
        "changes": changes,
        "baselines": np.array(["no change", "mean shift"], dtype=object),
        "shifts": np.zeros((2, 3, len(names)), dtype=np.float32),
        "n_failed": 1,
        "metrics": pd.DataFrame(
            {
                "source": np.repeat(sources, 2),
                "context": contexts[:2] * 4,
                "pearson_delta": [0.9, 0.6, 0.1, -0.2, np.nan, np.nan, 0.7, 0.8],
            }
        ),
        "params": {
            "layer": None,
            "use_raw": False,
            "gene_symbols": None,
            "condition_key": "treatment",
            "control": "none",
            "groupby": np.array(["cell_type"], dtype=object),
            "n_samples": 1,
            "seed": 0,
        },
    }
    return any_data
