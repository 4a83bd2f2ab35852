"""Models of ``transformers`` in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scanpy import logging as logg

from sc_c2s._progress import progress

from .base import Conversation
from .decoding import Completion
from .items import ItemTree
from .passes import Passes, numbered
from .race import Draws
from .sampling import Sampling
from .scoring import AnswerTree
from .speech import as_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Tokens of one batch: enough to keep the device busy, few enough to stay out of the way of other work.
_BATCH_TOKENS = {"cpu": 8_192, "cuda": 65_536}
# Tokens of one batch that is being written: each step reads one of each row, so there may be many rows.
_WRITTEN_TOKENS = {"cpu": 32_768, "cuda": 524_288}
_TOKENIZED_AT_ONCE = 4_096
# Words at the end of a prompt that are read again with every answer behind them.
_END = 8
_PLAIN = {
    "add_special_tokens": False,
    "truncation": False,
    "padding": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
}
# Largest difference in a log-probability, for each token, that rounding explains.
_ROUNDING = {"torch.float32": 1e-3, "torch.float64": 1e-3}
_ROUNDING_HALF = 0.2
# What a model raises when it does not take a mask, a position or a cache.
_REFUSALS = (
    ValueError,
    TypeError,
    RuntimeError,
    AttributeError,
    IndexError,
    KeyError,
    NotImplementedError,
    AssertionError,
)


class LocalEngine:
    """Score closed answers, write lists of a closed vocabulary, and talk, with a causal language model.

    A prompt is read once. All answers follow it as a tree, read at once behind the cache of the prompt, where an
    attention mask shows every branch only its own way back. A model that does not take such a mask (the first call
    finds out) reads every answer from its own copy of the cache, or, without a cache, each with the prompt before it.

    Parameters
    ----------
    model
        Causal language model.
    tokenizer
        Its tokenizer.
    device
        Where to run; by default where the model is.
    batch_size
        Prompts in a batch; by default as many as fit a number of tokens. A batch that does not fit into
        the memory of the GPU is halved.
    quiet
        Show no progress bar.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: str | torch.device | None = None,
        batch_size: int | None = None,
        quiet: bool = False,
    ) -> None:
        self.model = cast("Any", model)
        if device is not None:
            self.model.to(device)
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.quiet = quiet
        pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.passes = Passes(model, pad_id=next(token for token in pads if token is not None))
        self._agreed: dict[str, bool] = {}
        self._lead = self._special_lead()

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Log-probability of every answer after every prompt.

        Parameters
        ----------
        prompts
            Texts; none may end with a space.
        answers
            Continuations, each beginning with a space. Where one begins with another, all are scored with
            the end token.
        batch_size
            Prompts in a batch, for this call.

        Returns
        -------
        Array of float64 (prompts × answers).
        """
        prompts, answers = list(prompts), list(answers)
        if not answers:
            raise ValueError("There is nothing to score; give at least one answer.")
        scores = np.full((len(prompts), len(answers)), np.nan)
        if not prompts:
            return scores
        tokens = self._tokenize(prompts)
        groups = self._groups(prompts, answers, tokens)
        depths = np.zeros(len(prompts), dtype=int)
        for tree, members in groups.items():
            depths[members] = tree.depth
        self._check_context(tokens, depths)
        with self._reading("scoring", len(prompts)) as done:
            for tree, members in groups.items():
                self._score_group(tree, members, tokens, scores, batch_size, done)
        return scores

    def embed(self, prompts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Hidden state at the last token of every prompt: what the next token is told from.

        Parameters
        ----------
        prompts
            Texts.
        batch_size
            Prompts in a batch, for this call.

        Returns
        -------
        Array of float32 (prompts × width), behind the last layer and its normalisation.
        """
        tokens = self._tokenize(list(prompts))
        self._check_context(tokens, np.zeros(len(tokens), dtype=int))
        states = np.full((len(tokens), self.passes.config.hidden_size), np.nan, dtype=np.float32)
        with self._reading("embedding", len(tokens)) as done:
            self._in_batches(
                _longest_first(tokens, np.arange(len(tokens))),
                states,
                lambda i: (1, len(tokens[i])),
                lambda batch: self.passes.states([tokens[i] for i in batch]),
                done,
                batch_size,
            )
        return states

    def generate(
        self,
        prompts: Sequence[str],
        items: Sequence[str] | ItemTree,
        *,
        max_items: int | np.ndarray,
        min_items: int | np.ndarray = 1,
        sampling: Sampling | None = None,
        seeds: np.ndarray | None = None,
        balanced: bool = False,
        batch_size: int | None = None,
    ) -> list[Completion]:
        """Write a list of items after every prompt, from a closed vocabulary and none twice.

        A list ends where the model says so, or with its last item. Prompts that repeat are read once.

        Parameters
        ----------
        prompts
            Texts; none may end with a space.
        items
            The vocabulary: words without white space; the model sees them with one space before each. Or their tokens, from
            :meth:`item_tree`, where they are written more than once.
        max_items, min_items
            Most and fewest items of a list: one number, or one for each prompt.
        sampling
            How a token is chosen among those allowed; by default drawn as probable as it is.
        seeds
            Seed of every row: what it draws depends on this and on its prompt alone. By default 0, 1, 2, …
        balanced
            Let rows with the same prompt draw evenly, see :class:`~sc_c2s.engine.race.Draws`: each is as probable as ever, and
            together they are nearer to what the model expects. What a row draws then depends on these rows' number and seeds.
        batch_size
            Lists in a batch, for this call.
        """
        prompts, n = list(prompts), len(prompts)
        tree = items if isinstance(items, ItemTree) else self.item_tree(list(items))
        most, least = (np.broadcast_to(np.asarray(x, dtype=np.int64), n) for x in (max_items, min_items))
        if n and (most.min() < 1 or (least > most).any()):
            raise ValueError("max_items= has to be 1 or more, and no less than min_items=.")
        most = np.minimum(most, tree.n_items)
        seeds = np.arange(n) if seeds is None else np.asarray(seeds)
        tokens = self._tokenize(prompts)
        draws = Draws.together(seeds, numbered(tokens)) if balanced else Draws.alone(seeds)
        n_more = tree.longest(most)
        self._check_context(tokens, n_more)
        lengths = np.array([len(ids) for ids in tokens], dtype=int) + n_more
        # Rows of one length finish together, and those of one prompt share its reading.
        order = np.lexsort((np.unique(prompts, return_inverse=True)[1], -lengths))
        out = np.empty(n, dtype=object)

        def write(batch: np.ndarray) -> list[Completion]:
            return self.passes.write(
                [tokens[i] for i in batch],
                tree,
                least=least[batch],
                most=most[batch],
                sampling=sampling or Sampling(),
                draws=draws[batch],
                # Each step may leave a gap as long as a name.
                force=self.passes.within_window(int(lengths[batch].max()) * tree.paths.shape[1]),
            )

        with self._reading("generating", n) as done:
            self._in_batches(order, out, lambda i: (1, int(lengths[i])), write, done, batch_size, _WRITTEN_TOKENS)
        return list(out)

    @property
    def context(self) -> int | None:
        """Most tokens that the model can read and write together."""
        return getattr(self.passes.config, "max_position_embeddings", None)

    def written(self, conversation: Conversation) -> str:
        """Give a conversation as the text that an answer follows, in the words of the model's template."""
        return as_text(conversation, self.tokenizer)

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """Count the tokens of texts."""
        return np.array([len(ids) for ids in self.tokens(texts)], dtype=int)

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of texts, as they are read before an answer."""
        return [ids.tolist() for ids in self._tokenize(list(texts))]

    def chat(
        self,
        conversations: Sequence[Conversation],
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        seeds: np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Say what comes next in every conversation.

        Parameters
        ----------
        conversations
            Turns, the last one of each a user's. Those that repeat are read once.
        max_tokens
            Most tokens of an answer.
        sampling
            How a token is chosen; by default the most probable one.
        seeds
            Seed of every conversation. By default 0, 1, 2, …
        batch_size
            Conversations in a batch, for this call.

        Returns
        -------
        The answers, without white space around them.
        """
        prompts = [self.written(conversation) for conversation in conversations]
        said = self.speak(prompts, max_tokens=max_tokens, sampling=sampling, seeds=seeds, batch_size=batch_size)
        return [text.strip() for text in self.tokenizer.batch_decode(said, skip_special_tokens=True)]

    def speak(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        seeds: np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> list[list[int]]:
        """Write on behind every prompt, token by token.

        Parameters
        ----------
        prompts
            Texts. Those that repeat are read once.
        max_tokens, sampling, seeds, batch_size
            As of :meth:`chat`.

        Returns
        -------
        Tokens of every answer, without the one that ended it: an answer of `max_tokens` tokens was cut.
        """
        if max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} leaves no room for an answer: use 1 or more.")
        n = len(prompts)
        tokens = self._tokenize(list(prompts))
        seeds = (np.arange(n) if seeds is None else np.asarray(seeds)).astype(np.uint64)
        self._check_context(tokens, np.full(n, max_tokens))
        out = np.empty(n, dtype=object)

        def say(batch: np.ndarray) -> np.ndarray:
            said = np.empty(len(batch), dtype=object)
            said[:] = self.passes.speak(
                [tokens[i] for i in batch],
                most=max_tokens,
                ends=self.ends,
                sampling=sampling or Sampling(temperature=0.0),
                seeds=seeds[batch],
            )
            return said

        with self._reading("writing", n) as done:
            self._in_batches(
                _longest_first(tokens, np.arange(n)),
                out,
                lambda i: (1, len(tokens[i]) + max_tokens),
                say,
                done,
                batch_size,
                _WRITTEN_TOKENS,
            )
        return list(out)

    # ---- text to tokens -------------------------------------------------------------------------

    def _special_lead(self) -> list[int]:
        """Tokens that the tokenizer puts before every text, such as ``<bos>``."""
        bare = self.tokenizer("A", add_special_tokens=False)["input_ids"]
        full = self.tokenizer("A")["input_ids"]
        starts = [i for i in range(len(full)) if full[i : i + len(bare)] == bare]
        return full[: starts[0]] if starts else []

    def _tokenize(self, texts: list[str]) -> list[np.ndarray]:
        # Special tokens are added here: some tokenizers would also close every text with an end token.
        tokens: list[np.ndarray] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = texts[start : start + _TOKENIZED_AT_ONCE]
            ids = self.tokenizer(some, **_PLAIN)["input_ids"]
            # A template may have written them itself.
            leads = [[] if row[: len(self._lead)] == self._lead else self._lead for row in ids]
            tokens += [np.array(lead + row, dtype=np.int32) for lead, row in zip(leads, ids, strict=True)]
        return tokens

    @property
    def ends(self) -> set[int]:
        """Tokens that end an answer: that of the tokenizer, and those that the model names."""
        named = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        several = named if isinstance(named, list) else [named]
        return {token for token in (self.tokenizer.eos_token_id, *several) if token is not None}

    def _groups(self, prompts: list[str], answers: list[str], tokens: list[np.ndarray]) -> dict[AnswerTree, np.ndarray]:
        """Prompts by the tree that follows them, and cut to where it begins.

        The tokens of an answer are read off prompt and answer written together. They depend on the last
        word of the prompt at most, so one prompt stands for all that end with the same word, and its end for all of it.
        """
        by_word: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            by_word.setdefault("".join(prompt.rsplit(maxsplit=1)[-1:]), []).append(i)
        by_paths: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for members in by_word.values():
            first, joint, n_shared = self._joint(prompts[members[0]], tokens[members[0]], answers)
            if n_shared == 0:
                raise ValueError("A prompt without a single token before its answer cannot be scored; write some text.")
            n_dropped = len(first) - n_shared
            for i in members if n_dropped else ():
                tokens[i] = tokens[i][: len(tokens[i]) - n_dropped]
            paths = tuple(tuple(path[n_shared:].tolist()) for path in joint)
            by_paths.setdefault(paths, []).extend(members)
        end = self.tokenizer.eos_token_id
        return {AnswerTree.build(paths, end=end): np.array(members) for paths, members in by_paths.items()}

    def _joint(self, prompt: str, tokens: np.ndarray, answers: list[str]) -> tuple[np.ndarray, list[np.ndarray], int]:
        """Tokens of the end of a prompt, of the same with every answer behind it, and how many all of these share.

        With thousands of answers the whole prompt would be read thousands of times. It is only where its end does not stand for it.
        """
        for text in (" ".join(prompt.split(" ")[-_END:]), prompt):
            [first], joint = self._tokenize([text]), self._tokenize([text + answer for answer in answers])
            n_shared = min(_n_shared(first, path) for path in joint)
            n_read = len(first) - n_shared + 1
            if len(self._lead) < n_shared and np.array_equal(tokens[-n_read:], first[-n_read:]):
                break
        return first, joint, n_shared

    def item_tree(self, items: list[str]) -> ItemTree:
        """Tokens of items, words without white space, each with a space before it, as they follow other text."""
        wrong = [item for item in items if not item or item != "".join(item.split())]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not one word: quote the white space of the vocabulary first.")
        if self.tokenizer.eos_token_id is None:
            raise ValueError("The tokenizer has no end token (eos_token), so a list could not end: give it one.")
        before = self.tokenizer("x", **_PLAIN)["input_ids"]
        joint = self.tokenizer([f"x {item}" for item in items], **_PLAIN)["input_ids"]
        lead = min((_n_shared(np.array(before), np.array(ids)) for ids in joint), default=0)
        return ItemTree.build([ids[lead:] for ids in joint], end=self.tokenizer.eos_token_id)

    def _check_context(self, tokens: list[np.ndarray], n_more: np.ndarray) -> None:
        context = getattr(self.passes.config, "max_position_embeddings", None)
        needed = np.array([len(ids) for ids in tokens], dtype=int) + n_more
        n_long = 0 if context is None else int((needed > context).sum())
        if n_long:
            raise ValueError(
                f"{n_long} of {len(tokens)} prompts do not fit into the model's context of {context} tokens "
                f"(the longest needs {needed.max()}); write shorter sentences with a smaller n_genes."
            )

    # ---- batches --------------------------------------------------------------------------------

    @contextmanager
    def _reading(self, what: str, n_prompts: int) -> Iterator[Callable[[int], Any]]:
        """Switch training off for a while, behind one progress bar."""
        import torch

        was_training = self.model.training
        self.model.eval()
        try:
            with progress(desc=what, total=n_prompts, unit="prompt", disable=self.quiet or None) as bar:
                yield bar.update
        except torch.OutOfMemoryError as error:
            error.add_note("One prompt alone does not fit into memory: use shorter prompts or another device.")
            raise
        finally:
            self.model.train(was_training)

    def _score_group(
        self,
        tree: AnswerTree,
        members: np.ndarray,
        tokens: list[np.ndarray],
        scores: np.ndarray,
        batch_size: int | None,
        done: Callable[[int], Any],
    ) -> None:
        shortest = min((tokens[i] for i in members), key=len)

        def load(i: int) -> tuple[int, int]:
            length = len(tokens[i])
            if self._method(tree, length, shortest) == "tree":
                return 1, length + tree.n_nodes
            return len(tree.answers), length + tree.depth

        def read(batch: np.ndarray) -> np.ndarray:
            prompts = [tokens[i] for i in batch]
            return self.passes.score(self._method(tree, len(prompts[0]), shortest), prompts, tree)

        self._in_batches(_longest_first(tokens, members), scores, load, read, done, batch_size)

    def _in_batches(
        self,
        order: np.ndarray,
        out: np.ndarray,
        load: Callable[[int], tuple[int, int]],
        read: Callable[[np.ndarray], Any],
        done: Callable[[int], Any],
        batch_size: int | None,
        budgets: dict[str, int] = _BATCH_TOKENS,
    ) -> None:
        """Fill rows batch by batch, in this order; a batch that does not fit into memory is halved.

        ``load`` says how many sequences the model reads for a row, the longest of its batch, and how many tokens in each.
        """
        import torch

        budget = budgets.get(self.model.device.type, budgets["cuda"])
        batch_size = batch_size or self.batch_size
        at_most = batch_size or budget  # sequences that the model reads at once
        start = 0
        while start < len(order):
            n_sequences, n_tokens = load(order[start])
            size = at_most // n_sequences
            if batch_size is None:
                size = min(size, budget // (n_sequences * n_tokens))
            size = min(max(size, 1), len(order) - start)
            batch = order[start : start + size]
            try:
                part = read(batch)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                at_most = size // 2 * n_sequences
            else:
                out[batch] = part
                start += size
                done(size)
                continue
            # Out of the `except` block, nothing holds on to the failed pass any more.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            logg.warning(f"out of memory at {size} prompts a batch; going on with {size // 2}")

    def _method(self, tree: AnswerTree, length: int, probe: np.ndarray) -> str:
        """Cheapest way to read the answers that gives what plain passes give."""
        if tree.n_nodes == 0:
            return "tree"
        fits = self.passes.within_window(length + tree.depth)
        masked = fits and {"position_ids", "attention_mask"} <= self.passes.accepted
        for method in ("tree", "cache") if masked else ("cache",):
            if method not in self._agreed:
                self._agreed[method] = self._agrees(method, tree, probe)
                if not self._agreed[method]:
                    logg.info(f"the model cannot read answers from a {method}; going on without")
            if self._agreed[method]:
                return method
        return "pairs"

    def _agrees(self, method: str, tree: AnswerTree, probe: np.ndarray) -> bool:
        import torch

        tree = AnswerTree.build(sorted(tree.answers, key=len)[-4:])  # a few long branches tell
        expected = self.passes.score("pairs", [probe], tree)
        try:
            found = self.passes.score(method, [probe], tree)
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS:
            return False
        rounding = _ROUNDING.get(str(self.model.dtype), _ROUNDING_HALF)
        return bool(np.all(np.abs(found - expected) <= rounding * tree.used.sum(axis=1)))


def _longest_first(tokens: list[np.ndarray], members: np.ndarray) -> np.ndarray:
    """Order in which neighbours pad little, and memory fails early."""
    lengths = np.array([len(tokens[i]) for i in members], dtype=int)
    return members[np.argsort(-lengths, kind="stable")]


def _n_shared(first: np.ndarray, second: np.ndarray) -> int:
    n = min(len(first), len(second))
    differs = np.flatnonzero(first[:n] != second[:n])
    return int(differs[0]) if len(differs) else n
