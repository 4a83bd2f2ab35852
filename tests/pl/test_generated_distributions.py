from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex

import sc_c2s as c2s
from sc_c2s.pl._generated_distributions import _marginal

KINDS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]


def plot(cells, **options):
    options = {"groupby": "cell_type", "genes": ["GENE5", "GENE20"], "show": False, **cells.where, **options}
    return c2s.pl.generated_distributions(cells.data, **options)


@pytest.fixture
def known() -> tuple[AnnData, AnnData]:
    """A gene that 3 in 4 of the real and 1 in 4 of the generated cells show, in one of two types."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"type": np.repeat(["a", "b"], 40)}, index=[f"c{i}" for i in range(80)])

    def cells(n: int) -> AnnData:
        x = np.zeros((80, 2))
        x[:n, 0] = rng.normal(3, 0.3, size=n)
        x[:, 1] = 1.5
        return AnnData(x, obs=obs, var=pd.DataFrame(index=["G1", "G2"]))

    return cells(30), cells(10)


def test_density_and_zeros_are_the_whole_distribution():
    values = np.concatenate([np.zeros(30), np.random.default_rng(0).gamma(2, 0.5, size=70)])
    found = _marginal(values, np.linspace(0, 10, 500), width=0.3)
    assert found.zeros == 0.3
    assert np.trapezoid(found.density, found.grid) == pytest.approx(0.7, abs=0.005)
    assert found.density.max() == pytest.approx(0.7 * 0.65, abs=0.1), "the highest density of that gamma is 0.74"
    silent = _marginal(np.zeros(5), np.linspace(0, 1, 10), width=0.3)
    assert silent.zeros == 1
    assert (silent.density == 0).all()


def test_bars_are_the_shares_of_zeros(known):
    real, generated = known
    (ax,) = c2s.pl.generated_distributions(real, genes="G1", groupby="type", generated=generated, show=False)
    real_a, generated_a, real_b, generated_b = ax.patches
    full = generated_b.get_width()
    assert real_b.get_width() == -full, "real cells are on the left"
    assert real_a.get_width() == pytest.approx(-full / 4)
    assert generated_a.get_width() == pytest.approx(full * 3 / 4)
    assert [bar.get_x() for bar in ax.patches] == [0, 0, 1, 1]
    assert all(bar.get_y() + bar.get_height() < 0 for bar in ax.patches), "below the density"


def test_areas_of_violins_are_the_shares_of_cells(known):
    real, generated = known
    (ax,) = c2s.pl.generated_distributions(real, genes="G1", groupby="type", generated=generated, show=False)
    left, right, *silent = (body.get_paths()[0].vertices for body in ax.collections)

    def area(path: np.ndarray) -> float:
        x, y = path.T
        return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2

    assert left[:, 0].max() == 0
    assert right[:, 0].min() == 0
    assert area(left) == pytest.approx(3 * area(right), rel=0.02)
    assert all(area(path) == pytest.approx(0, abs=1e-9) for path in silent)
    assert right[np.argmax(right[:, 0]), 1] == pytest.approx(3, abs=0.4)


def test_ridges(known):
    real, generated = known
    axes = c2s.pl.generated_distributions(
        real, genes=["G1", "G2"], groupby="type", generated=generated, kind="ridge", show=False
    )
    assert [ax.get_title(loc="left") for ax in axes] == ["G1", "G2"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["b", "a"], "the first on top"
    bars = [bar.get_height() for bar in axes[0].patches]
    assert np.divide(bars, bars[-1]) == pytest.approx([0.25, 0.75, 1, 1])
    of_a, of_b = (line.get_xydata() for line in axes[0].lines)
    assert of_a[np.argmax(of_a[:, 1]), 0] == pytest.approx(3, abs=0.4)
    assert (of_b[:, 1] == 0).all()
    assert axes[1].get_xlabel() == "log1p CP10k"


@pytest.mark.parametrize("kind", ["violin", "ridge"])
def test_a_panel_for_each_gene_in_the_order_asked_for(with_generated, kind):
    axes = plot(with_generated, genes=["GENE20", "GENE5"], kind=kind, palette=["red", "lime", "blue"])
    assert [ax.get_title(loc="left") for ax in axes] == ["GENE20", "GENE5"]
    labels = axes[-1].get_xticklabels() if kind == "violin" else axes[0].get_yticklabels()[::-1]
    assert [label.get_text() for label in labels] == KINDS
    colours = [to_hex(bar.get_facecolor()) for bar in axes[0].patches]
    assert len(set(colours[::2])) == 1, "real cells have one colour"
    assert colours[1::2] == ["#ff0000", "#00ff00", "#0000ff"]
    # GENE5 marks monocytes.
    stored = c2s.get.generated(with_generated.data, **with_generated.where)
    x = stored[:, "GENE5"].X.toarray().ravel()
    shares = [(x[(stored.obs["cell_type"] == name).to_numpy()] == 0).mean() for name in KINDS]
    lengths = [bar.get_width() if kind == "violin" else bar.get_height() for bar in axes[1].patches[1::2]]
    assert shares[1] == 0
    np.testing.assert_allclose(lengths, np.array(shares) * lengths[0] / shares[0], atol=1e-9)
    (legend,) = [ax.get_legend() for ax in axes if ax.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["real cells", "generated cells"]


def test_a_gene_that_no_cell_shows(known):
    real, generated = known
    for cells in known:
        cells.X[:, 0] = 0
    (ax,) = c2s.pl.generated_distributions(real, genes="G1", groupby="type", generated=generated, show=False)
    assert np.isfinite(ax.get_ylim()).all()
    assert [abs(bar.get_width()) for bar in ax.patches] == pytest.approx([0.44] * 4)


def test_bad_input(with_generated):
    with pytest.raises(KeyError, match="do not both have the gene 'GENE34'"):
        plot(with_generated, genes=["GENE1", "GENE34"])
    with pytest.raises(ValueError, match="kind must be 'violin' or 'ridge', not 'box'"):
        plot(with_generated, kind="box")
    with pytest.raises(ValueError, match="no gene to show"):
        plot(with_generated, genes=[])
