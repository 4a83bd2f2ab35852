"""Whether a text answers a question as it should be answered."""

from __future__ import annotations


def exact_match(said: str, answer: str, *, tolerance: float | None = None) -> bool:
    """Whether a text is the answer and nothing else, or says a share that is near enough.

    Parameters
    ----------
    said
        The text.
    answer
        What it should say. Case, white space, and full stops or quotes around it make no difference.
    tolerance
        By how much a share may be off: the first number of the text is then compared with that of the answer, both as
        percentages. `None` compares the words.

    Returns
    -------
    Whether it is right; no text at all never is. What follows the first number of a share is not looked at.
    """
    if tolerance is None:
        return _plain(said) == _plain(answer)
    found, wanted = _percent(said), _percent(answer)
    return found is not None and wanted is not None and abs(found - wanted) <= tolerance


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .\"'")


def _percent(text: str) -> float | None:
    """First number of a text as a share."""
    for word in text.replace("%", " ").split():
        try:
            return float(word.strip(".,;()")) / 100
        except ValueError:
            continue
    return None
