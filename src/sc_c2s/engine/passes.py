"""Single calls of a model: tokens in, log-probabilities or hidden states out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .decoding import Completion, decode
from .items import ItemTree
from .scoring import AnswerTree
from .speech import speak

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Passes:
    """The calls that a :class:`~sc_c2s.engine.local.LocalEngine` makes, batch by batch.

    Prompts are arrays of token ids. Each of ``_tree``, ``_cache`` and ``_pairs`` gives the log-probability of every
    token of every answer (prompts × answers × longest answer).

    Parameters
    ----------
    model
        Causal language model.
    pad_id
        Token that fills the room before a short prompt.
    """

    def __init__(self, model: PreTrainedModel, *, pad_id: int) -> None:
        self.model = cast("Any", model)
        self.pad_id = pad_id
        bare = self.model.get_base_model() if hasattr(model, "get_base_model") else self.model
        self.accepted = set(inspect.signature(bare.forward).parameters)

    @property
    def config(self) -> Any:
        """Configuration of the part that reads text."""
        return self.model.config.get_text_config()

    def within_window(self, n_tokens: int) -> bool:
        """Whether every token sees all before it; beyond a window, gaps and branches push others out of sight."""
        config = self.config
        window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
        return not window or n_tokens <= window

    def score(self, method: str, prompts: list[np.ndarray], tree: AnswerTree) -> np.ndarray:
        """Log-probability of every answer after every prompt (prompts × answers), by one of three methods."""
        import torch

        run = {"tree": self._tree, "cache": self._cache, "pairs": self._pairs}[method]
        with torch.inference_mode():
            token_scores = run(prompts, tree)
            used = torch.from_numpy(tree.used).to(token_scores.device)
            return token_scores.double().where(used, 0.0).sum(-1).cpu().numpy()

    def states(self, prompts: list[np.ndarray]) -> np.ndarray:
        """Hidden state at the last token of every prompt (prompts × width)."""
        import torch

        ids, n_pad = self._pad_left(prompts)
        inputs = self._padded(n_pad, ids.shape[1]) if n_pad.any() else {}
        with torch.inference_mode():
            states = self._forward(ids, keep=1, use_cache=False, output_hidden_states=True, **inputs).hidden_states
            return states[-1][:, -1].float().cpu().numpy()

    def write(self, prompts: list[np.ndarray], tree: ItemTree, **how: Any) -> list[Completion]:
        """Write a list of items after every prompt, see :func:`~sc_c2s.engine.decoding.decode`."""
        import torch

        with torch.inference_mode():
            last = np.array([prompt[-1] for prompt in prompts])
            return decode(Continuation(self, prompts), tree, last, device=self.model.device, **how)

    def speak(self, prompts: list[np.ndarray], **how: Any) -> list[list[int]]:
        """Write on after every prompt, see :func:`~sc_c2s.engine.speech.speak`."""
        import torch

        with torch.inference_mode():
            last = np.array([prompt[-1] for prompt in prompts])
            return speak(Continuation(self, prompts), last, device=self.model.device, **how)

    def _tree(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
        """Read the prompt, then all answers at once behind its cache, each node seeing only its own way back.

        A mask over prompt and tree together would cost a plain pass its fast attention.
        """
        import torch

        ids, n_pad = self._pad_left(prompts)
        n_rows, length = ids.shape
        rows, answer_ids = self._tensor(tree.rows), self._tensor(tree.ids)
        padded = self._padded(n_pad, length) if n_pad.any() else {}
        out = self._forward(ids, keep=1, use_cache=tree.n_nodes > 0, **padded)
        logits = out.logits[:, -1:].float()
        if tree.n_nodes:
            depths = self._tensor(tree.depths) + (length - 1)
            behind = self._logits(
                self._tensor(tree.tokens).expand(n_rows, -1),
                keep=tree.n_nodes,
                past_key_values=out.past_key_values,
                use_cache=True,
                attention_mask=self._tree_mask(n_pad, length, tree),
                position_ids=depths - n_pad[:, None],
            )
            logits = torch.cat([logits, behind], dim=1)
        # The normaliser is that of the row, shared by all answers that pass through it.
        total = logits.logsumexp(-1)
        return logits[:, rows, answer_ids] - total[:, rows]

    def _cache(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
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

    def _pairs(self, prompts: list[np.ndarray], tree: AnswerTree) -> torch.Tensor:
        """Read every answer with its prompt before it; what any model can do, and the slowest."""
        import torch

        n_answers, longest = tree.ids.shape
        ends = np.repeat([len(prompt) for prompt in prompts], n_answers)
        pairs = [np.concatenate([p, answer[:-1]]) for p in prompts for answer in tree.answers]
        # Padding on the right is out of sight of every token that counts, so no mask is needed.
        ids = np.full((len(pairs), ends.max() + longest - 1), self.pad_id)
        for row, pair in zip(ids, pairs, strict=True):
            row[: len(pair)] = pair
        keep = int(ids.shape[1] - ends.min() + 1)
        logits = self._logits(self._tensor(ids), keep=keep, use_cache=False)
        columns = self._tensor(ends - ends.min())[:, None] + torch.arange(longest, device=logits.device)
        logits = logits[torch.arange(len(pairs), device=logits.device)[:, None], columns.clamp(max=keep - 1)]
        answer_ids = self._tensor(tree.ids).repeat(len(prompts), 1)
        return _log_prob(logits, answer_ids[..., None])[..., 0].reshape(-1, n_answers, longest)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64)).to(self.model.device)

    def _pad_left(self, prompts: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        length = max(map(len, prompts))
        ids = np.full((len(prompts), length), self.pad_id)
        for row, prompt in zip(ids, prompts, strict=True):
            row[length - len(prompt) :] = prompt
        return self._tensor(ids), self._tensor(np.array([length - len(prompt) for prompt in prompts]))

    def _padded(self, n_pad: torch.Tensor, length: int) -> dict[str, torch.Tensor]:
        import torch

        columns = torch.arange(length, device=n_pad.device) - n_pad[:, None]
        return {"attention_mask": (columns >= 0).long(), "position_ids": columns.clamp(min=0)}

    def _tree_mask(self, n_pad: torch.Tensor, length: int, tree: AnswerTree) -> torch.Tensor:
        """Additive mask (prompts, 1, nodes, columns); numbers, since not every attention takes booleans."""
        import torch

        n_rows, device, dtype = len(n_pad), n_pad.device, self.model.dtype
        prompt = (torch.arange(length, device=device) >= n_pad[:, None])[:, None].expand(-1, tree.n_nodes, -1)
        branches = torch.from_numpy(tree.visible).to(device).expand(n_rows, -1, -1)
        seen = torch.cat([prompt, branches], dim=2)
        hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=device)
        return torch.where(seen, torch.zeros((), dtype=dtype, device=device), hidden)[:, None]

    def _logits(self, ids: torch.Tensor, *, keep: int, **inputs: Any) -> torch.Tensor:
        return self._forward(ids, keep=keep, **inputs).logits[:, -keep:].float()

    def _forward(self, ids: torch.Tensor, *, keep: int, **inputs: Any) -> Any:
        inputs["logits_to_keep"] = keep
        for optional in ("logits_to_keep", "position_ids", "use_cache"):
            if optional not in self.accepted:
                inputs.pop(optional, None)
        return self.model(input_ids=ids, **inputs)


def numbered(prompts: list[np.ndarray]) -> list[int]:
    """Give each prompt a number, in the order in which they first come up; those that repeat share one."""
    number: dict[bytes, int] = {}
    return [number.setdefault(prompt.tobytes(), len(number)) for prompt in prompts]


class Continuation:
    """A batch that goes on token by token behind its prompts; prompts that repeat are read once.

    Parameters
    ----------
    passes
        Calls of the model.
    prompts
        Token ids of every prompt; all but the last token of each is read here.
    """

    def __init__(self, passes: Passes, prompts: list[np.ndarray]) -> None:
        import torch

        from .cache import growing

        self.passes = passes
        of_row = numbered(prompts)
        first = np.unique(of_row, return_index=True)[1]
        ids, n_pad = passes._pad_left([prompts[i][:-1] for i in first])
        self.cache = None
        if ids.shape[1]:
            out = passes._forward(ids, keep=1, use_cache=True, **passes._padded(n_pad, ids.shape[1]))
            self.cache = growing(out.past_key_values)
        rows = torch.tensor(of_row, device=ids.device)
        self.seen = (torch.arange(ids.shape[1], device=ids.device) >= n_pad[:, None])[rows]
        if self.cache is not None and len(first) < len(prompts):
            self.cache.batch_select_indices(rows)

    def read(self, tokens: torch.Tensor, shown: torch.Tensor) -> torch.Tensor:
        """Read more of each row; logits behind it (rows × vocabulary)."""
        import torch

        from .cache import growing

        n_seen = self.seen.sum(dim=1, keepdim=True)
        self.seen = torch.cat([self.seen, shown], dim=1)
        inputs = {} if self.cache is None else {"past_key_values": self.cache}
        out = self.passes._forward(
            tokens,
            keep=1,
            use_cache=True,
            attention_mask=self.seen.long(),
            position_ids=(n_seen + shown.cumsum(dim=1) - 1).clamp(min=0),
            **inputs,
        )
        self.cache = out.past_key_values if self.cache is not None else growing(out.past_key_values)
        return out.logits[:, -1]

    def keep(self, rows: torch.Tensor) -> None:
        """Forget all rows but these."""
        self.seen = self.seen[rows]
        if self.cache is not None:
            self.cache.batch_select_indices(rows)


def _log_prob(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Log-probability of tokens; ``logits`` (…, vocabulary), ``ids`` (…, any number of tokens)."""
    return logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)
