"""TritonSession and a server that is none or means no good: each answer is one line, in the time that was given."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.observers.triton_repository.client import SequenceLost, TritonSession

ABOUT = (
    b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],'
    b' "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]}'
)
X = np.zeros((1, 2), np.float32)
PATIENCE_S = 0.2


def http(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n%b" % (status.encode(), len(body), headers, body)


def answer(values: str = "[1, 2, 3]", shape: str = "[1, 3]", datatype: str = "FP32") -> bytes:
    return f'{{"outputs": [{{"name": "y", "datatype": "{datatype}", "shape": {shape}, "data": {values}}}]}}'.encode()


def binary(values: list[float], shape: str = "[1, 3]") -> bytes:
    head = f'{{"outputs": [{{"name": "y", "datatype": "FP32", "shape": {shape}}}]}}'.encode()
    return http(
        head + np.array(values, "<f4").tobytes(), headers=b"Inference-Header-Content-Length: %d\r\n" % len(head)
    )


class Stranger:
    """A server of a test: what it says to a GET, and to each POST after the other; bytes, or a function of the connection."""

    def __init__(self, about: Any, *posts: Any) -> None:
        self.about, self.posts, self.asked = about, list(posts), 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.ended = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, ValueError, IndexError), connection, connection.makefile("rb") as file:
            while line := file.readline():
                size = 0
                while (header := file.readline().strip()) != b"":
                    size = int(header.split()[1]) if header.lower().startswith(b"content-length:") else size
                file.read(size)
                if line.startswith(b"GET"):
                    said = self.about
                else:
                    self.asked += 1
                    said = self.posts.pop(0) if len(self.posts) > 1 else self.posts[0]
                connection.sendall(said) if isinstance(said, bytes) else said(connection)

    def drip(self, head: bytes, again: bytes = b"x") -> Callable[[socket.socket], None]:
        """Says the head, and then a little in less time than anybody's patience, for ever."""

        def serve(connection: socket.socket) -> None:
            connection.sendall(head)
            while not self.ended.wait(PATIENCE_S / 10):
                connection.sendall(again)

        return serve

    def close(self) -> None:
        self.ended.set()
        self._socket.close()


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    made: list[Stranger] = []

    def make(about: Any, *posts: Any) -> Stranger:
        made.append(Stranger(about, *posts))
        return made[-1]

    yield make
    for one in made:
        one.close()


