"""Served models: against a server that offers as much as it is told to, and against a real one."""

from __future__ import annotations

import _thread
import copy
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import scanpy as sc
from packaging.version import Version
from typer.testing import CliRunner

from sc_c2s.cli import app
from sc_c2s.engine import Engine, LocalEngine, Sampling, ServerEngine, Speaker, Writer
from sc_c2s.engine.replies import NEVER
from sc_c2s.prompts import annotate_prompt
from sc_c2s.sentences.recipe import Recipe
from sc_c2s.tl import annotate, ask, generate, summarize

pytest.importorskip("openai", reason="a served model needs `pip install 'sc-c2s[server]'`")

KEY = "sk-not-to-be-seen"
LABELS = ["B cell", "CD14+ monocyte", "T cell, CD4/CD8"]


class MockServer:
    """OpenAI-compatible interface over plain functions.

    Attributes
    ----------
    models
        What it lists.
    echo
        Tokens and log-probabilities of a text that is read back; ``None`` if it has no such thing.
    say
        Answer to the messages of a chat.
    tokens
        Tokens of that answer, each with those that could have stood there, for a server that tells probabilities.
    finish
        Why it ends an answer.
    empty
        Whether it leaves out the answer.
    knows
        Fields of a chat that it takes; it refuses others.
    failures
        Statuses with which it fails, one a request, before it works; and what it says then.
    before
        Called with every request.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.models: list[dict[str, Any]] = [{"id": "tiny", "object": "model", "max_model_len": 512}]
        self.echo: Callable[[str], tuple[list[str], list[float | None]]] | None = None
        self.say: Callable[[list[dict[str, str]]], str] = lambda messages: messages[-1]["content"].upper()
        self.tokens: Callable[[str], list[dict[str, Any]]] | None = None
        self.knows = {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
        self.finish = "stop"
        self.empty = False
        self.failures: list[tuple[int, str]] = []
        self.before: Callable[[str, dict[str, Any]], None] = lambda path, body: None
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    def bodies(self, path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
        return [body for at, body, _ in self.seen if at == path]

    def answer(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.seen.append((path, body, headers))
        self.before(path, body)
        if path == "/v1/models":
            return 200, {"object": "list", "data": self.models}
        if self.failures:
            status, words = self.failures.pop(0)
            return status, {"error": {"message": words}}
        if path == "/v1/completions" and self.echo is not None:
            return 200, {"choices": [self._echoed(i, text) for i, text in enumerate(body["prompt"])]}
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": "Not Found"}}
        if body["model"] not in [model["id"] for model in self.models]:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if unknown := sorted(set(body) - self.knows):
            return 422, {"error": {"message": f"unknown fields: {unknown}"}}
        if self.empty:
            return 200, {"choices": []}
        text = self.say(body["messages"])
        told = {"content": self.tokens(text)} if self.tokens is not None and body.get("logprobs") else None
        message = {"role": "assistant", "content": text}
        return 200, {"choices": [{"index": 0, "message": message, "finish_reason": self.finish, "logprobs": told}]}

    def _echoed(self, index: int, text: str) -> dict[str, Any]:
        tokens, values = self.echo(text)
        return {"index": index, "text": text, "logprobs": {"tokens": tokens, "token_logprobs": values}}


@contextmanager
def serving() -> Iterator[MockServer]:
    """Run a server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            status, said = mock.answer(self.path, body, {name.lower(): value for name, value in self.headers.items()})
            content = json.dumps(said).encode()
            try:
                self.send_response(status)
                # The client waits as long as it is told to before it asks again.
                self.send_header("retry-after-ms", "5")
                if 300 <= status < 400:
                    self.send_header("Location", said["error"]["message"])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # the client has gone
                pass

        def log_message(self, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """A client that has gone may be noticed much later, and must not speak up in another test."""

    httpd = Quiet(("127.0.0.1", 0), Handler)
    mock = MockServer(f"http://127.0.0.1:{httpd.server_port}/v1")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield mock
    finally:
        httpd.shutdown()
        httpd.server_close()


@pytest.fixture
def server() -> Iterator[MockServer]:
    with serving() as mock:
        yield mock


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return KEY


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What scanpy's logger says."""
    before = sc.settings.verbosity, sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = 3, StringIO()
    yield sc.settings.logfile
    sc.settings.verbosity, sc.settings.logfile = before


def engine_for(server: MockServer, **options: Any) -> ServerEngine:
    return ServerEngine("tiny", url=server.url, **({"quiet": True} | options))


def asked(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": text}] for text in texts]


# ---- talking ------------------------------------------------------------------------------------


def test_it_is_an_engine_and_a_speaker_and_no_writer(server) -> None:
    engine = engine_for(server)
    assert isinstance(engine, Engine)
    assert isinstance(engine, Speaker)
    assert not isinstance(engine, Writer)


def test_answers_come_in_the_order_of_the_conversations(server) -> None:
    # The first ones take longest.
    server.before = lambda path, body: time.sleep(0.3 / (1 + int(body["messages"][0]["content"]))) if body else None
    server.say = lambda messages: f" say {messages[-1]['content']}\n"
    numbers = [str(i) for i in range(12)]
    assert engine_for(server).chat(asked(*numbers), max_tokens=5) == [f"say {i}" for i in numbers]


def test_requests_are_under_way_together_and_no_more_than_asked_for(server) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def count(path: str, body: dict[str, Any]) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1

    server.before = count
    engine = engine_for(server, n_parallel=4)
    engine.chat(asked(*"abcdefghijkl"), max_tokens=5)
    assert most[0] == 4
    most[0] = 0
    engine.chat(asked(*"abcdef"), max_tokens=5, batch_size=1)
    assert most[0] == 1


def test_a_request_says_how_to_choose_tokens(server) -> None:
    server.knows |= {"top_k", "min_p", "think"}
    engine = engine_for(server, options={"think": False})
    talk = [{"role": "system", "content": "Be short."}, *asked("a")[0]]
    engine.chat([talk], max_tokens=7)
    engine.chat(asked("a"), max_tokens=8, sampling=Sampling(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1), seeds=[5])
    engine.chat(asked("a", "b"), max_tokens=9, seeds=np.array([2**63 + 11, 3], dtype=np.uint64), batch_size=1)
    common = {"model": "tiny", "think": False}
    greedy = {"temperature": 0.0, "top_p": 1.0}
    assert server.bodies() == [
        {**common, **greedy, "messages": talk, "max_tokens": 7, "seed": 0},
        {
            **common,
            "messages": asked("a")[0],
            "max_tokens": 8,
            "seed": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 3,
            "min_p": 0.1,
        },
        {**common, **greedy, "messages": asked("a")[0], "max_tokens": 9, "seed": 11},
        {**common, **greedy, "messages": asked("b")[0], "max_tokens": 9, "seed": 3},
    ]


def test_reasoning_is_no_part_of_an_answer_and_an_answer_without_any_is_told(server, log) -> None:
    engine = engine_for(server)
    server.say = lambda messages: "<think>\nHm.\n</think>\n\nYes."
    assert engine.chat(asked("a"), max_tokens=5) == ["Yes."]
    server.say, server.finish = (lambda messages: ""), "length"
    assert engine.chat(asked("a"), max_tokens=5) == [""]
    assert "1 of 1 answers are empty at max_tokens=5" in log.getvalue()


def test_what_cannot_be_asked(server) -> None:
    engine = engine_for(server)
    assert engine.chat([], max_tokens=5) == []
    with pytest.raises(ValueError, match="max_tokens=0 leaves no room"):
        engine.chat(asked("a"), max_tokens=0)
    with pytest.raises(ValueError, match="end with a turn of the user"):
        engine.chat([[{"role": "assistant", "content": "a"}]], max_tokens=5)
    assert server.seen == []


def test_the_length_of_a_context(server) -> None:
    assert engine_for(server).context == 512
    assert engine_for(server, context=100).context == 100
    del server.models[0]["max_model_len"]
    assert engine_for(server).context is None
    np.testing.assert_array_equal(engine_for(server).count(["abc", "é"]), [3, 2])
    assert engine_for(server).written(asked("Why? ")[0]) == "Why?\n\n"


# ---- closed answers -----------------------------------------------------------------------------


def test_likelihoods_are_those_of_the_same_weights_here(server, log, make_model, piece_tokenizer, prompts) -> None:
    import torch

    model = make_model("llama", piece_tokenizer)

    def echo(text: str) -> tuple[list[str], list[float | None]]:
        ids = piece_tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        values = [None, *(float(logs[i, token]) for i, token in enumerate(ids[1:]))]
        # A token before the text, and one that had to be written behind it.
        return ["<s>", *piece_tokenizer.convert_ids_to_tokens(ids), "!"], [None, *values, -50.0]

    server.echo = echo
    answers = [" Dendritic", " B, memory", " CD14+/CD16+ Mono"]
    engine = engine_for(server)
    scores = engine.score(prompts[:6], answers)
    expected = LocalEngine(model, piece_tokenizer, quiet=True).score(prompts[:6], answers)
    assert np.ptp(expected, axis=1).min() > 1
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert engine.scoring == "likelihood"
    assert log.getvalue().count("the server tells how probable each answer is") == 1
    request = server.bodies("/v1/completions")[-1]
    fields = {"model": "tiny", "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0.0}
    assert {name: request[name] for name in fields} == fields
    assert len(server.bodies("/v1/completions")) == 7, "one to find out, one for each prompt"


def word_by_word(text: str) -> tuple[list[str], list[float | None]]:
    """Every token costs a tenth for each of its letters."""
    tokens = re.findall(r"\n|\s*\S+", text)
    return [*tokens, "…"], [None, *(-len(token) / 10 for token in tokens[1:]), -9.0]


def test_nested_answers_are_told_apart_by_the_end_of_the_line(server) -> None:
    server.echo = word_by_word
    scores = engine_for(server).score(["It is a:", "No, a:"], [" T", " T cell"])
    np.testing.assert_allclose(scores, [[-0.3, -0.8]] * 2)


QUESTION = "Say:\n\nAnswer with one of these and nothing else:\nB cell\nT cell"


def test_a_server_that_knows_schemas_and_tells_probabilities(server, log) -> None:
    server.knows |= {"response_format", "logprobs", "top_logprobs"}
    server.say = lambda messages: '{"answer": "T cell"}'

    def tokens(text: str) -> list[dict[str, Any]]:
        def token(token: str, p: float) -> dict[str, Any]:
            return {"token": token, "logprob": float(np.log(p)), "bytes": None}

        here = token("T", 0.75) | {"top_logprobs": [token("T", 0.75), token("B", 0.25)]}
        sure = [token(part, 1.0) | {"top_logprobs": []} for part in ('{"answer": "', " cell", '"}')]
        return [sure[0], here, *sure[1:]]

    server.tokens = tokens
    engine = engine_for(server)
    scores = engine.score(["Say:"], [" B cell", " T cell"])
    np.testing.assert_allclose(np.exp(scores), [[0.25, 0.75]])
    assert engine.scoring == "choice with probabilities"
    assert "how probable the others were" in log.getvalue()
    request = server.bodies()[-1]
    assert request["messages"] == [{"role": "user", "content": QUESTION}]
    assert (request["temperature"], request["logprobs"], request["top_logprobs"]) == (0.0, True, 20)
    assert request["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"] == ["B cell", "T cell"]


@pytest.mark.parametrize(
    ("knows", "fields"),
    [
        ({"response_format"}, {"response_format"}),
        ({"logprobs", "top_logprobs"}, {"logprobs", "top_logprobs"}),
        (set(), set()),
    ],
)
def test_a_server_that_tells_no_probabilities(server, log, knows, fields) -> None:
    server.knows |= knows
    server.say = lambda messages: "T cell" if "CD3" in messages[0]["content"] else "b cell."
    engine = engine_for(server)
    scores = engine.score(["CD3:", "CD19:", "CD3:"], [" B cell", " T cell"])
    np.testing.assert_array_equal(scores, [[NEVER, 0], [0, NEVER], [NEVER, 0]])
    assert engine.scoring == "choice"
    assert log.getvalue().count("tells no probabilities") == 1
    assert set(server.bodies()[-1]) == {"model", "messages", "max_tokens", "temperature"} | fields
    n = len(server.seen)
    engine.score(["CD3:"], [" B cell", " T cell"])
    assert len(server.seen) == n + 1, "it is known how to ask"


def test_replies_that_are_none_of_the_answers(server, log) -> None:
    server.say = lambda messages: "T cell" if "CD3" in messages[0]["content"] else "I cannot tell."
    scores = engine_for(server).score(["CD19:", "CD3:"], [" B cell", " T cell"])
    np.testing.assert_array_equal(scores, [[np.nan, np.nan], [NEVER, 0]])
    assert "1 of 2 replies are none of the answers, for example 'I cannot tell.'" in log.getvalue()


def test_the_way_can_be_chosen(server) -> None:
    server.echo = word_by_word
    server.say = lambda messages: "T cell"
    engine = engine_for(server, scoring="choice")
    np.testing.assert_array_equal(engine.score(["Say:"], [" B cell", " T cell"]), [[NEVER, 0]])
    assert server.bodies("/v1/completions") == []
    server.echo = None
    with pytest.raises(ValueError, match="does not tell the log-probabilities .* leave scoring= out"):
        engine_for(server, scoring="likelihood").score(["Say:"], [" B cell", " T cell"])
    with pytest.raises(ValueError, match="scoring='best' has to be"):
        engine_for(server, scoring="best")


def test_a_busy_server_does_not_change_the_way(server) -> None:
    server.echo = word_by_word
    server.failures = [(503, "busy"), (429, "busy")]
    engine = engine_for(server)
    np.testing.assert_allclose(engine.score(["It is a:"], [" B", " T"]), [[-0.2, -0.2]])
    assert engine.scoring == "likelihood"


def test_nothing_to_score(server) -> None:
    assert engine_for(server).score([], [" B"]).shape == (0, 1)
    with pytest.raises(ValueError, match="at least one answer"):
        engine_for(server).score(["a"], [])
    assert server.seen == []


# ---- failures -----------------------------------------------------------------------------------


def test_a_busy_server_is_asked_again(server) -> None:
    server.failures = [(429, "slow down"), (500, "oops")]
    assert engine_for(server).chat(asked("a", "b"), max_tokens=5, batch_size=1) == ["A", "B"]
    assert len(server.bodies()) == 4


@pytest.mark.parametrize(
    ("status", "words", "error", "said"),
    [
        (429, "slow down", ConnectionError, r"is too busy \(429\), also after 2 retries: lower n_parallel="),
        (500, "oops", ConnectionError, r"failed \(500\), also after 2 retries: .*oops"),
        (400, "maximum context length is 512 tokens", ValueError, "A text is too long for 'tiny'; shorten it"),
        (400, "top_p is odd", ValueError, r"does not take the request \(400\): .*top_p is odd"),
        (
            401,
            f"wrong key {KEY}",
            PermissionError,
            r"refuses the key in the environment variable OPENAI_API_KEY \(401\)",
        ),
        (403, "not you", PermissionError, r"refuses the key in the environment variable OPENAI_API_KEY \(403\)"),
    ],
)
def test_failures_are_one_sentence(server, status, words, error, said) -> None:
    server.failures = [(status, words)] * 9
    with pytest.raises(error, match=said) as caught:
        engine_for(server, n_retries=2).chat(asked("a"), max_tokens=5)
    assert server.url in str(caught.value) or status == 400
    assert "\n" not in str(caught.value)
    assert len(server.bodies()) == (3 if status in (429, 500) else 1)


def test_a_server_that_wants_a_key(server, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server.failures = [(401, "no key")]
    with pytest.raises(PermissionError, match="wants a key: set one in the environment variable OPENAI_API_KEY"):
        engine_for(server).chat(asked("a"), max_tokens=5)
    monkeypatch.setenv("LAB_KEY", "another")
    assert engine_for(server, api_key_env="LAB_KEY").chat(asked("a"), max_tokens=5) == ["A"]
    assert server.seen[-1][2]["authorization"] == "Bearer another"


def test_an_unknown_model_is_told_with_those_that_are_there(server) -> None:
    server.models.append({"id": "huge", "object": "model"})
    engine = ServerEngine("tinny", url=server.url, quiet=True)
    with pytest.raises(ValueError, match=re.escape(f"no model 'tinny' at {server.url}; there is 'tiny', 'huge'.")):
        engine.chat(asked("a"), max_tokens=5)
    with pytest.raises(ValueError, match="no model 'tinny'"):
        engine.score(["a"], [" b"])


def test_an_address_without_the_interface(server) -> None:
    engine = ServerEngine("tiny", url=server.url.removesuffix("/v1"), quiet=True)
    with pytest.raises(ValueError, match="have to end in /v1"):
        engine.chat(asked("a"), max_tokens=5)


def test_no_server() -> None:
    with serving() as gone:
        url = gone.url
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match=f"No server answers at {url}: start one there, or correct url="):
        ServerEngine("tiny", url=url, quiet=True).chat(asked("a"), max_tokens=5)
    assert time.perf_counter() - start < 5


def test_a_server_that_takes_too_long(server) -> None:
    server.before = lambda path, body: time.sleep(1.0 if body else 0.0)
    with pytest.raises(TimeoutError, match=r"gave no answer within 0.1 s, also after 1 retries: raise timeout="):
        engine_for(server, timeout=0.1, n_retries=1).chat(asked("a"), max_tokens=5)


def test_a_reply_that_is_none(server) -> None:
    server.empty = True
    with pytest.raises(ConnectionError, match="without an answer: is it an OpenAI-compatible server"):
        engine_for(server).chat(asked("a"), max_tokens=5)


def test_one_failure_ends_the_others(server) -> None:
    def hang(path: str, body: dict[str, Any]) -> None:
        if body and body["messages"][0]["content"] != "0":
            time.sleep(4)

    server.before, server.failures = hang, [(400, "no")]
    start = time.perf_counter()
    with pytest.raises(ValueError, match="does not take the request"):
        engine_for(server, n_parallel=3).chat(asked(*map(str, range(50))), max_tokens=5)
    assert time.perf_counter() - start < 3, "nobody waits for the slow ones"
    assert len(server.bodies()) < 10


def test_ctrl_c_ends_it_and_the_engine_goes_on(server, request) -> None:
    # Where the tests run in the background, the shell has switched it off.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupt(path: str, body: dict[str, Any]) -> None:
        if body and body["messages"][0]["content"] == "3":
            _thread.interrupt_main()
        time.sleep(0.05)

    server.before = interrupt
    engine = engine_for(server, n_parallel=2)
    with pytest.raises(KeyboardInterrupt):
        engine.chat(asked(*map(str, range(100))), max_tokens=5)
    assert len(server.bodies()) < 20
    assert engine.chat(asked("7"), max_tokens=5) == ["7"]


def test_the_client_may_be_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'sc-c2s[server]'")):
        ServerEngine("tiny", url="http://127.0.0.1:1/v1")


# ---- addresses and keys -------------------------------------------------------------------------


def test_the_address_comes_from_the_environment(server, monkeypatch) -> None:
    with pytest.raises(ValueError, match="No server is named: give url=, or set OPENAI_BASE_URL"):
        ServerEngine("tiny")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    assert ServerEngine("tiny", quiet=True).chat(asked("a"), max_tokens=5) == ["A"]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:hidden-word@lab:8000/v1",
        "http://hidden-word@lab/v1",
        "https://lab/v1?key=hidden-word",
        "https://lab/v1#hidden-word",
        "me:hidden-word@lab/v1",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(url) -> None:
    with pytest.raises(ValueError, match="no name, password or query") as caught:
        ServerEngine("tiny", url=url)
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://lab/v1", "http:///v1"])
def test_an_address_that_is_none(url) -> None:
    with pytest.raises(ValueError, match="is no address of a server"):
        ServerEngine("tiny", url=url)


def test_a_redirect_is_not_followed(server) -> None:
    with serving() as elsewhere:
        for status in (301, 302, 307, 308):
            server.failures = [(status, f"{elsewhere.url}/chat/completions")] * 9
            with pytest.raises(ConnectionError, match=rf"sends to another address \({status}\), which is not followed"):
                engine_for(server).chat(asked("a"), max_tokens=5)
        assert elsewhere.seen == []


def test_no_proxy_stands_before_this_machine(server, monkeypatch) -> None:
    with serving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert engine_for(server).chat(asked("a"), max_tokens=5) == ["A"]
        assert proxy.seen == []


def test_a_key_that_would_travel_unencrypted_is_warned_of(monkeypatch, log) -> None:
    engine = ServerEngine("tiny", url="http://lab.invalid:8000/v1", quiet=True, n_retries=0)
    with pytest.raises(ConnectionError):
        engine.chat(asked("a"), max_tokens=5)
    assert "The key in OPENAI_API_KEY travels to http://lab.invalid:8000/v1 unencrypted" in log.getvalue()
    monkeypatch.delenv("OPENAI_API_KEY")
    before = log.getvalue()
    with pytest.raises(ConnectionError):
        engine.chat(asked("a"), max_tokens=5)
    assert log.getvalue() == before


def test_the_key_is_sent_and_shown_nowhere(server, adata, log, caplog, tmp_path) -> None:
    caplog.set_level("DEBUG")
    server.say = lambda messages: LABELS[0]
    engine = engine_for(server)
    annotate(adata, model=engine, labels=LABELS)
    assert {headers["authorization"] for _, _, headers in server.seen} == {f"Bearer {KEY}"}
    shown = [repr(engine), repr(vars(engine)), repr(engine.source), str(pickle.dumps(engine)), repr(dict(adata.uns))]
    # A server that repeats the key.
    for status in (400, 401, 404, 429, 500):
        server.failures = [(status, f"your key is {KEY}, is it not?")] * 9
        with pytest.raises((ValueError, OSError)) as caught:
            engine_for(server, n_retries=1).chat(asked("a"), max_tokens=5)
        shown.append("".join(traceback.format_exception(caught.value)))
    adata.write_h5ad(tmp_path / "cells.h5ad")
    shown += [log.getvalue(), caplog.text, str((tmp_path / "cells.h5ad").read_bytes())]
    assert "your key is …, is it not?" in shown[-5]
    assert caplog.records, "the client's own log is looked at"
    assert [text for text in shown if KEY in text] == []


# ---- annotation ---------------------------------------------------------------------------------


def by_markers(messages: list[dict[str, str]]) -> str:
    """GENE0-3, GENE4-7 and GENE8-11 mark the three types."""
    first = re.search(r"strongest first: (GENE\d+)", messages[-1]["content"])
    kind = int(first.group(1)[4:]) // 4
    return LABELS[kind] if kind < 3 else "none that I know"


def test_cells_are_annotated_in_both_containers(any_data, server, monkeypatch) -> None:
    server.say = by_markers
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    annotate(any_data.data, model="tiny", engine="server", labels=LABELS, **any_data.where)
    adata = any_data.adata
    genes = np.array(adata.var_names, dtype=object)
    sentences = Recipe(n_genes=200).write(adata.X, genes, np.array(adata.obs_names), vocabulary=genes)
    expected = [by_markers([{"content": annotate_prompt(text, family="english")}]) for text in sentences]
    found = adata.obs["c2s_cell_type"].astype(object)
    failed = np.array([label not in LABELS for label in expected])
    assert 0 < (~failed).sum()
    assert list(found[~failed]) == [label for label in expected if label in LABELS]
    assert found[failed].isna().all()
    proba = adata.obsm["c2s_cell_type_proba"]
    assert set(np.unique(proba[~failed])) == {0.0, 1.0}
    assert np.isnan(proba[failed]).all()
    stored = adata.uns["c2s_cell_type"]
    assert stored["n_failed"] == failed.sum()
    assert set(stored["failures"]["reason"]) == ({"the model named none of the labels"} if failed.any() else set())
    said = {name: stored["params"][name] for name in ("model", "engine", "url", "scoring", "temperature")}
    assert said == {"model": "tiny", "engine": "server", "url": server.url, "scoring": "choice", "temperature": 1.0}


def test_groups_are_described_and_asked_about_in_both_containers(any_data, server, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    where = {"model": "tiny", "engine": "server", "groupby": "cell_type", "label_key": "cell_type", **any_data.where}
    server.say = lambda messages: "They are B cells."
    with pytest.raises(ValueError, match="do not fit into the model's context of 512 tokens"):
        summarize(any_data.data, **where)
    assert server.bodies() == [], "it is known before anything is sent"
    server.models[0]["max_model_len"] = 50_000
    summarize(any_data.data, **where)
    ask(any_data.data, "What are they?", key_added="free", **where)
    server.say = lambda messages: "no" if "GENE4 " in messages[-1]["content"] else "maybe"
    ask(any_data.data, "Are they?", choices=["yes", "no"], n_genes=2, n_cells=5, key_added="closed", **where)
    adata = any_data.adata
    for table in (adata.uns["c2s_summary"]["summaries"], adata.uns["free"]["answers"]):
        assert list(table["text"]) == ["They are B cells."] * 3
        np.testing.assert_array_equal(table["confirmed"], [1, 0, 0])
    closed = adata.uns["closed"]
    shown = [body["messages"][-1]["content"] for body in server.bodies()[-3:]]
    assert len(shown) == 3
    said = dict(zip(closed["answers"].index, closed["answers"]["text"], strict=True))
    assert said["CD14+ monocyte"] == "no", "its markers are GENE4 to GENE7"
    for text, proba in zip(closed["answers"]["text"], closed["proba"], strict=True):
        np.testing.assert_array_equal(proba, [0, 1] if text == "no" else [np.nan, np.nan])
        assert text in ("no", "")
    assert "" in said.values()
    for key in ("c2s_summary", "free", "closed"):
        params = adata.uns[key]["params"]
        assert (params["model"], params["engine"], params["url"]) == ("tiny", "server", server.url)
    assert closed["params"]["scoring"] == "choice"


def test_annotation_survives_a_file(adata, server, tmp_path) -> None:
    server.say = lambda messages: "no idea"
    annotate(adata, model=engine_for(server), labels=LABELS)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    stored = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert stored.obs["c2s_cell_type"].isna().all()
    assert stored.uns["c2s_cell_type"]["params"]["url"] == server.url


def test_what_a_served_model_cannot_do(adata, server) -> None:
    with pytest.raises(TypeError, match="A served model cannot write cells, which needs its weights"):
        generate(adata, model=engine_for(server))
    with pytest.raises(ValueError, match="no labels of its own"):
        annotate(adata, model=engine_for(server))
    with pytest.raises(ValueError, match="engine='cloud' has to be one of 'local', 'server'"):
        annotate(adata, model="tiny", engine="cloud", labels=LABELS)
    with pytest.raises(TypeError, match="takes the name of a model on the server"):
        annotate(adata, model=MockServer, engine="server", labels=LABELS)


def test_the_command_line(adata, server, tmp_path, monkeypatch) -> None:
    server.say = by_markers
    server.models[0]["max_model_len"] = 50_000
    adata.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    where = [str(tmp_path / "cells.h5ad"), "--out", str(tmp_path / "out.h5ad")]
    labels = [part for label in LABELS for part in ("--labels", label)]
    done = CliRunner().invoke(app, ["annotate", *where, "--engine", "server", "--model", "tiny", *labels])
    assert done.exit_code == 0, done.output
    asked_for = ["ask", where[0], "What are they?", "--engine", "server", "--model", "tiny"]
    server.say = lambda messages: "I am the served one."
    assert "I am the served one." in CliRunner().invoke(app, asked_for).output
    server.say = by_markers
    annotate(adata, model=engine_for(server), labels=LABELS)
    stored = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert list(stored.obs["c2s_cell_type"].astype(str)) == list(adata.obs["c2s_cell_type"].astype(str))
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    done = CliRunner().invoke(app, ["annotate", *where, "--engine", "server", "--model", "tiny", *labels])
    assert done.exit_code == 2
    assert "c2s: No server answers at http://127.0.0.1:1/v1" in done.output


# ---- a real server ------------------------------------------------------------------------------

TEMPLATE = (
    "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory, make_model, piece_tokenizer) -> Iterator[tuple[str, str, Any, Any]]:
    """``transformers serve`` with a tiny model: its name, its address, and the model and tokenizer themselves."""
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="a real server needs `pip install 'transformers[serving]'`")
    if Version(version("transformers")) < Version("5.23"):
        pytest.skip("`transformers serve` took other arguments before 5.23")
    path = tmp_path_factory.mktemp("served")
    tokenizer = copy.deepcopy(piece_tokenizer)
    tokenizer.chat_template = TEMPLATE
    model = make_model("llama", tokenizer)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A key of the user's is none of the server's business.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    command = ["serve", str(path), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    program = "from transformers.cli.transformers import main; main()"
    with (path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *command],
            env=outside | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(path / "hub")},
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(port, process, path / "log")
            yield str(path), f"http://127.0.0.1:{port}/v1", model, tokenizer
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"no server within a minute: {log.read_text()[-2000:]}")


@pytest.mark.slow
def test_a_real_server_says_what_the_same_weights_say_here(served) -> None:
    import torch

    name, url, model, tokenizer = served
    conversations = asked("GENE1 GENE2 GENE3", "GENE4", "What is it? GENE7 GENE8", "GENE1 GENE2 GENE3")
    found = ServerEngine(name, url=url, quiet=True).chat(conversations, max_tokens=12)
    plain = []
    for turns in conversations:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        out = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
        plain.append(tokenizer.decode(out, skip_special_tokens=True).strip())
    assert found == plain
    assert all(plain)
    assert len(set(plain)) > 1
    assert found == LocalEngine(model, tokenizer, quiet=True).chat(conversations, max_tokens=12)


@pytest.mark.slow
def test_a_real_server_is_asked_what_it_can(served, log) -> None:
    name, url, _, _ = served
    engine = ServerEngine(name, url=url, quiet=True)
    scores = engine.score(["GENE1:", "GENE2:"], [" B cell", " T cell"])
    assert engine.scoring == "choice"
    assert np.isnan(scores).all(), "random weights name no cell type"
    assert "2 of 2 replies are none of the answers" in log.getvalue()


@pytest.mark.slow
def test_a_real_server_without_that_model(served) -> None:
    name, url, _, _ = served
    with pytest.raises(ValueError, match=f"Server is pinned to {name!r}; requested 'another'"):
        ServerEngine("another", url=url, quiet=True).chat(asked("a"), max_tokens=5)
