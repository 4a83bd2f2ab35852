"""Supervised fine-tuning with TRL's trainer."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from sc_c2s._progress import progress

from .examples import Rows, Shared
from .loss import IGNORED, Choice, answer_loss, shares_loss
from .processes import share_of

CHECKPOINTS, RUN = "checkpoints", "run.json"
# transformers renamed the switch; TRL turns it on, which costs time where memory is not short.
_CHECKPOINTING = (
    "activation_checkpointing"
    if "activation_checkpointing" in SFTConfig.__dataclass_fields__
    else "gradient_checkpointing"
)
Validate = Callable[[PreTrainedModel], dict[str, float]]


@dataclass(frozen=True)
class Settings:
    """How a model is trained: the part of the configuration that decides the result.

    Attributes
    ----------
    learning_rate
        Peak of the learning rate; it rises for 3 % of the steps and falls to zero along a cosine.
    batch_size
        Rows in one step.
    embedding_rate
        Learning rate of the token embeddings, as a share of that of the other weights.
    weight_decay
        AdamW's decay of the weights.
    n_evaluations
        How often the validation cells are scored.
    patience
        Evaluations without a better validation loss before training stops; ``None`` never stops early.
    seed
        Seed of everything that is drawn.
    """

    learning_rate: float
    batch_size: int
    embedding_rate: float
    weight_decay: float
    n_evaluations: int
    patience: int | None
    seed: int


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Rows],
    order: np.ndarray,
    validate: Validate,
    *,
    settings: Settings,
    output_dir: Path,
    choices: Sequence[Choice | None] = (None,),
    peft_config: Any = None,
    precision: str = "fp32",
    resume: bool = True,
) -> tuple[PreTrainedModel, pd.DataFrame]:
    """Train a model on rows and keep the state that did best on the validation cells.

    Parameters
    ----------
    model, tokenizer
        Causal language model and its tokenizer.
    rows
        Write the rows, one object a task.
    order
        Task and cell of each row, in the order of training (rows × 2). Every batch is of one task.
    validate
        Scores the validation cells: a dict that holds at least ``loss``.
    settings
        How to train.
    output_dir
        Checkpoints are kept here while training runs.
    choices
        What the answers of each task are chosen among. Those of a task without one are chosen among all tokens, and are
        learned with the end token behind them.
    peft_config
        Train an adapter of this kind instead of all weights.
    precision
        ``"bf16"`` computes in bfloat16, ``"fp32"`` does not.
    resume
        Go on from the last checkpoint of an earlier run that was stopped.

    Returns
    -------
    The trained model and its history (step, epoch, seconds, train_loss, val_loss, val_accuracy).
    """
    n_steps = len(order) // settings.batch_size
    callbacks: list[TrainerCallback] = [OneBar(n_steps), JudgeStart()]
    if settings.patience is not None:
        callbacks.append(EarlyStoppingCallback(settings.patience))
    with quiet():
        on_cpu = next(model.parameters()).device.type == "cpu"
        config = _config(settings, n_steps, output_dir, precision=precision, on_cpu=on_cpu)
        dataset = as_dataset(
            tokenizer,
            rows,
            order,
            closing=[choice is None for choice in choices],
            shared=[choice is not None and choice.shares for choice in choices],
        )
        trainer = AnswerTrainer(
            model=model,
            args=config,
            train_dataset=dataset,
            # The trainer wants rows to evaluate on; what is evaluated is `validate`.
            eval_dataset=dataset.select([0]),
            processing_class=tokenizer,
            data_collator=Collator(tokenizer.pad_token_id),
            peft_config=peft_config,
            callbacks=callbacks,
        )
        # TRL prints its own bars and tables where it thinks it is in a notebook.
        trainer.remove_callback(PrinterCallback)
        trainer.validate, trainer.begun = validate, time.monotonic()
        trainer.embedding_rate = settings.embedding_rate
        trainer.choices = choices
        trainer.train(resume_from_checkpoint=last_checkpoint(output_dir) if resume else None)
    # Training in bfloat16 wraps the forward pass; what comes after computes as the stored model will.
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return trained, history_table(
        trainer.state.log_history, rows_per_epoch=sum(len(one.lengths) for one in rows), settings=settings
    )


def _config(settings: Settings, n_steps: int, output_dir: Path, *, precision: str, on_cpu: bool) -> SFTConfig:
    """Say in the trainer's words how to train."""
    return SFTConfig(
        per_device_train_batch_size=share_of(settings.batch_size, f"batch_size={settings.batch_size}"),
        weight_decay=settings.weight_decay,
        bf16=precision == "bf16",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        **judged_often(settings, n_steps, output_dir, best="loss", greater=False, on_cpu=on_cpu),
    )


