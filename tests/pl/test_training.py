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


def rewarded() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": [1, 2, 3],
            "seconds": [1.0, 2.0, 3.0],
            "reward": [0.1, 0.4, 0.5],
            "reward_tau": [0.1, 0.2, 0.2],
            "reward_validity": [0.0, 0.2, 0.3],
            "kl": [0.0, 0.01, 0.02],
            "entropy": [4.0, 3.5, 3.0],
            "length": [8, 8, 8],
            "n_tokens": [10, 20, 30],
            "val_r2_delta": [0.5, 0.7, 0.6],
            "val_pearson_delta": [0.8, 0.8, 0.9],
        }
    )


def test_a_training_with_rewards(tmp_path):
    rewarded().to_csv(tmp_path / "history.csv", index=False)
    reward, scores, nats, length = c2s.pl.training(tmp_path, show=False)
    assert curve(reward, "reward") == [[1, 0.1], [2, 0.4], [3, 0.5]]
    assert curve(reward, "validity") == [[1, 0.0], [2, 0.2], [3, 0.3]]
    assert curve(scores, "r2_delta") == [[1, 0.5], [2, 0.7], [3, 0.6]]
    assert curve(scores, "pearson_delta")[2] == [3, 0.9]
    assert curve(nats, "kl")[1] == [2, 0.01]
    assert curve(nats, "entropy")[1] == [2, 3.5]
    assert curve(length, "length") == [[1, 8], [2, 8], [3, 8]]
    for ax in (reward, scores, nats, length):
        assert curve(ax, "kept (step 2)") == [[2, 0], [2, 1]], "the best by the first score"


def test_a_training_with_rewards_on_given_axes(tmp_path):
    import matplotlib.pyplot as plt

    rewarded().to_csv(tmp_path / "history.csv", index=False)
    axes = plt.subplots(2, 2)[1]
    assert c2s.pl.training(tmp_path, ax=axes, show=False) == list(axes.ravel())
    with pytest.raises(ValueError, match="4 panels"):
        c2s.pl.training(tmp_path, ax=axes[0, 0], show=False)
    rewarded()[["step"]].assign(train_loss=1.0).to_csv(tmp_path / "history.csv", index=False)
    with pytest.raises(ValueError, match="fit on one axes"):
        c2s.pl.training(tmp_path, ax=axes, show=False)
