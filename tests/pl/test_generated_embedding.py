from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from matplotlib.colors import to_hex
from sklearn.decomposition import PCA

import sc_c2s as c2s

KINDS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]
COLOURS = dict(zip(KINDS, ["#ff0000", "#00ff00", "#0000ff"], strict=True))


def plot(cells, **options):
    options = {"groupby": "cell_type", "palette": COLOURS, "show": False, **cells.where, **options}
    return c2s.pl.generated_embedding(cells.data, **options)


def dots(collection) -> pd.DataFrame:
    """Places and colours, in an order that does not depend on that of drawing."""
    table = pd.DataFrame(np.asarray(collection.get_offsets()), columns=["x", "y"])
    table["colour"] = [to_hex(colour) for colour in np.broadcast_to(collection.get_facecolors(), (len(table), 4))]
    return table.sort_values(["x", "y"]).reset_index(drop=True)


def counted(table: pd.DataFrame) -> dict[str, int]:
    return table["colour"].value_counts().to_dict()


def test_real_cells_left_generated_ones_right_on_the_same_axes(with_generated):
    left, right = plot(with_generated)
    (real,) = left.collections
    behind, generated = right.collections
    assert counted(dots(real)) == {"#ff0000": 20, "#00ff00": 20, "#0000ff": 20}
    # Cells 5 and 17, both of the third type, have no generated ones.
    assert counted(dots(generated)) == {"#ff0000": 20, "#00ff00": 20, "#0000ff": 18}
    assert dots(behind)["colour"].nunique() == 1
    np.testing.assert_array_equal(dots(behind)[["x", "y"]], dots(real)[["x", "y"]])
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert [left.get_title(), right.get_title()] == ["real (60 cells)", "generated (58 cells)"]
    legend = right.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [*KINDS, "real"]
    assert [to_hex(handle.get_color()) for handle in legend.legend_handles[:3]] == list(COLOURS.values())


def test_components_are_those_of_the_real_cells(with_generated):
    cells = c2s.get.generated(with_generated.data, **with_generated.where)
    x = with_generated.adata.X.toarray()
    x = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, with_generated.adata.var_names.isin(cells.var_names)]
    fitted = PCA(2).fit(x)
    left, right = plot(with_generated)
    for collection, values in ((left.collections[0], x), (right.collections[1], cells.X.toarray())):
        ours, theirs = dots(collection)[["x", "y"]].to_numpy(), fitted.transform(values)
        # A component may point either way.
        for i in range(2):
            a, b = np.sort(ours[:, i]), np.sort(theirs[:, i])
            assert min(np.abs(a - b).max(), np.abs(a + b[::-1]).max()) < 1e-3
    assert left.get_xlabel() == f"PC1 ({fitted.explained_variance_ratio_[0]:.0%} of the variance)"


@pytest.mark.slow
def test_umap_of_both_brings_each_generated_cell_to_its_type(adata, make_cells):
    options = {"groupby": "cell_type", "palette": COLOURS, "show": False}
    left, right = c2s.pl.generated_embedding(adata, generated=make_cells(58, seed=1), basis="umap", **options)
    assert (left.get_xlabel(), left.get_ylabel()) == ("UMAP1", "UMAP2")
    real, generated = dots(left.collections[0]), dots(right.collections[1])
    assert (len(real), len(generated)) == (60, 58)
    between = np.linalg.norm(generated[["x", "y"]].to_numpy()[:, None] - real[["x", "y"]].to_numpy(), axis=2)
    nearest = real["colour"].to_numpy()[between.argmin(axis=1)]
    assert (nearest == generated["colour"]).mean() > 0.9


def test_own_axes(with_generated):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots(1, 2)
    axes = plot(with_generated, ax=mine, size=7)
    assert axes == list(mine)
    assert mine[0].collections[0].get_sizes().tolist() == [7]
    assert plot(with_generated, ax=mine, return_fig=True) is fig
    with pytest.raises(ValueError, match="2 panels, and ax= brings 1 axes"):
        plot(with_generated, ax=mine[0])


def test_nothing_is_cut_off(adata):
    adata.obs["kind"] = np.resize([f"A rather long name of cell type number {i}" for i in range(30)], 60)
    fig = c2s.pl.generated_embedding(adata, groupby="kind", generated=adata, return_fig=True)
    fig.canvas.draw()
    box = fig.axes[1].get_legend().get_window_extent()
    assert fig.bbox.x0 <= box.x0
    assert box.x1 <= fig.bbox.x1
    assert all(ax.get_window_extent().width > 200 for ax in fig.axes), "the legend leaves them room"


def test_bad_input(with_generated, adata):
    with pytest.raises(ValueError, match="basis must be 'pca' or 'umap', not 'tsne'"):
        plot(with_generated, basis="tsne")
    with pytest.raises(ValueError, match="three cells and three genes or more; here are 60 and 1"):
        c2s.pl.generated_embedding(adata, groupby="cell_type", generated=adata[:, :1].copy())
    with pytest.raises(KeyError, match="run tl.generate"):
        c2s.pl.generated_embedding(AnnData(adata.X, obs=adata.obs, var=adata.var), groupby="cell_type")
