"""From labelled cells to a model directory."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse
from transformers import PreTrainedModel

from sc_c2s.models import directory
from sc_c2s.models.nano import CONDITIONS, WIDTH
from sc_c2s.prompts import MARKED, condition_words, get_family
from sc_c2s.sentences.inverse import fit_rank_expression
from sc_c2s.sentences.ranking import hash_names, rank_genes
from sc_c2s.sentences.text import quote

from . import sft
from .annotate import Annotating
from .cells import LabelledCells
from .examples import Rows, interleave, schedule
from .generate import Generating
from .loss import Choice
from .perturb import Perturbing, perturbation_embeddings
from .plan import GENE_TOKENS, Plan
from .processes import is_main, wait
from .split import SETS, TRAIN, VALIDATION
from .start import NANO, Start
from .vocabulary import gene_embeddings, informative_genes, most_shown, nothing, writer_embeddings


class Task(Protocol):
    """What a model learns from cells."""

    @property
    def words(self) -> list[str]:
        """Words beside genes that its texts need."""
        ...

    def rows(self) -> Rows:
        """Rows to learn from, one a training cell."""
        ...

    def choice(self, tokenizer: Any) -> Choice | None:
        """Say what the tokens of an answer are chosen among."""
        ...

    def place(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Start what answers are written with."""
        ...

    def finish(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Set what answers are written with anew, now that the rest of the model is as it is."""
        ...

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells: a dict that holds at least ``loss``."""
        ...

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what the card has to say, and the scores of each set of cells."""
        ...


TASKS: dict[str, Callable[..., Task]] = {"annotate": Annotating, "generate": Generating, "perturb": Perturbing}


def train_model(
    data: LabelledCells,
    plan: Plan,
    start: Start,
    *,
    output_dir: Path,
    resume: bool = True,
) -> tuple[directory.ModelCard, pd.DataFrame]:
    """Train on the training cells, choose on the validation cells, report on the test cells.

    Parameters
    ----------
    data
        The cells.
    plan
        What to do with them.
    start
        What to train.
    output_dir
        The model directory.
    resume
        Go on with an earlier run of the same plan on the same cells that was stopped.

    Returns
    -------
    The card that was written, and the history of the training.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    run = {
        "plan": asdict(plan),
        "data": data.fingerprint(),
        "base": start.base,
        "adapter": start.peft_config,
        "precision": start.precision,
    }
    same_run(output_dir, run, resume=resume)

    vocabulary = _vocabulary(data, plan, start)
    genes = data.genes[vocabulary]
    tasks: list[Task] = [TASKS[name](data, plan, vocabulary, start.small) for name in plan.tasks]
    others = [word for task in tasks for word in task.words]
    placed = _placed(data, plan, vocabulary, others) if start.base["name"] == NANO else {}
    words = [*others, *map(quote, genes)]
    # A nano that knows every word has learned what to answer: it goes on from there.
    fresh = bool(start.new_words(words))
    with sft.quiet():
        model, tokenizer = start.open(words, placed, plan.writes, genes)

    def validate(model: PreTrainedModel) -> dict[str, float]:
        scores: dict[str, float] = defaultdict(float)
        for task in tasks:
            for name, value in task.judge(model, tokenizer).items():
                scores[name] += value
        return dict(scores)

    rng = np.random.default_rng(plan.settings.seed)
    rows = [task.rows() for task in tasks]
    size = plan.settings.batch_size
    orders = [schedule(one.lengths, n_epochs=plan.n_epochs, batch_size=size, rng=rng) for one in rows]
    if start.small and fresh:
        for task in tasks:
            task.place(model, tokenizer, rng)
    model, history = sft.train(
        model,
        tokenizer,
        rows,
        interleave(orders, batch_size=size, rng=rng),
        validate,
        choices=[task.choice(tokenizer) for task in tasks],
        settings=plan.settings,
        output_dir=output_dir,
        peft_config=start.adapter(tokenizer),
        precision=start.precision,
        resume=resume,
    )

    if start.small and "generate" in plan.tasks:
        for task in tasks:
            _finish(task, model, tokenizer, rng)
    said: dict[str, Any] = {}
    metrics: dict[str, dict[str, float]] = defaultdict(dict)
    for task in tasks:
        about, scores = task.report(model, tokenizer)
        said |= about
        for name, values in scores.items():
            metrics[name] |= values

    card = directory.ModelCard(
        task=list(plan.tasks),
        groupby=data.groupby,
        genes=[str(gene) for gene in genes],
        recipe=plan.recipe.to_dict(),
        family=plan.family,
        rank_fit=_rank_fit(data, vocabulary),
        base=start.base,
        metrics=dict(metrics),
        data={"fingerprint": data.fingerprint(), **{f"n_{which}": len(data.of(which)) for which in SETS}},
        seed=plan.settings.seed,
        versions={name: version(name) for name in ("sc-c2s", "torch", "transformers", "trl", "peft", "scanpy")},
        **said,
    )
    finish(start, model, tokenizer, card, history, output_dir)
    return card, history


def finish(
    start: Start, model: Any, tokenizer: Any, card: directory.ModelCard, history: pd.DataFrame, output_dir: Path
) -> None:
    """Write the model directory, and remove what was only kept to go on from."""
    wait()
    if is_main():
        directory.clear(output_dir)
        with sft.quiet():
            start.save(model, tokenizer, output_dir)
        directory.write(output_dir, card, history=history)
        shutil.rmtree(output_dir / sft.CHECKPOINTS, ignore_errors=True)
        (output_dir / sft.RUN).unlink(missing_ok=True)
    wait()


def _finish(task: Task, model: PreTrainedModel, tokenizer: Any, rng: np.random.Generator) -> None:
    """Let a task finish, if its validation cells are better for it."""
    head = model.get_output_embeddings().weight
    before, loss = head.detach().clone(), task.judge(model, tokenizer)["loss"]
    task.finish(model, tokenizer, rng)
    if task.judge(model, tokenizer)["loss"] > loss:
        head.data.copy_(before)


def _vocabulary(data: LabelledCells, plan: Plan, start: Start) -> np.ndarray:
    """Columns of the genes that sentences are written with; every one of them has a token where genes have tokens."""
    learn = data.of(TRAIN)
    found = informative_genes(data.log[learn], data.kinds[learn], n_top=plan.n_top_genes)
    if plan.family != MARKED.name:
        return found
    if not start.genes:
        shown = rank_genes(
            sparse.csr_matrix(data.x[learn][:, found]),
            n_genes=plan.recipe.n_genes,
            cell_hash=hash_names(data.cells[learn]),
            gene_hash=hash_names(data.genes[found]),
        )
        return found[most_shown(shown.indices, len(found), n_top=plan.n_top_genes or GENE_TOKENS)]
    found = found[np.isin(data.genes[found].astype(str), start.genes)]
    check_known(found, start)
    return found


def check_known(genes: np.ndarray, start: Start) -> None:
    """Refuse data that have none of the genes which the tokens of an earlier run are of."""
    if not len(genes):
        raise ValueError(
            f"None of the genes of {start.base['name']!r} is in the data: name the column of var with its kind of symbols with "
            "gene_symbols=, or start from its base."
        )


def _placed(data: LabelledCells, plan: Plan, vocabulary: np.ndarray, others: list[str]) -> dict[str, np.ndarray]:
    """Where the words of a new nano start; every other model has its own embeddings, and reads many more genes."""
    learn, seed = data.of(TRAIN), plan.settings.seed
    log, words = data.log[learn][:, vocabulary], [quote(gene) for gene in data.genes[vocabulary]]
    if not plan.writes:
        embeddings = gene_embeddings(log, data.labels[learn], n_dims=WIDTH, seed=seed)
        return dict(zip(words, embeddings, strict=True)) | dict.fromkeys(others, nothing(embeddings.shape[1]))
    kinds = data.kinds[learn]
    embeddings, conditions, begin = writer_embeddings(log, kinds, n_dims=WIDTH, n_conditions=CONDITIONS, seed=seed)
    family = get_family(plan.family)
    placed = dict(zip(words, embeddings, strict=True)) | dict.fromkeys(others, nothing(WIDTH)) | {family.begin: begin}
    if plan.perturbing is not None:
        return placed | perturbation_embeddings(log, data.perturbations[learn], family)
    if data.groupings:
        placed |= {condition_words(data.named[kind], family)[1]: vector for kind, vector in conditions.items()}
    return placed


def _rank_fit(data: LabelledCells, vocabulary: np.ndarray) -> dict[str, Any]:
    """Fit expression to ranks within the vocabulary on training cells, and judge it on validation cells."""
    known = np.isin(data.split, [TRAIN, VALIDATION])
    return fit_rank_expression(data.log[known][:, vocabulary], data.split[known] == VALIDATION).to_dict()


def same_run(output_dir: Path, run: dict[str, Any], *, resume: bool) -> None:
    """Forget checkpoints that belong to another plan, other cells or another start."""
    if directory.holds_foreign_model(output_dir) and not (output_dir / sft.RUN).is_file():
        raise ValueError(f"{str(output_dir)!r} holds a model that is not from tl.finetune: choose another output_dir=.")
    file, now = output_dir / sft.RUN, json.dumps(run, sort_keys=True, default=str)
    wait()
    if is_main():
        if not resume or not file.is_file() or file.read_text(encoding="utf-8") != now:
            shutil.rmtree(output_dir / sft.CHECKPOINTS, ignore_errors=True)
        file.write_text(now, encoding="utf-8")
    wait()
