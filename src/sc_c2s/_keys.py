"""Every name the package writes into ``obs``, ``obsm``, ``layers`` or ``uns``."""

from __future__ import annotations

SENTENCE = "cell_sentence"
"""``obs``: the cell sentence; ``uns``: how it was made."""
RECONSTRUCTED = "c2s_reconstructed"
"""``layers``: expression read back from sentences."""
CELL_TYPE = "c2s_cell_type"
"""``obs``: predicted labels; ``uns``: labels in order and parameters."""
SPLIT = "c2s_split"
"""``obs``: ``train``, ``validation`` or ``test``."""
FINETUNE = "c2s_finetune"
"""``uns``: training history and parameters."""
GENERATED = "c2s_generated"
"""``obsm``: expression of generated cells; ``uns``: names of its genes and parameters."""
PERTURBED = "c2s_perturbed"
"""``obsm``: predicted expression of control cells; ``uns``: names of its genes, baselines and parameters."""
SCREEN = "c2s_screen"
"""``uns``: effects of the perturbations that were screened, and parameters."""
SUMMARY = "c2s_summary"
"""``uns``: a text about each group of cells, its claims and whether the data bear them out, and parameters."""
ANSWER = "c2s_answer"
"""``uns``: an answer about each group of cells, its claims and whether the data bear them out, and parameters."""
JOIN = " | "
"""Stands between the values of a cell that has several conditions."""


def n_genes(key: str) -> str:
    """``obs`` column with the number of expressed genes, before the cut."""
    return f"{key}_n_genes"


def confidence(key: str) -> str:
    """``obs`` column with the probability of the predicted label."""
    return f"{key}_confidence"


def proba(key: str) -> str:
    """``obsm`` array with the probability of every label."""
    return f"{key}_proba"


def sentence(key: str) -> str:
    """``obs`` column with the sentence that was generated."""
    return f"{key}_sentence"


def spread(key: str) -> str:
    """``obsm`` array with the standard deviation of a prediction."""
    return f"{key}_sd"


def one_of(key: str, name: str) -> str:
    """Key of one of several results; what breaks files becomes an underscore."""
    return f"{key}_{name.replace('/', '_')}"
