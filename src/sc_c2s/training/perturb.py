"""The perturbation task as it is learned: which genes rise and fall when something is done to a cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse

from sc_c2s.engine import LocalEngine
from sc_c2s.engine.scoring import probabilities
from sc_c2s.metrics.context_shifts import ContextShifts
from sc_c2s.metrics.effects import kendall_delta, pearson_delta, r2_delta
from sc_c2s.models.nano import CONDITIONS, WIDTH
from sc_c2s.prompts import UNNAMED, PromptFamily, change_answer, get_family, perturb_prompt, perturbation_parts
from sc_c2s.sentences.changes import at_level, change_words, in_proportion, to_changes, to_shares
from sc_c2s.sentences.text import quote

from .augment import NONE, Augmenter, pseudo_counts
from .cells import LabelledCells
from .examples import ChangeRows
from .loss import Choice
from .pairs import NONE as UNSEEN
from .pairs import Matched, Pairs, match
from .plan import LEAST_ROWS, Plan
from .readout import fit_readout
from .sft import own_tokens
from .shifts import kept_shifts
from .split import TEST, TRAIN, VALIDATION
from .vocabulary import condition_embeddings

MOST_COUNTED = 100
"""Cells beyond these make a pair no more reliable, and no more frequent."""
UNCHANGED = 0.2
"""Share of the rows in which nothing is done to a cell."""
NOT_NAMED = 0.2
"""Share of the rows of a perturbed gene that only show the gene: what is then learned holds for genes never perturbed."""
JUDGED_CELLS = 32
"""Control cells of a context that are looked at."""
JUDGED_PROMPTS = 640
"""Prompts that a state of the model is judged by, if that leaves each pair some."""
LEAST_JUDGED = 4
"""Fewest of these for a pair."""
PUT_ASIDE = 0.1
"""Share of the pairs to choose on where no cells are left for that."""
MEASURES = (pearson_delta, r2_delta, kendall_delta)
"""What is told of predicted changes."""
READ_ROWS = 3000
"""Rows that the start is fitted to."""
FEW_STEPS, MANY_STEPS, MANY_PULL = 300, 1000, 1e-8
"""Steps of that fit for few kinds and for many, and what pulls it back where there are many: each kind says little of its own."""


@dataclass(frozen=True)
class Judged:
    """Cells that the model is judged on.

    Attributes
    ----------
    perturbation
        What was done to them.
    cells
        Numbers of control cells to read.
    before, after
        Mean of the control cells, and of the perturbed ones.
    weight
        Weight of their loss: a mean over few cells says less.
    """

    perturbation: str
    cells: np.ndarray
    before: np.ndarray
    after: np.ndarray
    weight: float


@dataclass
class Perturbing:
    """Prompts, answers and scores of the perturbations of some cells.

    Attributes
    ----------
    data
        The cells; the last of their groupings is the perturbation.
    plan
        What to do with them.
    vocabulary
        Columns of the genes that are read and written.
    small
        Whether each word is one token of its own.
    """

    data: LabelledCells
    plan: Plan
    vocabulary: np.ndarray
    small: bool
    _matched: dict[tuple[str, str], Matched] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data, plan = self.data, self.plan
        assert plan.perturbing is not None
        self.how = plan.perturbing
        self.genes = np.array([quote(gene) for gene in data.genes[self.vocabulary]], dtype=object)
        self.known_genes = set(data.genes[self.vocabulary])
        self.log = data.log[:, self.vocabulary].tocsr()
        self.counts = pseudo_counts(data.x[:, self.vocabulary])
        self.context, self.perturbation = data.contexts, data.perturbations
        self.pairs = self._pairs(np.isin(data.split, [TRAIN]))
        if not self.pairs.known:
            raise ValueError(
                f"In no context of the training cells are there {self.how.min_cells} control cells ({self.how.control!r}) and as many "
                f"perturbed ones, so there is nothing to learn: check control= and groupby=."
            )
        self.reference = self.pairs.control_means.mean(axis=0)
        told = {pair: self._told(self.pairs.shift(*pair), pair[0]) for pair in self.pairs.known}
        totals = [np.abs(change).sum() for change in told.values()]
        self.scale = self.how.scale or float(max(totals)) * 1.1
        self.kinds = [self.how.control, *self.pairs.perturbations]
        self.answers = [change_answer(word) for word in change_words(self.genes)]
        self._shares = {
            pair: to_shares(change[None], self.scale)[0].astype(np.float32) for pair, change in told.items()
        }
        self._still = to_shares(np.zeros((1, len(self.genes))), self.scale)[0].astype(np.float32)
        self.left_out: frozenset[tuple[str, str]] = frozenset()
        self.checked = self._judged(VALIDATION)
        if not self.checked:
            # Where every perturbation was measured once, a tenth of them is put aside to choose on.
            self.left_out = self._spared()
            self.checked = self._judged(TRAIN, self.left_out or self.pairs.known)

    @property
    def words(self) -> list[str]:
        """Words beside genes that prompts and answers need."""
        family = get_family(self.plan.family)
        named = [family.answer(part).strip() for kind in self.kinds for part in perturbation_parts(kind)]
        named += [family.answer(UNNAMED).strip()]
        return [*family.words, family.term(self.how.condition_key), *dict.fromkeys(named), *change_words(self.genes)]

    def rows(self) -> ChangeRows:
        """Rows to learn from: every pair as often as its cells are reliable."""
        rng = np.random.default_rng(self.plan.settings.seed)
        learned = [pair for pair in self.pairs.known if pair not in self.left_out]
        weights = {pair: min(self.pairs.size(*pair), MOST_COUNTED) ** 0.5 for pair in learned}
        learn = np.flatnonzero(self.data.split == TRAIN)
        n_rows = max(int((self.perturbation[learn] == self.how.control).sum()), LEAST_ROWS * len(weights))
        controls = {context: self.pairs.cells(context, self.how.control) for context in self.pairs.contexts}
        cells, kinds = [], []
        for (context, name), weight in weights.items():
            n = max(round(n_rows * weight / sum(weights.values())), 1)
            some = np.resize(rng.permutation(controls[context]), n)
            cells.append(some)
            nothing = rng.random(n) < UNCHANGED
            nothing[0] = False
            kinds.append(np.where(nothing, 0, self.kinds.index(name)))
        groups = np.unique(self.context, return_inverse=True)[1]
        return ChangeRows(
            cells=Augmenter(self.counts, groups, self.plan.augmentation, seed=self.plan.settings.seed),
            words=self.genes,
            prompts=lambda kind, sentence, named: self.prompt(sentence, self.kinds[kind], named=named),
            targets=self._target,
            cell=np.concatenate(cells),
            kind=(kind := np.concatenate(kinds)),
            named=~np.isin(kind, self._genes_done) | (rng.random(len(kind)) >= NOT_NAMED),
            answers=self.answers,
            n_genes=self.plan.recipe.n_genes,
            seed=self.plan.settings.seed,
        )

    def choice(self, tokenizer: Any) -> Choice | None:
        """Let a small model give each word a share."""
        return Choice(own_tokens(tokenizer, self.answers), shares=True) if self.small else None

    def place(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Start the words for changes at a linear model of what the rest of the model says."""
        rows = self.rows()
        some = rng.permutation(len(rows.cell))[:READ_ROWS]
        states = LocalEngine(model, tokenizer, quiet=True).embed([rows.prompt(int(row), int(row)) for row in some])
        targets = {self._key(rows.cell[row], rows.kind[row]): i for i, row in enumerate(some)}
        names = list(targets)
        shares = np.stack([rows.shares(int(some[targets[name]])) for name in names])
        place = {name: i for i, name in enumerate(names)}
        which = np.array([place[self._key(rows.cell[row], rows.kind[row])] for row in some])
        # With more kinds than a nano has dimensions for, no vectors meet the mean of each: they start at the mean of all changes.
        many = len(self.kinds) > CONDITIONS
        vectors = fit_readout(
            states,
            shares,
            which,
            (rows.kind[some] > 0).astype(int) if many else rows.kind[some],
            pull=MANY_PULL if many else self.how.pull,
            n_steps=MANY_STEPS if many else FEW_STEPS,
            seed=self.plan.settings.seed,
        )
        head = model.get_output_embeddings().weight
        with torch.no_grad():
            head[own_tokens(tokenizer, self.answers).to(head.device)] = torch.from_numpy(vectors).to(head)

    def finish(self, model: Any, tokenizer: Any, rng: np.random.Generator) -> None:
        """Leave it as it is."""

    def judge(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score the validation cells: cross-entropy of the changes in nats, and their correlation."""
        return self._scores(model, tokenizer, self.checked)

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give what the card has to say, and the scores on validation and test cells."""
        sets = {VALIDATION: self.checked, TEST: self._judged(TEST)}
        metrics = {
            name: {k: v for k, v in self._scores(model, tokenizer, judged).items() if k != "loss"}
            for name, judged in sets.items()
            if judged
        }
        pairs = self.pairs
        kept = kept_shifts(pairs, seed=self.plan.settings.seed)
        said = {
            "perturbations": {
                "condition_key": self.how.condition_key,
                "control": self.how.control,
                "groupby": list(self.data.groupings[:-1]),
                "contexts": pairs.contexts,
                "values": pairs.perturbations,
                "n_cells": [[len(pairs.cells(c, p)) for p in pairs.perturbations] for c in pairs.contexts],
                "scale": self.scale,
                "pairing": self.how.pairing,
                "blend": ContextShifts.from_arrays(kept, pairs.perturbations).blend(),
            },
            "shifts": kept,
        }
        return said, metrics

    def prompt(self, sentence: str, perturbation: str, *, named: bool = True) -> str:
        """Ask for the changes of one cell."""
        return perturb_prompt(
            sentence,
            perturbation,
            family=self.plan.family,
            condition_key=self.how.condition_key,
            genes=self.known_genes,
            known=None if named else (),
            organism=self.plan.recipe.organism,
        )

    @property
    def _genes_done(self) -> list[int]:
        """Kinds whose parts are all genes of the vocabulary."""
        return [
            i
            for i, kind in enumerate(self.kinds)
            if i and all(part in self.known_genes for part in perturbation_parts(kind))
        ]

    def _pairs(self, used: np.ndarray) -> Pairs:
        here = np.where(used, self.perturbation, UNSEEN)
        return Pairs(self.log, self.context, here, self.how.control, self.how.min_cells)

    def _key(self, cell: int, kind: int) -> tuple[Any, ...]:
        """Name what the target of a row depends on."""
        if self.how.pairing == "random" or not kind:
            return (self.context[cell] if kind else "", int(kind))
        return (int(cell), int(kind))

    def _target(self, cell: int, kind: int) -> np.ndarray:
        """Give the shares that follow for one control cell."""
        if not kind:
            return self._still
        pair = str(self.context[cell]), self.kinds[kind]
        if self.how.pairing == "random":
            # Over all partners that may be drawn, the mean of what is to be learned is the difference of the means.
            return self._shares[pair]
        if pair not in self._matched:
            rng = np.random.default_rng(self.plan.settings.seed)
            self._matched[pair] = match(self.pairs, *pair, pairing=self.how.pairing, rng=rng)
        matched = self._matched[pair]
        place = np.flatnonzero(matched.controls == cell)
        change = matched.change(self.log, int(place[0])) if len(place) else self.pairs.shift(*pair)
        return to_shares(self._told(change, pair[0])[None], self.scale)[0].astype(np.float32)

    def _told(self, change: np.ndarray, context: str) -> np.ndarray:
        """Write a change of one context in the way that the model is told it."""
        return in_proportion(change, self.pairs.control_means[self.pairs.contexts.index(context)], self.reference)

    def _spared(self) -> frozenset[tuple[str, str]]:
        """Pairs that need not be learned, as all that was done in them was also done elsewhere."""
        known = self.pairs.known
        names = {pair: perturbation_parts(pair[1]) for pair in known}
        n_pairs = Counter(part for parts in names.values() for part in parts)
        spared: list[tuple[str, str]] = []
        for i in np.random.default_rng(self.plan.settings.seed).permutation(len(known)):
            parts = names[known[i]]
            if len(spared) < int(PUT_ASIDE * len(known)) and all(n_pairs[part] > 1 for part in parts):
                spared.append(known[i])
                n_pairs.subtract(parts)
        return frozenset(spared)

    def _judged(self, which: str, pairs: Collection[tuple[str, str]] | None = None) -> list[Judged]:
        """Give the pairs of one set, or some of them."""
        rng = np.random.default_rng(self.plan.settings.seed)
        seen = self._pairs(self.data.split == which)
        every = self._pairs(np.ones(len(self.context), dtype=bool))
        found = []
        for name in self.pairs.perturbations if which == VALIDATION else seen.perturbations:
            for context in every.contexts:
                perturbed = seen.cells(context, name)
                if len(perturbed) < (1 if which == VALIDATION else self.how.min_cells):
                    continue
                if pairs is not None and (context, name) not in pairs:
                    continue
                controls = every.cells(context, self.how.control)
                own = seen.cells(context, self.how.control)
                read = rng.permutation(own if len(own) >= self.how.min_cells else controls)[:JUDGED_CELLS]
                before, after = (
                    np.asarray(self.log[cells].mean(axis=0), dtype=np.float64).ravel()
                    for cells in (controls, perturbed)
                )
                found.append(Judged(name, read, before, after, weight=min(len(perturbed), MOST_COUNTED) ** 0.5))
        most = max(JUDGED_PROMPTS // max(len(found), 1), LEAST_JUDGED)
        return [replace(one, cells=one.cells[:most]) for one in found]

    def _scores(self, model: Any, tokenizer: Any, judged: list[Judged]) -> dict[str, float]:
        plain = Augmenter(self.counts, np.zeros(len(self.context), dtype=int), NONE, seed=0)
        n_genes = self.plan.recipe.n_genes
        prompts = [
            self.prompt(" ".join(self.genes[plain.variant(cell, 0)[:n_genes]]), one.perturbation)
            for one in judged
            for cell in one.cells
        ]
        logs = LocalEngine(model, tokenizer, quiet=True).score(prompts, self.answers)
        ends = np.cumsum([len(one.cells) for one in judged])[:-1]
        losses: list[float] = []
        found: dict[str, list[float]] = {measure.__name__: [] for measure in MEASURES}
        for shares, one in zip(np.split(probabilities(logs), ends), judged, strict=True):
            told = in_proportion(one.after - one.before, one.before, self.reference)
            losses.append(-float((to_shares(told[None], self.scale)[0] * np.log(shares + 1e-12).mean(axis=0)).sum()))
            change = at_level(to_changes(shares, self.scale), one.before, self.reference).mean(axis=0)
            for measure in MEASURES:
                found[measure.__name__].append(measure(one.before, one.after, one.before + change))
        loss = float(np.average(losses, weights=[one.weight for one in judged]))
        return {"loss": loss, **{name: float(np.nanmean(values)) for name, values in found.items()}}


def perturbation_embeddings(
    log: sparse.csr_matrix, perturbations: np.ndarray, family: PromptFamily
) -> dict[str, np.ndarray]:
    """Where the words for the parts of perturbations start, by the mean expression of the cells they were done to."""
    parts = [perturbation_parts(name) for name in perturbations]
    names = sorted({part for some in parts for part in some})
    cells = [np.flatnonzero([name in some for some in parts]) for name in names]
    means = np.stack([np.asarray(log[some].mean(axis=0)).ravel() for some in cells])
    names.append(UNNAMED)
    means = np.vstack([means, means.mean(axis=0)])
    placed = condition_embeddings(means, n_dims=WIDTH, n_conditions=CONDITIONS)
    return dict(zip([family.answer(name).strip() for name in names], placed, strict=True))
