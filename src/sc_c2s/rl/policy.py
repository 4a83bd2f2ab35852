"""What a model answers when it is rewarded: how an answer is drawn, and how probable it was among all that could be drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from sc_c2s.engine import LocalEngine, Sampling
from sc_c2s.engine.items import ItemTree
from sc_c2s.engine.race import uniforms
from sc_c2s.engine.replay import replay
from sc_c2s.engine.scoring import AnswerTree, probabilities
from sc_c2s.training.sft import own_tokens


class Policy(Protocol):
    """How a model answers."""

    def draw(self, engine: LocalEngine, prompts: Sequence[str], n: int, seeds: np.ndarray) -> list[list[int]]:
        """Draw an answer of ``n`` words to each prompt: its tokens."""
        ...

    def log_probs(
        self, run: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, n_last: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of each of the last tokens, and the entropy of the choice there (rows × last tokens).

        ``run`` calls the model, by default without a cache.
        """
        ...


@dataclass(frozen=True)
class WordsByShare:
    """Answers of words that are all drawn behind the prompt, each as often as its probability says.

    One pass over the prompt tells the probability of every word, so all answers to a prompt, in drawing and in learning, cost one
    pass.

    Attributes
    ----------
    words
        What may be answered, each with a space before it and one token long.
    tokens
        Their tokens.
    """

    words: list[str]
    tokens: torch.Tensor

    @classmethod
    def of(cls, engine: LocalEngine, words: Sequence[str]) -> WordsByShare:
        """Look up the tokens."""
        return cls(list(words), own_tokens(engine.tokenizer, words))

    def draw(self, engine: LocalEngine, prompts: Sequence[str], n: int, seeds: np.ndarray) -> list[list[int]]:
        """Draw ``n`` words for each prompt, with replacement."""
        return [self.tokens[places].tolist() for places in _drawn(engine, prompts, self.words, n, seeds)]

    def log_probs(
        self, run: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, n_last: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read each prompt once, and look up its words."""
        prompts, first, which = _unique(ids[:, :-n_last])
        logits = run(**_read(prompts, mask[first, :-n_last]), logits_to_keep=1).logits
        logs = logits[:, -1, self.tokens.to(logits.device)].float().log_softmax(dim=1)
        column = self._column.to(ids.device)[ids[:, -n_last:]]
        entropy = -(logs.exp() * logs).sum(dim=1)
        return logs[which].gather(1, column), entropy[which, None].expand(-1, n_last)

    @cached_property
    def _column(self) -> torch.Tensor:
        """Place of each token among the words; 0 for tokens that are none, such as padding."""
        column = torch.zeros(int(self.tokens.max()) + 1, dtype=torch.long)
        column[self.tokens] = torch.arange(len(self.tokens))
        return column


@dataclass(frozen=True)
class ListOfItems:
    """Answers that are lists of a closed vocabulary, none twice, each item given those before it.

    Attributes
    ----------
    tree
        Tokens of the vocabulary.
    ends
        Whether the model may end a list before it has as many items as asked for.
    temperature
        Divides the log-probabilities.
    """

    tree: ItemTree
    ends: bool
    temperature: float = 1.0

    @classmethod
    def of(cls, engine: LocalEngine, items: Sequence[str], *, ends: bool, temperature: float = 1.0) -> ListOfItems:
        """Look up the tokens."""
        return cls(engine.item_tree(list(items)), ends, temperature)

    def draw(self, engine: LocalEngine, prompts: Sequence[str], n: int, seeds: np.ndarray) -> list[list[int]]:
        """Write a list of at most ``n`` items behind each prompt."""
        written = engine.generate(
            prompts,
            self.tree,
            max_items=n,
            min_items=1 if self.ends else n,
            sampling=Sampling(temperature=self.temperature),
            seeds=seeds,
        )
        return [self.tree.written(one.items, ended=one.ended) for one in written]

    def log_probs(
        self, run: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, n_last: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read prompts and lists, and choose at each place among what could be written there."""
        there = mask[:, -n_last:].bool()
        lists = [row[shown].tolist() for row, shown in zip(ids[:, -n_last:], there, strict=True)]
        chosen = replay(self.tree, lists, ends=self.ends, device=ids.device)
        logits = run(**_read(ids, mask), logits_to_keep=n_last + 1).logits
        logs, entropy = chosen.log_probs(logits[:, :-1, chosen.tokens] / self.temperature)
        return logs * there, entropy * there


@dataclass(frozen=True)
class OneAnswer:
    """Answers that are one of a few texts of several tokens.

    Attributes
    ----------
    answers
        What may be answered, each with a space before it.
    paths
        Their tokens.
    """

    answers: list[str]
    paths: list[list[int]]

    @classmethod
    def of(cls, engine: LocalEngine, answers: Sequence[str]) -> OneAnswer:
        """Look up the tokens."""
        before = engine.tokenizer("x", add_special_tokens=False)["input_ids"]
        joint = engine.tokenizer([f"x{answer}" for answer in answers], add_special_tokens=False)["input_ids"]
        # Where one answer begins with another, the end token tells them apart.
        tree = AnswerTree.build([ids[len(before) :] for ids in joint], end=engine.tokenizer.eos_token_id)
        return cls(list(answers), [list(path) for path in tree.answers])

    def draw(self, engine: LocalEngine, prompts: Sequence[str], n: int, seeds: np.ndarray) -> list[list[int]]:
        """Draw an answer by its probability among all answers."""
        return [self.paths[int(place)] for [place] in _drawn(engine, prompts, self.answers, 1, seeds)]

    def log_probs(
        self, run: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, n_last: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read every answer behind each prompt; the whole log-probability stands at the first token."""
        prompts, first, which = _unique(ids[:, :-n_last])
        longest, n_answers = max(map(len, self.paths)), len(self.paths)
        answers = torch.full((n_answers, longest), self.paths[0][0], device=ids.device)
        used = torch.zeros((n_answers, longest), dtype=torch.bool, device=ids.device)
        for row, shown, path in zip(answers, used, self.paths, strict=True):
            row[: len(path)], shown[: len(path)] = torch.tensor(path, device=ids.device), True
        both = torch.cat([prompts.repeat_interleave(n_answers, 0), answers.repeat(len(prompts), 1)], dim=1)
        seen = torch.cat(
            [mask[first, :-n_last].repeat_interleave(n_answers, 0), used.repeat(len(prompts), 1).to(mask)], dim=1
        )
        logits = run(**_read(both, seen), logits_to_keep=longest + 1).logits[:, :-1].float()
        tokens = logits.log_softmax(dim=-1).gather(-1, answers.repeat(len(prompts), 1)[..., None])[..., 0]
        logs = (tokens * used.repeat(len(prompts), 1)).sum(dim=1).view(len(prompts), n_answers).log_softmax(dim=1)
        padded = torch.zeros((n_answers, n_last), dtype=ids.dtype, device=ids.device)
        there = torch.zeros((n_answers, n_last), dtype=torch.bool, device=ids.device)
        width = min(longest, n_last)
        padded[:, :width], there[:, :width] = answers[:, :width], used[:, :width]
        shown = mask[:, -n_last:].bool()
        # Padding of a batch is no part of an answer.
        said = torch.where(shown, ids[:, -n_last:], 0)
        match = (padded.where(there, 0)[None] == said[:, None]) & (there[None] == shown[:, None])
        chosen = match.all(dim=-1).int().argmax(dim=1)
        out = torch.zeros((len(ids), n_last), device=ids.device)
        entropy = torch.zeros_like(out)
        out[:, 0] = logs[which, chosen]
        entropy[:, 0] = -(logs.exp() * logs).sum(dim=1)[which]
        return out, entropy


@dataclass(frozen=True)
class FreeText:
    """Answers that are written freely, each token drawn among all, until an end token.

    Questions with choices are answered so as well. Choices differ from question to question and some questions have none, so
    that a loss over choices would have to know the question of every row, and free answers would need another one. It
    would learn the same: a model that was trained to answer hardly writes anything but choices, what is none is wrong and
    becomes rare, and :func:`~sc_c2s.tl.ask` takes the choice that is most probable by the probabilities that are learned here.

    All answers to a prompt follow one reading of it, in drawing and in learning.

    Attributes
    ----------
    ends
        Tokens that end an answer, the one that is written first. Which one it was makes no difference, so they count as one,
        with their probabilities added. An answer that was cut has none, and none is learned.
    """

    ends: tuple[int, ...]

    @classmethod
    def of(cls, engine: LocalEngine) -> FreeText:
        """Look up the end tokens."""
        end = engine.tokenizer.eos_token_id
        if end is None:
            raise ValueError("The tokenizer has no end token (eos_token), so an answer could not end: give it one.")
        return cls((end, *sorted(engine.ends - {end})))

    def draw(self, engine: LocalEngine, prompts: Sequence[str], n: int, seeds: np.ndarray) -> list[list[int]]:
        """Write at most ``n`` tokens behind each prompt, the end token among them."""
        said = engine.speak(prompts, max_tokens=n, sampling=Sampling(), seeds=seeds)
        return [[*tokens, self.ends[0]][:n] for tokens in said]

    def log_probs(
        self, run: Callable[..., Any], ids: torch.Tensor, mask: torch.Tensor, n_last: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read each prompt once and its answers behind it, and choose at each place among all tokens."""
        prompts, first, which = _unique(ids[:, :-n_last])
        seen, answers, there = mask[first, :-n_last], ids[:, -n_last:], mask[:, -n_last:].bool()
        read = run(**_read(prompts, seen), logits_to_keep=1, use_cache=True)
        logits = read.logits[which, -1:]
        if n_last > 1:
            read.past_key_values.batch_select_indices(which)
            behind = run(
                input_ids=answers[:, :-1],
                attention_mask=mask[:, :-1],
                position_ids=seen.sum(dim=1)[which, None] + torch.arange(n_last - 1, device=ids.device),
                past_key_values=read.past_key_values,
                use_cache=True,
            )
            logits = torch.cat([logits, behind.logits], dim=1)
        logits = logits.float()
        total = logits.logsumexp(dim=-1)
        chosen = logits.gather(-1, answers[..., None])[..., 0]
        if len(self.ends) > 1:
            ended = logits[..., list(self.ends)].logsumexp(dim=-1)
            chosen = torch.where(answers == self.ends[0], ended, chosen)
        with torch.no_grad():  # row by row: a table of all of them is as large as the logits
            entropy = torch.stack([torch.special.entr(row.softmax(dim=-1)).sum(dim=-1) for row in logits])
        return (chosen - total) * there, entropy * there


def _drawn(
    engine: LocalEngine, prompts: Sequence[str], answers: Sequence[str], n: int, seeds: np.ndarray
) -> list[np.ndarray]:
    """Draw ``n`` answers to each prompt by their probability among all of them, with replacement: their places."""
    different = list(dict.fromkeys(prompts))
    shares = probabilities(engine.score(different, answers)).cumsum(axis=1)
    up_to = dict(zip(different, shares / shares[:, -1:], strict=True))
    numbers = (uniforms(np.full(n, seed, dtype=np.uint64), np.arange(n)) for seed in seeds)
    return [np.searchsorted(up_to[prompt], some, side="right") for prompt, some in zip(prompts, numbers, strict=True)]


def _read(ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Write the inputs of a plain pass; a model does not derive positions from the mask."""
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1).clamp(min=0)}


def _unique(prompts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Different prompts, a row of each, and the number of each row's prompt."""
    different, which = torch.unique(prompts, dim=0, return_inverse=True)
    rows = torch.arange(len(prompts), device=prompts.device)
    first = torch.zeros(len(different), dtype=torch.long, device=prompts.device).scatter_(0, which, rows)
    return different, first, which
