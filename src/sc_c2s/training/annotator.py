"""From labelled cells to a model directory that annotates."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import log_softmax
from transformers import PreTrainedModel

from sc_c2s.engine.local import LocalEngine
from sc_c2s.engine.scoring import probabilities
from sc_c2s.metrics.annotation import annotation
from sc_c2s.models import directory
from sc_c2s.models.nano import WIDTH
from sc_c2s.prompts import annotate_answer, annotate_prompt, get_family
from sc_c2s.sentences.inverse import fit_rank_expression
from sc_c2s.sentences.text import quote

from . import sft
from .augment import Augmenter, pseudo_counts
from .calibration import fit_temperature
from .examples import Examples, schedule
from .plan import Plan
from .probe import place_answers, probe_cells
from .split import SETS, TEST, TRAIN, VALIDATION
from .start import NANO, Start
from .vocabulary import gene_embeddings, informative_genes, nothing

RUN = "run.json"


@dataclass(frozen=True)
class LabelledCells:
    """Cells with a label and a set, as the training reads them.

    Attributes
    ----------
    x
        Expression on the scale it was given in, cells × genes.
    log
        The same in log1p counts per 10,000 (or as it was given, if that was a log scale).
    genes, cells
        Names of columns and rows.
    labels
        Label of each cell.
    split
        ``"train"``, ``"validation"`` or ``"test"``.
    groupby
        Where the labels came from.
    organism
        Whose cells they are, if known.
    """

    x: sparse.csr_matrix
    log: sparse.csr_matrix
    genes: np.ndarray
    cells: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    groupby: str
    organism: str | None

    def of(self, which: str) -> np.ndarray:
        """Numbers of the cells in one set."""
        return np.flatnonzero(self.split == which)

    @property
    def label_set(self) -> list[str]:
        """Labels that training cells carry, in order."""
        return sorted(set(self.labels[self.of(TRAIN)]))

    def fingerprint(self) -> str:
        """Digest of names, labels, split and values."""
        digest = hashlib.sha256()
        for part in (self.genes, self.cells, self.labels, self.split):
            digest.update("\n".join(map(str, part)).encode())
        for array in (self.x.indptr, self.x.indices, self.x.data):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def train_annotator(
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
    _same_run(output_dir, run, resume=resume)

    learn, check, report = (data.of(which) for which in SETS)
    vocabulary = informative_genes(data.log[learn], data.labels[learn], n_top=plan.n_top_genes)
    genes = data.genes[vocabulary]
    labels = data.label_set
    words = [quote(gene) for gene in genes]
    answers = [annotate_answer(label, plan.family) for label in labels]
    others = [*get_family(plan.family).words, quote(data.groupby), *(answer.strip() for answer in answers)]
    placed = {}
    if start.base["name"] == NANO:  # every other model has its own embeddings, and reads many more genes
        log = data.log[learn][:, vocabulary]
        embeddings = gene_embeddings(log, data.labels[learn], n_dims=WIDTH, seed=plan.settings.seed)
        placed = dict(zip(words, embeddings, strict=True)) | dict.fromkeys(others, nothing(embeddings.shape[1]))
    model, tokenizer = start.open([*others, *words], placed)
    prompt = partial(annotate_prompt, family=plan.family, groupby=data.groupby, organism=plan.recipe.organism)
    code = {label: i for i, label in enumerate(labels)}

    def prompts(cells: np.ndarray) -> list[str]:
        written = plan.recipe.write(data.x[cells], data.genes, data.cells[cells], vocabulary=genes)
        return [prompt(sentence) for sentence in written]

    check = check[np.isin(data.labels[check], labels)]
    if not len(check):
        raise ValueError(
            "No validation cell has a label that the training cells have, so there is nothing to choose on: "
            "use another split_key= or rng=."
        )
    check_prompts, check_codes = prompts(check), np.array([code[label] for label in data.labels[check]], dtype=int)

    def validate(model: PreTrainedModel) -> dict[str, float]:
        scores = LocalEngine(model, tokenizer, quiet=True).score(check_prompts, answers)
        # Calibrated, as it will be used: a model that grows too sure while it grows better is not stopped for that.
        scores /= fit_temperature(scores, check_codes)
        right = log_softmax(scores, axis=1)[np.arange(len(check_codes)), check_codes]
        return {"loss": float(-right.mean()), "accuracy": float((scores.argmax(axis=1) == check_codes).mean())}

    learn_codes = np.array([code[label] for label in data.labels[learn]])
    counts = pseudo_counts(data.x[learn][:, vocabulary])
    rng = np.random.default_rng(plan.settings.seed)
    examples = Examples(
        Augmenter(counts, learn_codes, plan.augmentation, seed=plan.settings.seed),
        np.array(words, dtype=object),
        [answers[i] for i in learn_codes],
        prompt,
        plan.recipe.n_genes,
    )
    order = schedule(counts.getnnz(axis=1), n_epochs=plan.n_epochs, batch_size=plan.settings.batch_size, rng=rng)
    if start.small:
        chosen = probe_cells(learn_codes, rng)
        place_answers(model, tokenizer, prompts(learn[chosen]), learn_codes[chosen], answers)
    model, history = sft.train(
        model,
        tokenizer,
        examples,
        order,
        validate,
        settings=plan.settings,
        output_dir=output_dir,
        peft_config=start.peft_config,
        precision=start.precision,
        resume=resume,
    )

    scores = LocalEngine(model, tokenizer).score([*check_prompts, *prompts(report)], answers)
    temperature = fit_temperature(scores[: len(check)], check_codes)
    metrics = {VALIDATION: _metrics(scores[: len(check)], data.labels[check], labels, temperature)}
    if len(report):
        metrics[TEST] = _metrics(scores[len(check) :], data.labels[report], labels, temperature)

    directory.clear(output_dir)
    with sft.quiet():
        start.save(model, tokenizer, output_dir)
    card = directory.ModelCard(
        task=["annotate"],
        groupby=data.groupby,
        labels=labels,
        genes=[str(gene) for gene in genes],
        recipe=plan.recipe.to_dict(),
        family=plan.family,
        temperature=temperature,
        rank_fit=_rank_fit(data, vocabulary),
        base=start.base,
        metrics=metrics,
        data={"fingerprint": data.fingerprint(), **{f"n_{which}": len(data.of(which)) for which in SETS}},
        seed=plan.settings.seed,
        versions={name: version(name) for name in ("sc-c2s", "torch", "transformers", "trl", "peft", "scanpy")},
    )
    directory.write(output_dir, card, history=history)
    shutil.rmtree(output_dir / sft.CHECKPOINTS, ignore_errors=True)
    (output_dir / RUN).unlink(missing_ok=True)
    return card, history


def _rank_fit(data: LabelledCells, vocabulary: np.ndarray) -> dict[str, Any]:
    """Fit expression to ranks within the vocabulary on training cells, and judge it on validation cells."""
    known = np.isin(data.split, [TRAIN, VALIDATION])
    return fit_rank_expression(data.log[known][:, vocabulary], data.split[known] == VALIDATION).to_dict()


def _metrics(scores: np.ndarray, truth: np.ndarray, labels: list[str], temperature: float) -> dict[str, float]:
    proba = pd.DataFrame(probabilities(scores, temperature=temperature), columns=labels)
    return annotation(truth, proba.idxmax(axis=1).to_numpy(), proba=proba)


def _same_run(output_dir: Path, run: dict[str, Any], *, resume: bool) -> None:
    """Forget checkpoints that belong to another plan, other cells or another start."""
    if directory.holds_foreign_model(output_dir) and not (output_dir / RUN).is_file():
        raise ValueError(f"{str(output_dir)!r} holds a model that is not from tl.finetune: choose another output_dir=.")
    file, now = output_dir / RUN, json.dumps(run, sort_keys=True, default=str)
    if not resume or not file.is_file() or file.read_text(encoding="utf-8") != now:
        shutil.rmtree(output_dir / sft.CHECKPOINTS, ignore_errors=True)
    file.write_text(now, encoding="utf-8")
