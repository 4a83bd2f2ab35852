"""What a server's reply says of closed answers, as log-probabilities."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

NEVER = -1e9
"""Log-probability of an answer that was not given: finite, so that a mean over several replies stays a number."""
_SPACES = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": "\n"})
"""How tokenizers write white space, where a server hands their tokens on as they are."""
_KEY = "answer"
_AROUND = "\"'`* "
"""What may stand around an answer."""
_OPENED = re.compile(rf'\s*\{{\s*"{_KEY}"\s*:\s*"')


def schema(answers: Sequence[str]) -> dict[str, Any]:
    """JSON schema that has room for one of the answers and nothing else."""
    return {
        "type": "object",
        "properties": {_KEY: {"type": "string", "enum": list(answers)}},
        "required": [_KEY],
        "additionalProperties": False,
    }


def closed(answers: Sequence[str]) -> list[str]:
    """End every answer with a line's end if one begins with another, which would never be less probable."""
    nested = any(a != b and b.startswith(a) for a in answers for b in answers)
    return [f"{answer}\n" for answer in answers] if nested else list(answers)


def likelihoods(choices: Iterable[Any], answers: Sequence[str]) -> np.ndarray | None:
    """Log-probability of each answer at the end of a text that was read back.

    Parameters
    ----------
    choices
        One for each answer, of a request for completions with ``echo`` and ``logprobs``.
    answers
        What the texts end with.

    Returns
    -------
    Array (answers), or ``None`` if the reply does not say.
    """
    ordered = sorted(choices, key=lambda choice: choice.index or 0)
    if len(ordered) != len(answers):
        return None
    found = [_at_end(choice.logprobs, answer) for choice, answer in zip(ordered, answers, strict=True)]
    return None if None in found else np.array(found, dtype=np.float64)


def _at_end(logprobs: Any, answer: str) -> float | None:
    """Sum over the tokens that hold a letter of the answer; offsets are no help, as servers count from different places."""
    tokens, values = getattr(logprobs, "tokens", None) or [], getattr(logprobs, "token_logprobs", None) or []
    # Behind the answer is the token that had to be written, but for servers that leave out the one that ends a text.
    for end in (len(tokens) - 1, len(tokens)):
        start, n_letters = end, 0
        while start > 0 and n_letters < len(answer):
            start -= 1
            n_letters += len(tokens[start])
        if n_letters >= len(answer) and "".join(tokens[start:end]).translate(_SPACES).endswith(answer):
            said = values[start:end]
            return None if len(said) < end - start or None in said else float(sum(said))
    return None


def spoken(choice: Any) -> str:
    """Text of a reply, without what a model that reasons wrote before it."""
    content = getattr(choice.message, "content", None) or ""
    return content.rpartition("</think>")[2].strip()


def chosen(choice: Any, answers: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Log-probabilities of the answers, one of which was to be given.

    With the probabilities of other tokens beside each that was written, the path of every answer is followed to the token
    at which it parts from what was written. It has the probability of that token, which answers that share it share
    evenly. Without, all the probability is with the answer that was given.

    Parameters
    ----------
    choice
        Reply of a chat, free text or an object of :func:`schema`.
    answers
        The answers, without white space around them.

    Returns
    -------
    Array (answers), NaN if the reply is none of them; and whether the server gave probabilities.
    """
    words = spoken(choice)
    said = find_answer(words, answers)
    content = getattr(getattr(choice, "logprobs", None), "content", None) or []
    if said is None:
        return np.full(len(answers), np.nan), bool(content)
    tokens = [(token.token, token.logprob, {t.token: t.logprob for t in token.top_logprobs or []}) for token in content]
    scores = _paths(tokens, words, answers, said)
    if scores is not None:
        return scores, True
    only = np.full(len(answers), NEVER)
    only[said] = 0.0
    return only, False


def _paths(
    tokens: Sequence[tuple[str, float, Mapping[str, float]]], words: str, answers: Sequence[str], said: int
) -> np.ndarray | None:
    """Follow every answer to where it parts from the tokens written; ``None`` if these are not the words."""
    at = "".join(token for token, _, _ in tokens).rfind(words)
    if at < 0:
        return None
    opened = _OPENED.match(words)
    start = at + (opened.end() if opened else len(words) - len(words.lstrip(_AROUND)))
    # In an object the closing quote tells an answer from one that begins with it.
    ways = [json.dumps(answer, ensure_ascii=False)[1:] if opened else answer for answer in answers]
    scores, alive, place = np.zeros(len(ways)), set(range(len(ways))), 0
    for token, value, others in tokens:
        done = max(place, start) - start
        before = token[: max(0, start - place)]
        place += len(token)
        left = {i: ways[i][done:] for i in alive if ways[i][done:]}
        if place <= start or not left:
            continue
        parted = {i for i in left if not _meet(token[len(before) :], left[i])}
        scores[list(alive - parted)] += value
        shares = np.zeros(len(ways))
        for other, logprob in others.items():
            rest = other[len(before) :]
            takers = [i for i in parted if other.startswith(before) and rest and _meet(rest, left[i])]
            shares[takers] += np.exp(logprob) / max(1, len(takers))
        for i in parted:
            scores[i] = scores[i] + np.log(shares[i]) if shares[i] > 0 else NEVER
        alive -= parted
    if said not in alive:
        return None
    # An answer that goes on where the text ended was not given.
    scores[list(alive - {said})] = NEVER
    return scores


def _meet(piece: str, rest: str) -> bool:
    return rest.startswith(piece) or piece.startswith(rest)


def find_answer(text: str, answers: Sequence[str]) -> int | None:
    """Find the one answer that a text gives.

    Parameters
    ----------
    text
        What a model wrote: an object of :func:`schema`, or a text whose whole first line has to be the answer, but for
        quotes, emphasis and a full stop.
    answers
        The answers, without white space around them.

    Returns
    -------
    Index of the answer that the line is, else of the one that it is but for case, else of the only one that begins with
    it; ``None`` if there is none.
    """
    line = _value(text).strip().partition("\n")[0].strip()
    spellings = [line, line.strip(f"{_AROUND}.")]
    for spelling in spellings:
        if spelling in answers:
            return list(answers).index(spelling)
    for test in (str.__eq__, str.startswith):
        for spelling in filter(None, spellings):
            alike = [i for i, answer in enumerate(answers) if test(answer.casefold(), spelling.casefold())]
            if len(alike) == 1:
                return alike[0]
    return None


def _value(text: str) -> str:
    if not _OPENED.match(text):
        return text
    try:
        return str(json.loads(text)[_KEY])
    except (ValueError, KeyError, TypeError):
        return ""
