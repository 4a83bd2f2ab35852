"""The generation task as it is learned: which genes a cell of some condition has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sc_c2s.engine import LocalEngine, Sampling
from sc_c2s.prompts import condition_words, generate_answer, generate_prompt, get_family
from sc_c2s.sentences.levels import Levels
from sc_c2s.sentences.text import quote

from .augment import NONE, Augmenter, pseudo_counts
from .cells import LabelledCells
from .diversity import fit_sampling_temperature
from .examples import CellsToWrite
from .head import fit_head
from .loss import Choice, answer_loss
from .plan import Plan
from .sft import Collator, own_tokens, tokenise
from .split import TEST, TRAIN, VALIDATION

POSITIONS = 2048
"""Places of a batch that are learned from: neighbours in a cell teach much the same, and each costs a pass of the head."""
JUDGED_CELLS, JUDGED_POSITIONS = 256, 4096
"""Validation cells that are looked at, and places in a batch of them."""
HEAD_CELLS = 4000
"""Training cells that the head is fitted to."""
COMPARED_CELLS, LEAST_COMPARED = 320, 8
"""Training cells, and fewest of a kind, that written ones are to be as diverse as."""


@dataclass
class Generating:
    """Prompts, answers and scores of the generation of some cells.

    Attributes
    ----------
    data
        The cells.
    plan
        What to do with them.
    vocabulary
        Columns of the genes that are written.
    small
        Whether each gene is one token of its own.
    """

    data: LabelledCells
    plan: Plan
    vocabulary: np.ndarray
    small: bool

    def __post_init__(self) -> None:
        self.counts = pseudo_counts(self.data.x[:, self.vocabulary])
        self.n_genes = self.counts.getnnz(axis=1)
        data, filled = self.data, self.n_genes > 0
        self.learn = data.to_judge(TRAIN, filled, "gene")
        self.kinds = sorted(set(data.kinds[self.learn]))
        known = filled & np.isin(data.kinds, self.kinds)
        self.check, self.report_on = (data.to_judge(which, known, "condition") for which in (VALIDATION, TEST))
        self.genes = np.array([quote(gene) for gene in self.data.genes[self.vocabulary]], dtype=object)

    @property
    def words(self) -> list[str]:
        """Words beside genes that the prompts need."""
        named = [self.data.named[kind] for kind in self.kinds] if self.data.groupings else []
        words = [word for condition in named for word in condition_words(condition, self.plan.family)]
        return list(dict.fromkeys([*get_family(self.plan.family).words, *words]))

    def rows(self) -> CellsToWrite:
        """Rows to learn from: the training cells, ties broken anew each time."""
        return self._rows(self.learn)

    def choice(self, tokenizer: Any) -> Choice | None:
        """Let a small model choose among genes that are not written yet, as when it writes."""
        return Choice(self._tokens(tokenizer), once=True, most=POSITIONS) if self.small else None

    def place(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Start the vectors that genes are written with at a linear model of what the rest of the model says."""
        cells, batches, ids = self._some(tokenizer, rng)
        kinds = np.searchsorted(self.kinds, self.data.kinds[cells])
        fit_head(model, batches, ids, kinds=kinds, log_means=self._log_means(), seed=self.plan.settings.seed)

    def finish(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Bring the vectors that genes are written with to where the rest of the model, as it is now, wants them."""
        _, batches, ids = self._some(tokenizer, rng)
        fit_head(model, batches, ids, seed=self.plan.settings.seed + 1)

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells: mean loss of a gene, in nats."""
        return {"loss": self._loss(model, tokenizer, self.check)}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what the card has to say, and the scores on validation and test cells."""
        codes = np.searchsorted(self.kinds, self.data.kinds[self.learn])
        known = {
            "groupby": list(self.data.groupings),
            "values": [list(self.data.named[kind].values()) for kind in self.kinds],
            "n_cells": np.bincount(codes).tolist(),
        }
        log = self.data.log[self.learn][:, self.vocabulary]
        rng = np.random.default_rng(self.plan.settings.seed)
        levels = Levels.of(log, codes, rng, n_genes=self.plan.recipe.n_genes)
        said: dict[str, Any] = {"conditions": known, "levels": levels.to_dict()}
        if self.small:
            said["sampling_temperature"] = self._temperature(model, tokenizer, log, codes, rng)
        return said, self.scores(model, tokenizer)

    def scores(self, model: Any, tokenizer: Any) -> dict[str, dict[str, float]]:
        """Score the validation and the test cells."""
        sets = {VALIDATION: self.check, TEST: self.report_on}
        return {
            name: {"nats_per_gene": self._loss(model, tokenizer, cells)} for name, cells in sets.items() if len(cells)
        }

    def _temperature(
        self, model: Any, tokenizer: Any, log: sparse.csr_matrix, codes: np.ndarray, rng: np.random.Generator
    ) -> float:
        """Temperature at which cells that are written beside some training cells are as diverse as these."""
        seed, at_most = self.plan.settings.seed, COMPARED_CELLS // LEAST_COMPARED
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.kinds))[:at_most])
        most = COMPARED_CELLS // len(chosen)
        some = np.concatenate([rng.permutation(np.flatnonzero(codes == g))[:most] for g in chosen])
        cells = _falling(log[some], self.plan.recipe.n_genes)
        n = np.diff(cells.indptr)
        prompts = [self._prompt(self.kinds[code]) for code in codes[some]]
        engine = LocalEngine(model, tokenizer)

        def write(temperature: float) -> sparse.csr_matrix:
            lists = engine.generate(
                prompts,
                list(self.genes),
                max_items=n,
                min_items=n,
                sampling=Sampling(temperature=temperature),
                balanced=True,
            )
            written = np.concatenate([one.items for one in lists])
            return sparse.csr_matrix((cells.data, written, cells.indptr), shape=cells.shape)

        return fit_sampling_temperature(write, cells, codes[some])

    def _prompt(self, kind: str) -> str:
        plan = self.plan
        return generate_prompt(
            self.data.named[kind], family=plan.family, organism=plan.recipe.organism, n_genes=plan.recipe.n_genes
        )

    def _rows(self, cells: np.ndarray) -> CellsToWrite:
        data, plan = self.data, self.plan
        prompts = {kind: self._prompt(kind) for kind in self.kinds}
        return CellsToWrite(
            Augmenter(self.counts[cells], np.zeros(len(cells), dtype=int), NONE, seed=plan.settings.seed),
            self.genes,
            [prompts[kind] for kind in data.kinds[cells]],
            generate_answer,
            plan.recipe.n_genes,
        )

    def _log_means(self) -> np.ndarray:
        """Logarithm of the mean counts of each condition (conditions × genes), shrunk towards that of all cells."""
        counts, kinds = self.counts[self.learn], self.data.kinds[self.learn]
        overall = np.asarray(counts.mean(axis=0)).ravel() + 1e-3 / len(self.learn)
        rows = []
        for kind in self.kinds:
            here = counts[kinds == kind]
            rows.append((np.asarray(here.sum(axis=0)).ravel() + overall) / (here.shape[0] + 1))
        return np.log(np.stack(rows))

    def _some(self, tokenizer: Any, rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]], torch.Tensor]:
        """Training cells that the head is fitted to, their batches, and the tokens of the genes."""
        cells = rng.permutation(self.learn)[:HEAD_CELLS]
        cells = cells[np.argsort(self.n_genes[cells], kind="stable")]
        return cells, self._batches(cells, tokenizer), self._ids(tokenizer)

    def _ids(self, tokenizer: Any) -> torch.Tensor:
        return own_tokens(tokenizer, [generate_answer(word) for word in self.genes])

    def _tokens(self, tokenizer: Any) -> torch.Tensor:
        return self._ids(tokenizer).sort().values

    def _batches(self, cells: np.ndarray, tokenizer: Any) -> list[dict[str, Any]]:
        """Rows of some cells, in batches."""
        rows, collate = self._rows(cells), Collator(tokenizer.pad_token_id)
        size = self.plan.settings.batch_size
        batches = []
        for start in range(0, len(cells), size):
            pairs = [rows.row(i, i) for i in range(start, min(start + size, len(cells)))]
            batches.append(collate(tokenise(tokenizer, pairs, closing=not self.small)))
        return batches

    def _loss(self, model: Any, tokenizer: Any, cells: np.ndarray) -> float:
        cells = np.random.default_rng(0).permutation(cells)[:JUDGED_CELLS]
        cells = cells[np.argsort(self.n_genes[cells], kind="stable")]  # neighbours pad little
        choice = Choice(self._tokens(tokenizer), once=True, most=JUDGED_POSITIONS) if self.small else None
        total, n, device = 0.0, 0, next(model.parameters()).device
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for batch in self._batches(cells, tokenizer):
                loss, count, _ = answer_loss(model, {name: x.to(device) for name, x in batch.items()}, choice)
                total, n = total + float(loss), n + int(count)
        model.train(was_training)
        return total / max(n, 1)


def _falling(x: sparse.csr_matrix, n_genes: int | None) -> sparse.csr_matrix:
    """Keep the first so many genes of each cell, in falling order."""
    cell = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
    order = np.lexsort((-x.data, cell))
    if n_genes is not None:
        order = order[np.arange(x.nnz) - x.indptr[cell] < n_genes]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(cell[order], minlength=x.shape[0]))])
    return sparse.csr_matrix((x.data[order], x.indices[order], indptr), shape=x.shape)
