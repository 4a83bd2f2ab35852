from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

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
