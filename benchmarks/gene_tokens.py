"""What one token a gene is worth to a pretrained model: tokens, seconds a step, and test accuracy after the same time.

    OMP_NUM_THREADS=1 python benchmarks/gene_tokens.py --minutes 5

A model is taught to annotate twice, on the same cells and for the same time: once it reads genes in its own pieces, once
as one token each. How many steps the time is enough for is found out by a few steps beforehand, so that the learning rate
falls to zero in both. Time is that of the processor (of all threads together; hence one), which a machine with other work to
do hardly changes. The tokens of a plain sentence are counted for all cells first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import scanpy as sc
from annotation import COMMON_NAMES, cells

import sc_c2s as c2s
from sc_c2s.models import directory
from sc_c2s.prompts import MARKED
from sc_c2s.training import plan, run, sft

WITHOUT, WITH = "pieces", "gene tokens"
N_PROBED = 6
"""Steps that tell how long one takes; the first of them does not count."""


def count_tokens(adata: sc.AnnData, model: str, n_genes: int) -> pd.Series:
    """Tokens of a mean sentence, in pieces and in gene tokens."""
    sentences = c2s.pp.to_sentences(adata, n_genes=n_genes, copy=True).obs["cell_sentence"].astype(str)
    loaded = c2s.models.load(model, device="cpu")
    tokenizers = {WITHOUT: loaded.tokenizer}
    tokenizers[WITH] = c2s.models.add_gene_tokens(loaded, list(adata.var_names)).tokenizer
    texts = {WITHOUT: sentences, WITH: sentences.map(MARKED.genes)}
    return pd.Series(
        {
            name: np.mean([len(ids) for ids in tokenizer(list(texts[name]), add_special_tokens=False)["input_ids"]])
            for name, tokenizer in tokenizers.items()
        }
    )


def teach(adata: sc.AnnData, gene_tokens: bool, n_steps: int, options: argparse.Namespace) -> dict[str, float]:
    """Train for some steps; what it took, and what came of it."""
    seconds: list[float] = []
    tokens: list[float] = []

    class Timed(sft.AnswerTrainer):
        def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            loss = super().training_step(model, inputs, *args, **kwargs)
            seconds.append(time.process_time() - start)
            tokens.append(float(inputs["attention_mask"].sum()) / len(inputs["attention_mask"]))
            return loss

    def some(*args: Any, **kwargs: Any) -> np.ndarray:
        return interleave(*args, **kwargs)[: n_steps * options.batch_size]

    interleave, start = run.interleave, time.process_time()
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(sft, "AnswerTrainer", Timed),
        patch.object(run, "interleave", some),
        patch.object(plan, "N_EVALUATIONS", 3),
    ):
        adata = adata.copy()
        c2s.tl.finetune(
            adata,
            groupby="label",
            model=options.model,
            output_dir=folder,
            n_genes=options.n_genes,
            gene_tokens=gene_tokens,
            n_epochs=n_steps * options.batch_size // (adata.n_obs // 2) + 1,
            batch_size=options.batch_size,
            learning_rate=options.rate,
            validation_size=0.1 if n_steps > N_PROBED else 0.02,
            test_size=0.2 if n_steps > N_PROBED else 0.0,
            device="cpu",
            rng=options.seed,
        )
        size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors")) / 1e6
        scores = directory.read(folder).metrics.get("test", {})
    return {
        "tokens a prompt": float(np.mean(tokens)),
        "seconds a step": float(np.median(seconds[1:])),
        "steps": len(seconds),
        "minutes of training": sum(seconds) / 60,
        "minutes in all": (time.process_time() - start) / 60,
        "adapter MB": size,
        **{name: scores[name] for name in ("accuracy", "macro_f1", "log_loss") if name in scores},
    }


def main() -> None:
    """Print the tokens of a sentence, and a row for each way to read genes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default="pbmc700", choices=list(COMMON_NAMES))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--minutes", type=float, default=5.0, help="time of training steps")
    parser.add_argument("--n-genes", type=int, default=64, help="genes of a sentence")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, help="learning rate, by default that of the package")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sc.settings.verbosity = 1
    adata = cells(options.data)
    for n_genes in (options.n_genes, 200):
        n = count_tokens(adata, options.model, n_genes)
        print(f"{n_genes} genes: {n.round(1).to_dict()}, ratio {n[WITHOUT] / n[WITH]:.2f}", flush=True)
    ways = {WITHOUT: False, WITH: True}
    pace = {name: teach(adata, way, N_PROBED, options)["seconds a step"] for name, way in ways.items()}
    print(f"seconds a step before: { {name: round(x, 2) for name, x in pace.items()} }", flush=True)
    rows = {}
    for name, way in ways.items():
        rows[name] = teach(adata, way, max(int(60 * options.minutes / pace[name]), 2 * N_PROBED), options)
        print(f"{name} {rows[name]}", flush=True)
    print(pd.DataFrame.from_dict(rows, orient="index").round(3).to_string())


if __name__ == "__main__":
    main()
