"""Rows about groups, and how what is said of them is scored."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sc_c2s.prompts import describe
from sc_c2s.prompts.group import question_text
from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training.groups import Groups
from sc_c2s.training.language import (
    N_QUESTIONS,
    GroupRows,
    Item,
    Talking,
    Wording,
    answer_questions,
    check_fit,
    opening,
    score_items,
    template,
)
from sc_c2s.training.questions import Question, questions_about


@pytest.fixture(scope="module")
def groups(make_cells) -> Groups:
    """A group of each type."""
    adata = make_cells(90)
    types = adata.obs["cell_type"].astype(str).to_numpy(dtype=object)
    return Groups.gather(
        adata.X,
        log_expression(adata.X),
        types,
        sorted(set(types)),
        genes=adata.var_names.to_numpy(dtype=object),
        cells=adata.obs_names.to_numpy(dtype=object),
        labels=types,
    )


def written(conversation) -> str:
    return "\n".join(turn["content"] for turn in conversation) + "\n"


def make_rows(groups: Groups, items: list[Item], **how) -> GroupRows:
    wording = Wording("english", n_cells=4, n_genes=3, **how.pop("wording", {}))
    return GroupRows(groups, items, wording, groups.genes, written, **{"seed": 7, **how})


def shown(prompt: str) -> list[str]:
    return [line.partition(": ")[2] for line in prompt.splitlines() if line[:1].isdigit() and ": " in line]


ASKED = Question("B cell", "marker", "Which gene?", ("GENE0", "GENE5"), "GENE0")
"""A question with choices."""


def test_each_row_shows_other_cells_and_the_same_ones_again(groups) -> None:
    rows, again = (make_rows(groups, [Item("B cell")]) for _ in range(2))
    prompts = [rows.row(0, i)[0] for i in range(6)]
    assert len(set(prompts)) == 6
    assert prompts == [again.row(0, i)[0] for i in range(6)]
    assert prompts != [make_rows(groups, [Item("B cell")], seed=8).row(0, i)[0] for i in range(6)]
    for prompt in prompts:
        assert [len(cell.split()) for cell in shown(prompt)] == [3] * 4
    assert rows.row(0, 0)[0] == written(rows.asked(0))


def test_the_cells_are_of_the_group_or_of_the_one_instead(groups) -> None:
    markers = {"B cell": {f"GENE{i}" for i in range(4)}, "CD14+ monocyte": {f"GENE{i}" for i in range(4, 8)}}
    items = [Item("B cell"), Item("B cell", question=ASKED)]
    for instead, of_whom in (({}, "B cell"), ({"B cell": "CD14+ monocyte"}, "CD14+ monocyte")):
        rows = make_rows(groups, items, instead=instead, wording={"evidence": True})
        for item in range(2):
            prompt, answer = rows.row(item, 0)
            genes = " ".join(shown(prompt)).split()
            assert np.mean([gene in markers[of_whom] for gene in genes]) > 0.9
            assert f"Cell types: 100% {of_whom}." in prompt
            assert "GENE0" in answer if item else "100% B cell" in answer, "what is to be said stays the same"


def test_what_is_said(groups) -> None:
    rows = make_rows(
        groups, [Item("B cell", question=ASKED), Item("B cell", texts=("One.", "Two.")), Item("CD14+ monocyte")]
    )
    prompt, answer = rows.row(0, 0)
    assert prompt.endswith("Which gene?\nChoose one: GENE0; GENE5.\n")
    assert answer == "GENE0"
    assert {rows.row(1, i)[1] for i in range(12)} == {"One.", "Two."}
    said = {rows.row(2, i)[1] for i in range(30)}
    assert len(said) > 1
    assert all("100% CD14+ monocyte" in text for text in said)
    first = template(groups, "CD14+ monocyte", style="abstract")
    assert first == describe({"CD14+ monocyte": 1.0}, groups.markers["CD14+ monocyte"], {}, organism=groups.organism)
    assert rows.lengths.tolist() == [12] * 3


class Guess:
    """Scores the answer that stands first in the prompt highest, and else says what it is told."""

    def __init__(self, said: str = "") -> None:
        self.said, self.batches = said, []

    def written(self, conversation) -> str:
        return written(conversation)

    def score(self, prompts, answers, **how) -> np.ndarray:
        self.batches.append((list(prompts), list(answers)))
        return np.array([[-float(prompt.rindex(answer)) for answer in answers] for prompt in prompts])

    def chat(self, conversations, **how) -> list[str]:
        return [self.said] * len(conversations)


def ask(text: str, *choices: str, answer: str = "", kind: str = "marker"):
    question = Question("B cell", kind, text, choices, answer or choices[0])
    said = f"{text}\nChoose one: {'; '.join(choices)}." if choices else text
    return [{"role": "user", "content": said}], question


def test_answers_keep_their_order_whatever_they_are_chosen_from() -> None:
    engine = Guess("free words")
    asked = [
        ask("1?", "b", "a"),
        ask("2?", answer="x"),
        ask("3?", "yes", "no"),
        ask("4?", "a", "b"),
        ask("5?", "no", "yes"),
    ]
    assert answer_questions(engine, asked) == ["b", "free words", "yes", "a", "no"]
    assert sorted(len(prompts) for prompts, _ in engine.batches) == [2, 2], "those of the same choices go together"


def test_items_are_scored_by_kind(groups) -> None:
    items = [
        Item("B cell"),
        Item("B cell", question=Question("B cell", "marker", "Which?", ("GENE0", "GENE5"), "GENE0")),
        Item("B cell", question=Question("B cell", "marker", "Which?", ("GENE5", "GENE0"), "GENE0")),
        Item("B cell", question=Question("B cell", "named", "Name them.", (), "B cell")),
    ]
    scores = score_items(Guess("B cell."), make_rows(groups, items))
    assert {name: scores[name] for name in ("accuracy", "accuracy marker", "accuracy named")} == {
        "accuracy": pytest.approx(2 / 3),
        "accuracy marker": 0.5,
        "accuracy named": 1.0,
    }
    assert (scores["n_claims"], scores["confirmed"]) == (1, 1)


class Constant(torch.nn.Module):
    """Every next token is as probable as every other."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    device = torch.device("cpu")

    def forward(self, *args, **how):
        out = self.model(*args, **how)
        out.logits = torch.zeros_like(out.logits)
        return out


