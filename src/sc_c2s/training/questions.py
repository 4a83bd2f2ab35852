"""Questions about groups of cells whose answers the data know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sc_c2s._random import named_rng
from sc_c2s.metrics.answers import exact_match
from sc_c2s.metrics.facts import GroupFacts
from sc_c2s.prompts.group import share

from .groups import Groups

YES, NO = "yes", "no"
PRESENT, ABSENT = 0.1, 0.0
"""A cell type is there from this share on, and is not there up to that one; what is in between is not asked about."""
LEAD = 0.1
"""By how much the most common type has to lead to be asked for."""
ALIKE = 0.9
"""Share of the cells that have to agree on where they are from."""
N_CHOICES = 4
N_BEST = 5
"""Of so many of the clearest genes one is asked for."""
TOLERANCE = 0.1
"""By how much a share that is said may be off."""


@dataclass(frozen=True)
class Question:
    """A question about a group of cells.

    Attributes
    ----------
    group
        The group.
    kind
        What is asked: ``"present"``, ``"most common"``, ``"named"``, ``"marker"``, ``"share"``, or the name of a column.
    text
        The question.
    choices
        Answers to choose from, in the order they are shown; empty for a free answer.
    answer
        The right one.
    """

    group: str
    kind: str
    text: str
    choices: tuple[str, ...]
    answer: str

    @property
    def tolerance(self) -> float | None:
        """By how much the answer may be off; ``None`` where it is in words."""
        return TOLERANCE if self.kind == "share" else None


def questions_about(groups: Groups, *, seed: int = 0, kinds: Iterable[str] | None = None) -> list[Question]:
    """Ask about groups of cells what their data can answer.

    ``"present"``: whether there are cells of a type (yes or no, as many of each as there are types of the rarer kind);
    ``"most common"``: which of four types is the most common one; ``"named"``: the same as a free question; ``"marker"``: which of
    four genes is higher than in other cells; ``"share"``: what share of the cells is of the most common type, as a free
    question; and for each column of the context, under its name, which of its values the cells have. What the data do not
    answer clearly is not asked.

    Parameters
    ----------
    groups
        The groups.
    seed
        Draws what is asked, and the order of the choices; of each group by itself.
    kinds
        Kinds of questions; by default all.

    Returns
    -------
    The questions, group by group.
    """
    asked = []
    for name in groups.names:
        rng = named_rng(seed, name)
        facts, markers = groups.facts[name], groups.markers[name]
        for kind, text, choices, answer in [*_types(facts, rng), *_marker(facts, markers, rng), *_context(facts)]:
            if kinds is None or kind in set(kinds):
                asked.append(Question(name, kind, text, choices, answer))
    return asked


def as_table(questions: Iterable[Question]) -> pd.DataFrame:
    """Questions as a table: group, kind, text, choices (joined by ``"; "``) and answer."""
    rows = [(one.group, one.kind, one.text, "; ".join(one.choices), one.answer) for one in questions]
    return pd.DataFrame(rows, columns=["group", "kind", "question", "choices", "answer"])


_Asked = list[tuple[str, str, tuple[str, ...], str]]


def _types(facts: GroupFacts, rng: np.random.Generator) -> _Asked:
    if facts.composition is None:
        return []
    composition = facts.composition.sort_index().sort_values(ascending=False, kind="stable")
    there, gone = (list(composition.index[found]) for found in (composition >= PRESENT, composition <= ABSENT))
    n = min(len(there), len(gone))
    asked: _Asked = []
    for answer, types in ((YES, there), (NO, gone)):
        for name in rng.permutation(types)[:n] if types else ():
            asked.append(("present", f"Are there any {name} among these cells?", (YES, NO), answer))
    if len(composition) > 1 and composition.iloc[0] - composition.iloc[1] >= LEAD:
        best, others = composition.index[0], composition.index[1:]
        choices = _shuffled([best, *rng.permutation(others)[: N_CHOICES - 1]], rng)
        asked.append(("most common", "Which cell type is most common among these cells?", choices, best))
        asked.append(("named", "Name the most common cell type among these cells.", (), best))
        asked.append(("share", f"What share of these cells are {best}?", (), share(float(composition.iloc[0]))))
    return asked


def _marker(facts: GroupFacts, markers: list[str], rng: np.random.Generator) -> _Asked:
    lower = facts.genes.index[(facts.genes["log_fold_change"] < 0) & (facts.genes["share_rest"] >= PRESENT)]
    if not markers or len(lower) < N_CHOICES - 1:
        return []
    best = str(rng.choice(markers[:N_BEST]))
    choices = _shuffled([best, *rng.choice(sorted(lower), N_CHOICES - 1, replace=False)], rng)
    return [("marker", "Which of these genes is higher in these cells than in other cells?", choices, best)]


def _context(facts: GroupFacts) -> _Asked:
    asked: _Asked = []
    for name, values in facts.context.items():
        best = max(values, key=lambda value: values[value])
        if len(values) > 1 and values[best] >= ALIKE:
            asked.append((name, f"What is the {name.replace('_', ' ')} of these cells?", tuple(sorted(values)), best))
    return asked


def _shuffled(choices: list[str], rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(str(choice) for choice in rng.permutation(choices))


def is_right(answer: str, question: Question) -> bool:
    """Whether a text answers a question: :func:`sc_c2s.metrics.exact_match`, of a share within :data:`TOLERANCE`."""
    return exact_match(answer, question.answer, tolerance=question.tolerance)


def baseline(learned: Iterable[Question]) -> Callable[[Question], str]:
    """Answer without looking at any cells: what was most often right for a question of that wording, else of that kind.

    Parameters
    ----------
    learned
        Questions of the training groups.

    Returns
    -------
    A function that answers a question; out of its choices, where it has some.
    """
    table = as_table(learned)

    def answer(question: Question) -> str:
        said = table.loc[table["question"] == question.text, "answer"]
        found = (said if len(said) else table.loc[table["kind"] == question.kind, "answer"]).value_counts()
        possible = [name for name in sorted(found.index) if not question.choices or name in question.choices]
        if not possible:
            return question.choices[0] if question.choices else ""
        return max(possible, key=lambda name: found[name])

    return answer
