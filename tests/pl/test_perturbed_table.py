from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import sc_c2s as c2s


@pytest.fixture
def stored() -> pd.DataFrame:
    """As tl.perturb stores it."""
    rows = {
        "scrambled name": (0.1, -0.2),
        "model": (0.9, 0.6),
        "no change": (np.nan, np.nan),
        "mean shift": (0.7, 0.8),
    }
    table = [
        (source, context, score) for source, scores in rows.items() for context, score in zip("AB", scores, strict=True)
    ]
    return pd.DataFrame(table, columns=["source", "context", "pearson_delta"])


@pytest.fixture
def scored() -> pd.DataFrame:
    """As metrics.perturbation returns it."""
    rows = {
        ("predicted", "A", "IFN"): (0.9, 0.30, 0.5),
        ("predicted", "B", "IFN"): (0.6, 0.20, -0.3),
        ("predicted", "(mean)", "(mean)"): (0.75, 0.25, 0.4),
        ("rival", "A", "IFN"): (0.8, 0.10, 0.6),
        ("rival", "B", "IFN"): (0.8, 0.30, 0.1),
        ("rival", "(mean)", "(mean)"): (0.8, 0.20, 0.35),
        ("no change", "A", "IFN"): (0.0, 0.60, 0.9),
        ("no change", "B", "IFN"): (0.0, 0.70, 0.9),
        ("no change", "(mean)", "(mean)"): (0.0, 0.65, 0.9),
        ("real", "A", "IFN"): (0.99, 0.05, 0.0),
        ("real", "B", "IFN"): (0.98, 0.05, 0.0),
        ("real", "(mean)", "(mean)"): (0.985, 0.05, 0.0),
    }
    index = pd.MultiIndex.from_tuples(rows, names=["source", "context", "perturbation"])
    found = pd.DataFrame(rows.values(), index=index, columns=["pearson_delta", "mae", "program_IFN"])
    return found.assign(n=50, n_genes=100, embedding="pca (50)", bandwidth=3.0)


def plot(table, **options):
    return c2s.pl.perturbed_table(table, **{"show": False, **options})


def names(ax) -> tuple[list[str], list[str]]:
    return tuple([label.get_text() for label in labels] for labels in (ax.get_yticklabels(), ax.get_xticklabels()))


def written(ax) -> list[list[str]]:
    """What is written, row by row, with a star where it is bold."""
    rows: dict[int, dict[int, str]] = {}
    for text in ax.texts:
        column, row = text.get_position()
        rows.setdefault(row, {})[column] = text.get_text() + "*" * (text.get_fontweight() == "bold")
    return [[rows[row][column] for column in sorted(rows[row])] for row in sorted(rows)]


def test_stored_metrics(stored):
    ax = plot(stored)
    assert names(ax) == (["model", "mean shift", "scrambled name", "no change"], ["A", "B", "mean"])
    assert written(ax) == [
        ["0.90*", "0.60", "0.75*"],
        ["0.70", "0.80*", "0.75*"],
        ["0.10", "-0.20", "-0.05"],
        ["–", "–", "–"],
    ]
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array()[:3], [[0.9, 0.6, 0.75], [0.7, 0.8, 0.75], [0.1, -0.2, -0.05]])
    assert image.get_clim() == (-0.2, 0.9)
    assert ax.figure.axes[1].get_ylabel() == "Pearson of the changes"


def test_table_of_the_metric(scored):
    ax = plot(scored)
    assert names(ax) == (["predicted", "rival", "no change", "real"], ["A", "B", "mean"])
    assert written(ax) == [
        ["0.90*", "0.60", "0.75"],
        ["0.80", "0.80*", "0.80*"],
        ["0.00", "0.00", "0.00"],
        ["0.99", "0.98", "0.98"],
    ], "real cells are no prediction"
    assert [label.get_fontweight() == "bold" for label in ax.get_yticklabels()] == [True, False, False, False]
    assert written(plot(scored.reset_index())) == written(ax)


def test_low_errors_are_good(scored):
    ax = plot(scored, metric="mae")
    assert written(ax)[:2] == [["0.30", "0.20*", "0.25"], ["0.10*", "0.30", "0.20*"]]
    (image,) = ax.images
    brightness = [sum(image.to_rgba(value)[:3]) for value in (0.05, 0.3, 0.7)]
    assert brightness == sorted(brightness), "dark is good"


