"""The way to a server: its address, its key, requests side by side, and in one sentence what went wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from multiprocessing.pool import ThreadPool
from typing import Any, TypeVar
from urllib.parse import urlsplit

from scanpy import logging as logg

from sc_c2s._progress import progress

URL_ENV = "OPENAI_BASE_URL"
KEY_ENV = "OPENAI_API_KEY"
_CONNECT = 10.0
"""Seconds to wait until a server takes a connection."""
_QUOTED = 300
"""Characters of a server's own words that are shown."""
_REFUSALS = {400, 404, 405, 422, 501}
"""What servers answer that do not have what they are asked for."""
_TOO_LONG = re.compile(
    r"context[ _]?(length|size|window)|maximum context|too (long|large|many tokens)|exceeds? .*(token|context)", re.I
)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Connection:
    """A server, and how it is asked. The key is read from the environment whenever it is needed, and never kept.

    Attributes
    ----------
    model
        Name of the model there.
    url
        Address, as :func:`address` gives it.
    key_env
        Environment variable with the key; a server that asks for none needs none.
    timeout
        Seconds to wait for a reply.
    n_retries
        How often a request is sent again where the server is busy or fails, with growing pauses.
    """

    model: str
    url: str
    key_env: str = KEY_ENV
    timeout: float = 300.0
    n_retries: int = 4

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open an ``openai`` client; what goes wrong with it is said in one sentence.

        Raises
        ------
        ConnectionError
            If there is no server, or it sends elsewhere, fails or is too busy also after the last retry.
        TimeoutError
            If it does not answer in time.
        PermissionError
            If it refuses the key.
        ValueError
            If it has no such model, the text is too long for it, or it does not take the request.
        """
        openai = client_library()
        # Another place must not be sent the key or the cells, whoever names it: a redirect, or a proxy before this machine.
        http = openai.DefaultHttpxClient(follow_redirects=False, trust_env=not _is_here(self.url))
        with openai.OpenAI(
            api_key=self._key or "none",
            base_url=self.url,
            timeout=openai.Timeout(self.timeout, connect=min(_CONNECT, self.timeout)),
            max_retries=self.n_retries,
            http_client=http,
        ) as client:
            try:
                yield client
                return
            except openai.APIError as error:
                said = self._explain(client, error)
        # The client's own error, which may hold what the server made of the key, is not shown beside it.
        raise said from None

    def greet(self, client: Any) -> list[Any]:
        """Ask which models there are, and find out at once whether there is a server, and whether it takes the key.

        Returns
        -------
        The models as the server describes them; none where it does not list them.
        """
        if self._key and self.url.startswith("http:") and not _is_here(self.url):
            logg.warning(
                f"The key in {self.key_env} travels to {self.url} unencrypted; use https if the server has it."
            )
        openai = client_library()
        try:
            return _models(client.with_options(max_retries=min(1, self.n_retries)))
        except (openai.AuthenticationError, openai.PermissionDeniedError):
            raise
        except openai.APIStatusError as error:
            if error.status_code < 400:
                raise
            return []

    @property
    def _key(self) -> str | None:
        return os.environ.get(self.key_env) or None

    def _explain(self, client: Any, error: Exception) -> Exception:
        openai = client_library()
        again = f", also after {self.n_retries} retries" if self.n_retries else ""
        if isinstance(error, openai.APITimeoutError):
            return TimeoutError(
                f"{self.url} gave no answer within {self.timeout:g} s{again}: raise timeout=, or lower n_parallel=."
            )
        if isinstance(error, openai.APIConnectionError):
            return ConnectionError(
                f"No server answers at {self.url}: start one there, or correct url= (by default ${URL_ENV})."
            )
        if not isinstance(error, openai.APIStatusError):
            return ConnectionError(f"{self.url} gave a reply that cannot be read: is it an OpenAI-compatible server?")
        status, words = error.status_code, self._words(error)
        if status < 400:
            return ConnectionError(
                f"{self.url} sends to another address ({status}), which is not followed, so that neither key nor prompts go "
                "elsewhere: give the address of the server itself."
            )
        if status in (401, 403):
            wants = "refuses the key in" if self._key else "wants a key: set one in"
            return PermissionError(f"{self.url} {wants} the environment variable {self.key_env} ({status}).")
        if status == 429:
            return ConnectionError(f"{self.url} is too busy (429){again}: lower n_parallel=, or wait. {words}")
        if status >= 500:
            return ConnectionError(f"{self.url} failed ({status}){again}: {words}")
        if _TOO_LONG.search(words):
            return ValueError(
                f"A text is too long for {self.model!r}; shorten it, or have the server read more: {words}"
            )
        if status in (400, 404) and (status == 404 or "model" in words.lower()):
            names = self._names(client)
            if names and self.model not in names:
                has = ", ".join(map(repr, names[:20]))
                return ValueError(f"There is no model {self.model!r} at {self.url}; there is {has}.")
            if status == 404 and not names:
                return ValueError(
                    f"{self.url} has no OpenAI-compatible interface (404); does the address have to end in /v1? {words}"
                )
        return ValueError(f"{self.url} does not take the request ({status}): {words}")

    def _words(self, error: Any) -> str:
        """Give what the server said in one line, without the key."""
        body = error.body
        words = str((body.get("message") or body.get("detail") or body) if isinstance(body, dict) else body or error)
        if self._key:
            words = words.replace(self._key, "…")
        words = " ".join(words.split())
        return words if len(words) <= _QUOTED else f"{words[:_QUOTED]}…"

    def _names(self, client: Any) -> list[str]:
        try:
            return [model.id for model in _models(client.with_options(max_retries=0))]
        except client_library().APIError:
            return []


def address(url: str | None) -> str:
    """Check the address of a server, which is recorded beside results and so may hold no secret.

    Parameters
    ----------
    url
        Address up to the part that all requests share, for example ``"http://localhost:8000/v1"``; ``None`` for what the
        environment variable ``OPENAI_BASE_URL`` says.
    """
    url = (url or os.environ.get(URL_ENV, "")).strip()
    if not url:
        raise ValueError(f"No server is named: give url=, or set {URL_ENV}, for example to http://localhost:8000/v1.")
    parts = urlsplit(url)
    if "@" in url or parts.query or parts.fragment:
        raise ValueError(
            "The address of a server may hold no name, password or query, as it is recorded: put the key into the environment "
            f"variable {KEY_ENV}."
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"url={url!r} is no address of a server: write it like http://localhost:8000/v1.")
    return url.rstrip("/")


def side_by_side(
    work: Callable[[Item], Result], items: Sequence[Item], *, n_parallel: int, desc: str, disable: bool | None = None
) -> list[Result]:
    """Do the same with every item, several at a time; the first error or Ctrl-C ends it.

    Parameters
    ----------
    work
        What to do.
    items
        What with.
    n_parallel
        How many at a time.
    desc
        What it says in front of the bar.
    disable
        Show no bar.

    Returns
    -------
    The results, in the order of the items.
    """
    out: list[Any] = [None] * len(items)
    # These threads are daemons: one that waits for a slow server holds up neither an error nor the end of the program.
    with ThreadPool(max(1, min(n_parallel, len(items)))) as pool:
        with progress(total=len(items), desc=desc, unit="prompt", disable=disable) as done:
            for place, result in pool.imap_unordered(lambda i: (i, work(items[i])), range(len(items))):
                out[place] = result
                done.update()
    return out


def is_refusal(error: Exception) -> bool:
    """Whether a server does not have what it was asked for, rather than that it cannot give it now."""
    return getattr(error, "status_code", None) in _REFUSALS


def client_library() -> Any:
    """Import the module ``openai``, which is optional."""
    try:
        import openai
    except ImportError:
        raise ImportError(
            "A served model needs the client openai: install it with `pip install 'sc-c2s[server]'`."
        ) from None
    return openai


def _models(client: Any) -> list[Any]:
    return list(getattr(client.models.list(), "data", None) or [])


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
