from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training.groups import Groups
from sc_c2s.training.questions import Question, as_table, baseline, is_right, questions_about


@pytest.fixture(scope="module")
def groups(make_cells) -> Groups:
    """Groups of two types each (three of four cells of the first), half of them with a treatment."""
    adata = make_cells(600, seed=3)
    types = adata.obs["cell_type"].astype(str).to_numpy()
    names = sorted(set(types))
    rng = np.random.default_rng(0)
    group = np.full(600, np.nan, dtype=object)
    free = {name: list(np.flatnonzero(types == name)) for name in names}
    for i in range(12):
        first, second = names[i % 3], names[(i + 1) % 3]
        group[[free[first].pop() for _ in range(12)] + [free[second].pop() for _ in range(4)]] = f"g{i:02d}"
    treated = np.array(["stim" if isinstance(one, str) and int(one[1:]) % 2 else "ctrl" for one in group], dtype=object)
    return Groups.gather(
        adata.X,
        log_expression(adata.X),
        group,
        [f"g{i:02d}" for i in range(12)],
        genes=adata.var_names.to_numpy(),
        cells=adata.obs_names.to_numpy(),
        labels=types,
        context={"treatment": treated, "lot": rng.choice(["a", "b"], 600).astype(object)},
    )


def test_every_answer_is_what_the_data_say(groups):
    for question in questions_about(groups, seed=4):
        facts = groups.facts[question.group]
        best = facts.composition.idxmax()
        if question.kind == "present":
            [name] = [name for name in facts.composition.index if f"any {name} among" in question.text]
            assert (facts.composition[name] >= 0.1) == (question.answer == "yes")
        elif question.kind in ("most common", "named"):
            assert question.answer == best
        elif question.kind == "share":
            assert question.answer == "75%"
            assert best in question.text
        elif question.kind == "marker":
            change = facts.genes["log_fold_change"]
            assert change[question.answer] > 0
            assert all(change[other] < 0 for other in question.choices if other != question.answer)
        else:
            assert question.kind == "treatment"
            assert facts.context["treatment"][question.answer] == 1


def test_choices_hold_the_answer_once_in_any_place(groups):
    places = Counter()
    for seed in range(20):
        for question in questions_about(groups, seed=seed, kinds=["marker"]):
            assert question.choices.count(question.answer) == 1
            assert len(set(question.choices)) == 4
            places[question.choices.index(question.answer)] += 1
    n = sum(places.values())
    assert all(abs(places[i] / n - 0.25) < 4 * (0.25 * 0.75 / n) ** 0.5 for i in range(4))


def test_yes_is_as_often_right_as_no(groups):
    answers = Counter(one.answer for one in questions_about(groups, kinds=["present"]))
    assert answers["yes"] == answers["no"] > 0


def test_a_column_that_the_cells_do_not_agree_on_is_not_asked_about(groups):
    assert "lot" not in {one.kind for one in questions_about(groups)}


def test_the_seed_decides_and_other_groups_do_not(groups):
    assert questions_about(groups, seed=1) == questions_about(groups, seed=1)
    assert questions_about(groups, seed=1) != questions_about(groups, seed=2)
    alone = replace(groups, names=groups.names[3:4])
    assert questions_about(alone, seed=1) == [one for one in questions_about(groups, seed=1) if one.group == "g03"]


def test_as_a_table(groups):
    table = as_table(questions_about(groups))
    assert list(table) == ["group", "kind", "question", "choices", "answer"]
    assert (table.loc[table["kind"] == "present", "choices"] == "yes; no").all()


def asked(kind: str, answer: str, text: str = "?", choices: tuple[str, ...] = ()) -> Question:
    return Question("g", kind, text, choices, answer)


@pytest.mark.parametrize(
    ("said", "kind", "answer", "right"),
    [
        ("B cells.", "named", "B cells", True),
        ('"b  Cells"', "named", "B cells", True),
        ("B cells and T cells", "named", "B cells", False),
        ("", "named", "B cells", False),
        ("about 70%", "share", "75%", True),
        ("60%", "share", "75%", False),
        ("most of them", "share", "75%", False),
        ("75", "share", "75%", True),
    ],
)
def test_what_is_right(said, kind, answer, right):
    assert is_right(said, asked(kind, answer)) is right


def test_the_baseline_answers_what_was_most_often_right():
    learned = [
        asked("present", "yes", "any B?"),
        asked("present", "yes", "any B?"),
        asked("present", "no", "any B?"),
        asked("present", "no", "any T?"),
        asked("present", "no", "any T?"),
        asked("marker", "LYZ", "gene?"),
    ]
    guess = baseline(learned)
    assert guess(asked("present", "", "any B?", ("yes", "no"))) == "yes"
    assert guess(asked("present", "", "any T?", ("yes", "no"))) == "no"
    # A wording that was not seen: the kind decides.
    assert guess(asked("present", "", "any NK?", ("yes", "no"))) == "no"
    # The most frequent answer is none of the choices.
    assert guess(asked("marker", "", "gene?", ("CD3E", "MS4A1"))) == "CD3E"
    assert guess(asked("other", "", "?", ())) == ""
