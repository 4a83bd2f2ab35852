"""The trainer: what a row is, what is learned from it, when it stops, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from scipy import sparse
from transformers import PreTrainedModel
from transformers.utils import logging

from sc_c2s.models import nano
from sc_c2s.training import sft
from sc_c2s.training.augment import NONE, Augmenter
from sc_c2s.training.examples import Examples
from sc_c2s.training.loss import IGNORED
from sc_c2s.training.sft import Collator, Settings, answer_tokens, last_checkpoint, train

ANSWERS = [" B", " T cell, CD4/CD8", " CD14+ monocyte"]
WORDS = np.array([f"GENE{i}" for i in range(40)], dtype=object)
SETTINGS = Settings(
    learning_rate=1e-2,
    batch_size=4,
    embedding_rate=1.0,
    weight_decay=0.0,
    n_evaluations=10,
    patience=50,
    seed=0,
)


def make_examples(n_cells: int = 12) -> Examples:
    """Cell ``i`` expresses ``i % 5 + 1`` genes and has answer ``i % 3``."""
    rng = np.random.default_rng(0)
    x = np.zeros((n_cells, 40), dtype=np.float32)
    for i in range(n_cells):
        x[i, rng.choice(40, size=i % 5 + 1, replace=False)] = rng.permutation(i % 5 + 1) + 1
    labels = np.arange(n_cells) % 3
    answers = [ANSWERS[label] for label in labels]
    cells = Augmenter(sparse.csr_matrix(x), labels, NONE, seed=0)
    return Examples(cells, WORDS, answers, lambda sentence: f"<cell> {sentence} </cell> type :", None)


def as_dataset(tokenizer, examples, cells: np.ndarray, *, closing: bool = True) -> datasets.Dataset:
    """Rows of one task."""
    return sft.as_dataset(tokenizer, [examples], np.stack([np.zeros_like(cells), cells], axis=1), closing=[closing])


@pytest.fixture(params=["words", "pieces"])
def tokenizer(request, piece_tokenizer):
    if request.param == "pieces":
        return piece_tokenizer
    return nano.build_tokenizer(["<cell>", "</cell>", "type", ":", *WORDS, "B"])


def test_a_row_is_prompt_answer_and_end(tokenizer) -> None:
    examples = make_examples()
    rows = as_dataset(tokenizer, examples, np.arange(12))
    for cell in range(12):
        prompt, answer = examples.row(cell, cell)
        row = rows[cell]
        assert row["input_ids"] == [*tokenizer(prompt + answer)["input_ids"], tokenizer.eos_token_id]
        n = len(tokenizer(prompt)["input_ids"])
        assert row["labels"][:n] == [IGNORED] * n
        assert row["labels"][n:] == row["input_ids"][n:]
        assert tokenizer.decode(row["labels"][n:-1]).strip() == answer.strip()
        assert row["labels"][-1] == tokenizer.eos_token_id


def test_the_number_of_a_row_makes_its_variant(tokenizer) -> None:
    """The same cell at two places of the schedule is shown as two variants."""
    seen = []

    class Recorded(Examples):
        def row(self, cell: int, i: int) -> tuple[str, str]:
            seen.append((int(cell), int(i)))
            return super().row(cell, i)

    examples = Recorded(**vars(make_examples()))
    rows = as_dataset(tokenizer, examples, np.array([3, 5, 3, 5]))
    rows[[0, 3]]
    assert seen == [(3, 0), (5, 3)]


def test_the_end_token_that_a_tokenizer_adds_is_not_doubled(piece_tokenizer) -> None:
    from tokenizers import processors

    closing = type(piece_tokenizer)(
        tokenizer_object=type(piece_tokenizer.backend_tokenizer).from_str(piece_tokenizer.backend_tokenizer.to_str()),
        pad_token="<pad>",
        eos_token="</s>",
    )
    closing.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    plain, closed = (as_dataset(t, make_examples(), np.arange(3))[:] for t in (piece_tokenizer, closing))
    assert closed == plain


def test_a_token_across_the_border_is_learned() -> None:
    """Where a prompt ends within a token, the whole token belongs to the answer."""

    class Merging:
        bos_token_id, eos_token_id = None, 1

        def __call__(self, texts, return_offsets_mapping):
            return {"input_ids": [[5, 6, 7]] * len(texts), "offset_mapping": [[(0, 2), (2, 5), (5, 9)]] * len(texts)}

    class Fixed:
        def row(self, cell, i):
            return "abcd", "efghi"

    [row] = as_dataset(Merging(), Fixed(), np.array([0]))
    assert row["labels"] == [IGNORED, 6, 7, 1]


def test_every_answer_of_a_conversation_is_learned(tokenizer) -> None:
    """Given and learned texts alternate; each token is as if the text had been read in one go."""
    row = ("GENE1 GENE2 type :", " B", " GENE3 type :", " T")
    [read] = sft.tokenise(tokenizer, [row], closing=True)
    assert read["input_ids"] == [*tokenizer("".join(row))["input_ids"], tokenizer.eos_token_id]
    learned = [token for token in read["labels"] if token != IGNORED]
    assert tokenizer.decode(learned[:-1]).split() == ["B", "T"]
    assert learned[-1] == tokenizer.eos_token_id
    places = [i for i, token in enumerate(read["labels"]) if token != IGNORED]
    # The question between them is not.
    assert tokenizer.decode(read["input_ids"][places[0] : places[-1]]).split() == ["B", "GENE3", "type", ":", "T"]


def test_the_start_token_that_a_template_wrote_is_not_doubled(piece_tokenizer) -> None:
    from tokenizers import processors

    begins = type(piece_tokenizer)(
        tokenizer_object=type(piece_tokenizer.backend_tokenizer).from_str(piece_tokenizer.backend_tokenizer.to_str()),
        bos_token="<pad>",
        eos_token="</s>",
    )
    begins.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<pad> $A", special_tokens=[("<pad>", 0)]
    )
    plain, written = (sft.tokenise(begins, [(f"{start}GENE1", " B")], closing=True)[0] for start in ("", "<pad>"))
    assert plain["input_ids"][0] == 0
    assert plain == written


def test_batches_are_padded_on_the_left() -> None:
    rows = [
        {"input_ids": [5, 6, 7, 1], "labels": [IGNORED, IGNORED, 7, 1]},
        {"input_ids": [8, 1], "labels": [IGNORED, 1]},
    ]
    batch = Collator(0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1], [0, 0, 8, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7, 1], [IGNORED, IGNORED, IGNORED, 1]]


def test_the_tokens_of_answers(tokenizer) -> None:
    closed = answer_tokens(tokenizer, "x :", ANSWERS).tolist()
    said = {token for answer in ANSWERS for token in tokenizer("x :" + answer)["input_ids"]}
    prompt = set(tokenizer("x :")["input_ids"])
    assert closed == sorted(set(closed))
    assert said - prompt <= set(closed) <= said
    assert tokenizer.eos_token_id not in closed


def test_rows_of_several_tasks(piece_tokenizer) -> None:
    """Each task closes its answers or not, whatever the order in which rows are read."""
    order = np.array([[0, 1], [1, 2], [0, 3], [1, 4]])
    rows = sft.as_dataset(piece_tokenizer, [make_examples(), make_examples()], order, closing=[True, False])
    found = rows[[3, 0, 2, 1]]
    assert found["task"] == [1, 0, 0, 1]
    ends = [ids[-1] == piece_tokenizer.eos_token_id for ids in found["input_ids"]]
    assert ends == [False, True, True, False]
    assert rows[2]["input_ids"] == found["input_ids"][2]
    assert Collator(0)([rows[0], rows[2]])["task"].tolist() == [0, 0]


class Validation:
    """Says what it is told to say, and remembers the weights it saw."""

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.seen = losses, []

    def __call__(self, model: PreTrainedModel) -> dict[str, float]:
        self.seen.append(model.get_input_embeddings().weight.detach().clone())
        return {"loss": self.losses[len(self.seen) - 1], "accuracy": 0.5}


def run(tmp_path: Path, validation: Any, *, n_steps: int = 10, **changes: Any):
    words = ["<cell>", "</cell>", "type", ":", *WORDS, "B"]
    with sft.quiet():
        model, tokenizer = nano.build(words, width=16, n_layers=1, n_heads=2)
    cells = np.resize(np.arange(12), 4 * n_steps)
    order = np.stack([np.zeros_like(cells), cells], axis=1)
    settings = Settings(**vars(SETTINGS) | changes)
    return train(model, tokenizer, [make_examples()], order, validation, settings=settings, output_dir=tmp_path)


def test_it_learns_the_answers(tmp_path) -> None:
    _, history = run(tmp_path, lambda model: {"loss": 1.0, "accuracy": 0.0}, n_steps=40)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_embeddings_move_at_their_own_rate(tmp_path, rate) -> None:
    validation = Validation([1 - i / 20 for i in range(10)])
    model, _ = run(tmp_path, validation, embedding_rate=rate, weight_decay=0.1)
    first, last = validation.seen[0], model.get_input_embeddings().weight.detach()
    assert torch.equal(first, last) == (rate == 0)


def test_history(tmp_path) -> None:
    losses = [0.95, 0.9, 0.8, 0.7, 0.6, 0.5]
    _, history = run(tmp_path, Validation(losses), n_evaluations=5)
    assert list(history.columns) == ["step", "epoch", "train_loss", "val_loss", "val_accuracy", "seconds"]
    assert list(history["step"]) == [1, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(history["epoch"], history["step"] * 4 / 12)
    assert list(history["val_loss"]) == losses
    assert history["train_loss"].notna().all()
    assert history["seconds"].is_monotonic_increasing
    assert (history["seconds"] > 0).all()


def test_the_best_state_is_kept(tmp_path) -> None:
    validation = Validation([0.9, 0.8, 0.1, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2])
    model, history = run(tmp_path, validation)
    assert len(history) == 10, "patience was not used up"
    torch.testing.assert_close(model.get_input_embeddings().weight.detach(), validation.seen[2], rtol=0, atol=0)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_the_start_is_kept_where_training_makes_it_worse(tmp_path) -> None:
    with sft.quiet():
        start, _ = nano.build(["<cell>", "</cell>", "type", ":", *WORDS, "B"], width=16, n_layers=1, n_heads=2)
    model, history = run(tmp_path, Validation([0.1, 0.5, 0.5]), n_evaluations=2)
    assert list(history["step"]) == [1, 5, 10]
    for name, value in start.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_it_stops_early(tmp_path) -> None:
    validation = Validation([0.9, 0.5, 0.6, 0.7, 0.55])
    model, history = run(tmp_path, validation, patience=3)
    assert list(history["val_loss"]) == [0.9, 0.5, 0.6, 0.7, 0.55]
    torch.testing.assert_close(model.get_input_embeddings().weight.detach(), validation.seen[1], rtol=0, atol=0)


class Killed(Exception):
    pass


def killed_after(validation: Validation, n: int):
    def validate(model: PreTrainedModel) -> dict[str, float]:
        if len(validation.seen) == n:
            raise Killed
        return validation(model)

    return validate


def test_a_run_that_was_stopped_goes_on(tmp_path) -> None:
    falling = [1 - i / 20 for i in range(10)]
    whole, history = run(tmp_path / "whole", Validation(falling))
    with pytest.raises(Killed):
        run(tmp_path / "stopped", killed_after(Validation(falling), 4))
    second = Validation(falling[4:])
    resumed, resumed_history = run(tmp_path / "stopped", second)
    assert len(second.seen) == 6, "steps 5 to 10"
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)
    columns = ["step", "train_loss", "val_loss"]
    np.testing.assert_allclose(resumed_history[columns], history[columns])
    assert resumed_history["seconds"].is_monotonic_increasing


def test_a_run_that_was_stopped_after_its_last_step_is_not_made_again(tmp_path) -> None:
    losses = [0.9, 0.8, 0.1, 0.6, 0.5, 0.4, 0.3, 0.3, 0.2, 0.2]
    validation = Validation(losses)
    first, history = run(tmp_path, validation)
    last_seen = validation.seen[-1]
    once_more = Validation(losses[-1:])
    again, same_history = run(tmp_path, once_more)
    for seen in once_more.seen:
        torch.testing.assert_close(seen, last_seen, rtol=0, atol=0)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)
    assert list(same_history["val_loss"]) == list(history["val_loss"]) == losses


def test_patience_that_was_used_up_stays_used_up(tmp_path) -> None:
    losses = [0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    with pytest.raises(Killed):
        run(tmp_path, killed_after(Validation(losses), 4), patience=5)
    _, history = run(tmp_path, Validation(losses[4:]), patience=5)
    assert len(history) == 6


def test_a_checkpoint_that_was_half_written_is_passed_over(tmp_path) -> None:
    falling = [1 - i / 20 for i in range(10)]
    with pytest.raises(Killed):
        run(tmp_path, killed_after(Validation(falling), 4))
    checkpoints = tmp_path / "checkpoints"
    assert last_checkpoint(tmp_path) == str(checkpoints / "checkpoint-4")
    (checkpoints / "checkpoint-12").mkdir()
    (checkpoints / "checkpoint-12" / "model.safetensors").write_bytes(b"half")
    (checkpoints / "checkpoint-13").mkdir()
    (checkpoints / "checkpoint-13" / "trainer_state.json").write_text('{"epoch": 0.')
    assert last_checkpoint(tmp_path) == str(checkpoints / "checkpoint-4")
    second = Validation(falling[4:])
    run(tmp_path, second)
    assert len(second.seen) == 6


def test_numbers_of_checkpoints_are_numbers(tmp_path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (9, 10):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoints" / "checkpoint-10")


@pytest.fixture
def loud() -> Iterator[None]:
    """Libraries that say all they can."""
    before = logging.get_verbosity()
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    yield
    logging.set_verbosity(before)


@pytest.mark.usefixtures("loud")
@pytest.mark.parametrize("fails", [False, True])
def test_one_bar_and_no_other_word(tmp_path, capfd, fails) -> None:
    validation = Validation([0.5] * 10)
    if fails:
        with pytest.raises(Killed):
            run(tmp_path, killed_after(validation, 2))
    else:
        run(tmp_path, validation)
    said = capfd.readouterr()
    assert said.out == ""
    lines = {line.split(":")[0].strip() for line in said.err.replace("\r", "\n").split("\n")}
    assert lines - {""} == {"training"}
    assert logging.get_verbosity() == logging.INFO, "as it was"
    assert logging.is_progress_bar_enabled()
    assert not datasets.are_progress_bars_disabled()


def test_bars_that_were_off_stay_off() -> None:
    on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        with sft.quiet():
            pass
        assert not logging.is_progress_bar_enabled()
        assert datasets.are_progress_bars_disabled()
    finally:
        datasets.enable_progress_bars()
        if on:
            logging.enable_progress_bar()
