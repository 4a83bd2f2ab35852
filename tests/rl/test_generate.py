"""Written cells are judged, and rewarded, by where they lie among real ones."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sc_c2s.rl import generate
from sc_c2s.rl.generate import RewardedGenerating
from sc_c2s.training.augment import NONE
from sc_c2s.training.cells import LabelledCells
from sc_c2s.training.generate import Generating
from sc_c2s.training.plan import make_plan
from sc_c2s.training.split import TRAIN, VALIDATION


@pytest.fixture
def task(make_cells) -> RewardedGenerating:
    adata = make_cells(300)
    labels = adata.obs["cell_type"].astype(str).to_numpy(dtype=object)
    data = LabelledCells(
        x=adata.X,
        log=adata.X.log1p().tocsr(),
        genes=adata.var_names.to_numpy(dtype=object),
        cells=adata.obs_names.to_numpy(),
        labels=labels,
        split=np.where(np.arange(300) % 10 < 7, TRAIN, VALIDATION).astype(object),
        groupby="cell_type",
        organism=None,
        conditions=labels[:, None],
        groupings=("cell_type",),
    )
    start = SimpleNamespace(small=True, family="nano", rate=None)
    plan = make_plan(start, n_train=210, organism=None, seed=0, tasks=("generate",))
    assert plan.augmentation != NONE
    return RewardedGenerating(Generating(data, plan, np.arange(40), True), n_words=10)


def judge(task: RewardedGenerating, monkeypatch, sentence_of) -> float:
    """Score of cells that something other than a model writes."""
    genes = {gene: i for i, gene in enumerate(task.task.genes)}

    class Fake:
        def __init__(self, *args, **kwargs) -> None: ...

        def generate(self, prompts, items, **how):
            return [
                SimpleNamespace(items=np.array([genes[word] for word in sentence_of(prompt, i).split()[:10]]))
                for i, prompt in enumerate(prompts)
            ]

    monkeypatch.setattr(generate, "LocalEngine", Fake)
    return task.watch(None, None)["fidelity"]


def sentences(task: RewardedGenerating, kind: str) -> list[str]:
    cells = np.flatnonzero(task._kinds == kind)
    return [task._rows.row(int(cell), 0)[1] for cell in cells]


def test_real_cells_score_one_and_those_of_other_kinds_nothing(task, monkeypatch) -> None:
    kinds = task.task.kinds
    of_prompt = {task.task._prompt(kind): sentences(task, kind) for kind in kinds}
    real = judge(task, monkeypatch, lambda prompt, i: of_prompt[prompt][i % len(of_prompt[prompt])])
    everything = [text for kind in kinds for text in sentences(task, kind)]
    mixed = judge(task, monkeypatch, lambda prompt, i: everything[(7 * i) % len(everything)])
    others = dict(zip(of_prompt, [*list(of_prompt.values())[1:], list(of_prompt.values())[0]], strict=True))
    wrong = judge(task, monkeypatch, lambda prompt, i: others[prompt][i % len(others[prompt])])
    one = judge(task, monkeypatch, lambda prompt, i: of_prompt[prompt][0])
    assert 0.9 < real <= 1
    assert abs(mixed) < 0.25
    assert wrong < mixed
    assert one < real - 0.1, "one cell over and over is not how cells are spread"


def test_the_reward_prefers_cells_of_the_kind_and_spread(task) -> None:
    kind, other = task.task.kinds[:2]
    reward = task.rewards["distribution"]

    def mean(texts: list[str]) -> float:
        return float(np.mean(reward(texts, [kind] * len(texts), prompts=["p"] * len(texts))))

    real = sentences(task, kind)[:12]
    assert mean(real) > mean(sentences(task, other)[:12])
    assert mean(real) > mean(real[:1] * 12)


def test_cells_of_all_kinds_are_asked_for_alike(task) -> None:
    numbers = task.draw(900, 9, np.random.default_rng(0))
    counts = np.unique(task._kinds[numbers], return_counts=True)[1]
    assert counts.min() > 250
    asked = task.question(int(numbers[0]), 0)
    assert asked["n_asked"] == 10
    assert set(asked["sentence"].split()) <= asked["known"]
    assert asked["kind"] == task._kinds[numbers[0]]
