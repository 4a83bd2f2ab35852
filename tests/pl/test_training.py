from __future__ import annotations

import pandas as pd
import pytest

import sc_c2s as c2s


def curve(ax, label: str) -> list[list[float]]:
    return next(line for line in ax.lines if line.get_label() == label).get_xydata().tolist()


def check(ax) -> None:
    right = next(other for other in ax.figure.axes if other is not ax)
    assert curve(ax, "training loss") == [[10, 2], [20, 1], [30, 0.5], [40, 0.25]]
    assert curve(ax, "validation loss") == [[20, 0.9], [40, 1.1]]
    assert curve(right, "validation accuracy (right)") == [[20, 0.7], [40, 0.75]]
    assert curve(ax, "best step (20)") == [[20, 0], [20, 1]]
    assert ax.get_title() == "best at step 20: validation loss 0.900, accuracy 0.700"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "training loss",
        "validation loss",
        "validation accuracy (right)",
        "best step (20)",
    ]


def test_from_cells(annotated):
    check(c2s.pl.training(annotated.data, show=False, **annotated.where))


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_from_a_model_directory(annotated, tmp_path, kind):
    annotated.adata.uns["c2s_finetune"]["history"].to_csv(tmp_path / "history.csv", index=False)
    check(c2s.pl.training(kind(tmp_path), show=False))


def test_the_step_that_was_kept_is_the_best_one(annotated):
    annotated.adata.uns["c2s_finetune"]["best_step"] = 40
    ax = c2s.pl.training(annotated.data, show=False, **annotated.where)
    assert ax.get_title() == "best at step 40: validation loss 1.100, accuracy 0.750"


def test_highest_accuracy_is_best_where_no_loss_was_measured(annotated):
    del annotated.adata.uns["c2s_finetune"]["history"]["val_loss"]
    ax = c2s.pl.training(annotated.data, show=False, **annotated.where)
    assert ax.get_title() == "best at step 40: accuracy 0.750"


def test_training_without_validation(annotated):
    history = annotated.adata.uns["c2s_finetune"]["history"]
    history[["val_loss", "val_accuracy"]] = float("nan")
    ax = c2s.pl.training(annotated.data, show=False, **annotated.where)
    assert [line.get_label() for line in ax.lines] == ["training loss"]
    assert ax.figure.axes == [ax]


@pytest.mark.parametrize(("losses", "from_zero"), [([6.2, 5.9, 5.8], False), ([2.0, 1.2, 0.4], True)])
def test_a_curve_that_stays_far_from_zero_is_not_flattened(annotated, losses, from_zero):
    columns = {"step": [1, 2, 3], "train_loss": losses, "val_loss": losses, "val_accuracy": float("nan")}
    annotated.adata.uns["c2s_finetune"]["history"] = pd.DataFrame(columns)
    bottom, top = c2s.pl.training(annotated.data, show=False, **annotated.where).get_ylim()
    assert (bottom == 0) == from_zero
    assert bottom <= min(losses) < max(losses) <= top


def test_bad_input(adata, tmp_path):
    with pytest.raises(KeyError, match="tl.finetune"):
        c2s.pl.training(adata, show=False)
    with pytest.raises(FileNotFoundError, match="history.csv"):
        c2s.pl.training(tmp_path, show=False)
