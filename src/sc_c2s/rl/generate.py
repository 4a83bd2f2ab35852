"""The generation task as it is rewarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD

from sc_c2s.engine import LocalEngine, Sampling
from sc_c2s.metrics.distances import median_bandwidth, mmd
from sc_c2s.sentences.text import read_sentences
from sc_c2s.training.generate import Generating

from . import rewards
from .policy import ListOfItems, Policy
from .questions import Reward
from .rewards import Distribution

N_COMPONENTS = 30
REAL_CELLS = 500
"""Most real cells of a kind that written ones are set beside in a reward."""
JUDGED_CELLS, LEAST_JUDGED = 240, 5
"""Cells that are written to judge a state, and fewest validation cells of a kind that they are judged by."""


@dataclass
class RewardedGenerating:
    """Questions, answers and scores of the generation of some cells.

    Written and real cells are compared in principal components of the training cells. In both, a gene counts with the mean
    expression of the training cells in its place, so that only which genes there are, and in which order, tells them apart.

    Attributes
    ----------
    task
        The task as it was learned.
    n_words
        Number of genes that are written.
    temperature
        Divides the log-probabilities.
    """

    task: Generating
    n_words: int
    temperature: float = 1.0
    watched: tuple[str, ...] = ("fidelity",)
    pools: bool = False

    def __post_init__(self) -> None:
        self._rows = self.task.rows()
        self._kinds = self.task.data.kinds[self.task.learn]

    @property
    def rewards(self) -> dict[str, Reward]:
        """Rewards by their names, the usual one first."""
        return {
            "distribution": self._distribution,
            "rank_weighted_overlap": rewards.rank_weighted_overlap,
            "kendall_tau": rewards.kendall_tau,
            "validity": rewards.validity,
        }

    def policy(self, engine: LocalEngine) -> Policy:
        """Answer with genes, none twice."""
        genes = list(self.task.genes)
        return ListOfItems.of(engine, genes, ends=not self.task.small, temperature=self.temperature)

    def draw(self, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draw cells of all kinds alike; each stands for its kind."""
        codes = np.unique(self._kinds, return_inverse=True)[1]
        share = 1 / np.bincount(codes)[codes]
        return rng.choice(len(codes), n, p=share / share.sum())

    def question(self, number: int, i: int) -> dict[str, Any]:
        """Ask for a cell of some kind."""
        prompt, sentence = self._rows.row(number, i)
        return {
            "prompt": prompt,
            "sentence": sentence.strip(),
            "n_asked": self.n_words,
            "known": self._known,
            "kind": self._kinds[number],
        }

    def watch(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """Score cells beside the validation cells.

        The score is how much nearer to them written cells are (by squared maximum mean discrepancy) than cells of all kinds: 0 for
        these, and 1 at most; mean over the kinds.
        """
        groups = self._judged
        kinds = [kind for kind, (_, _, n) in groups.items() for _ in range(n)]
        engine = LocalEngine(model, tokenizer, quiet=True)
        written = engine.generate(
            [self.task._prompt(kind) for kind in kinds],
            list(self.task.genes),
            max_items=self.n_words,
            min_items=self.n_words if self.task.small else 1,
            sampling=Sampling(temperature=self.temperature),
            balanced=True,
        )
        made = self.points([" ".join(self.task.genes[one.items]) for one in written])
        ends = np.cumsum([n for _, _, n in groups.values()])[:-1]
        scores = [
            1 - self._apart(cells, real) / apart
            for cells, (real, apart, _) in zip(np.split(made, ends), groups.values(), strict=True)
        ]
        return {"fidelity": float(np.mean(scores))}

    def report(self, model: Any, tokenizer: Any) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
        """Give the scores; values of cells and the temperature that answers were drawn at stay as they are."""
        return {}, self.task.scores(model, tokenizer)

    def points(self, sentences: Sequence[str]) -> np.ndarray:
        """Place sentences among the training cells (sentences × components)."""
        return self._components.transform(self._places(sentences))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.task.genes)

    @cached_property
    def _points(self) -> dict[str, np.ndarray]:
        """Training cells of each kind."""
        rng = np.random.default_rng(self.task.plan.settings.seed)
        chosen = {kind: rng.permutation(np.flatnonzero(self._kinds == kind))[:REAL_CELLS] for kind in self.task.kinds}
        return {kind: self.points([self._rows.row(int(cell), 0)[1] for cell in some]) for kind, some in chosen.items()}

    @cached_property
    def _bandwidth(self) -> float:
        return float(np.median([median_bandwidth(some) for some in self._points.values() if len(some) > 1]))

    @cached_property
    def _distribution(self) -> Distribution:
        return Distribution(self._points, self.points, measure="mmd", bandwidth=self._bandwidth)

    def _apart(self, cells: np.ndarray, real: np.ndarray) -> float:
        return mmd(cells, real, bandwidth=self._bandwidth)

    @cached_property
    def _judged(self) -> dict[str, tuple[np.ndarray, float, int]]:
        """Validation cells of each kind with enough of them, how far cells of all kinds are from them, and how many to write."""
        task, kinds = self.task, self.task.data.kinds
        rng = np.random.default_rng(0)
        cells = {kind: task.check[kinds[task.check] == kind] for kind in np.unique(kinds[task.check])}
        enough = {kind: some for kind, some in cells.items() if len(some) >= LEAST_JUDGED} or cells
        n = max(JUDGED_CELLS // len(enough), LEAST_JUDGED)
        everything = np.concatenate(list(self._points.values()))
        found = {}
        for kind, some in enough.items():
            rows = task._rows(some[:REAL_CELLS])
            real = self.points([rows.row(i, 0)[1] for i in range(min(len(some), REAL_CELLS))])
            found[kind] = real, self._apart(everything[rng.permutation(len(everything))[:n]], real), n
        return found

    @cached_property
    def _components(self) -> TruncatedSVD:
        rng = np.random.default_rng(self.task.plan.settings.seed)
        some = rng.permutation(len(self._kinds))[: 10 * REAL_CELLS]
        places = self._places([self._rows.row(int(cell), 0)[1] for cell in some])
        return TruncatedSVD(min(N_COMPONENTS, min(places.shape) - 1), random_state=0).fit(places)

    @cached_property
    def _values(self) -> np.ndarray:
        """Mean expression of training cells in each place, falling."""
        log = self.task.data.log[self.task.learn][:, self.task.vocabulary].tocsr()
        total = np.zeros(self.n_words)
        for cell in range(log.shape[0]):
            falling = -np.sort(-log.data[log.indptr[cell] : log.indptr[cell + 1]])[: self.n_words]
            total[: len(falling)] += falling
        return total / log.shape[0]

    def _places(self, sentences: Sequence[str]) -> sp.csr_matrix:
        parsed = read_sentences(list(sentences), self.task.data.genes[self.task.vocabulary])
        values = np.append(self._values, 0.0)[np.minimum(parsed.ranks, self.n_words)]
        return sp.csr_matrix((values, parsed.indices, parsed.indptr), shape=(len(parsed), len(self.task.genes)))
