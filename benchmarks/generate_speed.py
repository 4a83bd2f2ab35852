"""Cells per second of writing from a closed vocabulary, against the bare model and against cell2sentence.

    python benchmarks/generate_speed.py --model DIR --genes 200 --cells 128
    python benchmarks/generate_speed.py --model DIR --genes 200 --cells 128 --peer-python /path/to/peer/bin/python
    python benchmarks/generate_speed.py --model smollm2 --genes 20 --cells 16

DIR is a model directory of ``tl.finetune(task="generate")``; any other model writes the genes of scanpy's 700 cells. All rows
but the peer's are timed in turn, in one process. ``bare steps`` feeds as many tokens through the model, one step after the
other behind a cache, and looks at no logit: one token a step, as without forced tokens, and all rows as long as the longest.
``plain sampling`` draws each token from the whole vocabulary, known or not, new or not, as ``transformers`` does: what the
closed vocabulary costs is measured against it. The levers are switched off one at a time.

``cell2sentence`` gets the same weights, the same prompts (in place of its own, so that the model understands them), the same
number of tokens and plain sampling; the time it takes to load the model is taken off. It reads weights as bfloat16. Of what it
writes, genes that are known and not yet written count: ``valid cells/s`` is their number per second, in cells of this length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import scanpy as sc
import torch

import sc_c2s as c2s
from sc_c2s.engine import LocalEngine, decoding, passes
from sc_c2s.metrics import generated_sentences
from sc_c2s.models import directory
from sc_c2s.prompts import generate_prompt
from sc_c2s.sentences.text import quote

PEER = """
import contextlib, io, json, sys, tempfile, time
import torch
from transformers import AutoModelForCausalLM
from cell2sentence import CSModel, tasks

task = json.load(sys.stdin)
clock = time.perf_counter if task["clock"] == "wall" else time.process_time
torch.set_num_threads(task["threads"])

class Prompts:
    def __init__(self, **kwargs):
        self.prompts_dict = {"model_input": ["{cell_type}"]}

tasks.C2SPromptFormatter = Prompts
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    model = CSModel(task["model"], save_dir=folder, save_name="model")
    seconds = []
    for _ in range(task["repeats"]):
        start = clock()
        AutoModelForCausalLM.from_pretrained(model.save_path, torch_dtype=torch.bfloat16)
        loaded = clock()
        told = tasks.generate_cells_conditioned_on_cell_type(
            model, task["prompts"], n_genes=task["n_tokens"], inference_batch_size=task["batch_size"],
            max_num_tokens=task["n_tokens"], do_sample=True, top_k=0,
        )
        seconds.append(clock() - loaded - (loaded - start))
print(json.dumps([seconds, told]))
"""


def run_peer(python: str, **task: object) -> tuple[list[float], list[str]]:
    done = subprocess.run([python, "-c", PEER], input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cell2sentence failed:\n{done.stderr[-2000:]}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


class Counted:
    """Counts the tokens and calls of the model."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.n_calls, self.n_tokens = model, 0, 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        self.n_calls += 1
        self.n_tokens += kwargs["input_ids"].numel()


def steps(engine: LocalEngine, prompts: list[str], n: int, batch_size: int, *, draw: bool) -> None:
    """Feed tokens one after the other behind a cache; they are drawn from all there are, or always the same."""
    torch.manual_seed(0)
    ids = [np.array(row) for row in engine.tokenizer(prompts)["input_ids"]]
    with torch.inference_mode():
        for start in range(0, len(ids), batch_size):
            some = ids[start : start + batch_size]
            reader = passes.Continuation(engine.passes, some)
            tokens = torch.tensor([[row[-1]] for row in some])
            shown = torch.ones_like(tokens, dtype=torch.bool)
            for _ in range(n):
                logits = reader.read(tokens, shown)
                if draw:
                    tokens = torch.multinomial(logits.float().softmax(dim=1), 1)


