"""The annotation task: a cell in, the label of its group out."""

from __future__ import annotations

from collections.abc import Iterable

from .family import PromptFamily, get_family


def annotate_prompt(
    sentence: str, *, family: str | PromptFamily, groupby: str = "cell type", organism: str | None = None
) -> str:
    """Ask for the label of one cell.

    Parameters
    ----------
    sentence
        Cell sentence: gene names by falling expression, separated by spaces.
    family
        Prompt family, or its name.
    groupby
        What the label is: ``"cell type"``, ``"condition"``, …; underscores are read as spaces in prose.
    organism
        Stated by families that write prose.

    Returns
    -------
    The prompt, without a trailing space: :func:`annotate_answer` starts with one.
    """
    family = get_family(family)
    cell = family.cell(sentence, organism=organism)
    if family.quoted:
        return f"{cell} {family.term(groupby)} :"
    return f"{cell}\nThe {family.term(groupby).replace('_', ' ')} of this cell is:"


def annotate_answer(label: str, family: str | PromptFamily) -> str:
    """Text that answers :func:`annotate_prompt` with a label; it starts with one space."""
    return get_family(family).answer(label)


def parse_annotation(text: str, labels: Iterable[str], *, family: str | PromptFamily) -> str | None:
    """Label named by an answer; ``None`` if it names none of them, or more than one."""
    return get_family(family).parse(text, labels)
