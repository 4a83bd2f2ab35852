"""What replies say of closed answers: known replies, known numbers."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sc_c2s.engine.replies import NEVER, chosen, closed, find_answer, likelihoods, schema, spoken
from sc_c2s.engine.scoring import probabilities

ANSWERS = ["B cell", "B naive", "T cell", "T cell, CD4"]
SAID = '{"answer": "B cell"}'


def said(content: str | None, *tokens: tuple[str, dict[str, float]]) -> Any:
    """Reply of a chat; a token with those that could have stood there, and their probabilities."""
    told = [
        SimpleNamespace(
            token=token,
            logprob=np.log(others[token]),
            top_logprobs=[SimpleNamespace(token=other, logprob=np.log(p)) for other, p in others.items()],
        )
        for token, others in tokens
    ]
    logprobs = SimpleNamespace(content=told) if tokens else None
    return SimpleNamespace(message=SimpleNamespace(content=content), logprobs=logprobs)


def sure(token: str) -> tuple[str, dict[str, float]]:
    return token, {token: 1.0}


def echoed(index: int, tokens: list[str], values: list[float | None]) -> Any:
    return SimpleNamespace(index=index, logprobs=SimpleNamespace(tokens=tokens, token_logprobs=values))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("B cell", 0),
        ("  T cell, CD4\nbecause of its genes", 3),
        ('"B naive".', 1),
        ("**T cell**", 2),
        ("t CELL", 2),
        ("B na", 1),
        ('{"answer": "T cell"}', 2),
        ('{"answer": "t cell, cd4"}', 3),
        ("B", None),  # begins two of them
        ("T cell or B cell", None),
        ("The cell is a B cell", None),
        ('{"answer": "T cell', None),
        ("", None),
        (".", None),
    ],
)
def test_the_first_line_is_one_answer_or_none(text, answer) -> None:
    assert find_answer(text, ANSWERS) == answer


def test_case_decides_between_answers_that_differ_in_nothing_else() -> None:
    assert find_answer("TREG", ["Treg", "TREG"]) == 1
    assert find_answer("treg", ["Treg", "TREG"]) is None


def test_a_line_end_tells_nested_answers_apart() -> None:
    assert closed([" B", " T"]) == [" B", " T"]
    assert closed([" T", " T cell"]) == [" T\n", " T cell\n"]


def test_schema_has_room_for_the_answers_only() -> None:
    found = schema(ANSWERS)
    assert found["properties"]["answer"]["enum"] == ANSWERS
    assert (found["required"], found["additionalProperties"]) == (["answer"], False)


def test_likelihoods_are_sums_over_the_tokens_of_the_answers() -> None:
    first = ["<s>", "It", " is", ":"]
    choices = [
        echoed(1, [*first, "▁T", "▁cell", "!"], [None, -1, -1, -1, -3.0, -0.25, -9]),
        echoed(0, [*first, "ĠB", "Ġce", "ll", "!"], [None, -1, -1, -1, -2.0, -0.5, -0.125, -9]),
    ]
    np.testing.assert_array_equal(likelihoods(choices, [" B cell", " T cell"]), [-2.625, -3.25])


def test_the_token_that_had_to_be_written_may_be_missing() -> None:
    choices = [echoed(0, ["It:", " B", " cell"], [None, -2.0, -0.5])]
    np.testing.assert_array_equal(likelihoods(choices, [" B cell"]), [-2.5])


def test_a_token_across_the_border_counts() -> None:
    choices = [echoed(0, ["It", ": B", " cell", "."], [None, -2.0, -0.5, -9])]
    np.testing.assert_array_equal(likelihoods(choices, [" B cell"]), [-2.5])


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [SimpleNamespace(index=0, logprobs=None)],
        [echoed(0, ["something", " else"], [None, -1.0])],
        [echoed(0, [" B", " cell", "."], [None, -0.5, -9])],
        [echoed(0, [" B", " cell", "."], [])],
    ],
)
def test_servers_that_do_not_read_the_text_back_are_found_out(choices) -> None:
    assert likelihoods(choices, [" B cell"]) is None


def test_all_for_the_answer_given_where_no_probability_is_told() -> None:
    scores, probable = chosen(said(SAID), ANSWERS)
    np.testing.assert_array_equal(scores, [0, NEVER, NEVER, NEVER])
    assert not probable
    np.testing.assert_array_equal(probabilities(scores[None]), [[1, 0, 0, 0]])


def test_two_replies_that_disagree_are_averaged() -> None:
    views = np.stack([chosen(said(text), ANSWERS)[0] for text in ("B cell", "T cell")])[:, None]
    np.testing.assert_array_equal(probabilities(views), [[0.5, 0, 0.5, 0]])


@pytest.mark.parametrize("content", ["I do not know.", "", None])
def test_a_reply_that_is_no_answer_stays_empty(content) -> None:
    scores, _ = chosen(said(content), ANSWERS)
    assert np.isnan(scores).all()
    assert np.isnan(probabilities(scores[None])).all()


B_OR_T = ("B", {"B": 0.7, "T": 0.2, "X": 0.1})
CELL_OR_NOT = (" cell", {" cell": 0.9, " na": 0.1})


@pytest.mark.parametrize(
    "reply",
    [
        said(SAID, *map(sure, ['{"', "answer", '": "']), B_OR_T, CELL_OR_NOT, sure('"}')),
        said("B cell", B_OR_T, CELL_OR_NOT),
        said("B cell", sure(" "), B_OR_T, CELL_OR_NOT, sure("<end>")),
        said(
            "<think>T cell?</think>B cell", *map(sure, ["<think>", "T", " cell", "?", "</think>"]), B_OR_T, CELL_OR_NOT
        ),
        said(
            SAID,
            sure('{"answer":'),
            (' "B', {' "B': 0.7, ' "T': 0.2, ' "X': 0.1}),  # one token with what stands before the answer
            CELL_OR_NOT,
            sure('"}'),
        ),
    ],
)
def test_every_answer_is_followed_to_where_it_parts(reply) -> None:
    scores, probable = chosen(reply, ANSWERS)
    assert probable
    # Both of the T cells begin with the same token, and share what it has.
    np.testing.assert_allclose(np.exp(scores), [0.7 * 0.9, 0.7 * 0.1, 0.1, 0.1])


def test_the_quote_behind_an_answer_tells_it_from_a_longer_one() -> None:
    reply = said(
        '{"answer": "T cell"}',
        sure('{"answer": "'),
        ("T", {"T": 0.6, "B": 0.4}),
        sure(" cell"),
        ('"', {'"': 0.75, ",": 0.25}),
        sure("}"),
    )
    scores, _ = chosen(reply, ANSWERS)
    np.testing.assert_allclose(np.exp(scores), [0.2, 0.2, 0.6 * 0.75, 0.6 * 0.25])


def test_an_answer_whose_token_is_not_told_has_no_probability() -> None:
    scores, _ = chosen(said("T cell", ("T", {"T": 0.9, "X": 0.1}), sure(" cell")), ANSWERS)
    np.testing.assert_allclose(np.exp(scores), [0, 0, 0.9, 0])


def test_tokens_that_are_not_the_words_are_not_believed() -> None:
    scores, probable = chosen(said("b CELL", ("b", {"b": 0.9, "T": 0.1}), sure(" CELL")), ANSWERS)
    np.testing.assert_array_equal(scores, [0, NEVER, NEVER, NEVER])
    assert not probable
    scores, probable = chosen(said("B cell", sure("\ufffd")), ANSWERS)
    np.testing.assert_array_equal(scores, [0, NEVER, NEVER, NEVER])
    assert not probable


def test_names_with_quotes_and_accents() -> None:
    answers = ['a "b"', "é"]
    text = json.dumps({"answer": 'a "b"'})
    reply = said(text, sure('{"answer": "'), ("a", {"a": 0.6, "é": 0.4}), *map(sure, [' \\"b\\"', '"}']))
    np.testing.assert_allclose(np.exp(chosen(reply, answers)[0]), [0.6, 0.4])


def test_reasoning_is_left_out() -> None:
    assert spoken(said("<think>\nB or T?</think>\n\nT cell ")) == "T cell"
