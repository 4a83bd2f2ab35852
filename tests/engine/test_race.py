"""Draws of one row after the other are those of the model, and rows that belong together draw evenly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sc_c2s.engine.race import Draws, Race, uniforms

N = 4000


def race(n: int, *, balanced: bool = False, seed: int = 0, n_rows: int = N) -> Race:
    seeds = np.random.default_rng(seed).integers(2**63, size=n_rows)
    return Race(Draws.together(seeds, [0] * n_rows) if balanced else Draws.alone(seeds), n, "cpu")


def weights(probability: list[float]) -> torch.Tensor:
    return torch.tensor(probability).expand(N, -1)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_the_first_draw_is_as_probable_as_it_weighs(balanced, scale) -> None:
    expected = np.array([0.0, 0.5, 0.3, 0.15, 0.04, 0.01, 0.0])
    column = race(7, balanced=balanced).run(weights(list(expected * scale)))
    np.testing.assert_allclose(np.bincount(column, minlength=7) / N, expected, atol=4 * np.sqrt(0.25 / N))
    assert not np.isin(column, [0, 6]).any()


@pytest.mark.parametrize("balanced", [False, True])
def test_later_draws_are_as_probable_as_the_model_makes_them(balanced) -> None:
    """What is probable next depends on what was written, in a way that turns the order of the others around."""
    first = torch.tensor([0.6, 0.3, 0.1])
    second = torch.tensor([[0.0, 0.05, 0.95], [0.9, 0.0, 0.1], [0.5, 0.5, 0.0]])
    run = race(3, balanced=balanced)
    one = run.run(first.expand(N, -1))
    two = run.run(second[one])
    found = np.zeros((3, 3))
    np.add.at(found, (one.numpy(), two.numpy()), 1 / N)
    expected = (first[:, None] * second).numpy()
    np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / N))
    assert (found[expected == 0] == 0).all()


def test_tokens_that_come_again_are_drawn_anew() -> None:
    """Columns 1 and 2 are token 3 in turn; what is drawn at one step says nothing about the next."""
    p = torch.tensor([0.2, 0.5, 0.0, 0.3])
    run, tokens = race(4), torch.tensor([[0, 3, 3, 1]]).expand(N, -1)
    drawn = np.stack([run.run(p.expand(N, -1), tokens).numpy() for _ in range(3)])
    for step in drawn:
        np.testing.assert_allclose(np.bincount(step, minlength=4) / N, p, atol=0.032)
    for one, two in ((0, 1), (1, 2), (0, 2)):
        found = np.zeros((4, 4))
        np.add.at(found, (drawn[one], drawn[two]), 1 / N)
        np.testing.assert_allclose(found, np.outer(p, p), atol=0.032)


def test_balanced_rows_have_each_token_about_as_often_as_expected() -> None:
    """Ten of forty tokens are written, with probabilities that differ between rows: how much the counts scatter."""
    scatter = {}
    for balanced in (False, True):
        counts = []
        for seed in range(60):
            run = race(40, balanced=balanced, seed=seed, n_rows=50)
            weight = torch.from_numpy(np.random.default_rng(0).gamma(1.0, size=(50, 40)).astype(np.float32) + 1)
            written = torch.zeros(50, 40)
            for _ in range(10):
                written.scatter_(1, run.run(weight * (1 - written))[:, None], 1.0)
            assert (written.sum(dim=1) == 10).all()
            counts.append(written.sum(dim=0).numpy())
        scatter[balanced] = np.var(counts, axis=0).mean()
    assert scatter[True] < 0.5 * scatter[False]


@pytest.mark.parametrize(("n_rows", "parts"), [(2, 2), (3, 3), (4, 5), (7, 7), (24, 29)])
def test_two_rows_draw_any_two_parts_alike(n_rows, parts) -> None:
    """The pairs are those of an order drawn at random; so the variance of a sum over the rows is, too."""
    draws = Draws.together(np.arange(n_rows), [0] * n_rows)
    one, two = (parts * (1 - np.exp(-draws.first(30_000)[[0, -1]]))).astype(int)
    found = np.zeros((parts, parts))
    np.add.at(found, (one, two), 1 / len(one))
    expected = (1 - np.eye(parts)) / (parts * (parts - 1))
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected.max() / len(one)))


def test_no_two_rows_of_a_group_draw_from_one_part() -> None:
    groups = [0, 1, 0, 0, 2, 1, 0, 0, 0]
    draws = Draws.together(np.arange(9) + 100, groups)
    assert draws.parts.tolist() == [7, 2, 7, 7, 1, 2, 7, 7, 7]
    assert draws.places.tolist() == [0, 0, 1, 2, 0, 1, 3, 4, 5]
    uniform = 1 - np.exp(-draws.first(200))
    for group, parts in enumerate((7, 2, 1)):
        part = (uniform[np.array(groups) == group] * parts).astype(int)
        assert all(len(set(column)) == len(part) for column in part.T)
        np.testing.assert_allclose(uniform[np.array(groups) == group].mean(), 0.5, atol=0.05)
    order = np.argsort(uniform[np.array(groups) == 0], axis=0)
    assert len(np.unique(order, axis=1).T) > 30, "another order for each token"


def test_what_a_row_draws_is_its_own() -> None:
    seeds, groups = np.random.default_rng(0).integers(2**63, size=20), np.arange(20) % 3
    for draws in (Draws.alone(seeds), Draws.together(seeds, groups)):
        np.testing.assert_array_equal(draws[np.array([7, 3])].first(9), draws.first(9)[[7, 3]])
    np.testing.assert_array_equal(Draws.alone(seeds).first(9), Draws.together(seeds, range(20)).first(9))


def test_numbers_depend_on_seed_and_step_alone() -> None:
    seeds = np.random.default_rng(0).integers(2**63, size=300).astype(np.uint64)
    many = np.stack([uniforms(seeds, np.full(300, step)) for step in range(50)])
    assert many[7, 11] == uniforms(seeds[[11]], np.array([7]))[0]
    assert (many >= 0).all() and (many < 1).all()
    assert len(np.unique(many)) == many.size
    assert abs(many.mean() - 0.5) < 0.01
    np.testing.assert_allclose(np.histogram(many, bins=10, range=(0, 1))[0] / many.size, 0.1, atol=0.01)
    assert abs(np.corrcoef(many[:-1].ravel(), many[1:].ravel())[0, 1]) < 0.03
    near = uniforms(np.arange(300, dtype=np.uint64), np.zeros(300, dtype=int))
    assert abs(np.corrcoef(near[:-1], near[1:])[0, 1]) < 0.15, "seeds that follow each other draw unlike numbers"
