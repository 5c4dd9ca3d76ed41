"""A client of a Triton server that serves `plif export --to triton`: each stream is one sequence on the server.

    session = TritonSession("127.0.0.1:8000", "digits", streams=4)
    y = session.step(x)          # x float32 [streams, C, H, W] -> y float32 [streams, classes], as runtime.Session does
    session.reset([2])           # stream 2 starts from reset with its next step

The client speaks HTTP and needs Python's standard library only (KServe's v2 protocol, Triton's extensions for binary tensors
and for sequences). An answer that is no y of this network, is not finite, is too long or is not there in time is an error.

The server keeps the membranes. It forgets a sequence that was idle for too long, and every sequence when it restarts; and where
no answer arrives that can be used, the client cannot know whether the step was taken. Such a stream is *lost*.
The caller chooses what happens to it:

    lost="raise"   step raises SequenceLost, which names the lost streams, until reset(rows) starts them again
    lost="reset"   a lost stream starts from reset with the frame that it is given, and `session.lost` counts it
"""

from __future__ import annotations

import http.client
import json
import re
import secrets
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import parse_address
from runtime.core.engines.tensors import require_finite

_LENGTH = "Inference-Header-Content-Length"
_MOST_ANSWER = 4 << 20  # bytes: a million numbers, and JSON that takes no more than some 100 MB when it is read
_MOST_S = 86_400.0


class SequenceLost(PlifError):
    """The server no longer has the membranes of some streams.

    rows     these streams
    answers  {row: y float32 [classes]} of the streams that took the same step
    """

    def __init__(self, message: str, rows: Sequence[int], answers: dict[int, np.ndarray] | None = None) -> None:
        super().__init__(message)
        self.rows, self.answers = list(rows), answers or {}


