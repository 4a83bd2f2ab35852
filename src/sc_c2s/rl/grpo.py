"""Group relative policy optimisation with TRL's trainer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from scanpy import logging as logg
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from sc_c2s.engine import LocalEngine
from sc_c2s.training.processes import share_of
from sc_c2s.training.sft import (
    Judged,
    JudgeStart,
    OneBar,
    by_step,
    judged_often,
    last_checkpoint,
    quiet,
)

from .guard import Guard
from .policy import Policy
from .questions import Reward, Rewarded


@dataclass(frozen=True)
class RewardSettings:
    """How a model is trained with rewards: the part of the configuration that decides the result.

    Attributes
    ----------
    n_steps
        Updates of the model.
    n_prompts
        Prompts in one step.
    n_generations
        Answers to each prompt, which are compared with each other.
    n_words
        Words of an answer, where it has more than one; of prose, most tokens.
    learning_rate
        Peak of the learning rate; it rises for 3 % of the steps and falls to zero along a cosine.
    seed
        Seed of everything that is drawn.
    embedding_rate
        Learning rate of the token embeddings, as a share of that of the other weights.
    beta
        Weight of the Kullback-Leibler divergence from the model at the start.
    weights
        Weight of each reward.
    n_evaluations
        How often the validation cells are scored.
    tolerance, patience
        See :class:`~sc_c2s.rl.guard.Guard`.
    """

    n_steps: int
    n_prompts: int
    n_generations: int
    n_words: int
    learning_rate: float
    seed: int
    embedding_rate: float = 1.0
    beta: float = 0.02
    weights: tuple[float, ...] = (1.0,)
    n_evaluations: int = 10
    tolerance: float = 0.05
    patience: int = 2


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Rewarded,
    rewards: Sequence[Reward],
    *,
    settings: RewardSettings,
    output_dir: Path,
    peft_config: Any = None,
    resume: bool = True,
) -> tuple[PreTrainedModel, pd.DataFrame, str | None]:
    """Train a model on rewards and keep the state that did best on the validation cells.

    Parameters
    ----------
    model, tokenizer
        Causal language model and its tokenizer.
    task
        What it is asked, how it answers, and how it is judged.
    rewards
        Functions of TRL's form.
    settings
        How to train.
    output_dir
        Checkpoints are kept here while training runs.
    peft_config
        Train an adapter of this kind instead of all weights.
    resume
        Go on from the last checkpoint of an earlier run that was stopped.

    Returns
    -------
    The trained model, its history (a row an evaluation), and why training was stopped early, if it was.
    """
    guard = Guard(task.watched, tolerance=settings.tolerance, patience=settings.patience, n_prompts=settings.n_prompts)
    callbacks: list[TrainerCallback] = [OneBar(settings.n_steps), JudgeStart(), guard]
    with quiet():
        on_cpu = next(model.parameters()).device.type == "cpu"
        rng = np.random.default_rng(settings.seed)
        dataset = asked(task, task.draw(settings.n_steps * settings.n_prompts, settings.n_prompts, rng))
        trainer = RewardTrainer(
            model=model,
            reward_funcs=list(rewards),
            args=_config(settings, output_dir, best=task.watched[0], on_cpu=on_cpu),
            train_dataset=dataset,
            # The trainer wants rows to evaluate on; what is evaluated is `validate`.
            eval_dataset=dataset.select([0]),
            processing_class=tokenizer,
            peft_config=peft_config,
            callbacks=callbacks,
            rollout_func=rollout,
        )
        # TRL prints its own bars and tables where it thinks it is in a notebook.
        trainer.remove_callback(PrinterCallback)
        trainer.validate, trainer.begun = lambda model: task.watch(model, tokenizer), time.monotonic()
        trainer.policy = task.policy(LocalEngine(model, tokenizer, quiet=True))
        trainer.embedding_rate = settings.embedding_rate
        trainer.train(resume_from_checkpoint=last_checkpoint(output_dir) if resume else None)
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    _undo(trained)
    # A checkpoint brings its own guard.
    [guard] = [one for one in trainer.callback_handler.callbacks if isinstance(one, Guard)]
    if guard.reason is not None:
        logg.warning(f"{guard.reason}: training was stopped, and the state with the best {task.watched[0]} is kept.")
    return trained, history_table(trainer.state.log_history, rewards=trainer.reward_func_names), guard.reason


def _config(settings: RewardSettings, output_dir: Path, *, best: str, on_cpu: bool) -> GRPOConfig:
    """Say in the trainer's words how to train."""
    per_step = settings.n_prompts * settings.n_generations
    share = share_of(
        per_step, f"{per_step} answers a step (batch_size={settings.n_prompts}, n_generations={settings.n_generations})"
    )
    return GRPOConfig(
        per_device_train_batch_size=share,
        per_device_eval_batch_size=share,
        num_generations=settings.n_generations,
        max_completion_length=settings.n_words,
        shuffle_dataset=False,
        weight_decay=0.0,
        beta=settings.beta,
        reward_weights=list(settings.weights),
        bf16=False,
        **judged_often(settings, settings.n_steps, output_dir, best=best, greater=True, on_cpu=on_cpu),
    )


