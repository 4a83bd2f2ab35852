"""Models behind an OpenAI-compatible server: vLLM, TGI, llama.cpp, Ollama, ``transformers serve``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from scanpy import logging as logg

from .base import Conversation
from .connection import KEY_ENV, Connection, address, client_library, is_refusal, side_by_side
from .replies import chosen, closed, likelihoods, schema, spoken
from .sampling import Sampling

LIKELIHOOD, CHOICE_PROBABILITIES, CHOICE = "likelihood", "choice with probabilities", "choice"
_TOP = (20, 5, 0)
"""Probabilities of other tokens to ask for: what most servers give, what some give, none."""
_SEEDS = 2**31
"""Seeds below this are taken by every server."""
_QUESTION = "{prompt}\n\nAnswer with one of these and nothing else:\n{answers}"
_FOUND = {
    LIKELIHOOD: "the server tells how probable each answer is",
    CHOICE_PROBABILITIES: "the model chooses an answer, and the server tells how probable the others were",
    CHOICE: "the model chooses an answer, and the server tells no probabilities: they are 0 and 1",
}

Scored = tuple[np.ndarray, str, bool]
"""Log-probabilities of the answers to a prompt, what the model said, and whether the server told probabilities."""
Way = Callable[[Any, str, list[str]], Scored]
"""How to ask: a client, a prompt and the answers in, what they are worth out."""


class ServerEngine:
    """Score closed answers, and talk, with a model behind an OpenAI-compatible server.

    Many requests are under way at once. A server that is busy or fails is asked again after growing pauses. Redirects are
    not followed.

    Closed answers are scored by what the server offers, which the first call finds out, logs, and leaves in
    :attr:`scoring`:

    ``"likelihood"``
        Log-probability of every answer as the text that follows the prompt, as a model in this process gives it. It needs ``echo`` and ``logprobs`` of ``/completions`` (vLLM). Where
        one answer begins with another, all are scored with a line's end behind them.
    ``"choice with probabilities"``
        The prompt is asked as a question with the answers below it, and the model chooses one, held to them by a JSON
        schema where the server knows these. The server also tells which other tokens were probable: an answer has the
        probability of its first token that differs from the chosen one's, which answers that share this token share
        evenly. One whose token is not among those told has none.
    ``"choice"``
        The same from a server that tells no probabilities: 1 for the answer given, 0 for all others. That is no measure
        of how sure the model is.

    A row of NaN stands for a reply that was none of the answers.

    Parameters
    ----------
    model
        Name of the model on the server.
    url
        Address of the server, such as ``"http://localhost:8000/v1"``; by default what the environment variable
        ``OPENAI_BASE_URL`` says.
    api_key_env
        Environment variable with the key, for servers that want one. The key is read whenever it is needed, and is neither
        kept nor shown.
    scoring
        ``"likelihood"`` or ``"choice"``, to have no other; by default the first that the server offers.
    context
        Most tokens of a conversation and its answer together; by default what the server says, if it does.
    options
        More fields of every request, by the names of the server, such as
        ``{"chat_template_kwargs": {"enable_thinking": False}}``.
    n_parallel
        Requests under way at once.
    timeout
        Seconds to wait for a reply.
    n_retries
        How often a request that failed is sent again.
    quiet
        Show no progress bar.

    Raises
    ------
    ImportError
        If the client ``openai`` is missing.
    ValueError
        If no server is named, or its address holds a password or a key.

    Examples
    --------
    >>> import sc_c2s as c2s
    >>> from sc_c2s.engine import ServerEngine
    >>> engine = ServerEngine("Qwen/Qwen3-8B", url="http://localhost:8000/v1")  # doctest: +SKIP
    >>> c2s.tl.annotate(adata, model=engine, labels=["B cell", "T cell"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str,
        *,
        url: str | None = None,
        api_key_env: str = KEY_ENV,
        scoring: str | None = None,
        context: int | None = None,
        options: Mapping[str, Any] | None = None,
        n_parallel: int = 8,
        timeout: float = 300.0,
        n_retries: int = 4,
        quiet: bool = False,
    ) -> None:
        if scoring not in (None, LIKELIHOOD, CHOICE):
            raise ValueError(f"scoring={scoring!r} has to be {LIKELIHOOD!r}, {CHOICE!r} or None.")
        if n_parallel < 1 or n_retries < 0 or not timeout > 0:
            raise ValueError("n_parallel= has to be 1 or more, n_retries= 0 or more, and timeout= above 0.")
        client_library()
        self.connection = Connection(model, address(url), api_key_env, timeout, n_retries)
        self.scoring = scoring
        self.options = dict(options or {})
        self.n_parallel = n_parallel
        self.quiet = quiet
        self._context = context
        self._greeted = False
        self._ask: Way | None = None

    def __repr__(self) -> str:
        return f"ServerEngine({self.connection.model!r}, url={self.connection.url!r})"

    @property
    def source(self) -> dict[str, Any]:
        """Where answers come from, for the record."""
        return {"model": self.connection.model, "engine": "server", "url": self.connection.url}

    @property
    def context(self) -> int | None:
        """Most tokens of a conversation and its answer together; ``None`` if the server does not say."""
        if self._context is None and not self._greeted:
            with self.connection.open() as client:
                self._greet(client)
        return self._context

    def written(self, conversation: Conversation) -> str:
        """Give a conversation as paragraphs: the words that the server puts around it are not known here."""
        return "".join(f"{turn['content'].strip()}\n\n" for turn in conversation)

    def count(self, texts: Sequence[str]) -> np.ndarray:
        """Count the bytes of texts: the tokens are not known here, and are fewer, of genes about half as many."""
        return np.array([len(text.encode()) for text in texts], dtype=int)

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
            Turns, the last one of each a user's.
        max_tokens
            Most tokens of an answer, with those of a model's reasoning.
        sampling
            How a token is chosen; by default the most probable one. ``top_k`` and ``min_p`` are sent only if they are set, as
            not every server knows them.
        seeds
            Seed of every conversation, sent with it; how far it binds is up to the server. By default 0, 1, 2, …
        batch_size
            Requests under way at once, for this call.

        Returns
        -------
        The answers, without white space around them and without what is marked as reasoning.

        Raises
        ------
        ValueError, ConnectionError, TimeoutError, PermissionError
            With one sentence that says what is wrong.
        """
        if max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} leaves no room for an answer: use 1 or more.")
        if any(not turns or turns[-1].get("role") != "user" for turns in conversations):
            raise ValueError("A conversation has to end with a turn of the user: add one with the question.")
        if not conversations:
            return []
        fields = self._sampled(sampling or Sampling(temperature=0.0)) | {"max_tokens": max_tokens}
        numbers = np.arange(len(conversations)) if seeds is None else np.asarray(seeds)
        with self.connection.open() as client:
            self._greet(client)

            def say(row: int) -> Any:
                turns = [dict(turn) for turn in conversations[row]]
                return self._reply(client, turns, seed=int(numbers[row]) % _SEEDS, **fields)

            replies = self._each(say, range(len(conversations)), "writing", batch_size)
        texts = [spoken(reply) for reply in replies]
        cut = sum(not text and reply.finish_reason == "length" for text, reply in zip(texts, replies, strict=True))
        if cut:
            logg.warning(
                f"{cut} of {len(texts)} answers are empty at max_tokens={max_tokens}: a model that reasons first needs more, "
                "or options= that keep it from it"
            )
        return texts

    def score(self, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Log-probability of every answer after every prompt, in the sense of :attr:`scoring`.

        Parameters
        ----------
        prompts
            Texts; none may end with a space.
        answers
            Continuations, each beginning with a space.
        batch_size
            Requests under way at once, for this call.

        Returns
        -------
        Array of float64 (prompts × answers). An answer that has no probability has a large negative number.

        Raises
        ------
        ValueError, ConnectionError, TimeoutError, PermissionError
            With one sentence that says what is wrong.
        """
        prompts, answers = list(prompts), list(answers)
        if not answers:
            raise ValueError("There is nothing to score; give at least one answer.")
        if not prompts:
            return np.empty((0, len(answers)))
        with self.connection.open() as client:
            self._greet(client)
            ask = self._ask = self._ask or self._find_way(client, prompts[0], answers)
            scored = self._each(lambda prompt: ask(client, prompt, answers), prompts, "scoring", batch_size)
        scores = np.stack([row for row, _, _ in scored])
        failed = np.flatnonzero(np.isnan(scores).any(axis=1))
        if len(failed):
            example = scored[failed[0]][1][:80]
            logg.warning(f"{len(failed)} of {len(prompts)} replies are none of the answers, for example {example!r}")
        return scores

    # ---- requests -------------------------------------------------------------------------------

    def _greet(self, client: Any) -> None:
        if self._greeted:
            return
        for model in self.connection.greet(client):
            if model.id == self.connection.model and self._context is None:
                self._context = getattr(model, "max_model_len", None)
        self._greeted = True

    def _each(self, work: Callable[[Any], Any], items: Sequence[Any], desc: str, batch_size: int | None) -> list[Any]:
        n_parallel, hidden = batch_size or self.n_parallel, True if self.quiet else None
        return side_by_side(work, items, n_parallel=n_parallel, desc=desc, disable=hidden)

    def _reply(self, client: Any, turns: list[dict[str, str]], **fields: Any) -> Any:
        """First choice of a chat's reply."""
        fields["extra_body"] = {**fields.get("extra_body", {}), **self.options}
        reply = client.chat.completions.create(model=self.connection.model, messages=turns, **fields)
        return self._choices(reply)[0]

    def _choices(self, reply: Any) -> list[Any]:
        choices = getattr(reply, "choices", None)
        if not choices:
            raise ConnectionError(
                f"{self.connection.url} gave a reply without an answer: is it an OpenAI-compatible server?"
            )
        return choices

    @staticmethod
    def _sampled(how: Sampling) -> dict[str, Any]:
        set_here = {"top_k": how.top_k, "min_p": how.min_p or None}
        extra = {name: value for name, value in set_here.items() if value is not None}
        return {"temperature": how.temperature, "top_p": how.top_p, "extra_body": extra}

    # ---- closed answers -------------------------------------------------------------------------

    def _find_way(self, client: Any, prompt: str, answers: list[str]) -> Way:
        """Try what the server may offer, the best first, and remember what it took."""
        if self.scoring != CHOICE:
            tried = self._try(self._likelihood, client, prompt, answers)
            if tried is not None and not np.isnan(tried[0]).any():
                return self._settle(LIKELIHOOD, self._likelihood)
            if self.scoring == LIKELIHOOD:
                raise ValueError(
                    f"{self.connection.url} does not tell the log-probabilities of a text that it is given (echo and "
                    f"logprobs of /completions) for {self.connection.model!r}: leave scoring= out to have the model choose."
                )
        kinds = product((True, False), _TOP)
        *ways, plainest = [partial(self._choice, structured=structured, n_top=n_top) for structured, n_top in kinds]
        for way in ways:
            tried = self._try(way, client, prompt, answers)
            if tried is not None:
                return self._settle(CHOICE_PROBABILITIES if tried[2] else CHOICE, way)
        # A server that does not take this either says why.
        plainest(client, prompt, answers)
        return self._settle(CHOICE, plainest)

    def _try(self, way: Way, client: Any, prompt: str, answers: list[str]) -> Scored | None:
        try:
            return way(client, prompt, answers)
        except client_library().APIStatusError as error:
            if is_refusal(error):
                return None
            raise

    def _settle(self, scoring: str, way: Way) -> Way:
        self.scoring = scoring
        logg.info(f"    {self.connection.model} at {self.connection.url}: {_FOUND[scoring]}")
        return way

    def _likelihood(self, client: Any, prompt: str, answers: list[str]) -> Scored:
        ends = closed(answers)
        reply = client.completions.create(
            model=self.connection.model,
            prompt=[prompt + end for end in ends],
            # Some servers have to write something.
            max_tokens=1,
            echo=True,
            logprobs=1,
            temperature=0.0,
            extra_body=self.options,
        )
        scores = likelihoods(self._choices(reply), ends)
        return np.full(len(answers), np.nan) if scores is None else scores, "", True

    def _choice(self, client: Any, prompt: str, answers: list[str], *, structured: bool, n_top: int) -> Scored:
        names = [answer.strip() for answer in answers]
        fields: dict[str, Any] = {"logprobs": True, "top_logprobs": n_top} if n_top else {}
        if structured:
            form = {"name": "answer", "strict": True, "schema": schema(names)}
            fields["response_format"] = {"type": "json_schema", "json_schema": form}
        question = _QUESTION.format(prompt=prompt.rstrip(), answers="\n".join(names))
        # A token is no shorter than a byte.
        most = max(len(name.encode()) for name in names) + 32
        turns = [{"role": "user", "content": question}]
        reply = self._reply(client, turns, temperature=0.0, max_tokens=most, **fields)
        scores, probable = chosen(reply, names)
        return scores, spoken(reply), probable
