"""Gene names: what may go into a sentence, whose genes they are, how two lists overlap."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_ENSEMBL = re.compile(r"ENS[A-Z]{0,5}G\d{9,}(\.\d+)?$")


def looks_like_ensembl(names: Sequence[str] | np.ndarray) -> bool:
    """Tell whether most names are Ensembl gene ids.

    Parameters
    ----------
    names
        Gene names.

    Returns
    -------
    Whether more than half are.
    """
    return (
        len(names) > 0 and sum(name.startswith("ENS") and bool(_ENSEMBL.match(name)) for name in names) > len(names) / 2
    )


def check_names(names: Sequence[str] | np.ndarray, fix: str) -> None:
    """Refuse names that cannot stand in a sentence: missing, empty, or twice.

    Parameters
    ----------
    names
        Gene names.
    fix
        What the user can do, the end of the message.
    """
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong:
        raise ValueError(f"{len(wrong)} genes have no name (for example {wrong[0]!r}): {fix}.")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ValueError(f"{len(twice)} gene names occur more than once (for example {twice[0]!r}): {fix}.")


def guess_organism(names: Sequence[str] | np.ndarray) -> str | None:
    """Guess the organism from the way its gene symbols are written.

    Parameters
    ----------
    names
        Gene symbols.

    Returns
    -------
    ``"human"`` (``CD3E``), ``"mouse"`` (``Cd3e``), or ``None`` if it is not clear.
    """
    letters = [name for name in names if name[1:].upper() != name[1:].lower()]
    if not letters:
        return None
    human = sum(name == name.upper() for name in letters) / len(letters)
    mouse = sum(name == name[:1].upper() + name[1:].lower() for name in letters) / len(letters)
    if human > 0.6:
        return "human"
    return "mouse" if mouse > 0.6 else None


def overlap(names: Sequence[str] | np.ndarray, vocabulary: Sequence[str] | np.ndarray) -> dict[str, float]:
    """Count the names that a vocabulary knows.

    Parameters
    ----------
    names
        Gene names of the data.
    vocabulary
        Gene names of a model.

    Returns
    -------
    ``n_genes``, ``n_vocabulary``, ``n_shared``, and ``share`` of the genes that are known.
    """
    shared = len(set(names) & set(vocabulary))
    return {
        "n_genes": len(names),
        "n_vocabulary": len(vocabulary),
        "n_shared": shared,
        "share": shared / len(names) if len(names) else 0.0,
    }
