"""The perturbation task: a cell and what is done to it in, what changes out."""

from __future__ import annotations

from collections.abc import Collection, Container

from .family import PromptFamily, get_family

AND = " + "
"""Stands between the parts of a combination."""
UNNAMED = "<unnamed>"
"""What a family without prose calls a perturbation that it has no word for."""


def perturbation_parts(perturbation: str) -> list[str]:
    """Split a combination, such as ``"IFN-gamma + IL-6"``, into its parts; their order does not matter."""
    return sorted({part.strip() for part in perturbation.split(AND) if part.strip()})


def perturb_prompt(
    sentence: str,
    perturbation: str,
    *,
    family: str | PromptFamily,
    condition_key: str = "perturbation",
    genes: Container[str] = (),
    known: Collection[str] | None = None,
    organism: str | None = None,
) -> str:
    """Ask what a perturbation changes in one cell.

    Parameters
    ----------
    sentence
        Cell sentence of the cell before it.
    perturbation
        What is done to it: a name, or several joined by ``" + "``.
    family
        Prompt family, or its name.
    condition_key
        What kind of thing the perturbation is: the column of `obs` it is from.
    genes
        Genes that the model knows. A part of the perturbation that is one of them also stands in the prompt as the gene, also
        where the cell's sentence does not have it.
    known
        Parts that a family without prose has words for; it calls others :data:`UNNAMED`. ``None``: all.
    organism
        Stated by families that write prose.

    Returns
    -------
    The prompt, without a trailing space: :func:`change_answer` starts with one.
    """
    family = get_family(family)
    cell = family.cell(sentence, organism=organism)
    parts = perturbation_parts(perturbation)
    if family.quoted:
        targets = [f" {family.term(part)}" for part in parts if part in genes]
        said = "".join(family.answer(part if known is None or part in known else UNNAMED) for part in parts)
        return f"{cell}{''.join(targets)} {family.term(condition_key)} :{said}"
    said = " and ".join(parts)
    return (
        f"{cell}\nNow its {condition_key.replace('_', ' ')} is {said}. A gene that rises is written with +, one that falls with "
        "-, and = stands for no change. What happens most:"
    )


def change_answer(word: str) -> str:
    """Text that answers :func:`perturb_prompt` with a change; it starts with one space."""
    return f" {word}"