@contextmanager
def without(what: str) -> Iterator[None]:
    """Switch off one lever."""
    if what == "shared prefill":
        with patch.object(passes, "numbered", lambda prompts: list(range(len(prompts)))):
            yield
    elif what == "forced tokens":
        inner_decode = decoding.decode
        with patch.object(passes, "decode", lambda *args, **how: inner_decode(*args, **how | {"force": False})):
            yield
    elif what == "growing cache":
        with patch("sc_c2s.engine.cache.growing", lambda cache: cache):
            yield
    elif what == "leaving the batch":
        with patch.object(decoding, "DROP", 1):
            yield
    else:
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--genes", type=int, default=200, help="genes of a cell")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--peer-python", help="interpreter of an environment with cell2sentence")
    parser.add_argument("--peer-cells", type=int, default=16)
    args = parser.parse_args()
    sc.settings.verbosity = 0  # no progress bars
    loaded = c2s.models.load(args.model, device="cpu", dtype="float32")
    if directory.is_model_directory(loaded.path):
        card = directory.read(loaded.path)
        genes, names = card.genes, card.conditions["groupby"]
        kinds = [dict(zip(names, value, strict=True)) for value in card.conditions["values"]]
        prompts = [generate_prompt(kind, family=card.family, n_genes=args.genes) for kind in kinds]
    else:
        adata = sc.datasets.pbmc68k_reduced()
        genes = list(adata.var_names)
        kinds = [{"cell_type": kind} for kind in adata.obs["bulk_labels"].cat.categories]
        prompts = [generate_prompt(kind, family="english", n_genes=args.genes) for kind in kinds]
    prompts = sorted(prompts[i % len(prompts)] for i in range(args.cells))
    words = [quote(gene) for gene in genes]
    engine = LocalEngine(loaded.model.eval(), loaded.tokenizer, quiet=True)
    torch.set_num_threads(args.threads)

    written: dict[str, list[str]] = {}

    def write(name: str, batch_size: int, lever: str = "") -> None:
        with without(lever):
            lists = engine.generate(
                prompts,
                words,
                max_items=args.genes,
                min_items=args.genes,
                batch_size=batch_size,
                seeds=np.arange(args.cells),
            )
        written[name] = [" ".join(words[i] for i in one.items) for one in lists]
        written_forced[name] = float(np.mean([one.n_forced for one in lists]))

    written_forced: dict[str, float] = {}
    size = args.batch_size
    counter = Counted(loaded.model)
    write("generate", size)
    n_steps = round(
        (counter.n_tokens - sum(len(r) for r in loaded.tokenizer(sorted(set(prompts)))["input_ids"])) / args.cells
    )
    # The bare model is fed every token in a step of its own, as it has to be where none is forced.
    counter.n_calls = 0
    write("  without forced tokens", size, "forced tokens")
    calls = counter.n_calls * size // args.cells
    rows: dict[str, Callable[[], None]] = {
        "generate": lambda: write("generate", size),
        "bare steps": lambda: steps(engine, prompts, calls, size, draw=False),
        "plain sampling": lambda: steps(engine, prompts, calls, size, draw=True),
        "  without shared prefill": lambda: write("  without shared prefill", size, "shared prefill"),
        "  without forced tokens": lambda: write("  without forced tokens", size, "forced tokens"),
        "  without the growing cache": lambda: write("  without the growing cache", size, "growing cache"),
        "  in batches of 8": lambda: write("  in batches of 8", 8),
        "  one by one": lambda: write("  one by one", 1),
    }
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(args.repeats):
        for name, call in rows.items():
            if name == "  one by one" and seconds[name]:
                continue
            start = clock()
            call()
            seconds[name].append(clock() - start)
    rates = {name: args.cells / median(times) for name, times in seconds.items()}
    valid = {}
    for name, sentences in written.items():
        table = generated_sentences(sentences, genes=genes)
        valid[name] = (float(table["valid"].iloc[0]), float(table["unique"].iloc[0]))

    if args.peer_python:
        with tempfile.TemporaryDirectory() as folder:
            loaded.model.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
            chosen = [prompts[i] for i in np.linspace(0, args.cells - 1, args.peer_cells).astype(int)]
            for peer_size in (8, args.peer_cells):
                name = f"cell2sentence, batches of {peer_size}"
                times, told = run_peer(
                    args.peer_python,
                    model=str(Path(folder)),
                    prompts=chosen,
                    n_tokens=n_steps,
                    batch_size=peer_size,
                    repeats=1,
                    threads=args.threads,
                    clock=args.clock,
                )
                table = generated_sentences(told, genes=genes)
                n_valid = float(table["n_genes"].iloc[0] * table["valid"].iloc[0] * table["unique"].iloc[0])
                rates[name] = args.peer_cells / median(times) * n_valid / args.genes
                valid[name] = (float(table["valid"].iloc[0]), float(table["unique"].iloc[0]))
                every = args.peer_cells / median(times) * float(table["n_genes"].iloc[0]) / args.genes
                print(
                    f"{name}: {table['n_genes'].iloc[0]:.0f} words a cell; counted in all it writes, known and new or not, "
                    f"generate is faster by {rates['generate'] / every:.1f}"
                )

    print(
        f"{args.model}: {args.cells} cells of {args.genes} genes, {len(genes)} genes known, {n_steps} tokens read a cell, "
        f"{written_forced['generate']:.0f} forced; batches of {size}, {args.threads} threads, {args.clock} time, median of {args.repeats}"
    )
    print(
        f"{'':34}{'valid cells/s':>14}{'tokens/s':>10}{'time against bare':>19}{'generate is faster by':>23}{'valid':>8}{'unique':>8}"
    )
    for name, rate in rates.items():
        shown = "".join(f"{share:8.3f}" for share in valid.get(name, ()))
        print(
            f"{name:34}{rate:14.3g}{rate * n_steps:10.0f}{rates['bare steps'] / rate:19.2f}{rates['generate'] / rate:23.2f}{shown}"
        )
    print(
        f"the closed vocabulary costs {rates['plain sampling'] / rates['  without forced tokens'] - 1:+.1%} of a step with plain sampling, "
        f"{rates['plain sampling'] / rates['generate'] - 1:+.1%} with what forced tokens bring"
    )


if __name__ == "__main__":
    main()
