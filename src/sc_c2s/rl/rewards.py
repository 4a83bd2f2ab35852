"""Rewards in the form of TRL: completions and columns of the data set in, a number for each completion out.

Each parses the completions and calls a function of :mod:`sc_c2s.metrics`, the one that evaluations call. Columns are lists with
an entry for each completion; what is the same for all may be given once, with :func:`functools.partial` as parameters are::

    from functools import partial

    GRPOTrainer(..., reward_funcs=[partial(rewards.gene_program, program=interferon), rewards.validity])

``None`` in place of a reward says that the row has no such thing, and TRL leaves it out. An answer that cannot be read is never
``None``: it gets the least.

An answer for a cell is a sentence of `n_asked` genes. An answer for a perturbation is `n_asked` words drawn with replacement
(see :mod:`sc_c2s.sentences.changes`): the share of a word is its count over `n_asked`, and words that are missing, unknown or
beyond `n_asked` say that nothing changes. Rows that have a `change` are taken for perturbations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sc_c2s import metrics
from sc_c2s.metrics.ontology import REACH
from sc_c2s.metrics.rankings import PERSISTENCE
from sc_c2s.prompts.annotate import parse_annotation
from sc_c2s.sentences.text import unquote

from .answers import drawn_change, ranked, rows_of, without_copies
from .distribution import Distribution, Rewards

__all__ = [
    "Distribution",
    "bert_score",
    "delta_correlation",
    "exact_answer",
    "gene_program",
    "grounded",
    "grounding",
    "kendall_tau",
    "label_match",
    "r2_delta",
    "rank_weighted_overlap",
    "validity",
]


def label_match(
    completions: Sequence[str],
    label: Sequence[str | None],
    labels: Sequence[Any],
    family: Sequence[str] | str,
    *,
    parents: Mapping[str, Collection[str]] | None = None,
    cell_types: Mapping[str, str] | None = None,
    reach: int = REACH,
    **columns: Any,
) -> Rewards:
    """Reward the right label, and less what is near it: :func:`sc_c2s.metrics.label_credit`.

    From 0 to 1. The cost is one look at the `labels`, and at the ancestors of two terms where `parents` are given. What names
    no label, or not by its first line alone, gets 0: listing several labels or copying the prompt does not pay. Answers
    that are vague rather than wrong are held down by the credit being a half at most. Always answering the most frequent label
    gets its frequency, which only balanced data prevent.

    Parameters
    ----------
    completions
        Answers.
    label
        The right label of each.
    labels
        Labels that may be answered: a list for each completion, or one for all.
    family
        Name of the prompt family that the answer was written in.
    parents, cell_types, reach
        As in :func:`sc_c2s.metrics.label_credit`.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The credits.
    """
    rewards: Rewards = []
    for row in rows_of(completions, {"label": label, "family": family}, {"labels": labels}):
        if row.label is None:
            rewards.append(None)
            continue
        found = parse_annotation(row.text, row.labels, family=row.family)
        rewards.append(metrics.label_credit(found, row.label, parents=parents, cell_types=cell_types, reach=reach))
    return rewards


def kendall_tau(
    completions: Sequence[str],
    sentence: Sequence[str | None],
    n_asked: Sequence[int] | int,
    *,
    genes: Sequence[Any] | None = None,
    change: Sequence[Any] | None = None,
    control: Sequence[Any] | None = None,
    reference: Any = None,
    scale: Sequence[float] | float | None = None,
    fill: bool = True,
    **columns: Any,
) -> Rewards:
    """Reward the right order of genes.

    From -1 to 1. For a cell this is :func:`sc_c2s.metrics.kendall_tau` of its words. The cost is O(n · log n) in the words asked for. Places
    that are empty, repeats and unknown words count as wrong words, so that neither a short answer nor one with fillers beats a
    try; words beyond `n_asked` do not count.

    For a perturbation it is :func:`sc_c2s.metrics.kendall_delta` of the change that was drawn, over all genes; genes that were not
    drawn are tied. The cost is O(genes · log genes).

    All places weigh the same, so an answer is paid for an order among the last words, or the smallest changes, as for one among the
    first, and the size of a change does not count.

    Parameters
    ----------
    completions
        Answers: words by falling rank, or words drawn with replacement.
    sentence
        What should be written. ``None`` or empty: no reward.
    n_asked
        Number of words asked for.
    genes, change, control, reference, scale
        As in :func:`delta_correlation`; only perturbations need them.
    fill
        As in :func:`sc_c2s.metrics.kendall_tau`.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The correlations.
    """
    if change is not None:
        return _of_changes(metrics.kendall_delta, completions, n_asked, genes, change, control, reference, scale)
    pairs = ranked(completions, sentence, n_asked, change)
    return [None if not target else metrics.kendall_tau(words, target, n, fill=fill) for words, target, n in pairs]


def rank_weighted_overlap(
    completions: Sequence[str],
    sentence: Sequence[str | None],
    n_asked: Sequence[int] | int,
    *,
    change: Sequence[Any] | None = None,
    p: float = PERSISTENCE,
    **columns: Any,
) -> Rewards:
    """Reward the right words, the first ones most: :func:`sc_c2s.metrics.rank_weighted_overlap`.

    From 0 to 1. The cost is O(n) in the words asked for. It is divided by what the words asked for can get, so that a short answer
    gains nothing; a repeat or an unknown word wastes its place, and words beyond `n_asked` do not count. It does not fall for
    wrong words as such: behind the words that a model is sure of, any guess is free.

    Parameters
    ----------
    completions
        Answers: words by falling rank; for a perturbation they are ranked by how often they are drawn, the first drawn first among
        equals.
    sentence
        What should be written, in the same form. ``None`` or empty: no reward.
    n_asked
        Number of words asked for.
    change
        Marks perturbations, see the module. ``=`` is left out of these, on both sides.
    p
        Persistence, as in :func:`sc_c2s.metrics.rank_weighted_overlap`.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The overlaps.
    """
    pairs = ranked(completions, sentence, n_asked, change)
    return [None if not target else metrics.rank_weighted_overlap(words, target, n, p=p) for words, target, n in pairs]


def validity(
    completions: Sequence[str],
    n_asked: Sequence[int] | int,
    known: Collection[Any],
    *,
    change: Sequence[Any] | None = None,
    **columns: Any,
) -> Rewards:
    """Reward an answer in the right form: :func:`sc_c2s.metrics.validity`.

    From 0 to 1. The cost is that of reading the answer and `known` once. It looks at the form alone: any known words get all of it,
    such as those copied from a cell in the prompt, and for a perturbation one word over and over. Add it to a reward that looks
    at the content, never give it alone.

    Parameters
    ----------
    completions
        Answers.
    n_asked
        Number of words asked for.
    known
        Words that may be written: a collection for each completion, or one for all.
    change
        Marks perturbations, see the module, in which words may be repeated.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The shares.
    """
    return [
        None
        if row.known is None
        else metrics.validity(row.text.split(), row.known, row.n_asked, repeats=row.change is not None)
        for row in rows_of(completions, {"n_asked": n_asked}, {"known": known, "change": change})
    ]


def gene_program(
    completions: Sequence[str],
    n_asked: Sequence[int] | int,
    *,
    program: Collection[str],
    control_sentence: Sequence[str | None] | None = None,
    genes: Sequence[Any] | None = None,
    change: Sequence[Any] | None = None,
    control: Sequence[Any] | None = None,
    reference: Any = None,
    scale: Sequence[float] | float | None = None,
    **columns: Any,
) -> Rewards:
    """Reward genes of a program.

    For a cell this is :func:`sc_c2s.metrics.sentence_program_score`, less that of the control cell where there is one: from -1 to
    1. The cost is O(n) in the words asked for. Repeats do not count, nor do words beyond `n_asked`, and a copy of the control cell
    gets 0.

    For a perturbation it is :func:`sc_c2s.metrics.change_program_score` of the change that was drawn, between minus and plus the
    `scale`. The cost is O(genes). No gene counts with more than the largest real change of any gene in that row: without this
    limit, one gene drawn over and over would get as much as the whole program.

    It says what is wanted and not what is true: the best answer is the program itself, whatever the cell. Add a reward that
    looks at real cells (:class:`Distribution`, :func:`delta_correlation`).

    Parameters
    ----------
    completions
        Answers.
    n_asked
        Number of words asked for.
    program
        Genes of the program, by name.
    control_sentence
        Sentence of the control cell of each; ``None`` where there is none.
    genes, change, control, reference, scale
        As in :func:`delta_correlation`; only perturbations need them.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The scores; ``None`` where the genes of a perturbation have none of the program.
    """
    rewards: Rewards = []
    one = {"n_asked": n_asked, "control_sentence": control_sentence, "scale": scale}
    several = {"genes": genes, "change": change, "control": control, "reference": reference}
    for row in rows_of(completions, one, several):
        if row.change is None:
            score = _sentence_score(row.text, program, row.n_asked)
            if row.control_sentence is not None:
                score -= _sentence_score(row.control_sentence, program, row.n_asked)
        else:
            most = np.abs(np.asarray(row.change, dtype=np.float64)).max(initial=0.0)
            score = metrics.change_program_score(drawn_change(row).clip(-most, most), row.genes, list(program))
        rewards.append(_or_none(score))
    return rewards


def delta_correlation(
    completions: Sequence[str],
    n_asked: Sequence[int] | int,
    genes: Sequence[Any],
    change: Sequence[Any],
    control: Sequence[Any],
    reference: Any,
    scale: Sequence[float] | float,
    **columns: Any,
) -> Rewards:
    """Reward a change that is like the real one: :func:`sc_c2s.metrics.pearson_delta`.

    From -1 to 1. The cost is O(genes). Nothing but ``=``, unknown words or no words gets 0, and words beyond `n_asked` do not count.
    The correlation does not see the size: an answer that breaks off loses only what it leaves out, which :func:`validity`
    makes up for. A change that all perturbations share gets some of it in every row.

    Parameters
    ----------
    completions
        Answers: words drawn with replacement.
    n_asked
        Number of words asked for.
    genes
        Names of the genes: a list for each completion, or one for all.
    change
        Real change of the mean of each gene, in log1p counts per 10,000. ``None``: no reward.
    control
        Mean of each gene in the control cells.
    reference
        Common level of each gene (``sc_c2s.sentences.changes.at_level``), for each completion, or one array for all.
    scale
        Scale of the shares (``sc_c2s.sentences.changes.to_changes``), for each completion or for all.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The correlations; ``None`` where all genes really change by the same.
    """
    return _of_changes(metrics.pearson_delta, completions, n_asked, genes, change, control, reference, scale)


def r2_delta(
    completions: Sequence[str],
    n_asked: Sequence[int] | int,
    genes: Sequence[Any],
    change: Sequence[Any],
    control: Sequence[Any],
    reference: Any,
    scale: Sequence[float] | float,
    **columns: Any,
) -> Rewards:
    """Reward a change that is as large as the real one, where it is: :func:`sc_c2s.metrics.r2_delta`.

    1 at most, 0 for no change, below 0 for what is farther from the real change than none. The cost is O(genes). Nothing but ``=``,
    unknown words or no words gets 0, and words beyond `n_asked` do not count. The largest changes decide nearly all of it: what
    happens to most genes is hardly seen, which :func:`kendall_tau` makes up for. Drawn words are noise as well, and a
    cautious answer has less of it: give it for all answers to a prompt together, as :func:`sc_c2s.tl.finetune` does.

    Parameters
    ----------
    completions, n_asked, genes, change, control, reference, scale
        As in :func:`delta_correlation`.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The shares of the change that are explained; ``None`` where nothing really changes.
    """
    return _of_changes(metrics.r2_delta, completions, n_asked, genes, change, control, reference, scale)


def exact_answer(
    completions: Sequence[str],
    answer: Sequence[str | None] | str,
    *,
    tolerance: Sequence[float | None] | float | None = None,
    **columns: Any,
) -> Rewards:
    """Reward the right answer to a question: :func:`sc_c2s.metrics.exact_match`.

    0 or 1. The cost is that of reading the answer. An answer in words must be the right one and nothing else: listing all
    choices, copying the prompt or going on behind the answer gets 0. Of an answer with a `tolerance` the first number counts, and
    what follows is not looked at. What is won by guessing is not seen: half of the rewards where *yes* and *no* are right
    equally often, and whatever is right most often where nothing else is known. Set the result beside
    ``training.questions.baseline``, and beside answers to the cells of other groups.

    Parameters
    ----------
    completions
        Answers.
    answer
        The right one of each, or one for all. ``None``: no reward.
    tolerance
        For each, or for all: by how much a share may be off; ``None`` where the answer is in words.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The rewards.
    """
    return [
        None if row.answer is None else float(metrics.exact_match(row.text, row.answer, tolerance=row.tolerance))
        for row in rows_of(completions, {"answer": answer, "tolerance": tolerance})
    ]


def grounding(
    completions: Sequence[str],
    facts: Sequence[metrics.GroupFacts | None] | metrics.GroupFacts,
    *,
    least: int = 3,
    composition: float = 0.5,
    names: Mapping[str, Sequence[str]] | None = None,
    ontology: metrics.CellOntology | None = None,
    **columns: Any,
) -> Rewards:
    """Reward prose about a group of cells that its data confirm: :func:`sc_c2s.metrics.grounding_score`.

    From 0 to 1. The cost is that of reading the answer for the names of all genes and cell types, twice with a composition. Claims
    that are missing up to `least` are wrong ones, contradicted claims cost, and repeats count once. Genes that are read off the cells
    get nothing, nor does a copy of the prompt; a list of all types is held down by those that are not there.

    It can be won with what is true of most groups: a gene that is higher in every training group, a context that all share, the
    composition of an average group, types that are found nowhere ("no hepatocytes"). Where the evidence is in the
    prompt, copying it is the right answer. How the text reads does not count, and what it says in words that are no claims
    is free: add :func:`bert_score`.

    Parameters
    ----------
    completions
        Answers.
    facts
        Facts of the group of each, or one for all. ``None``: no reward.
    least, composition, names, ontology
        As in :func:`sc_c2s.metrics.grounding_score`.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The scores.
    """
    how: dict[str, Any] = {"least": least, "composition": composition, "names": names, "ontology": ontology}
    return [
        None if row.facts is None else metrics.grounding_score(row.text, row.facts, **how)
        for row in rows_of(completions, {"facts": facts})
    ]


def bert_score(
    completions: Sequence[str],
    sentence: Sequence[str | None],
    *,
    model: str | Path | tuple[Any, Any] | None = None,
    layer: int = -1,
    which: str = "f1",
    **columns: Any,
) -> Rewards:
    """Reward prose that means what the reference means: :func:`sc_c2s.metrics.bert_score`.

    From 0 to 1, hardly ever below. The cost is one forward pass of the encoder over the answers and the references. F1 holds down what
    is too short (recall) and too long (precision); only what lies beyond the encoder's window is not seen. Fluent text on
    the subject gets most of the reward even where its facts are wrong: add :func:`grounded`.

    Parameters
    ----------
    completions
        Answers.
    sentence
        The text that each should be. ``None``: no reward.
    model, layer
        As in :func:`sc_c2s.metrics.bert_score`; the model is opened once.
    which
        ``"f1"``, ``"precision"`` or ``"recall"``.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The scores.
    """
    if which not in ("f1", "precision", "recall"):
        raise ValueError(f"which={which!r} is none of f1, precision, recall.")
    rewards: Rewards = [None] * len(completions)
    wanted = {i: row for i, row in enumerate(rows_of(completions, {"sentence": sentence})) if row.sentence is not None}
    if wanted:
        texts, references = ([getattr(row, name) for row in wanted.values()] for name in ("text", "sentence"))
        scores = metrics.bert_score(texts, references, model=model, layer=layer)[which]
        for i, score in zip(wanted, scores, strict=True):
            rewards[i] = float(score)
    return rewards


def grounded(
    completions: Sequence[str],
    confirmed: Collection[Any],
    known: Collection[Any],
    *,
    least: int = 3,
    prompts: Sequence[str] | None = None,
    **columns: Any,
) -> Rewards:
    """Reward prose whose facts the data confirm: :func:`sc_c2s.metrics.grounded`.

    From 0 to 1. The cost grows with the number of `known` names. A list of all names gets the share of those that are right, one safe
    name gets 1 / `least`, and repeats count once. Five words or more in a row that stand so in the prompt are cut before, so
    that reciting the cell is no answer; a recital in another order is not noticed. What is said of a name does not count: a
    denial is as good as a statement.

    Parameters
    ----------
    completions
        Answers.
    confirmed
        Names that are right: a collection for each completion, or one for all. ``None``: no reward.
    known
        All names to look for, likewise.
    least
        Number of names asked for.
    prompts
        Prompts of the answers, which TRL gives.
    **columns
        Other columns, which do not count.

    Returns
    -------
    The shares.
    """
    return [
        None
        if row.confirmed is None or row.known is None
        else metrics.grounded(without_copies(row.text, row.prompt), row.confirmed, row.known, least=least)
        for row in rows_of(completions, {"prompt": prompts}, {"confirmed": confirmed, "known": known})
    ]


def _sentence_score(sentence: str, program: Collection[str], n: int) -> float:
    return metrics.sentence_program_score([unquote(word) for word in sentence.split()], program, n)


def _of_changes(
    metric: Callable[..., float],
    completions: Sequence[str],
    n_asked: Any,
    genes: Any,
    change: Any,
    control: Any,
    reference: Any,
    scale: Any,
) -> Rewards:
    """Measure the change that each answer draws against the real one."""
    rewards: Rewards = []
    several = {"genes": genes, "change": change, "control": control, "reference": reference}
    for row in rows_of(completions, {"n_asked": n_asked, "scale": scale}, several):
        if row.change is None:
            rewards.append(None)
            continue
        mean = np.asarray(row.control, dtype=np.float64)
        real = mean + np.asarray(row.change, dtype=np.float64)
        rewards.append(_or_none(metric(mean, real, mean + drawn_change(row))))
    return rewards


def _or_none(score: float) -> float | None:
    return None if np.isnan(score) else score