class TritonSession:
    """The streams of one client: a Session whose membranes are on the server. For one thread at a time.

    server     "HOST:PORT" of its HTTP service
    model      the model's name on the server (the folder's name in the repository)
    lost       "raise" or "reset", see above
    timeout_s  the most seconds that a step may take, and the constructor, and closing: until they have the last byte of all
               answers, whatever the server does. (Looking up a name has the limit of the system.)
    """

    def __init__(
        self, server: str, model: str, streams: int = 1, *, lost: str = "raise", timeout_s: float = 10.0
    ) -> None:
        if streams < 1 or lost not in ("raise", "reset"):
            raise PlifError(f"streams {streams}, lost '{lost}': expected at least 1, and raise or reset")
        if not 0 < timeout_s <= _MOST_S:
            raise PlifError(f"timeout_s={timeout_s}: expected seconds, more than 0 and at most {_MOST_S:.0f}")
        self._host, self._port = parse_address("server", server, "HOST:PORT, e.g. 127.0.0.1:8000")
        self.where = f"http://{server}/v2/models/{model}"
        self.model, self.streams, self._policy, self._timeout_s = model, streams, lost, timeout_s
        self._pool: ThreadPoolExecutor | None = None
        self._connections: list[_Connection | None] = [None] * streams
        self._begin_wait()
        try:
            self.input, self.shape, self.classes = _tensors(self._about(), self.where)
        except PlifError:
            self._disconnect(0)
            raise
        self.steps = np.zeros(streams, np.int64)  # since the last reset, per stream
        self.lost = np.zeros(streams, np.int64)  # how often the server had forgotten a stream, per stream
        self._ids = [secrets.randbits(63) | 1 for _ in range(streams)]  # not 0; not those of another client
        self._fresh = [True] * streams  # the next step says START
        self._gone = [""] * streams  # why a stream is lost

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """One time-step of all streams, or of `rows` only: x float32 [rows, ...] -> y float32 [rows, classes].

        Raises SequenceLost where streams are lost (the others have taken the step), and PlifError where no server answers.
        """
        which = list(range(self.streams)) if rows is None else self._rows(rows)
        x = np.ascontiguousarray(x, "<f4")
        if x.shape != (len(which), *self.shape):
            raise PlifError(f"x is {list(x.shape)}; expected {[len(which), *self.shape]}: a frame for each stream")
        require_finite(x)
        gone = [row for row in which if self._gone[row]]
        if gone and self._policy == "raise":
            raise self._loss(gone)
        for row in gone:
            self.lost[row] += 1
            self._begin(row)
        if not which:
            return np.zeros((0, self.classes), np.float32)
        if self._pool is None:  # all requests at the same time, so that the server can put them into one batch
            self._pool = ThreadPoolExecutor(self.streams)
        self._begin_wait()
        answers = dict(zip(which, self._pool.map(self._step, which, x), strict=True))
        taken = {row: answer for row, answer in answers.items() if isinstance(answer, np.ndarray)}
        for answer in answers.values():
            if isinstance(answer, PlifError) and not isinstance(answer, SequenceLost):
                raise answer
        if len(taken) < len(which):
            raise self._loss([row for row in which if row not in taken], taken)
        return np.stack([taken[row] for row in which])

    def _begin_wait(self) -> None:
        self._until_s = time.monotonic() + self._timeout_s  # all requests from now on end then

    def _loss(self, rows: list[int], answers: dict[int, np.ndarray] | None = None) -> SequenceLost:
        what = (
            f"{self.where}: lost streams {rows}: {self._gone[rows[0]]}, and their membranes with it; "
            "reset them to go on, or open the session with lost='reset'"
        )
        return SequenceLost(what, rows, answers)

    def _begin(self, row: int) -> None:
        if self._gone[row]:
            self._disconnect(row)  # what may still come there is no answer to what is asked next
        self._fresh[row], self._gone[row] = True, ""
        self.steps[row] = 0

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """All streams, or some, start from reset with their next step."""
        for row in range(self.streams) if rows is None else self._rows(rows):
            self._begin(row)

    def close(self) -> None:
        """Ends the sequences, so that the server does not wait until they time out, and closes the connections."""
        self._begin_wait()
        for row in range(self.streams):
            if not self._fresh[row] and not self._gone[row]:
                with suppress(PlifError):  # the server then ends the sequence when it times out
                    self._infer(row, np.zeros((1, *self.shape), "<f4"), end=True)
                self._fresh[row] = True
            self._disconnect(row)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> TritonSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _rows(self, rows: Sequence[int]) -> list[int]:
        which = [int(row) for row in rows]
        if len(set(which)) != len(which) or any(not 0 <= row < self.streams for row in which):
            raise PlifError(f"rows {which}: expected different numbers from 0 to {self.streams - 1}")
        return which

    def _step(self, row: int, frame: np.ndarray) -> np.ndarray | PlifError:
        try:
            try:
                y = self._infer(row, frame[None])
            except SequenceLost:
                if self._policy == "raise":
                    self._gone[row] = "the server has forgotten it (idle for too long, or started again)"
                    raise
                self.lost[row] += 1
                self._begin(row)
                y = self._infer(row, frame[None])
        except PlifError as error:
            return error
        self.steps[row] += 1
        return y

    def _infer(self, row: int, x: np.ndarray, end: bool = False) -> np.ndarray:
        """One request of one stream: x float32 [1, ...] -> y float32 [classes]."""
        parameters = {"sequence_id": self._ids[row], "sequence_start": self._fresh[row], "sequence_end": end}
        size = {"binary_data_size": x.nbytes}
        tensor = {"name": self.input, "shape": list(x.shape), "datatype": "FP32", "parameters": size}
        outputs = [{"name": "y", "parameters": {"binary_data": True}}]
        document = {"parameters": parameters, "inputs": [tensor], "outputs": outputs}
        head = json.dumps(document).encode()
        # entered before the request and removed when an answer came: whatever is raised in between leaves the stream lost
        self._gone[row] = "no answer came, so nobody knows whether the step was taken"
        status, length, body = self._ask(
            row, "POST", f"/v2/models/{quote(self.model)}/infer", head + x.tobytes(), {_LENGTH: str(len(head))}
        )
        if status != 200:
            self._gone[row] = f"the server answered {status} in the middle of it" if status >= 500 else ""
            raise self._refusal(row, status, body)
        self._gone[row] = "the answer before could not be used"
        y = _output(body, length, self.classes, self.where)
        self._fresh[row], self._gone[row] = False, ""
        return y

    def _refusal(self, row: int, status: int, body: bytes) -> PlifError:
        document = _parsed(body)
        error = document.get("error") if isinstance(document, dict) else None
        said = error if isinstance(error, str) else body[:120].decode("utf-8", "replace")
        said = " ".join(said.split())[:200]
        if "START flag" in said:
            return SequenceLost(f"{self.where}: stream {row}: {said}", [row])
        return PlifError(f"{self.where}: the server answered {status}: {said or 'nothing'}")

    def _about(self) -> dict[str, Any]:
        status, _, body = self._ask(0, "GET", f"/v2/models/{quote(self.model)}", b"", {})
        if status != 200:
            raise self._refusal(0, status, body)
        found = _parsed(body)
        if not isinstance(found, dict):
            raise PlifError(f"{self.where}: its answer is not JSON; expected a Triton server")
        return found

    def _ask(
        self, row: int, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, int | None, bytes]:
        """(status, length of the JSON in front of binary data, body)"""
        connection = self._connections[row]
        if connection is None:
            connection = self._connections[row] = _Connection(self._host, self._port)
        connection.until_s = self._until_s
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read(_MOST_ANSWER + 1)
            if len(content) > _MOST_ANSWER:
                raise http.client.HTTPException(f"more than {_MOST_ANSWER} bytes")
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            self._disconnect(row)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PlifError(
                f"{self.where}: no answer ({reason}); is it served? tritonserver --model-repository=FOLDER"
            ) from None
        length = answer.headers.get(_LENGTH)
        return answer.status, int(length) if length and re.fullmatch("[0-9]{1,18}", length) else None, content

    def _disconnect(self, row: int) -> None:
        connection, self._connections[row] = self._connections[row], None
        if connection is not None:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection that is given up at `until_s` of time.monotonic(), in however many pieces its answer comes: a socket's own
    timeout begins anew with each piece."""

    until_s = 0.0

    def connect(self) -> None:
        wrong: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            self.sock = _Socket(family, kind, protocol)
            self.sock.connection = self
            try:
                self.sock.connect(address)
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return
            except OSError as error:
                wrong = error
                self.sock.close()
        raise wrong


class _Socket(socket.socket):
    """The socket of a _Connection. (sendall counts all its pieces as one.)"""

    connection: _Connection

    def wait_no_longer(self) -> None:
        left_s = self.connection.until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left_s)

    def connect(self, address: Any) -> None:
        self.wait_no_longer()
        super().connect(address)

    def sendall(self, *data: Any) -> None:
        self.wait_no_longer()
        super().sendall(*data)

    def recv_into(self, *buffer: Any) -> int:
        self.wait_no_longer()
        return super().recv_into(*buffer)


def _parsed(body: bytes) -> Any:
    """The JSON that a server sent; None where it is none, or nested deeper than Python reads it."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _tensors(about: dict[str, Any], where: str) -> tuple[str, tuple[int, ...], int]:
    """The name of the one input, its shape without the batch axis, and the number of classes."""
    try:
        (x,) = about["inputs"]
        (y,) = (tensor for tensor in about["outputs"] if tensor["name"] == "y")
        name, shape = str(x["name"]), tuple(int(n) for n in x["shape"])[1:]
        (_, classes), kinds = y["shape"], (x["datatype"], y["datatype"])
        if kinds != ("FP32", "FP32") or min(*shape, int(classes)) < 1 or 4 * int(classes) > _MOST_ANSWER:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        raise PlifError(
            f"{where}: is no model of plif export --to triton, which has one input and an output y"
        ) from None
    return name, shape, int(classes)


def _output(body: bytes, length: int | None, classes: int, where: str) -> np.ndarray:
    """y float32 [classes] of the answer, which is JSON followed by the tensor's bytes. PlifError for any other answer.

    length  of the JSON in bytes; None where the tensor is inside the JSON
    """
    try:
        document = _parsed(body[:length])
        (y,) = (tensor for tensor in document["outputs"] if tensor["name"] == "y")
        with np.errstate(over="ignore"):
            data = body[length:] if length is not None else np.asarray(y["data"], "<f4").tobytes()
        if y["shape"] != [1, classes] or y["datatype"] != "FP32" or len(data) != 4 * classes:
            raise ValueError
    except (ValueError, KeyError, TypeError, OverflowError):
        raise PlifError(
            f"{where}: its answer holds no y [1, {classes}]; expected a model of plif export --to triton"
        ) from None
    found = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(found).all():
        raise PlifError(f"{where}: its answer is not finite: {found[~np.isfinite(found)][0]}; expected numbers")
    return found
