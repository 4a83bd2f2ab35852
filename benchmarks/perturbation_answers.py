"""How should a model tell what changes? Words with shares, a list of changes, deviations, or the whole cell.

    python benchmarks/perturbation_answers.py --seeds 1

The folds of ``perturbation.py types``: the same cells, genes and pairs, the same nano and the same number of steps, and four kinds of
answers:

``words``       one word out of ``+gene``, ``-gene`` and ``=``, each with its share in the mean change; the one that is kept
``list``        the 100 words ``+gene`` or ``-gene`` that change most in the context, largest first
``deviations``  the 100 genes of a perturbed cell that lie furthest above the mean of the context's control cells, in standard deviations
``sentence``    a perturbed cell from its highest gene to its lowest

A written gene gets the value of its rank: ``list`` and ``deviations`` the mean at this rank in training, ``sentence`` the value that
the control cell has at this rank. What a model writes when it is asked for the control is taken off, so that only the difference of
the two names counts. Perturbed partners are drawn within type and donor, and control cells also learn to stay as they are.
Pearson correlation of the change of the mean over 2,000 genes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
from perturbation import CONDITION, CONTROL, PERTURBED, as_log, folds, held, kang, train

import sc_c2s as c2s
from sc_c2s.engine import LocalEngine
from sc_c2s.metrics import pearson_delta
from sc_c2s.prompts import perturb_prompt
from sc_c2s.sentences.changes import at_level, change_words
from sc_c2s.sentences.text import quote
from sc_c2s.training import run
from sc_c2s.training.augment import NONE, Augmenter
from sc_c2s.training.examples import ChangeRows
from sc_c2s.training.generate import POSITIONS
from sc_c2s.training.head import fit_head
from sc_c2s.training.loss import Choice, answer_loss
from sc_c2s.training.perturb import Perturbing
from sc_c2s.training.sft import Collator, tokenise
from sc_c2s.training.split import TRAIN, VALIDATION

FORMS = ("words", "list", "deviations", "sentence")
LENGTH = 100
"""Genes of a list of changes or deviations."""
READ_CELLS = 200
"""Control cells of a type that are read."""
FLOOR = 0.3
"""Added to standard deviations: few counts vary little by chance."""


@dataclass(frozen=True)
class Lists(ChangeRows):
    """Rows whose answer is a list of words."""

    answer: Any = None

    def row(self, row: int, i: int) -> tuple[str, str]:
        """Prompt of the ``i``-th row, and the list of a partner."""
        written = self.answer(self.cell[row], self.kind[row], i)
        return self.prompt(row, i), "".join(f" {self.answers[item]}" for item in written)


class Writing(Perturbing):
    """The perturbation task with lists for answers."""

    form = "sentence"
    left: dict[str, np.ndarray] = {}
    """What the last model needs to read its lists: values of ranks, control means and deviations."""

    def rows(self) -> Lists:
        rows = super().rows()
        return Lists(**{**vars(rows), "answers": self.items, "answer": self.written})

    def choice(self, tokenizer: Any) -> Choice:
        return Choice(self.item_ids(tokenizer).sort().values, once=True, most=POSITIONS)

    def place(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        rows = self.rows()
        some = rng.permutation(len(rows.cell))[:2000]
        some = some[np.argsort(rows.lengths[some], kind="stable")]
        written = [self.written(rows.cell[row], rows.kind[row], int(row)) for row in some]
        counts = np.full((len(self.kinds), len(self.items)), 1e-2)
        for row, items in zip(some, written, strict=True):
            np.add.at(counts[rows.kind[row]], items, 1 / np.arange(1, len(items) + 1))
        ids, batches = self.item_ids(tokenizer), self.batches(rows, some, tokenizer)
        fit_head(model, batches, ids, kinds=rows.kind[some], log_means=np.log(counts), seed=self.plan.settings.seed)

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Loss of lists of validation cells (of the training cells' changes, where lists are of changes)."""
        rows, choice = self.rows(), self.choice(tokenizer)
        rows = Lists(**{**vars(rows), "answer": lambda *one: self.written(*one, which=VALIDATION)})
        some = np.sort(np.random.default_rng(0).permutation(len(rows.cell))[:256])
        total, n = 0.0, 0
        model.eval()
        with torch.no_grad():
            for batch in self.batches(rows, some, tokenizer):
                loss, count, _ = answer_loss(model, batch, choice)
                total, n = total + float(loss), n + int(count)
        model.train()
        return {"loss": total / n}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        Writing.left = {"values": self.values, "scale": self.spread}
        return super().report(model, tokenizer)[0], {}

    def written(self, cell: int, kind: int, i: int, which: str = TRAIN) -> np.ndarray:
        """Numbers of the words of an answer."""
        rng = np.random.default_rng([self.plan.settings.seed, i, kind])
        context = str(self.context[cell])
        if self.form == "list":
            order = self.changes[context] if kind else rng.permutation(len(self.items))
            return order[:LENGTH]
        partners = self.partners.get(
            (context, self.kinds[kind], which), self.partners[context, self.kinds[kind], TRAIN]
        )
        partner = rng.choice(partners)
        if self.form == "deviations":
            return self.deviations(partner)[0]
        return Augmenter(self.counts, np.zeros(len(self.context), dtype=int), NONE, seed=i).variant(partner, i)

    def deviations(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """Genes of a cell that lie furthest above the mean, and how far."""
        place = self.pairs.contexts.index(str(self.context[cell]))
        above = (self.log[cell].toarray().ravel() - self.pairs.control_means[place]) / self.spread
        order = np.argsort(-above, kind="stable")[:LENGTH]
        return order, above[order]

    @cached_property
    def items(self) -> list[str]:
        return change_words(self.genes)[:-1] if self.form == "list" else list(self.genes)

    @cached_property
    def partners(self) -> dict[tuple[str, str, str], np.ndarray]:
        split = self.data.split
        found = {}
        for context in self.pairs.contexts:
            for name in self.kinds:
                for which in (TRAIN, VALIDATION):
                    here = (self.context == context) & (self.perturbation == name) & (split == which)
                    if here.any():
                        found[context, name, which] = np.flatnonzero(here & (self.counts.getnnz(axis=1) > 0))
        return found

    @cached_property
    def changes(self) -> dict[str, np.ndarray]:
        """Words of each context's change, largest first."""
        told = {context: self._told(self.pairs.shift(context, name), context) for context, name in self.pairs.known}
        return {
            context: np.argsort(-np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)]), kind="stable")
            for context, x in told.items()
        }

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation of the genes over the training cells."""
        cells = self.log[self.data.split == TRAIN]
        mean = np.asarray(cells.mean(axis=0)).ravel()
        return np.sqrt(np.maximum(np.asarray(cells.power(2).mean(axis=0)).ravel() - mean**2, 0)) + FLOOR

    @cached_property
    def values(self) -> np.ndarray:
        """Mean change or deviation at each rank."""
        if self.form == "list":
            told = [np.sort(np.abs(self._told(self.pairs.shift(*pair), pair[0])))[::-1] for pair in self.pairs.known]
            return np.mean([one[:LENGTH] for one in told], axis=0)
        if self.form == "deviations":
            some = [cell for (_, _, which), cells in self.partners.items() if which == TRAIN for cell in cells[:50]]
            return np.mean([self.deviations(cell)[1] for cell in some], axis=0)
        return np.zeros(0)

    def item_ids(self, tokenizer: Any) -> torch.Tensor:
        return torch.tensor([row[-1] for row in tokenizer([f"x {word}" for word in self.items])["input_ids"]])

    def batches(self, rows: Lists, some: np.ndarray, tokenizer: Any) -> list[dict[str, Any]]:
        collate, size = Collator(tokenizer.pad_token_id), self.plan.settings.batch_size
        parts = (some[start : start + size] for start in range(0, len(some), size))
        return [
            collate(tokenise(tokenizer, [rows.row(int(row), int(row)) for row in part], closing=False))
            for part in parts
        ]


def change(controls: ad.AnnData, folder: Path, form: str) -> tuple[np.ndarray, list[str]]:
    """Change of the mean that a model tells, and its genes."""
    if form == "words":
        c2s.tl.perturb(controls, model=folder, perturbation=PERTURBED, groupby=[])
        stored = controls.uns["c2s_perturbed"]
        return stored["changes"][0], list(stored["var_names"])
    card, left = c2s.models.directory.read(folder), Writing.left
    loaded = c2s.models.load(folder)
    engine = LocalEngine(loaded.model, loaded.tokenizer)
    known = controls[:, card.genes]
    log = as_log(controls)[:, card.genes].X.toarray()
    filled = np.asarray((known.X > 0).sum(axis=1)).ravel() > 0
    known, log = known[filled], log[filled]
    recipe = c2s.sentences.recipe.Recipe.from_dict(card.recipe)
    genes = np.array(card.genes, dtype=object)
    sentences = recipe.write(known.X.tocsr(), genes, known.obs_names.to_numpy(), vocabulary=genes)
    words = [quote(gene) for gene in card.genes]
    items = change_words(words)[:-1] if form == "list" else words
    n_items = (log > 0).sum(axis=1) if form == "sentence" else np.full(len(log), LENGTH)
    told = []
    for name in (PERTURBED, CONTROL):
        prompts = [
            perturb_prompt(sentence, name, family=card.family, condition_key=CONDITION, genes=set(card.genes))
            for sentence in sentences
        ]
        lists = engine.generate(prompts, items, max_items=n_items, min_items=n_items)
        x = np.zeros((len(lists), len(items)))
        for i, one in enumerate(lists):
            values = np.sort(log[i])[::-1][: len(one.items)] if form == "sentence" else left["values"]
            x[i, one.items] = values
        told.append(x.mean(axis=0))
    difference = told[0] - told[1]
    if form == "deviations":
        difference *= left["scale"]
    if form == "list":
        difference = difference[: len(words)] - difference[len(words) :]
        difference = at_level(difference, log.mean(axis=0), card.shifts["control_means"].mean(axis=0))
    return difference, card.genes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--types", nargs="+", help="types that are held out; by default all")
    options = parser.parse_args()
    adata = kang()
    log = as_log(adata)[:, adata.var["highly_variable"]]
    control = (adata.obs[CONDITION] == CONTROL).to_numpy()
    rows = []
    for fold, out in folds(adata, "types").items():
        if options.types and fold not in options.types:
            continue
        tested = held(adata, out)
        before, after = (np.asarray(log[tested & some].X.mean(axis=0)).ravel() for some in (control, ~control))
        for seed in range(options.seeds):
            some = np.random.default_rng(seed).permutation(np.flatnonzero(tested & control))[:READ_CELLS]
            for form in options.forms:
                with tempfile.TemporaryDirectory() as folder:
                    start = time.perf_counter()
                    Writing.form = form
                    run.TASKS["perturb"] = Perturbing if form == "words" else Writing
                    train(adata, out, Path(folder) / "model", seed, epochs=options.epochs)
                    trained = time.perf_counter() - start
                    told, genes = change(adata[some].copy(), Path(folder) / "model", form)
                whole = np.zeros(len(before))
                places = log.var_names.get_indexer(genes)
                whole[places[places >= 0]] = told[places >= 0]
                score = pearson_delta(before, after, before + whole)
                asked = time.perf_counter() - start - trained
                rows.append({"form": form, "type": fold, "seed": seed, "pearson_delta": score, "training_s": trained})
                print(
                    f"{fold}, seed {seed}, {form}: {score:.3f} ({trained:.0f} s training, {asked:.0f} s asking)",
                    flush=True,
                )
    table = pd.DataFrame(rows)
    shown = table.pivot_table(index="form", columns="type", values="pearson_delta").loc[options.forms]
    shown["mean"] = shown.mean(axis=1)
    print(shown.round(3).to_string())


if __name__ == "__main__":
    main()