class RewardTrainer(Judged, GRPOTrainer):
    """TRL's trainer for a model that answers as a policy says."""

    policy: Policy

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Ask how probable answers were among those that could be drawn.

        TRL has no hook for this. Its own method asks for the probability among all tokens: of a policy that is not the one that
        was sampled, whose ratio to the reference grows without bounds.
        """
        size = batch_size or len(input_ids)
        parts = []
        for start in range(0, len(input_ids), size):
            part = slice(start, start + size)

            def run(**inputs: Any) -> Any:
                with self.accelerator.autocast():
                    return model(**{"use_cache": False, **inputs})

            parts.append(self.policy.log_probs(run, input_ids[part], attention_mask[part], logits_to_keep))
        logs, entropies = (torch.cat(some) for some in zip(*parts, strict=True))
        return logs, entropies, None


def rollout(prompts: list[str], trainer: RewardTrainer) -> dict[str, Any]:
    """Answer prompts, which come as often as they are to be answered, as the policy says.

    What a row draws depends on its number in the whole step, so that several processes draw what one would.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    first = trainer.accelerator.process_index * len(prompts)
    seeds = (
        (np.uint64(trainer.args.seed) << np.uint64(40))
        + (np.uint64(trainer.state.global_step) << np.uint64(20))
        + np.arange(first, first + len(prompts), dtype=np.uint64)
    )
    engine = LocalEngine(model, trainer.processing_class, quiet=True)
    drawn = trainer.policy.draw(engine, prompts, trainer.max_completion_length, seeds)
    return {"prompt_ids": engine.tokens(prompts), "completion_ids": drawn, "logprobs": None}


def asked(questions: Rewarded, numbers: np.ndarray) -> Dataset:
    """Questions as a dataset that writes each of them when it is read; a question that is read several times is written once."""

    def write(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = {i: questions.question(number, i) for number, i in zip(batch["number"], batch["i"], strict=True)}
        return {name: [made[i][name] for i in batch["i"]] for name in next(iter(made.values()))}

    return Dataset.from_dict({"number": numbers, "i": np.arange(len(numbers))}).with_transform(write)


def history_table(log: list[dict[str, float]], *, rewards: Sequence[str]) -> pd.DataFrame:
    """Gather the trainer's log into one row for each evaluation."""
    columns = {
        "reward": "reward",
        **{f"rewards/{name}/mean": f"reward_{name}" for name in rewards},
        "kl": "kl",
        "entropy": "entropy",
        "completions/mean_length": "length",
        "num_tokens": "n_tokens",
    }

    def read(entry: dict[str, float]) -> dict[str, float]:
        trained = {new: float(entry[old]) for old, new in columns.items() if old in entry}
        judged = {f"val_{k.removeprefix('eval_')}": float(v) for k, v in entry.items() if k.startswith("eval_")}
        return trained | judged

    table = by_step(log, read).rename(columns={"val_seconds": "seconds"})
    first = [name for name in ("step", "seconds", *columns.values()) if name in table]
    return table[[*first, *(name for name in table if name not in first)]]


def _undo(model: Any) -> None:
    """Take off the head that TRL put on, so that the model is what it was before; and its copy of an adapter."""
    bare = model.get_base_model() if hasattr(model, "get_base_model") else model
    vars(bare).pop("forward", None)
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
