"""Stop a training whose reward rises while what it is for falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState


@dataclass
class Guard(TrainerCallback, ExportableState):
    """Watches held-out scores while a reward is maximised (Goodhart's law; Gao *et al.* 2023 measured it for language models).

    At every evaluation each watched score is compared with the best that it has had. If one has fallen by more than the
    tolerance, and the reward is above what it was when that score was best, by more than twice the standard error of the
    difference, the reward is being won by other means.

    Attributes
    ----------
    watched
        Names of the scores; more is better.
    tolerance
        Fall that is still taken for chance, as a share of the best value (for values below 1 in size: of 1).
    patience
        Evaluations in a row after which training stops.
    """

    watched: Sequence[str]
    tolerance: float = 0.05
    patience: int = 2
    reason: str | None = None
    """Why training was stopped."""
    n_prompts: int = 1
    """Prompts of a step."""
    best: dict[str, list[float]] = field(default_factory=dict)
    """Best value of each score, and the reward at that time with its squared standard error."""
    step: int = 0
    """Last step that was looked at."""
    n_bad: int = 0
    """Evaluations in a row that were bad."""

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps, so that what was seen before a kill stays seen."""
        return {
            "args": {name: getattr(self, name) for name in ("tolerance", "patience", "n_prompts")}
            | {"watched": list(self.watched)},
            "attributes": {name: getattr(self, name) for name in ("reason", "best", "n_bad", "step")},
        }

    def see(self, reward: float, scores: Mapping[str, float], *, error: float = 0.0) -> str | None:
        """Take in one evaluation; says what is wrong once it has been so for long enough.

        Parameters
        ----------
        reward
            Mean reward since the last one.
        scores
            Scores of the validation cells.
        error
            Standard error of the reward.
        """
        fallen = None
        for name in self.watched:
            value = scores[name]
            best, reward_then, variance = self.best.get(name, [float("-inf"), 0.0, 0.0])
            if value > best:
                self.best[name] = [value, reward, error**2]
            elif (
                best - value > self.tolerance * max(abs(best), 1.0)
                and reward - reward_then > 2 * (variance + error**2) ** 0.5
            ):
                fallen = f"the reward rose from {reward_then:.3g} to {reward:.3g} while {name} fell from {best:.3g} to {value:.3g}"
        self.n_bad = self.n_bad + 1 if fallen else 0
        return fallen if self.n_bad >= self.patience else None

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Stop training where the reward is hacked."""
        logged = [entry for entry in state.log_history if "reward" in entry]
        if not logged:
            return
        n_rewarded = self.n_prompts * max(state.global_step - self.step, 1)
        self.step = state.global_step
        error = logged[-1].get("reward_std", 0.0) / n_rewarded**0.5
        scores = {name: metrics[f"eval_{name}"] for name in self.watched}
        self.reason = self.see(logged[-1]["reward"], scores, error=error)
        control.should_training_stop = control.should_training_stop or self.reason is not None
