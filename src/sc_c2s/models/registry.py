"""Cell-sentence checkpoints that others have published; names only."""

from __future__ import annotations

import pandas as pd

_COLUMNS = ("name", "base", "parameters", "context", "n_genes", "licence", "trained_for")
_LAB = "vandijklab/"
# Read from the model cards and their config.json; a value that neither states is left out.
_PUBLISHED = (
    (
        "pythia-160m-c2s",
        "EleutherAI/pythia-160m",
        "160M",
        9200,
        "2500",
        "cc-by-nc-nd-4.0",
        "cell types and whole cells, immune tissue",
    ),
    (
        "C2S-Pythia-410m-cell-type-prediction",
        "EleutherAI/pythia-410m",
        "410M",
        None,
        "200",
        None,
        "cell type prediction",
    ),
    (
        "C2S-Pythia-410m-cell-type-conditioned-cell-generation",
        "EleutherAI/pythia-410m",
        "410M",
        None,
        "200",
        "cc-by-nc-nd-4.0",
        "generation by cell type",
    ),
    (
        "C2S-Pythia-410m-diverse-single-and-multi-cell-tasks",
        "EleutherAI/pythia-410m",
        "410M",
        8192,
        "100-2048",
        "cc-by-nc-nd-4.0",
        "single-cell and multi-cell tasks",
    ),
    (
        "C2S-Scale-Pythia-1b-pt",
        "EleutherAI/pythia-1b",
        "1B",
        8192,
        "100-2048",
        "cc-by-4.0",
        "single-cell and multi-cell tasks",
    ),
    (
        "C2S-Scale-Gemma-2-2B",
        "google/gemma-2-2b",
        "2B",
        8192,
        None,
        "cc-by-4.0",
        "single-cell and multi-cell tasks",
    ),
    (
        "C2S-Scale-Gemma-2-27B",
        "google/gemma-2-27b",
        "27B",
        8192,
        None,
        "cc-by-4.0",
        "single-cell and multi-cell tasks",
    ),
)


def published() -> pd.DataFrame:
    """List the published Cell2Sentence checkpoints.

    Nothing is downloaded and no model comes with this package. Licences were changed over time: the card on
    the hub decides, and models based on Gemma also stand under the terms of Gemma.

    Returns
    -------
    A row for each checkpoint: hub id, base model, size, context in tokens, genes of a training sentence,
    licence and what it was trained for; missing where the authors do not say.
    """
    table = pd.DataFrame(_PUBLISHED, columns=list(_COLUMNS))
    table["name"] = _LAB + table["name"]
    table["context"] = table["context"].astype("Int64")
    return table
