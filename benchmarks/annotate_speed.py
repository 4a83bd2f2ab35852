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
    python benchmarks/annotate_speed.py --model DIR --cells 16 --repeats 3 --peer-python /path/to/peer/bin/python

With ``--model`` it is a pretrained model that reads: prose, gene names of several tokens, labels of several tokens.
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

import sc_c2s as c2s
from sc_c2s.engine import AnswerTree, LocalEngine
from sc_c2s.models import nano
from sc_c2s.prompts import ENGLISH, NANO, annotate_answer, annotate_prompt
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


def bare(engine: LocalEngine, ids: list[np.ndarray], batch_size: int) -> None:
    """One pass over the prompts, longest first, which computes the logits of the last token only."""
    ids = sorted(ids, key=len, reverse=True)
    with torch.inference_mode():
        for start in range(0, len(ids), batch_size):
            batch = ids[start : start + batch_size]
            columns = np.arange(len(batch[0])) - np.array([len(batch[0]) - len(row) for row in batch])[:, None]
            padded = np.zeros(columns.shape, dtype=np.int64)
            padded[columns >= 0] = np.concatenate(batch)
            mask = {"attention_mask": torch.from_numpy((columns >= 0).astype(int))} if (columns < 0).any() else {}
            inputs = {name: value.to(engine.model.device) for name, value in mask.items()}
            tokens = torch.from_numpy(padded).to(engine.model.device)
            engine.model(input_ids=tokens, use_cache=False, logits_to_keep=1, **inputs)


def pairs(engine: LocalEngine, ids: list[np.ndarray], tree: AnswerTree, batch_size: int) -> None:
    """Every answer with its prompt before it."""
    n_prompts = max(1, batch_size // len(tree.answers))
    for start in range(0, len(ids), n_prompts):
        engine.passes.score("pairs", ids[start : start + n_prompts], tree)


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
    parser.add_argument("--model", help="directory of a pretrained model; by default a nano with random weights")
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
    if args.model:
        family, loaded = ENGLISH, c2s.models.load(args.model, device=args.device, dtype=args.dtype)
        model, tokenizer = loaded.model.eval(), loaded.tokenizer
        kinds = {"": [annotate_answer(label, family) for label in LABELS]}
    else:
        family, peer_words = NANO, run_peer(args.peer_python, model=None, **peer) if args.peer_python else []
        kinds = {
            ", one token a label": [annotate_answer(label, family) for label in LABELS],
            ", a token a word": [f" {label}" for label in LABELS],
            ", a token a byte": [f" {label[:-1]}_{label[-1]}" for label in LABELS],  # no word of the vocabulary
        }
        words = [*GENES, *family.words, quote("cell type"), *" ".join([*kinds[", one token a label"], *LABELS]).split()]
        model, tokenizer = nano.build([*words, *peer_words])
        model = model.to(args.device, getattr(torch, args.dtype)).eval()
    engine = LocalEngine(model, tokenizer, batch_size=args.batch_size, quiet=True)
    prompts = [annotate_prompt(sentence, family=family) for sentence in sentences]
    ids = [np.array(row) for row in tokenizer(prompts)["input_ids"]]

    rows: dict[str, Callable[[], object]] = {"bare forward pass": lambda: bare(engine, ids, args.batch_size)}
    for name, answers in kinds.items():
        joint = [tokenizer(prompts[0] + answer)["input_ids"][len(ids[0]) :] for answer in answers]
        tree = AnswerTree.build(joint, end=tokenizer.eos_token_id)
        nodes = f" ({tree.n_nodes} nodes)" if tree.n_nodes else ""
        rows[f"score{name}{nodes}"] = lambda answers=answers: engine.score(prompts, answers)
        if len(rows) == 2 and not args.model:  # ten times as long
            rows[f"prompt x label{name}"] = lambda tree=tree: pairs(engine, ids, tree, args.batch_size)
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
            for n_tokens in (6,) if args.model else (2, 6):
                times = run_peer(args.peer_python, model=folder, n_tokens=n_tokens, **peer)
                rates[f"cell2sentence, {n_tokens} tokens with the end"] = len(few) / median(times)

    first, ours = list(rates.values())[:2]
    print(
        f"{args.cells} cells, {args.genes} genes, {np.mean([len(row) for row in ids]):.0f} tokens, {len(LABELS)} labels, {args.dtype}, {args.device}, "
        f"batches of {args.batch_size}, {args.threads} threads, {args.clock} time, median of {args.repeats}"
    )
    print(f"{'':42}{'cells/s':>9}{'time against bare':>19}{'score is faster by':>20}")
    for name, rate in rates.items():
        print(f"{name:42}{rate:9.3g}{first / rate:19.2f}{ours / rate:20.2f}")


if __name__ == "__main__":
    main()
