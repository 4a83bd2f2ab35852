"""Models of ``transformers`` in this process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scanpy import logging as logg

from sc_c2s._progress import progress

from .scoring import AnswerTree

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Tokens of one batch: enough to keep the device busy, few enough to stay out of the way of other work.
_BATCH_TOKENS = {"cpu": 8_192, "cuda": 65_536}
_TOKENIZED_AT_ONCE = 4_096
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
    """Score closed answers with a causal language model.

    All answers are read in the same pass as the prompt: they follow it as a tree, and an attention mask
    shows every branch only its own way back. A model that does not take such a mask (the first call finds
    out) reads the answers from a shared cache of the prompt, or, without a cache that can be shared, each
    with the prompt before it.

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
        bare = self.model.get_base_model() if hasattr(model, "get_base_model") else self.model
        self._accepted = set(inspect.signature(bare.forward).parameters)
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
        states = np.full((len(tokens), self._config.hidden_size), np.nan, dtype=np.float32)
        with self._reading("embedding", len(tokens)) as done:
            everyone = np.arange(len(tokens))
            self._in_batches(everyone, tokens, states, batch_size, lambda _: (1, 0), self._read_state, done)
        return states

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
            ids = self.tokenizer(some, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
            tokens += [np.array(self._lead + row, dtype=np.int32) for row in ids]
        return tokens

    def _groups(self, prompts: list[str], answers: list[str], tokens: list[np.ndarray]) -> dict[AnswerTree, np.ndarray]:
        """Prompts by the tree that follows them, and cut to where it begins.

        The tokens of an answer are read off prompt and answer written together. They depend on the last
        word of the prompt at most, so one prompt stands for all that end with the same word.
        """
        by_word: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            by_word.setdefault("".join(prompt.rsplit(maxsplit=1)[-1:]), []).append(i)
        by_paths: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for members in by_word.values():
            first = tokens[members[0]]
            joint = self._tokenize([prompts[members[0]] + answer for answer in answers])
            n_shared = min(_n_shared(first, path) for path in joint)
            if n_shared == 0:
                raise ValueError("A prompt without a single token before its answer cannot be scored; write some text.")
            n_dropped = len(first) - n_shared
            for i in members if n_dropped else ():
                tokens[i] = tokens[i][: len(tokens[i]) - n_dropped]
            paths = tuple(tuple(path[n_shared:].tolist()) for path in joint)
            by_paths.setdefault(paths, []).extend(members)
        end = self.tokenizer.eos_token_id
        return {AnswerTree.build(paths, end=end): np.array(members) for paths, members in by_paths.items()}

    def _check_context(self, tokens: list[np.ndarray], n_more: np.ndarray) -> None:
        context = getattr(self._config, "max_position_embeddings", None)
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

        def load(length: int) -> tuple[int, int]:
            if self._method(tree, length, shortest) == "tree":
                return 1, tree.n_nodes
            return len(tree.answers), tree.depth

        def read(prompts: list[np.ndarray]) -> np.ndarray:
            return self._run(self._method(tree, len(prompts[0]), shortest), prompts, tree)

        self._in_batches(members, tokens, scores, batch_size, load, read, done)

    def _in_batches(
        self,
        members: np.ndarray,
        tokens: list[np.ndarray],
        out: np.ndarray,
        batch_size: int | None,
        load: Callable[[int], tuple[int, int]],
        read: Callable[[list[np.ndarray]], np.ndarray],
        done: Callable[[int], Any],
    ) -> None:
        """Read prompts batch by batch, longest first; a batch that does not fit into memory is halved.

        ``load`` says how many sequences the model reads for a prompt of a length, and how many tokens more in each.
        """
        import torch

        lengths = np.array([len(tokens[i]) for i in members])
        order = members[np.argsort(-lengths, kind="stable")]  # neighbours pad little, memory fails early
        budget = _BATCH_TOKENS.get(self.model.device.type, _BATCH_TOKENS["cuda"])
        batch_size = batch_size or self.batch_size
        at_most = batch_size or budget  # sequences that the model reads at once
        start = 0
        while start < len(order):
            length = len(tokens[order[start]])
            n_sequences, n_more = load(length)
            size = at_most // n_sequences
            if batch_size is None:
                size = min(size, budget // (n_sequences * (length + n_more)))
            size = min(max(size, 1), len(order) - start)
            batch = order[start : start + size]
            try:
                part = read([tokens[i] for i in batch])
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
        window = getattr(self._config, "sliding_window", None) or getattr(self._config, "attention_chunk_size", None)
        masked = {"position_ids", "attention_mask"} <= self._accepted and (not window or length + tree.depth <= window)
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
        expected = self._run("pairs", [probe], tree)
        try:
            found = self._run(method, [probe], tree)
        except torch.OutOfMemoryError:
            raise
        except _REFUSALS:
            return False
        rounding = _ROUNDING.get(str(self.model.dtype), _ROUNDING_HALF)
        return bool(np.all(np.abs(found - expected) <= rounding * tree.used.sum(axis=1)))

    def _run(self, method: str, prompts: list[np.ndarray], tree: AnswerTree) -> np.ndarray:
        import torch

        run = {"tree": self._read_tree, "cache": self._read_cache, "pairs": self._read_pairs}[method]
        with torch.inference_mode():
            token_scores = run(prompts, tree)
            used = torch.from_numpy(tree.used).to(token_scores.device)
            return token_scores.double().where(used, 0.0).sum(-1).cpu().numpy()

    # ---- passes: each gives the log-probability of every token, prompts × answers × longest -------

    def _read_tree(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
        """One pass over ``[prompt | tree]``; prompts end in the same column, so the tree is a block."""
        import torch

        ids, n_pad = self._pad_left(prompts)
        n_rows, length = ids.shape
        rows, answer_ids = self._tensor(tree.rows), self._tensor(tree.ids)
        inputs: dict[str, Any] = {"use_cache": False}
        if tree.n_nodes:
            nodes = self._tensor(tree.tokens).expand(n_rows, -1)
            depths = self._tensor(tree.depths) + (length - 1)
            columns = torch.cat([torch.arange(length, device=ids.device), depths])
            inputs["position_ids"] = (columns - n_pad[:, None]).clamp(min=0)
            inputs["attention_mask"] = self._tree_mask(n_pad, length, tree)
            ids = torch.cat([ids, nodes], dim=1)
        elif n_pad.any():
            inputs |= self._padded(n_pad, length)
        logits = self._logits(ids, keep=tree.n_nodes + 1, **inputs)
        # The normaliser is that of the row, shared by all answers that pass through it.
        total = logits.logsumexp(-1)
        return logits[:, rows, answer_ids] - total[:, rows]

    def _read_cache(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
        """Read the prompt once, then every answer from a copy of its cache."""
        import torch

        ids, n_pad = self._pad_left(prompts)
        n_prompts, length = ids.shape
        n_answers, longest = tree.ids.shape
        padded = self._padded(n_pad, length)
        out = self._forward(ids, keep=1, use_cache=True, **padded)
        first = out.logits[:, -1:].float()
        cache = out.past_key_values
        cache.batch_repeat_interleave(n_answers)
        answer_ids = self._tensor(tree.ids)
        read = answer_ids[:, :-1].repeat(n_prompts, 1)
        seen = padded["attention_mask"].repeat_interleave(n_answers, dim=0)
        n_tokens = (length - n_pad).repeat_interleave(n_answers)
        logits = self._logits(
            read,
            keep=longest - 1,
            past_key_values=cache,
            use_cache=True,
            attention_mask=torch.cat([seen, torch.ones_like(read)], dim=1),
            position_ids=n_tokens[:, None] + torch.arange(longest - 1, device=ids.device),
        )
        logits = logits.reshape(n_prompts, n_answers, longest - 1, -1)
        heads = _log_prob(first, answer_ids[:, 0].expand(n_prompts, 1, n_answers))
        tails = _log_prob(logits, answer_ids[:, 1:, None].expand(n_prompts, -1, -1, -1))
        return torch.cat([heads.transpose(1, 2), tails[..., 0]], dim=-1)

    def _read_pairs(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
        """Read every answer with its prompt before it; what any model can do, and the slowest."""
        import torch

        n_answers, longest = tree.ids.shape
        ends = np.repeat([len(prompt) for prompt in prompts], n_answers)
        pairs = [np.concatenate([p, answer[:-1]]) for p in prompts for answer in tree.answers]
        # Padding on the right is out of sight of every token that counts, so no mask is needed.
        ids = np.full((len(pairs), ends.max() + longest - 1), self._pad_id)
        for row, pair in zip(ids, pairs, strict=True):
            row[: len(pair)] = pair
        keep = int(ids.shape[1] - ends.min() + 1)
        logits = self._logits(self._tensor(ids), keep=keep, use_cache=False)
        columns = self._tensor(ends - ends.min())[:, None] + torch.arange(longest, device=logits.device)
        logits = logits[torch.arange(len(pairs), device=logits.device)[:, None], columns.clamp(max=keep - 1)]
        answer_ids = self._tensor(tree.ids).repeat(len(prompts), 1)
        return _log_prob(logits, answer_ids[..., None])[..., 0].reshape(-1, n_answers, longest)

    def _read_state(self, prompts: list[np.ndarray]) -> np.ndarray:
        import torch

        ids, n_pad = self._pad_left(prompts)
        inputs = self._padded(n_pad, ids.shape[1]) if n_pad.any() else {}
        with torch.inference_mode():
            states = self._forward(ids, keep=1, use_cache=False, output_hidden_states=True, **inputs).hidden_states
            return states[-1][:, -1].float().cpu().numpy()

    # ---- small parts ----------------------------------------------------------------------------

    @property
    def _config(self) -> Any:
        return self.model.config.get_text_config()

    @property
    def _pad_id(self) -> int:
        candidates = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return next(token for token in candidates if token is not None)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self.model.device)

    def _pad_left(self, prompts: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, prompts))
        ids = np.full((len(prompts), length), self._pad_id)
        for row, prompt in zip(ids, prompts, strict=True):
            row[length - len(prompt) :] = prompt
        return self._tensor(ids), self._tensor(np.array([length - len(prompt) for prompt in prompts]))

    def _padded(self, n_pad: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        import torch

        columns = torch.arange(length, device=n_pad.device) - n_pad[:, None]
        return {"attention_mask": (columns >= 0).long(), "position_ids": columns.clamp(min=0)}

    def _tree_mask(self, n_pad: torch.Tensor, length: int, tree: AnswerTree) -> torch.Tensor:
        """Additive mask (prompts or 1, 1, columns, columns); numbers, since not every attention takes booleans."""
        import torch

        device, width = n_pad.device, length + tree.n_nodes
        seen = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        seen[length:, length:] = torch.from_numpy(tree.visible).to(device)
        if n_pad.any():
            seen = seen & (torch.arange(width, device=device) >= n_pad[:, None, None])
            seen = seen | torch.eye(width, dtype=torch.bool, device=device)  # a row that sees nothing turns into NaN
        else:
            seen = seen[None]
        dtype = self.model.dtype
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        return torch.where(seen, torch.zeros((), dtype=dtype, device=device), hidden)[:, None]

    def _logits(self, ids: torch.Tensor, *, keep: int, **inputs: Any) -> torch.Tensor:
        return self._forward(ids, keep=keep, **inputs).logits[:, -keep:].float()

    def _forward(self, ids: torch.Tensor, *, keep: int, **inputs: Any) -> Any:
        inputs["logits_to_keep"] = keep
        for optional in ("logits_to_keep", "position_ids", "use_cache"):
            if optional not in self._accepted:
                inputs.pop(optional, None)
        return self.model(input_ids=ids, **inputs)


def _log_prob(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability of tokens; ``logits`` (…, vocabulary), ``ids`` (…, any number of tokens)."""
    return logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)


def _n_shared(first: np.ndarray, second: np.ndarray) -> int:
    n = min(len(first), len(second))
    differs = np.flatnonzero(first[:n] != second[:n])
    return int(differs[0]) if len(differs) else n
