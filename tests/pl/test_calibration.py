from __future__ import annotations

import numpy as np
import pytest

import sc_c2s as c2s


@pytest.mark.parametrize(("split", "n_bins"), [("test", 10), (None, 5)])
def test_shows_the_reliability_table(annotated, split, n_bins):
    ax = c2s.pl.calibration(annotated.data, "cell_type", split=split, n_bins=n_bins, show=False, **annotated.where)
    adata = annotated.adata
    chosen = adata.obs["cell_type"].notna() & ~np.isnan(adata.obsm["c2s_cell_type_proba"]).any(axis=1)
    if split is not None:
        chosen &= adata.obs["c2s_split"] == split
    proba = adata.obsm["c2s_cell_type_proba"][chosen.to_numpy()]
    truth = adata.obs["cell_type"][chosen].astype(str)
    scores = c2s.metrics.annotation(
        truth, truth, proba=proba, labels=adata.uns["c2s_cell_type"]["labels"], n_bins=n_bins
    )
    correct = adata.uns["c2s_cell_type"]["labels"][proba.argmax(axis=1)] == truth
    table = c2s.metrics.reliability(proba.max(axis=1), correct, n_bins=n_bins)

    assert [bar.get_height() for bar in ax.patches] == pytest.approx(table["accuracy"].fillna(0).tolist())
    assert [bar.get_x() for bar in ax.patches] == pytest.approx(table["low"].tolist())
    assert [text.get_text() for text in ax.texts] == table["n"].astype(str).tolist()
    dots = next(line for line in ax.lines if line.get_label() == "mean of the bin")
    np.testing.assert_allclose(dots.get_xydata(), table.loc[table["n"] > 0, ["confidence", "accuracy"]], rtol=1e-6)
    for name in ("ece", "ece_chance", "ece_chance_p95"):
        assert f"{scores[name]:.3f}" in ax.get_title()


def test_whiskers_hold_the_diagonal(annotated):
    ax = c2s.pl.calibration(annotated.data, "cell_type", show=False, **annotated.where)
    (whiskers,) = ax.collections
    for (x, low), (same, high) in whiskers.get_segments():
        assert x == same
        assert 0 <= low <= high <= 1
        assert low - 0.2 <= x <= high + 0.2


def test_without_probabilities(annotated):
    annotated.adata.obsm["c2s_cell_type_proba"][:] = np.nan
    with pytest.raises(ValueError, match="None of these cells has probabilities"):
        c2s.pl.calibration(annotated.data, "cell_type", show=False, **annotated.where)
    del annotated.adata.obsm["c2s_cell_type_proba"]
    with pytest.raises(KeyError, match="tl.annotate"):
        c2s.pl.calibration(annotated.data, "cell_type", show=False, **annotated.where)