def refused(address: str, message: str, **options: Any) -> PlifError:
    with pytest.raises(PlifError, match=message) as error, TritonSession(address, "digits", **options) as session:
        session.step(X)
    assert "\n" not in str(error.value)
    return error.value


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    ("about", "message"),
    [
        (b"<html>", "not JSON"),
        (b"[]", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (DEEP, "not JSON"),
        (b'{"inputs": []}', "no model of plif export"),
        (ABOUT.replace(b"FP32", b"INT8"), "no model of plif export"),
        (ABOUT.replace(b"2]", b"1e999]"), "no model of plif export"),
        (ABOUT.replace(b"3]", b"-Infinity]"), "no model of plif export"),
        (ABOUT.replace(b"3]", b"NaN]"), "no model of plif export"),
        (ABOUT.replace(b"3]", b"9" * 30 + b"]"), "no model of plif export"),
        (ABOUT.replace(b"3]", b"9" * 5000 + b"]"), "not JSON"),
        (ABOUT.replace(b"2]", b'"2"]'), "no model of plif export"),
        (ABOUT.replace(b"2]", b"2.9]"), "no model of plif export"),
        (ABOUT.replace(b"2]", b"9" * 30 + b"]"), "no model of plif export"),
        (ABOUT.replace(b'"x"', b'["x"]'), "no model of plif export"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_triton_server_is_said_in_one_line(
    about: bytes, message: str, stranger: Callable[..., Stranger]
) -> None:
    refused(stranger(http(about), http(b"")).address, message)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (http(b"{}"), r"no y \[1, 3\]"),
        (http(b""), r"no y \[1, 3\]"),
        (http(DEEP), r"no y \[1, 3\]"),
        (http(b'{"outputs": ' + DEEP), r"no y \[1, 3\]"),
        (http(DEEP, "400 Bad Request"), "the server answered 400"),
        (http(answer("[1, 2]")), r"no y \[1, 3\]"),
        (http(answer("[]", "[2, 3]")), r"no y \[1, 3\]"),
        (http(answer("[1, 2]", "[1, 2]")), r"no y \[1, 3\]"),
        (http(answer("[1, 2, 3, 4]", "[1, 4]")), r"no y \[1, 3\]"),
        (http(answer("[" + 400 * "9" + ", 2, 3]")), r"no y \[1, 3\]"),
        (http(answer(shape="[1e999, 3]")), r"no y \[1, 3\]"),
        (http(answer("[NaN, 2, 3]")), "not finite"),
        (http(answer("[1e39, 2, 3]")), "not finite"),
        (binary([1, 2, 3, 4], "[1, 4]"), r"no y \[1, 3\]"),
        (binary([np.nan, 2, 3]), "not finite"),
        (binary([1, -np.inf, 3]), "not finite"),
        (http(answer("[" + "[],[]," * 3_000_000 + "1]")), "more than 4194304 bytes"),
        (lambda connection: connection.sendall(http(b"{}" * 50)[:-2]) or connection.shutdown(2), "2 more expected"),
        (http(answer('["1", "2", "3"]')), r"no y \[1, 3\]"),
        (http(answer("[true, 2, 3]")), r"no y \[1, 3\]"),
        (http(answer("[[1], [2], [3]]")), r"no y \[1, 3\]"),
        (http(answer(shape="[true, 3.0]")), r"no y \[1, 3\]"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n[[[[[", "no answer"),
        (b"HTTP/1.1 two\r\n\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 200 + b"\r\n", "no answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no answer"),
    ],
    ids=[*map(str, range(26))],  # the bodies would be named
)
def test_an_answer_that_is_none_of_this_network_is_said_in_one_line_and_its_stream_is_lost(
    said: Any, message: str, stranger: Callable[..., Stranger]
) -> None:
    """After an error of the client's own, 400, it is not lost: the step was not taken."""
    server = stranger(http(ABOUT), said, http(answer()))
    with TritonSession(server.address, "digits") as session:
        with pytest.raises(PlifError, match=message) as error:
            session.step(X)
        assert "\n" not in str(error.value) and not isinstance(error.value, SequenceLost)
        if "400" not in message:
            with pytest.raises(SequenceLost):
                session.step(X)
            session.reset()
        np.testing.assert_array_equal(session.step(X), [[1, 2, 3]])


def test_a_frame_that_is_not_finite_is_not_sent(stranger: Callable[..., Stranger]) -> None:
    server = stranger(http(ABOUT), http(answer()))
    with TritonSession(server.address, "digits") as session:
        wrong = np.array(X, np.float32)
        wrong.flat[-1] = np.inf
        with pytest.raises(PlifError, match=r"^x is inf at \[.*expected finite numbers"):
            session.step(wrong)
        assert server.asked == 0
        np.testing.assert_array_equal(session.step(X), [[1, 2, 3]])


@pytest.mark.parametrize(
    "where", ("the status", "a header", "headers", "the body", "a chunk", "a note to go on", "nothing", "unread")
)
def test_an_answer_that_drips_ends_at_the_deadline(where: str, stranger: Callable[..., Stranger]) -> None:
    server = stranger(http(ABOUT), b"")
    ok, go_on = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"
    chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
    server.posts[0] = {
        "the status": server.drip(b"H"),
        "a header": server.drip(ok + b"X: "),
        "headers": server.drip(ok, b"X: a\r\n"),
        "the body": server.drip(ok + b"Content-Length: 1000\r\n\r\n"),
        "a chunk": server.drip(chunked, b"1\r\n[\r\n"),
        "a note to go on": server.drip(b"", go_on),
        "nothing": lambda connection: server.ended.wait(60),
        "unread": lambda connection: server.ended.wait(60),
    }[where]
    streams = 1 if where != "unread" else 3
    session = TritonSession(server.address, "digits", streams, timeout_s=PATIENCE_S)
    began_s = time.monotonic()
    with pytest.raises(PlifError, match="no answer"):
        session.step(np.repeat(X, streams, 0))
    session.close()
    assert time.monotonic() - began_s < 20 * PATIENCE_S, "for ever, before"
    with pytest.raises(PlifError, match="no answer"):
        TritonSession(stranger(server.drip(ok + b"X: "), b"").address, "digits", timeout_s=PATIENCE_S)


def test_the_deadline_is_that_of_a_step_and_of_closing_not_of_each_request(stranger: Callable[..., Stranger]) -> None:
    """A server that has forgotten a stream is asked twice, and one that is closed once for each stream."""

    def forgets(connection: socket.socket) -> None:
        time.sleep(0.9)
        connection.sendall(http(json.dumps({"error": "no START flag"}).encode(), "400 Bad Request"))

    server = stranger(http(ABOUT), forgets, lambda connection: server.ended.wait(60))
    session = TritonSession(server.address, "digits", 1, lost="reset", timeout_s=1)
    began_s = time.monotonic()
    with pytest.raises(PlifError, match="no answer"):
        session.step(X)
    assert time.monotonic() - began_s < 1.8, "one deadline for both requests"
    server = stranger(http(ABOUT), http(answer()))
    session = TritonSession(server.address, "digits", 10, timeout_s=PATIENCE_S)
    assert session.step(np.repeat(X, 10, 0)).shape == (10, 3)
    server.posts[0] = lambda connection: server.ended.wait(60)
    began_s = time.monotonic()
    session.close()
    assert time.monotonic() - began_s < 5 * PATIENCE_S, "one deadline for ten streams"


def test_a_name_that_no_address_can_hold_and_a_time_that_is_none_are_one_line(
    stranger: Callable[..., Stranger],
) -> None:
    server = stranger(http(ABOUT), http(answer()))
    with TritonSession(server.address, "zähler und x") as session:
        assert session.step(X).shape == (1, 3)
    for wrong in (0, -1.0, float("nan"), float("inf"), 1e12):
        with pytest.raises(PlifError, match="timeout_s"):
            TritonSession(server.address, "digits", timeout_s=wrong)
    with pytest.raises(PlifError, match="no answer"):
        TritonSession("a" * 70 + ".example:8000", "digits", timeout_s=PATIENCE_S)
