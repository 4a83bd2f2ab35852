"""Cells per second of closed-label scoring, against the bare forward pass and two other ways to ask.

Weights are random, since speed does not depend on what they say: a nano (width 128, 2 layers), prompts
of 200 genes, 10 labels. All rows of the table are timed in turn, in one process, and repeated; what counts is the
ratio to the bare forward pass over the same prompts, which computes no label at all.

The package ``cell2sentence`` generates one cell after the other. It runs on the same weights in its own environment
(``--peer-python``), the time it takes to load the model is taken off, and every word of its prompt is one token of the
model. Random weights never end an answer, so it is stopped after as many tokens as a label has and the end: two where
a label is one token (its best case), six for the sub-words of an ordinary tokenizer.

On a machine that others use as well, compare processor time: ``--clock cpu --threads 1``.

    python benchmarks/annotate_speed.py
    python benchmarks/annotate_speed.py --peer-python /path/to/peer/bin/python
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import scanpy as sc
import torch

from sc_c2s.engine import AnswerTree, LocalEngine
from sc_c2s.models import nano
from sc_c2s.prompts import NANO, annotate_answer, annotate_prompt
from sc_c2s.sentences.text import quote

LABELS = [
    "B cell",
    "CD4 T",
    "CD4 T naive",
    "CD8 T",
    "CD14+/CD16+ monocyte",
    "Dendritic, plasmacytoid",
    "Megakaryocyte",
    "NK",
    "Plasma",
    "Progenitor",
]
GENES = [f"GENE{i}" for i in range(2000)]

PEER = """
import contextlib, io, json, sys, tempfile, time
import anndata, numpy as np, torch
from transformers import AutoModelForCausalLM
from cell2sentence import CSData, CSModel
from cell2sentence.prompt_formatter import C2SPromptFormatter
from cell2sentence.tasks import predict_cell_types_of_data

task = json.load(sys.stdin)
clock = time.perf_counter if task["clock"] == "wall" else time.process_time
torch.set_num_threads(task["threads"])
counts = np.zeros((len(task["cells"]), len(task["genes"])), dtype=np.float32)
for row, ranked in zip(counts, task["cells"]):
    row[ranked] = np.arange(len(ranked), 0, -1)
adata = anndata.AnnData(counts)
adata.var_names = task["genes"]
adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
adata.obs["cell_type"] = "B cell"
adata.obs["organism"] = "Homo sapiens"
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    arrow, vocabulary = CSData.adata_to_arrow(adata, random_state=0, sentence_delimiter=" ", label_col_names=["cell_type", "organism"])
    data = CSData.csdata_from_arrow(arrow, vocabulary, save_dir=folder, save_name="cells", dataset_backend="arrow")
    if task["model"] is None:
        rows = C2SPromptFormatter(task="cell_type_prediction", top_k_genes=task["n_genes"]).format_hf_ds(arrow)
        result = sorted({word for row in rows for word in row["model_input"].split()})
    else:
        model = CSModel(task["model"], save_dir=folder, save_name="model")
        seconds = []
        for _ in range(task["repeats"]):
            start = clock()
            AutoModelForCausalLM.from_pretrained(model.save_path)
            loaded = clock()
            predict_cell_types_of_data(data, model, n_genes=task["n_genes"], max_num_tokens=task["n_tokens"])
            seconds.append(clock() - loaded - (loaded - start))
        result = seconds
print(json.dumps(result))
"""


def run_peer(python: str, **task: object) -> list:
    done = subprocess.run([python, "-c", PEER], input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cell2sentence failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def bare(model: torch.nn.Module, ids: torch.Tensor, batch_size: int) -> None:
    with torch.inference_mode():
        for start in range(0, len(ids), batch_size):
            model(input_ids=ids[start : start + batch_size], use_cache=False, logits_to_keep=1)


def pairs(engine: LocalEngine, ids: np.ndarray, tree: AnswerTree, batch_size: int) -> None:
    n_prompts = max(1, batch_size // len(tree.answers))
    for start in range(0, len(ids), n_prompts):
        engine.passes.score("pairs", list(ids[start : start + n_prompts]), tree)


def timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=512)
    parser.add_argument("--genes", type=int, default=200, help="genes in a prompt")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--peer-python", help="interpreter of an environment with cell2sentence")
    parser.add_argument("--peer-cells", type=int, default=48)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sc.settings.verbosity = 0  # no progress bars

    rng = np.random.default_rng(0)
    cells = [rng.permutation(len(GENES))[: args.genes].tolist() for _ in range(args.cells)]
    sentences = [" ".join(GENES[gene] for gene in cell) for cell in cells]
    few = cells[: args.peer_cells]
    peer = {"cells": few, "genes": GENES, "n_genes": args.genes}
    peer |= {"threads": args.threads, "repeats": args.repeats, "clock": args.clock}
    peer_words = run_peer(args.peer_python, model=None, **peer) if args.peer_python else []

    words = [*GENES, *NANO.words, quote("cell type"), *map(quote, LABELS), *" ".join(LABELS).split(), *peer_words]
    model, tokenizer = nano.build(words)
    model = model.to(args.device, getattr(torch, args.dtype)).eval()
    engine = LocalEngine(model, tokenizer, batch_size=args.batch_size)
    prompts = [annotate_prompt(sentence, family=NANO) for sentence in sentences]
    whole = [annotate_answer(label, NANO) for label in LABELS]
    in_words = [f" {label}" for label in LABELS]
    spelt = [f" {label[:-1]}_{label[-1]}" for label in LABELS]  # no word of the vocabulary: one token a byte
    ids = np.array(tokenizer(prompts)["input_ids"])
    tensor = torch.from_numpy(ids).to(args.device)
    trees = {
        name: AnswerTree.build([tokenizer(a)["input_ids"] for a in answers], end=tokenizer.eos_token_id)
        for name, answers in {"whole": whole, "words": in_words, "spelt": spelt}.items()
    }

    rows: dict[str, Callable[[], object]] = {
        "bare forward pass": lambda: bare(model, tensor, args.batch_size),
        "score, one token a label": lambda: engine.score(prompts, whole),
        f"score, a token a word ({trees['words'].n_nodes} nodes)": lambda: engine.score(prompts, in_words),
        f"score, a token a byte ({trees['spelt'].n_nodes} nodes)": lambda: engine.score(prompts, spelt),
        "prompt x label, one token a label": lambda: pairs(engine, ids, trees["whole"], args.batch_size),
    }
    for call in rows.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    for _ in range(args.repeats):
        for name, call in rows.items():
            seconds[name].append(timed(call, clock))
    rates = {name: args.cells / median(times) for name, times in seconds.items()}

    if args.peer_python:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            for n_tokens in (2, 6):
                times = run_peer(args.peer_python, model=folder, n_tokens=n_tokens, **peer)
                rates[f"cell2sentence, {n_tokens} tokens with the end"] = len(few) / median(times)

    first = rates["bare forward pass"]
    print(
        f"{args.cells} cells, {args.genes} genes, {len(LABELS)} labels, {args.dtype}, {args.device}, "
        f"batches of {args.batch_size}, {args.threads} threads, {args.clock} time, median of {args.repeats}"
    )
    print(f"{'':42}{'cells/s':>9}{'time against bare':>19}{'score is faster by':>20}")
    for name, rate in rates.items():
        print(f"{name:42}{rate:9.0f}{first / rate:19.2f}{rates['score, one token a label'] / rate:20.2f}")


if __name__ == "__main__":
    main()