def talking(groups: Groups, items: list[Item], n_judged: int = 24) -> Talking:
    wording = Wording("english", n_cells=2, n_genes=3)
    sets = {"train": groups, "validation": groups}
    return Talking(sets, {"train": items[:1], "validation": items}, wording, groups.genes, 3, n_judged)


def test_the_judge_measures_the_loss_of_the_answers(groups, make_llama, piece_tokenizer) -> None:
    items = [Item("B cell", texts=("Some text.",)), Item("CD14+ monocyte", texts=("Another text, longer.",))]
    model = make_llama(len(piece_tokenizer))
    judge = talking(groups, items).judge
    assert judge(Constant(model), piece_tokenizer) == {"loss": pytest.approx(math.log(len(piece_tokenizer)), rel=1e-5)}
    assert judge(model, piece_tokenizer) == judge(model, piece_tokenizer), "always the same rows"
    # By hand: minus the log-probability of each token of the answer and of the end, over all of them.
    total = n = 0
    rows = talking(groups, items).rows(piece_tokenizer, "validation")
    for i in range(2):
        prompt, answer = rows.row(i, 0)
        before = piece_tokenizer(prompt)["input_ids"]
        ids = torch.tensor([[*piece_tokenizer(prompt + answer)["input_ids"], piece_tokenizer.eos_token_id]])
        with torch.no_grad():
            log_p = model(input_ids=ids).logits[0].log_softmax(dim=1)
        places = range(len(before), ids.shape[1])
        total -= sum(float(log_p[at - 1, ids[0, at]]) for at in places)
        n += len(places)
    assert judge(model, piece_tokenizer)["loss"] == pytest.approx(total / n, rel=1e-4)


def test_the_judge_looks_at_some_of_many(groups, make_llama, piece_tokenizer) -> None:
    """The first, the last, and what lies evenly between."""
    items = [Item("B cell", texts=(f"Text {i}.",)) for i in range(9)]
    model = make_llama(len(piece_tokenizer))
    some = [items[0], items[4], items[8]]
    with pytest.MonkeyPatch.context() as patch:
        asked = []
        row = GroupRows.row
        patch.setattr(GroupRows, "row", lambda self, item, i: asked.append(self.items[item]) or row(self, item, i))
        talking(groups, items, n_judged=3).judge(model, piece_tokenizer)
    assert asked == some