def judged_often(
    settings: Any, n_steps: int, output_dir: Path, *, best: str, greater: bool, on_cpu: bool
) -> dict[str, Any]:
    """Say what every trainer is told: how the rate goes, when states are judged and kept, and what is left to us."""
    every = max(n_steps // settings.n_evaluations, 1)
    return {
        "output_dir": str(output_dir / CHECKPOINTS),
        "num_train_epochs": 1,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": max(n_steps * 3 // 100, 1),
        "max_grad_norm": 1.0,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "use_cpu": on_cpu,
        _CHECKPOINTING: False,
        "dataloader_pin_memory": not on_cpu,
        "remove_unused_columns": False,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        # The best one and the last one: with 1 the last is gone when training ends, before the model is written.
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": best,
        "greater_is_better": greater,
        "logging_steps": every,
        "disable_tqdm": True,
        "report_to": "none",
        # Patience that was used up before a kill stays used up, and what a guard has seen it has seen.
        "restore_callback_states_from_checkpoint": True,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Leave the screen to our own bar: no bars and remarks of the libraries underneath, for a while."""
    verbosity, bars, dataset_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            # What the libraries have to change among themselves.
            warnings.simplefilter("ignore", FutureWarning)
            # TRL's hook for answers of our own may change; the tests would say so.
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if dataset_bars:
            enable_progress_bars()


def last_checkpoint(output_dir: Path) -> str | None:
    """Find the last checkpoint that is whole: a kill may come in the middle of writing one."""
    found = (output_dir / CHECKPOINTS).glob("checkpoint-*")
    for checkpoint in sorted(found, key=lambda path: int(path.name.partition("-")[2]), reverse=True):
        try:
            # The trainer writes its state last.
            json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None


class Judged:
    """A trainer of whatever method whose states are judged by what the model will be used for."""

    validate: Validate
    begun: float
    embedding_rate: float
    control: Any
    state: Any
    args: Any
    model: Any
    callback_handler: Any
    log: Callable[[dict[str, float]], None]

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Move embeddings slower than the rest: where they start is worth keeping.

        A small model with many genes and few cells otherwise learns its training cells by heart.
        """
        optimizer = super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        if self.embedding_rate != 1:
            table = self.model.get_input_embeddings().weight
            for group in optimizer.param_groups:
                group["params"] = [weight for weight in group["params"] if weight is not table]
            optimizer.add_param_group(
                {"params": [table], "lr": self.args.learning_rate * self.embedding_rate, "weight_decay": 0.0}
            )
        return optimizer

    def _save(self, *args: Any, **kwargs: Any) -> None:
        """Keep no more than was trained: where the vocabulary of an adapted model has grown, PEFT adds the whole table."""
        if hasattr(self.model, "peft_config"):
            self.model.save_pretrained = partial(self.model.save_pretrained, save_embedding_layers=False)
        try:
            super()._save(*args, **kwargs)  # type: ignore[misc]
        finally:
            vars(self.model).pop("save_pretrained", None)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the validation cells as they will be asked about: by closed answers, not by token loss."""
        earlier = [entry["eval_seconds"] for entry in self.state.log_history if "eval_seconds" in entry]
        if not hasattr(self, "_before"):  # seconds that were spent before a restart
            self._before = earlier[-1] if earlier else 0.0
        scores = {f"eval_{name}": value for name, value in self.validate(self.model).items()}
        scores["eval_seconds"] = round(self._before + time.monotonic() - self.begun, 2)
        self.model.train()
        self.log(scores)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores


class AnswerTrainer(Judged, SFTTrainer):
    """TRL's trainer, with what a closed answer after a long prompt asks for."""

    choices: Sequence[Choice | None]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy of the answers, see :func:`answer_loss` and :func:`shares_loss`."""
        choice = self.choices[int(inputs["task"][0])]
        if choice is not None and choice.shares:
            total, n, output = shares_loss(model, inputs, choice)
            num_items_in_batch = None  # no token is learned, but their shares
        else:
            total, n, output = answer_loss(model, inputs, choice)
        loss = total / (n if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None:
            # Tokens are counted over all processes, and gradients are averaged over them.
            loss = loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler:
        """Rows come in the order they were put in: batches of like length, and the same ones after a restart."""
        return torch.utils.data.SequentialSampler(self.train_dataset)


class Collator:
    """Makes a batch of rows, padded on the left, so that all answers of a batch end together."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad the rows of a batch."""
        length = max(len(row["input_ids"]) for row in rows)
        ids = np.full((len(rows), length), self.pad_id, dtype=np.int64)
        labels = np.full((len(rows), length), IGNORED, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for i, row in enumerate(rows):
            n = len(row["input_ids"])
            ids[i, length - n :], labels[i, length - n :], mask[i, length - n :] = row["input_ids"], row["labels"], 1
        batch = {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": labels,
            # A plain forward pass does not derive positions from the mask.
            "position_ids": np.maximum(mask.cumsum(axis=1) - 1, 0),
            "task": np.array([row.get("task", 0) for row in rows]),
        }
        if "shares" in rows[0]:
            batch["shares"] = np.stack([row["shares"] for row in rows])
        return {name: torch.from_numpy(values) for name, values in batch.items()}


class JudgeStart(TrainerCallback):
    """Let the start stand for choice as well: training may make a good one worse.

    The learning rate of the first step is zero, so the state after it is the start.
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Have the first step scored and saved."""
        if state.global_step == 1:
            control.should_log = control.should_evaluate = control.should_save = True


class OneBar(TrainerCallback):
    """The one progress bar of training."""

    def __init__(self, n_steps: int) -> None:
        self.n_steps = n_steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar, at the step an earlier run got to."""
        self.bar = progress(desc="training", total=self.n_steps, unit="step")
        self.bar.update(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on."""
        self.bar.update()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Show how the validation cells do."""
        shown = {"val loss": "eval_loss", "val acc": "eval_accuracy"}
        self.bar.set_postfix({name: f"{metrics[key]:.3f}" for name, key in shown.items() if key in metrics})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar.close()


def as_dataset(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Rows],
    order: np.ndarray,
    *,
    closing: Sequence[bool] = (True,),
    shared: Sequence[bool] | None = None,
) -> Dataset:
    """Rows as a dataset that writes and tokenises each of them when it is read.

    ``closing`` adds the end token to the answers of a task; ``shared`` gives the shares of its words in place of answers.
    """

    def write(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        made: dict[int, dict[str, Any]] = {}
        for task in set(batch["task"]):
            places = [place for place, other in enumerate(batch["task"]) if other == task]
            asked = [(batch["cell"][place], batch["i"][place]) for place in places]
            source = rows[task]
            if shared is not None and shared[task] and isinstance(source, Shared):
                done = tokenise(tokenizer, [(source.prompt(*one), "") for one in asked], closing=False)
                for one, (cell, _) in zip(done, asked, strict=True):
                    one["shares"] = source.shares(cell)
            else:
                done = tokenise(tokenizer, [source.row(*one) for one in asked], closing=closing[task])
            made |= zip(places, done, strict=True)
        read = {name: [made[place][name] for place in range(len(made))] for name in made[0]}
        return {**read, "task": batch["task"]}

    columns = {"task": order[:, 0], "cell": order[:, 1], "i": np.arange(len(order))}
    return Dataset.from_dict(columns).with_transform(write)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[str]], *, closing: bool
) -> list[dict[str, Any]]:
    """Read prompts with their answers; what is learned is the answer, with ``closing`` also that it ends there.

    Parameters
    ----------
    tokenizer
        The tokenizer.
    rows
        A prompt and its answer; where a conversation goes on, the prompt behind that and its answer, and so on.
    closing
        Add the end token to the last answer.
    """
    close = [tokenizer.eos_token_id] if closing else []
    read = tokenizer(["".join(row) for row in rows], return_offsets_mapping=True)
    out = []
    for row, ids, offsets in zip(rows, read["input_ids"], read["offset_mapping"], strict=True):
        if ids[-1] == tokenizer.eos_token_id and offsets[-1][1] == offsets[-1][0]:
            ids, offsets = ids[:-1], offsets[:-1]  # one that the tokenizer adds to any text
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            ids, offsets = ids[1:], offsets[1:]  # the template of a conversation had written it already
        ends = np.cumsum([len(part) for part in row])
        # A token that reaches past a prompt belongs to the answer, also where a tokenizer merges across the border.
        part = np.searchsorted(ends, [end for _, end in offsets])
        learned = [token if place % 2 else IGNORED for token, place in zip(ids, part.tolist(), strict=True)]
        out.append({"input_ids": [*ids, *close], "labels": [*learned, *close]})
    return out


def answer_tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, answers: Sequence[str]) -> torch.Tensor:
    """Tokens that occur in answers to a prompt, in order."""
    rows = tokenise(tokenizer, [(prompt, answer) for answer in dict.fromkeys(answers)], closing=False)
    return torch.tensor(sorted({token for row in rows for token in row["labels"] if token != IGNORED}))


def own_tokens(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> torch.Tensor:
    """Tokens of answers that are one token each, a space before it, in their order."""
    return torch.tensor([row[-1] for row in tokenizer([f"x{answer}" for answer in answers])["input_ids"]])


def history_table(log: list[dict[str, float]], *, rows_per_epoch: int, settings: Settings) -> pd.DataFrame:
    """Gather the trainer's log into one row for each evaluation."""
    columns = {
        "loss": "train_loss",
        "eval_loss": "val_loss",
        "eval_accuracy": "val_accuracy",
        "eval_seconds": "seconds",
    }
    table = by_step(log, lambda entry: {new: float(entry[old]) for old, new in columns.items() if old in entry})
    table = table.reindex(columns=["step", *columns.values()])
    table.insert(1, "epoch", table["step"] * settings.batch_size / rows_per_epoch)
    return table


def by_step(log: list[dict[str, float]], read: Callable[[dict[str, float]], dict[str, float]]) -> pd.DataFrame:
    """Gather what is read off the entries of the trainer's log into one row a step."""
    steps: dict[int, dict[str, float]] = {}
    for entry in log:
        if row := read(entry):
            steps.setdefault(int(entry["step"]), {}).update(row)
    table = pd.DataFrame.from_dict(steps, orient="index").sort_index()
    table.insert(0, "step", table.index.to_numpy(np.int64))
    return table.reset_index(drop=True)
