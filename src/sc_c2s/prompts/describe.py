"""Prose about a group of cells, filled in from what is known: what a language model is taught, and has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .group import share

OPENINGS = (
    "These {n}cells are {most}.",
    "This group of {n}cells consists of {most}.",
    "The {n}cells of this group comprise {most}.",
)
MARKED = (
    "Compared with other cells, {genes} {are} higher.",
    "The group is marked by {genes}.",
    "Elevated genes include {genes}.",
)
KNOWN = ("The {name} is {value}.", "All of them share one {name}, {value}.")
MIXED = "The {name} is mixed: {values}."
N_MARKERS = 5
LEAST = 0.04
"""Smallest share of a cell type that is named."""


def describe(
    composition: Mapping[str, float] | None,
    markers: Sequence[str],
    context: Mapping[str, Mapping[str, float]],
    *,
    style: str = "abstract",
    organism: str | None = None,
    rng: np.random.Generator | None = None,
) -> str:
    """Describe a group by filling in a template.

    Parameters
    ----------
    composition, markers, context
        As of :func:`~sc_c2s.prompts.evidence_text`.
    style
        ``"abstract"``: composition, genes and context; ``"caption"``: composition and genes in one sentence.
    organism
        Whose cells they are.
    rng
        Draws the wording; ``None`` always takes the first one.

    Returns
    -------
    The text. It claims nothing that it was not given.
    """

    def pick(wordings: Sequence[str]) -> str:
        return wordings[0 if rng is None else int(rng.integers(len(wordings)))]

    genes = listed(list(markers[:N_MARKERS]))
    of_whom = f"{organism} " if organism else ""
    made_of = composition_phrase(composition) if composition else ""
    if style == "caption":
        parts = [
            f"A group of {of_whom}cells",
            f": {made_of}" if made_of else "",
            f", with {genes} elevated" if genes else "",
        ]
        return "".join(parts) + "."
    sentences = []
    if made_of:
        sentences.append(pick(OPENINGS).format(n=of_whom, most=made_of))
    if genes:
        sentences.append(pick(MARKED).format(genes=genes, are="is" if len(markers) == 1 else "are"))
    for name, values in context.items():
        falling = sorted(((k, v) for k, v in values.items() if v > 0), key=lambda item: (-item[1], item[0]))
        plain = name.replace("_", " ")
        if len(falling) == 1:
            sentences.append(pick(KNOWN).format(name=plain, value=falling[0][0]))
        elif falling:
            said = listed([f"{value} ({share(part)})" for value, part in falling[:3]])
            sentences.append(MIXED.format(name=plain, values=said))
    return " ".join(sentences)


def composition_phrase(composition: Mapping[str, float]) -> str:
    """Write a composition: ``"62% CD4 T cells, 20% B cells and 8% NK cells"``; types below :data:`LEAST` are left out."""
    falling = sorted(composition.items(), key=lambda item: (-item[1], item[0]))
    said = [f"{share(part)} {name}" for name, part in falling if part >= LEAST]
    return listed(said or [f"{share(part)} {name}" for name, part in falling[:1]])


def listed(parts: Sequence[str]) -> str:
    """Join with commas, and ``and`` before the last one."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
