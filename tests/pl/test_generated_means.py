from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import sc_c2s as c2s


def plot(cells, **options):
    return c2s.pl.generated_means(cells.data, **{"show": False, **cells.where, **options})


@pytest.fixture
def known() -> tuple[AnnData, AnnData]:
    """Two cells of each of two types and three genes; the generated ones show every gene half as high."""
    x = np.array([[0.5, 1.5, 0], [2.5, 0.5, 0], [1.5, 0, 0], [0, 0, 3.5]])
    obs = pd.DataFrame({"type": ["a", "a", "b", "b"]}, index=list("wxyz"))
    var = pd.DataFrame(index=["G1", "G2", "G3"])
    return AnnData(x, obs=obs, var=var), AnnData(x / 2, obs=obs, var=var)


def test_means_and_zeros(known):
    real, generated = known
    means, zeros = c2s.pl.generated_means(real, generated=generated, show=False)
    (dots,) = means.collections
    np.testing.assert_allclose(dots.get_offsets(), [[1.125, 0.5625], [0.5, 0.25], [0.875, 0.4375]], rtol=1e-6)
    (dots,) = zeros.collections
    np.testing.assert_allclose(dots.get_offsets(), [[0.25, 0.25], [0.5, 0.5], [0.75, 0.75]])
    assert means.get_title().endswith("Pearson 1.000")
    assert "log1p CP10k" in means.get_xlabel()
    assert means.get_ylabel().startswith("generated")
    assert zeros.get_legend() is None


def test_by_condition(known):
    real, generated = known
    means, zeros = c2s.pl.generated_means(real, generated=generated, groupby="type", show=False)
    assert [dots.get_label() for dots in means.collections] == ["a", "b"]
    np.testing.assert_allclose(means.collections[1].get_offsets(), [[0.75, 0.375], [0, 0], [1.75, 0.875]])
    assert means.get_title().endswith("Pearson 1.000 (mean of 2 conditions)")
    assert [text.get_text() for text in zeros.get_legend().get_texts()] == ["a", "b"]


def test_the_correlation_is_that_of_the_metrics(with_generated):
    """Of log1p counts per 10,000, and the mean of the conditions'."""
    stored = c2s.get.generated(with_generated.data, **with_generated.where)
    x = with_generated.adata.X.toarray()
    real = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))[:, with_generated.adata.var_names.isin(stored.var_names)]
    of_real, of_stored = with_generated.adata.obs["cell_type"].to_numpy(), stored.obs["cell_type"].to_numpy()
    each = [
        np.corrcoef(real[of_real == kind].mean(axis=0), stored.X.toarray()[of_stored == kind].mean(axis=0))[0, 1]
        for kind in np.unique(of_real)
    ]
    means, _ = plot(with_generated, groupby="cell_type")
    assert f"Pearson {np.mean(each):.3f} (mean of 3 conditions)" in means.get_title()
    assert len(means.collections) == 3
    (dots,) = plot(with_generated)[0].collections
    np.testing.assert_allclose(
        dots.get_offsets(), np.column_stack([real.mean(axis=0), stored.X.toarray().mean(axis=0)]), rtol=1e-4
    )


def test_figure_and_axes(with_generated):
    import matplotlib.pyplot as plt

    fig, mine = plt.subplots(2, 1)
    assert plot(with_generated, ax=mine) == list(mine)
    assert plot(with_generated, ax=mine, return_fig=True) is fig
