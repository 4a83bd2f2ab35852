"""The generation task: a condition in, a cell out."""

from __future__ import annotations

from collections.abc import Mapping

from sc_c2s._keys import JOIN

from .family import PromptFamily, get_family


def generate_prompt(
    condition: Mapping[str, str],
    *,
    family: str | PromptFamily,
    organism: str | None = None,
    n_genes: int | None = None,
) -> str:
    """Ask for a cell.

    Parameters
    ----------
    condition
        What the cell is to be: a value for each grouping, such as ``{"cell type": "B", "treatment": "none"}``. Empty for any
        cell.
    family
        Prompt family, or its name.
    organism
        Stated by families that write prose.
    n_genes
        Number of genes asked for; stated by families that write prose.

    Returns
    -------
    The prompt, without a trailing space: :func:`generate_answer` starts with one. A quoted family writes all values as one
    word, and a single value as the word it also answers with.
    """
    family = get_family(family)
    if family.quoted:
        if not condition:
            return family.begin
        return f"{family.term(JOIN.join(condition))} :{family.answer(JOIN.join(condition.values()))} {family.begin}"
    of_whom = f" {organism}" if organism else ""
    known = [f"{name.replace('_', ' ')} {value}" for name, value in condition.items()]
    what = f" with {' and '.join(known)}" if known else ""
    genes = "genes" if n_genes is None else f"{n_genes} genes"
    return f"The most active {genes} of one{of_whom} cell{what}, strongest first:"


def generate_answer(sentence: str) -> str:
    """Text that answers :func:`generate_prompt` with a cell; it starts with one space."""
    return f" {' '.join(sentence.split())}"


def condition_words(condition: Mapping[str, str], family: str | PromptFamily) -> tuple[str, str]:
    """Words of a quoted family for the groupings and for their values."""
    family = get_family(family)
    return family.term(JOIN.join(condition)), family.answer(JOIN.join(condition.values())).strip()


def find_condition(text: str, values: list[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Find the condition that a free text names.

    Parameters
    ----------
    text
        What a user wrote, for example ``"Generate gene list for healthy B cells"``.
    values
        Conditions to look for: the values of each.

    Returns
    -------
    The one whose values all occur in the text, case and plural aside; of several, the one with the longest names. ``None`` if
    there is none, or if two of the same length occur.
    """
    spoken = _plain(text)
    found = [value for value in values if value and all(_plain(name) in spoken for name in value)]
    if not found:
        return None
    longest = max(sum(map(len, value)) for value in found)
    best = [value for value in found if sum(map(len, value)) == longest]
    return best[0] if len(best) == 1 else None


def _plain(text: str) -> str:
    """Lower case, words separated by one space, plurals of ordinary words cut; a space at both ends."""
    words = text.casefold().replace("_", " ").replace(",", " ").replace(".", " ").split()
    return f" {' '.join(word[:-1] if len(word) > 3 and word.endswith('s') else word for word in words)} "
