"""Reinforcement learning: rewards for answers, and the gene programs that some of them ask for."""

from __future__ import annotations

from . import programs, rewards

__all__ = ["programs", "rewards"]
