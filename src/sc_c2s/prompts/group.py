"""Many cells in one prompt: a group of cells and what is known about it in, prose or a closed answer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .family import PromptFamily, get_family

STYLES = {
    "abstract": "Describe this group of cells in three or four sentences, as in the abstract of a paper: which cell types "
    "it consists of and in which proportions, and which genes stand out.",
    "caption": "Describe this group of cells in one sentence, as in the caption of a figure.",
}
"""What is asked for, by the name of the style."""
ROLE = "You are given single cells as lists of their most active genes. You say what they show, and nothing else."

LEAST_SHOWN = 0.02
"""Smallest share that evidence names."""

Conversation = list[dict[str, str]]


def cells_text(sentences: Sequence[str], *, family: str | PromptFamily, organism: str | None = None) -> str:
    """Write the cells of a group, a line for each.

    Parameters
    ----------
    sentences
        Cell sentences: gene names by falling expression, separated by spaces.
    family
        Prompt family, or its name; one that writes prose.
    organism
        Whose cells they are.

    Returns
    -------
    Lines. The first says how many cells there are and how many genes of each, as they are.
    """
    family = get_family(family)
    if family.quoted:
        raise ValueError(
            f"A model of the family {family.name!r} reads one cell at a time: use a pretrained language model."
        )
    n_genes = sorted({len(sentence.split()) for sentence in sentences})
    many = f"{n_genes[0]}" if len(n_genes) == 1 else f"{n_genes[0]} to {n_genes[-1]}" if n_genes else "0"
    of_whom = f" {organism}" if organism else ""
    noun = "cell" if len(sentences) == 1 else "cells"
    head = (
        f"{len(sentences)}{of_whom} {noun}. Each line holds the {many} most active genes of one cell, strongest first."
    )
    return "\n".join([head, *(f"{i}: {family.genes(one)}" for i, one in enumerate(sentences, start=1))])


def evidence_text(
    composition: Mapping[str, float] | None,
    markers: Sequence[str],
    context: Mapping[str, Mapping[str, float]],
    *,
    least: float = LEAST_SHOWN,
) -> str:
    """Write what is known about a group.

    Parameters
    ----------
    composition
        Share of each label, if cells are labelled.
    markers
        Genes that set the group apart.
    context
        For each column of `obs`, the share of each of its values.
    least
        Smallest share that is written.

    Returns
    -------
    Lines; empty if nothing is known.
    """
    lines = []
    if composition:
        lines.append(f"Cell types: {_shares(composition, least)}.")
    if markers:
        lines.append(f"Genes higher than in other cells: {', '.join(markers)}.")
    lines += [f"{name.replace('_', ' ')}: {_shares(values, least)}." for name, values in context.items() if values]
    return "\n".join(lines)


def summarize_conversation(cells: str, *, style: str, evidence: str = "") -> Conversation:
    """Ask for a description of a group.

    Parameters
    ----------
    cells
        What :func:`cells_text` wrote.
    style
        ``"abstract"`` or ``"caption"``.
    evidence
        What :func:`evidence_text` wrote.
    """
    if style not in STYLES:
        raise ValueError(f"There is no style {style!r}; choose from {', '.join(map(repr, STYLES))}.")
    return [_turn("system", ROLE), _turn("user", _paragraphs(cells, evidence, STYLES[style]))]


def ask_conversation(
    cells: str,
    question: str,
    *,
    choices: Sequence[str] | None = None,
    evidence: str = "",
    history: Sequence[tuple[str, str]] = (),
) -> Conversation:
    """Ask a question about a group.

    Parameters
    ----------
    cells, evidence
        As of :func:`summarize_conversation`.
    question
        The question.
    choices
        Answers to choose from; none for a free answer.
    history
        Questions and answers before this one; the cells stand before the first of them.
    """
    asked = [*(text for text, _ in history), question_text(question, choices)]
    turns = [_turn("system", ROLE)]
    for i, text in enumerate(asked):
        turns.append(_turn("user", _paragraphs(cells, evidence, text) if i == 0 else text))
        if i < len(history):
            turns.append(_turn("assistant", history[i][1]))
    return turns


def question_text(question: str, choices: Sequence[str] | None) -> str:
    """Write a question with its choices."""
    if not choices:
        return question.strip()
    return f"{question.strip()}\nChoose one: {'; '.join(choices)}."


def group_prompt(
    sentences: Sequence[str], *, family: str | PromptFamily, groupby: str, organism: str | None = None
) -> str:
    """Ask for the label that a group of cells shares.

    Parameters
    ----------
    sentences, family, organism
        As of :func:`cells_text`.
    groupby
        What the label is: ``"tissue"``, ``"condition"``, …

    Returns
    -------
    The prompt, without a trailing space; an answer to :func:`~sc_c2s.prompts.annotate_prompt` follows it as well.
    """
    cells = cells_text(sentences, family=family, organism=organism)
    return f"{cells}\nThe {groupby.replace('_', ' ')} of these cells is:"


def share(value: float) -> str:
    """Write a share as a percentage: whole numbers, and what is above zero is not written as zero."""
    return "less than 1%" if 0 < value < 0.005 else f"{100 * value:.0f}%"


def _shares(values: Mapping[str, float], least: float) -> str:
    falling = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{share(value)} {name}" for name, value in falling if value >= least) or "none of them"


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
