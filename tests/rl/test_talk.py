"""What is asked about groups of cells while answers are rewarded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sc_c2s.rl.talk import RewardedTalking
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training.groups import Groups
from sc_c2s.training.language import Item, Talking, Wording
from sc_c2s.training.language_run import items_of
from sc_c2s.training.questions import Question

TOKENIZER: Any = SimpleNamespace(chat_template=None)


@pytest.fixture(scope="module")
def groups(make_cells) -> Groups:
    """Two groups of the same twenty cells each, without and with two types."""
    adata = make_cells(60)
    types = adata.obs["cell_type"].astype(str).to_numpy()
    group = np.where(types == "B cell", "one", np.where(np.arange(60) % 2, "two", "three")).astype(object)
    return Groups.gather(
        adata.X,
        log_expression(adata.X),
        group,
        ["one", "two", "three"],
        genes=adata.var_names.to_numpy(),
        cells=adata.obs_names.to_numpy(),
        labels=types,
    )


def talking(groups: Groups, items: list[Item]) -> RewardedTalking:
    sets = {"train": groups, "validation": groups}
    wording = Wording("english", n_cells=3, n_genes=4)
    task = Talking(sets, {"train": items, "validation": items}, wording, groups.genes, seed=0)
    return RewardedTalking(task, TOKENIZER)


def item(kind: str, answer: str, choices: tuple[str, ...] = ()) -> Item:
    return Item("one", Question("one", kind, f"{kind}?", choices, answer))


def test_rare_kinds_and_rare_answers_come_up_more_often(groups) -> None:
    items = (
        [item("present", "yes")] * 12 + [item("present", "no")] * 3 + [item("marker", f"GENE{i}") for i in range(60)]
    )
    drawn = talking(groups, items).draw(20_000, 4, np.random.default_rng(0))
    found = Counter("marker" if i >= 15 else items[i].question.answer for i in drawn)
    # Kinds as the square roots of 15 and 60, answers of a kind as those of 12 and 3.
    assert found["marker"] / 20_000 == pytest.approx(2 / 3, abs=0.02)
    assert found["yes"] / found["no"] == pytest.approx(2, abs=0.15)


def test_summaries_come_up_equally_often(groups) -> None:
    found = Counter(talking(groups, [Item(name) for name in groups.names]).draw(6_000, 4, np.random.default_rng(0)))
    assert all(n / 6_000 == pytest.approx(1 / 3, abs=0.03) for n in found.values())


def test_a_question_with_all_that_rewards_ask_for(groups) -> None:
    choices = ("B cell", "T cell, CD4/CD8")
    asked = talking(groups, [item("most common", "B cell", choices), item("share", "75%")])
    row = asked.question(0, 5)
    assert "Choose one: B cell; T cell, CD4/CD8." in row["prompt"]
    assert row["answer"] == row["sentence"] == "B cell"
    assert row["tolerance"] is None
    assert asked.question(1, 5)["tolerance"] == 0.1
    assert row["facts"] is groups.facts["one"]
    assert row == asked.question(0, 5) != asked.question(0, 6), "every row shows other cells"
    rewards = list(asked.rewards)
    assert rewards == ["exact_answer", "bert_score"]
    assert asked.rewards["exact_answer"](["b cell."], **{name: [value] for name, value in row.items()}) == [1.0]


def test_a_summary_with_all_that_rewards_ask_for(groups) -> None:
    told = talking(groups, [Item("one", texts=("They are B cells.",)), Item("two")])
    row = told.question(0, 0)
    assert row["sentence"] == "They are B cells."
    assert {"B cell", "GENE0"} <= set(row["confirmed"])
    assert "CD14+ monocyte" in set(row["known"]) - set(row["confirmed"])
    columns = {name: [value] for name, value in row.items()}
    honest = "100% B cell; GENE0 and GENE1 are high."
    for name in ("grounding", "grounded"):
        [one], [other] = told.rewards[name]([honest], **columns), told.rewards[name](["CD14+ monocyte"], **columns)
        assert one == pytest.approx(1)
        assert other < 0.4
    assert told.question(1, 0)["sentence"].startswith(("These cells", "This group", "The cells"))


def test_validation_groups_without_a_question(groups) -> None:
    silent = {name: replace(facts, composition=None) for name, facts in groups.facts.items()}
    nothing = replace(groups, facts=silent, markers={name: [] for name in groups.names})
    with pytest.raises(ValueError, match="nothing to ask about the validation groups"):
        items_of({"train": groups, "validation": nothing}, ["ask"], texts=None, seed=0)
    with pytest.raises(ValueError, match="nothing to ask about the train groups"):
        items_of({"train": nothing, "validation": groups}, ["ask"], texts=None, seed=0)
