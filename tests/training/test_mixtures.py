"""Groups that are mixed from the cells of others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sc_c2s.sentences.inverse import log_expression
from sc_c2s.training import mixtures
from sc_c2s.training.groups import Groups
from sc_c2s.training.language_run import fingerprint, n_groups
from sc_c2s.training.mixtures import CONCENTRATION, FEWEST, joined, with_mixtures
from sc_c2s.training.questions import questions_about


def gathered(adata, **how) -> Groups:
    types = adata.obs["cell_type"].astype(str).to_numpy(dtype=object)
    donor = adata.obs["donor"].astype(str).to_numpy(dtype=object)
    group = types + " | " + donor
    known = {"labels": types, "context": {"donor": donor}, **how}
    return Groups.gather(
        adata.X,
        log_expression(adata.X),
        group,
        sorted(set(group)),
        genes=adata.var_names.to_numpy(dtype=object),
        cells=adata.obs_names.to_numpy(dtype=object),
        **known,
    )


@pytest.fixture
def cells(make_cells):
    return make_cells(400)


def members(groups: Groups) -> dict[str, set[str]]:
    return {name: set(groups.cells[groups.members[name]]) for name in groups.names}


def test_every_cell_is_dealt_out_once_a_time_and_the_groups_stay(cells) -> None:
    groups = gathered(cells)
    mixed = with_mixtures(groups, seed=0, n_ways=3)
    assert mixed.given == groups.names
    assert n_groups({"train": mixed}) == {"n_train": len(groups.names)}
    assert fingerprint({"train": mixed}) == fingerprint({"train": groups})
    found = members(mixed)
    assert {name: found[name] for name in groups.names} == members(groups)
    for way in range(3):
        sizes = [len(found[name]) for name in mixed.names if name.startswith(f"mixture {way}.")]
        union = set().union(*(found[name] for name in mixed.names if name.startswith(f"mixture {way}.")))
        assert sum(sizes) == len(union), "no cell is in two mixtures"
        assert len(union) > 0.8 * cells.n_obs
        assert min(sizes) >= FEWEST
        assert 0.4 * len(groups.names) <= len(sizes) <= 1.2 * len(groups.names)


def test_what_is_known_of_a_mixture_is_counted_from_its_cells(cells) -> None:
    mixed = with_mixtures(gathered(cells), seed=0, n_ways=2)
    labels = cells.obs["cell_type"].astype(str)
    for name in mixed.names[-mixed.n_mixtures :]:
        own = cells.obs_names[mixed.members[name]]
        counted = labels[own].value_counts(normalize=True)
        found = mixed.facts[name].composition
        assert found[found > 0].sort_index().to_dict() == pytest.approx(counted.sort_index().to_dict())
        assert cells.obs["donor"][own].nunique() == 1, "cells of two donors are never mixed"
        assert list(mixed.facts[name].context["donor"].values())[0] == 1
        assert len(mixed.draw(name, 5, np.random.default_rng(0))) == 5


def test_mixtures_are_of_several_types_and_not_alike(cells) -> None:
    """A symmetric Dirichlet distribution of k shares has a variance of (k - 1) / (k² (k c + 1))."""
    alone = gathered(cells, context={})
    mixed = with_mixtures(alone, seed=0, n_ways=40)
    largest = [mixed.facts[name].composition.iloc[0] for name in mixed.names[-mixed.n_mixtures :]]
    assert 0.5 < np.mean(largest) < 0.9
    assert np.std(largest) > 0.1
    most = {mixed.facts[name].composition.index[0] for name in mixed.names[-mixed.n_mixtures :]}
    assert most == set(cells.obs["cell_type"])
    k, label = len(alone.names), mixed.labels == "B cell"
    shares = [(label[mixed.members[name]].sum() / label.sum()) for name in mixed.names[-mixed.n_mixtures :]]
    expected = 1 / k**2 + (k - 1) / (k**2 * (k * CONCENTRATION + 1))
    # Mixtures of fewer than ten cells are left out, so squares are summed over all there should be.
    assert np.sum(np.square(shares)) / (40 * k) == pytest.approx(expected, rel=0.2)


def test_there_are_never_too_many(cells, monkeypatch) -> None:
    monkeypatch.setattr(mixtures, "MOST", 4)
    mixed = with_mixtures(gathered(cells, context={}), seed=0, n_ways=1)
    assert 2 <= mixed.n_mixtures <= 4


def test_columns_may_be_called_anything(cells) -> None:
    donor = cells.obs["donor"].astype(str).to_numpy(dtype=object)
    for name in ("label", "sample", "0"):
        again = with_mixtures(gathered(cells, context={name: donor}), seed=0, n_ways=1)
        assert members(again) == members(with_mixtures(gathered(cells), seed=0, n_ways=1))


def test_samples_are_not_mixed(cells) -> None:
    donor = cells.obs["donor"].astype(str).to_numpy(dtype=object)
    mixed = with_mixtures(gathered(cells, context={}, samples=donor), seed=0, n_ways=1)
    for name in mixed.names[-mixed.n_mixtures :]:
        assert len(set(donor[mixed.members[name]])) == 1


def test_the_seed_decides_and_the_order_of_the_cells_does_not(cells) -> None:
    first = members(with_mixtures(gathered(cells), seed=3, n_ways=2))
    order = np.random.default_rng(0).permutation(cells.n_obs)
    assert first == members(with_mixtures(gathered(cells[order].copy()), seed=3, n_ways=2))
    assert first != members(with_mixtures(gathered(cells), seed=4, n_ways=2))


def test_there_is_something_to_ask_about_them(cells) -> None:
    mixed = with_mixtures(gathered(cells), seed=0, n_ways=2)
    asked = {one.group for one in questions_about(mixed)}
    assert len(asked & set(mixed.names[-mixed.n_mixtures :])) > 0.5 * mixed.n_mixtures


def test_without_labels_nothing_is_mixed(cells) -> None:
    groups = gathered(cells, labels=None)
    assert with_mixtures(groups, seed=0) is groups


def test_a_group_that_is_called_like_a_mixture_stays(cells) -> None:
    groups = gathered(cells)
    name = with_mixtures(groups, seed=0, n_ways=1).names[-1]
    own = replace(
        groups,
        names=[name],
        **{what: {name: getattr(groups, what)[groups.names[0]]} for what in ("facts", "markers", "members")},
    )
    mixed = with_mixtures(own, seed=0, n_ways=1)
    assert mixed.names.count(name) == 1
    assert mixed.members[name] is own.members[name]


def test_joined_keeps_each_group_as_it_is(cells) -> None:
    groups = gathered(cells)
    again = groups.again(
        cells.obs["donor"].astype(str).to_numpy(dtype=object), sorted(set(cells.obs["donor"].astype(str)))
    )
    both = joined([groups, again])
    assert members(both) == members(groups) | members(again)
    assert both.facts[again.names[0]].context["donor"][again.names[0]] == 1
