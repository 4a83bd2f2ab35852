"""Predicted cells as an AnnData."""

from __future__ import annotations

import numpy as np
import pytest

from sc_c2s.get import perturbed

KEY = "c2s_perturbed"


@pytest.fixture
def with_perturbed(any_treated):
    """A prediction for control cells: of all genes but two, in another order, and of one gene that is not at hand."""
    adata = any_treated.adata
    control = (adata.obs["treatment"] == "none").to_numpy()
    names = np.array([*adata.var_names[:1:-1], "ELSEWHERE"], dtype=object)
    values = np.arange(adata.n_obs * len(names), dtype=np.float32).reshape(adata.n_obs, -1)
    values[~control] = np.nan
    adata.obsm[KEY] = values
    adata.obs[f"{KEY}_sentence"] = np.where(control, "GENE3 GENE2", None)
    adata.uns[KEY] = {
        "var_names": names,
        "space": "log1p CP10k",
        "perturbation": "IFN",
        "params": {"condition_key": "treatment", "control": "none"},
    }
    return any_treated


def test_predicted_cells_have_the_name_of_the_perturbation(with_perturbed) -> None:
    adata, cells = with_perturbed.adata, perturbed(with_perturbed.data, **with_perturbed.where)
    control = adata.obs["treatment"] == "none"
    assert list(cells.obs_names) == list(adata.obs_names[control])
    assert set(cells.obs["treatment"]) == {"IFN"}
    assert list(cells.var_names) == [f"GENE{i}" for i in range(2, 40)]
    column = list(adata.uns[KEY]["var_names"]).index("GENE7")
    np.testing.assert_array_equal(cells[:, "GENE7"].X.ravel(), adata.obsm[KEY][control, column])
    assert cells.uns[KEY]["perturbation"] == "IFN"


def test_genes_at_hand_decide(with_perturbed) -> None:
    data = with_perturbed.data[:, ["GENE5", "GENE0", "GENE9"]] if not with_perturbed.where else None
    if data is None:
        pytest.skip("a subset of a MuData is another test")
    assert list(perturbed(data).var_names) == ["GENE5", "GENE9"]


def test_nothing_predicted_is_one_sentence(with_perturbed) -> None:
    adata = with_perturbed.adata
    adata.obs[f"{KEY}_sentence"] = np.nan
    with pytest.raises(ValueError, match="run tl.perturb"):
        perturbed(with_perturbed.data, **with_perturbed.where)
    with pytest.raises(KeyError, match="no predicted cells 'other'"):
        perturbed(with_perturbed.data, key="other", **with_perturbed.where)