def test_programs_are_best_at_zero(scored):
    ax = plot(scored, metric="program_IFN")
    assert written(ax)[:2] == [["0.50*", "-0.30", "0.40"], ["0.60", "0.10*", "0.35*"]]
    assert ax.figure.axes[1].get_ylabel() == "error of program IFN"
    without = scored.drop("(mean)", level="context")
    assert written(plot(without, metric="program_IFN"))[0] == ["0.50*", "-0.30", "0.40"]


def test_several_perturbations(scored):
    other = scored.drop("(mean)", level="context").rename({"IFN": "IL-6"}, level="perturbation")
    both = pd.concat([scored, other])
    assert names(plot(both))[1] == ["A | IFN", "B | IFN", "A | IL-6", "B | IL-6", "mean"]
    one = both.loc[both.index.get_level_values("context") == "A"]
    assert names(plot(one))[1] == ["IFN", "IL-6", "mean"]


def test_categories_that_are_not_there(stored):
    stored["source"] = pd.Categorical(stored["source"], categories=[*stored["source"].unique(), "another"])
    stored["context"] = pd.Categorical(stored["context"], categories=["A", "B", "C"])
    assert names(plot(stored)) == (["model", "mean shift", "scrambled name", "no change"], ["A", "B", "mean"])


def test_numbers_can_be_read_on_their_fields(stored):
    ax = plot(stored, cmap="Greys")
    colours = {text.get_text(): to_hex(text.get_color()) for text in ax.texts}
    assert colours["0.90"] == "#ffffff"
    assert colours["-0.20"] == colours["–"] == "#000000"


def test_small_and_large_numbers(stored):
    for factor, expected in ((0.1, "0.090*"), (20, "18.0*"), (1000, "900*")):
        assert written(plot(stored.assign(pearson_delta=stored["pearson_delta"] * factor)))[0][0] == expected
    assert written(plot(stored.assign(pearson_delta=stored["pearson_delta"] * 0.01)))[2][1] == "-0.002"


def test_nothing_is_cut_off(stored):
    stored["context"] = stored["context"].map({"A": "A rather long name of a cell type", "B": "B"})
    fig = plot(stored, return_fig=True)
    fig.canvas.draw()
    ax, bar = fig.axes
    words = [*ax.get_xticklabels(), *ax.get_yticklabels(), *bar.get_yticklabels(), bar.yaxis.label]
    boxes = [word.get_window_extent() for word in words]
    assert all(fig.bbox.x0 <= box.x0 and box.x1 <= fig.bbox.x1 and fig.bbox.y0 <= box.y0 for box in boxes)


def test_every_metric_of_a_real_table(make_cells):
    adata = make_cells(120, 30)
    adata.X = adata.X.log1p()
    adata.obs["treatment"] = np.where(np.arange(120) // 3 % 2 == 0, "none", "IFN")
    predicted = adata[adata.obs["treatment"] == "none"].copy()
    predicted.obs["treatment"] = "IFN"
    table = c2s.metrics.perturbation(
        adata,
        predicted,
        condition_key="treatment",
        control="none",
        groupby="cell_type",
        n_comps=5,
        gene_sets={"P": ["GENE1"]},
    )
    about = {"n", "n_genes", "embedding", "bandwidth"}
    shown = [name for name in table if name not in about and table[name].notna().any()]
    assert "program_P" in shown
    for name in shown:
        ax = plot(table, metric=name)
        assert names(ax)[0] == ["predicted", "shuffled contexts", "no change", "real"]


def test_own_axes(stored):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots()
    assert plot(stored, ax=mine) is mine
    assert plot(stored, ax=mine, return_fig=True) is fig


def test_bad_input(stored, scored):
    with pytest.raises(KeyError, match="no score 'n'; it has pearson_delta, mae, program_IFN"):
        plot(scored, metric="n")
    with pytest.raises(ValueError, match="one of metrics.perturbation, with the index levels"):
        plot(stored.drop(columns="source"))
    with pytest.raises(ValueError, match="a source twice for one context"):
        plot(pd.concat([stored, stored]))
    with pytest.raises(ValueError, match="no value of 'pearson_delta' to show"):
        plot(stored.assign(pearson_delta=np.nan))
