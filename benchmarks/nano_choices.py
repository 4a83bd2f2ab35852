"""What the parts of a nano's training are worth: one left out at a time, judged on validation cells.

    python benchmarks/nano_choices.py pbmc700 pbmc3k --run 3

The cells are the training and validation cells of the first fold of ``annotation.py``: no test cell of that fold is
looked at. They are cut into thirds; each third in turn is what a model that learned from the other two is judged on,
before its first step and at its best. Logistic regression on the expression of all genes learns from the same cells.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from annotation import cells, folds
from sklearn.model_selection import StratifiedKFold

from sc_c2s.metrics import annotation, annotation_baselines
from sc_c2s.models import nano
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training import annotate, run, sft, start, vocabulary
from sc_c2s.training.augment import NONE
from sc_c2s.training.cells import LabelledCells
from sc_c2s.training.loss import IGNORED
from sc_c2s.training.plan import Plan, make_plan

SCRATCH_RATE = 1e-3
"""Learning rate for a head that starts at random, which 5e-5 would not move far."""


class NextGeneTrainer(sft.AnswerTrainer):
    """Learns the next gene of the sentence as well, at a tenth of the weight of the answer."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Add the mean cross-entropy of the tokens of the prompt."""
        answer = super().compute_loss(model, inputs, False, kwargs.get("num_items_in_batch"))
        read = {name: value for name, value in inputs.items() if name not in ("labels", "task")}
        seen = (inputs["attention_mask"] > 0) & (inputs["labels"] == IGNORED)
        logits = model(**read, use_cache=False).logits[:, :-1].float()
        targets = torch.where(seen, inputs["input_ids"], IGNORED)[:, 1:]
        # The first token has nothing before it but padding.
        targets = torch.where(inputs["attention_mask"][:, :-1] > 0, targets, IGNORED)
        return answer + 0.1 * torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
        )


def no_probe(*args: Any, **kwargs: Any) -> None:
    """Leave the labels where chance put them."""


def random_genes(x: Any, labels: Any, *, n_dims: int, seed: int = 0) -> np.ndarray:
    """Vectors that know nothing of the cells."""
    return np.random.default_rng(seed).normal(size=(x.shape[1], n_dims))


PATCHES: dict[str, list[Any]] = {
    "as it is": [],
    "labels start at random": [patch.object(annotate, "place_answers", no_probe)],
    "genes start at random": [patch.object(run, "gene_embeddings", random_genes)],
    "both start at random": [
        patch.object(annotate, "place_answers", no_probe),
        patch.object(run, "gene_embeddings", random_genes),
    ],
    "both start at random, 8 x the rows": [
        patch.object(annotate, "place_answers", no_probe),
        patch.object(run, "gene_embeddings", random_genes),
    ],
    "genes equally loud": [patch.object(vocabulary, "PRIOR", 1e9)],
    "order as loud as presence": [patch.object(nano, "ORDER", 1.0)],
    "no order": [patch.object(nano, "ORDER", 0.0)],
    "no variants of cells": [],
    "20 x the learning rate": [],
    "next-gene loss as well": [patch.object(sft, "AnswerTrainer", NextGeneTrainer)],
}


def change(how: Plan, name: str) -> Plan:
    """What ``tl.finetune`` does by itself, but for one thing."""
    if name == "no variants of cells":
        return replace(how, augmentation=NONE)
    if name.endswith("8 x the rows"):
        how = replace(how, n_epochs=8 * how.n_epochs)
    if name.startswith(("labels start", "both start", "20 x")):
        return replace(how, settings=replace(how.settings, learning_rate=SCRATCH_RATE))
    return how


def judge(data: LabelledCells, name: str, *, seed: int) -> dict[str, float]:
    """Validation scores of one way to train, before the first step and at its best."""
    begin = start.choose("nano", lora_rank=0, device="cpu", dtype="float32", seed=seed)
    clock = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for part in PATCHES[name]:
            part.start()
        try:
            plan = make_plan(begin, n_train=len(data.of("train")), organism=data.organism, seed=seed)
            _, history = run.train_model(data, change(plan, name), begin, output_dir=Path(folder))
        finally:
            for part in PATCHES[name]:
                part.stop()
    first, best = history.iloc[0], history.loc[history["val_loss"].idxmin()]
    return {
        "loss at start": first["val_loss"],
        "accuracy at start": first["val_accuracy"],
        "loss": best["val_loss"],
        "accuracy": best["val_accuracy"],
        "epoch": best["epoch"],
        "minutes": (time.perf_counter() - clock) / 60,
    }


def reference(data: LabelledCells) -> dict[str, float]:
    """Logistic regression on log expression, on the same cells."""
    learn, check = data.of("train"), data.of("validation")
    found = annotation_baselines(data.log[learn], data.labels[learn], data.log[check], labels=sorted(set(data.labels)))
    predicted, proba = found["logistic regression"]
    scores = annotation(data.labels[check], predicted, proba=proba)
    return {"loss": scores["log_loss"], "accuracy": scores["accuracy"]}


def main() -> None:
    """Print one table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", choices=["pbmc700", "pbmc3k", "kang"])
    parser.add_argument("--run", type=int, default=3, help="thirds that are run")
    parser.add_argument("--only", nargs="+", choices=list(PATCHES), default=list(PATCHES))
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    for name in options.data:
        adata = cells(name)
        adata = adata[folds(adata, 5, options.seed)[0] != "test"].copy()
        labels, x = adata.obs["label"].to_numpy(), adata.X.tocsr()
        data = LabelledCells(
            x,
            log_expression(x),
            adata.var_names.to_numpy(),
            adata.obs_names.to_numpy(),
            labels,
            labels,
            "label",
            "Homo sapiens",
        )
        thirds = StratifiedKFold(3, shuffle=True, random_state=options.seed).split(x, labels)
        found: dict[str, list[dict[str, float]]] = {}
        for i, (learn, check) in enumerate(list(thirds)[: options.run]):
            split = np.empty(len(labels), dtype=object)
            split[learn], split[check] = "train", "validation"
            part = replace(data, split=split)
            found.setdefault("logistic regression", []).append(reference(part))
            for how in options.only:
                found.setdefault(how, []).append(judge(part, how, seed=options.seed + i))
                print(f"{name} third {i}: {how} {found[how][-1]}", flush=True)
        table = pd.DataFrame({how: pd.DataFrame(rows).mean() for how, rows in found.items()}).T
        spread = pd.DataFrame({how: pd.DataFrame(rows).std() for how, rows in found.items()}).T
        print(f"\n{name}, mean over {options.run} thirds\n{table.round(3).to_string()}")
        print(f"standard deviation\n{spread.round(3).to_string()}\n", flush=True)


if __name__ == "__main__":
    main()