def test_other_rows_in_other_sets(groups, piece_tokenizer) -> None:
    both = talking(groups, [Item("B cell")])
    assert both.rows(piece_tokenizer).row(0, 0)[0] != both.rows(piece_tokenizer, "validation").row(0, 0)[0]


def test_prompts_that_do_not_fit_are_refused_before_training(groups, make_llama, piece_tokenizer) -> None:
    model = make_llama(len(piece_tokenizer))
    check_fit(talking(groups, [Item("B cell")]), model, piece_tokenizer)
    model.config.max_position_embeddings = 250
    with pytest.raises(
        ValueError, match="2 cells with 3 genes each and an answer are .* tokens, and the model's context is 250"
    ):
        check_fit(talking(groups, [Item("B cell")]), model, piece_tokenizer)


def followed(groups: Groups) -> list[Item]:
    """Every question, with all others about the group."""
    asked = questions_about(groups)
    return [
        Item(one.group, question=one, others=tuple(two for two in asked if two.group == one.group and two != one))
        for one in asked
    ]


def test_questions_that_come_first_are_few_and_the_others_follow(groups) -> None:
    asked = questions_about(groups)
    items = opening(asked, seed=0)
    for name in groups.names:
        own = [one for one in asked if one.group == name]
        first = [item for item in items if item.group == name]
        assert len(first) == -(-len(own) // N_QUESTIONS)
        assert len({item.question for item in first}) == len(first)
        for item in first:
            assert {item.question, *item.others} == set(own)
            assert item.question not in item.others
    assert opening(asked, seed=0) == items
    assert any(opening(asked, seed=seed) != items for seed in range(1, 5))


def test_further_questions_are_asked_about_the_cells_that_were_read(groups) -> None:
    """A row is one conversation: the text as the model would read it, with every answer and what ends it to be learned."""

    def written(conversation) -> str:
        return "".join(f"<{turn['role']}>{turn['content']}</>" for turn in conversation) + "<assistant>"

    items = followed(groups)
    rows = GroupRows(groups, items, Wording("english", 3, 2), groups.genes, written, seed=0, n_questions=4, end="</>")
    lengths = set()
    for number, item in enumerate(items):
        row = rows.row(number, 0)
        lengths.add(len(row) // 2)
        asked, answers = row[::2], row[1::2]
        assert answers[0].removesuffix("</>") == item.question.answer
        assert all(answer.endswith("</>") for answer in answers[:-1])
        assert not answers[-1].endswith("</>"), "its end token is added where it is read"
        # The cells are shown once, and every further answer is the right one of the question before it.
        assert "".join(row).count("Each line holds") == 1
        own = {
            question_text(one.question.text, one.question.choices): one.question.answer
            for one in items
            if one.group == item.group
        }
        for before, answer in zip(asked[1:], answers[1:], strict=True):
            said = before.removeprefix("<user>").removesuffix("</><assistant>")
            assert own[said] == answer.removesuffix("</>")
        kinds = [
            one.question.kind
            for one in items
            if one.group == item.group and question_text(one.question.text, one.question.choices) in "".join(row)
        ]
        assert len(set(kinds) & {"most common", "named", "share"}) <= 1, "one would tell the other's answer"
    assert max(lengths) > 1
    assert max(lengths) <= 4
    alone = GroupRows(groups, items, Wording("english", 3, 2), groups.genes, written, seed=0)
    assert all(len(alone.row(number, 0)) == 2 for number in range(len(items)))


def test_a_template_that_changes_answers_is_asked_one_question_at_a_time(groups) -> None:
    def written(conversation) -> str:
        return "".join(
            turn["content"].upper() if turn["role"] == "assistant" else turn["content"] for turn in conversation
        )

    items = followed(groups)
    rows = GroupRows(groups, items, Wording("english", 3, 2), groups.genes, written, seed=0, n_questions=4)
    lowered = [number for number, item in enumerate(items) if item.question.answer != item.question.answer.upper()]
    assert lowered
    assert all(len(rows.row(number, 0)) == 2 for number in lowered)
