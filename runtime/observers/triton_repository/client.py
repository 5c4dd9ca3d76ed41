"""A client of a Triton server that serves `plif export --to triton`; each stream is one sequence on the server.

    session = TritonSession("127.0.0.1:8000", "digits", streams=4)
    y = session.step(x)          # x float32 [streams, C, H, W] -> y float32 [streams, classes], as runtime.Session does
    session.reset([2])           # stream 2 starts from reset with its next step

The client speaks HTTP and needs Python's standard library only (KServe's v2 protocol, Triton's extensions for binary
tensors and for sequences). An answer that is no y of this network, is not finite, is too long or is late is an error.

The server keeps the membranes. It deletes a sequence that was idle for too long, and every sequence when it restarts.
Without a usable answer, the client cannot know whether the step was made. Such a stream is *lost*. The caller chooses
the reaction:

    lost="raise"   step raises SequenceLost, which names the lost streams, until reset(rows) starts them again
    lost="reset"   a lost stream starts from reset with the next frame, and `session.lost` counts it
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
from runtime.observers.triton_repository.answers import MAX_ANSWER, decode_output, parse_json, parse_metadata

_LENGTH = "Inference-Header-Content-Length"
_MAX_S = 86_400.0


class SequenceLost(PlifError):
    """The error if the Triton server no longer has the neuron states (membranes) of some streams.

    rows     these streams
    answers  {row: y float32 [classes]} of the streams that made the same step
    """

    def __init__(self, message: str, rows: Sequence[int], answers: dict[int, np.ndarray] | None = None) -> None:
        super().__init__(message)
        self.rows, self.answers = list(rows), answers or {}


class TritonSession:
    """A client session whose neuron states (membranes) live on a Triton server, for several streams of one thread.

    server     "HOST:PORT" of its HTTP service
    model      the model's name on the server (the folder's name in the repository)
    lost       "raise" or "reset", see the module
    timeout_s  the most seconds of a step, of the constructor, and of closing, until the last byte of all answers,
               whatever the server does. (The system limits the look-up of a name.)
    """

    def __init__(
        self, server: str, model: str, streams: int = 1, *, lost: str = "raise", timeout_s: float = 10.0
    ) -> None:
        if streams < 1 or lost not in ("raise", "reset"):
            raise PlifError(f"streams {streams}, lost '{lost}': expected at least 1, and raise or reset")
        if not 0 < timeout_s <= _MAX_S:
            raise PlifError(f"timeout_s={timeout_s}: expected seconds, more than 0 and at most {_MAX_S:.0f}")
        self._host, self._port = parse_address("server", server, "HOST:PORT, e.g. 127.0.0.1:8000")
        self.url = f"http://{server}/v2/models/{model}"
        self.model, self.streams, self._policy, self._timeout_s = model, streams, lost, timeout_s
        self._pool: ThreadPoolExecutor | None = None
        self._connections: list[_Connection | None] = [None] * streams
        self._set_deadline()
        try:
            self.input, self.shape, self.classes = parse_metadata(self._read_metadata(), self.url)
        except PlifError:
            self._disconnect(0)
            raise
        self.steps = np.zeros(streams, np.int64)  # since the last reset, per stream
        self.lost = np.zeros(streams, np.int64)  # how often the server had deleted the sequence, per stream
        self._ids = [secrets.randbits(63) | 1 for _ in range(streams)]  # not 0, and unlike those of other clients
        self._starting = [True] * streams  # the next step says START
        self._lost_reasons = [""] * streams  # why a stream is lost

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None) -> np.ndarray:
        """Run one time-step of all streams, or some, on the Triton server: x float32 [rows, ...] -> y [rows, classes].

        Raises SequenceLost if streams are lost (the others made the step), and PlifError if no server answers.
        """
        row_list = list(range(self.streams)) if rows is None else self._check_rows(rows)
        x = np.ascontiguousarray(x, "<f4")
        if x.shape != (len(row_list), *self.shape):
            raise PlifError(f"x is {list(x.shape)}; expected {[len(row_list), *self.shape]}: a frame for each stream")
        require_finite(x)
        lost_rows = [row for row in row_list if self._lost_reasons[row]]
        if lost_rows and self._policy == "raise":
            raise self._loss_error(lost_rows)
        for row in lost_rows:
            self.lost[row] += 1
            self._restart(row)
        if not row_list:
            return np.zeros((0, self.classes), np.float32)
        if self._pool is None:  # send all requests at once, so that the server can batch them
            self._pool = ThreadPoolExecutor(self.streams)
        self._set_deadline()
        answers = dict(zip(row_list, self._pool.map(self._step, row_list, x), strict=True))
        outputs = {row: answer for row, answer in answers.items() if isinstance(answer, np.ndarray)}
        for answer in answers.values():
            if isinstance(answer, PlifError) and not isinstance(answer, SequenceLost):
                raise answer
        if len(outputs) < len(row_list):
            raise self._loss_error([row for row in row_list if row not in outputs], outputs)
        return np.stack([outputs[row] for row in row_list])

    def _set_deadline(self) -> None:
        self._until_s = time.monotonic() + self._timeout_s  # the deadline of all following requests

    def _loss_error(self, rows: list[int], answers: dict[int, np.ndarray] | None = None) -> SequenceLost:
        text = (
            f"{self.url}: lost streams {rows}: {self._lost_reasons[rows[0]]}, and their membranes with it; "
            "reset them to go on, or open the session with lost='reset'"
        )
        return SequenceLost(text, rows, answers)

    def _restart(self, row: int) -> None:
        if self._lost_reasons[row]:
            self._disconnect(row)  # late data there would not answer the next request
        self._starting[row], self._lost_reasons[row] = True, ""
        self.steps[row] = 0

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Reset all streams of a Triton session, or some, so that their next step starts from the initial state."""
        for row in range(self.streams) if rows is None else self._check_rows(rows):
            self._restart(row)

    def close(self) -> None:
        """End the session's sequences on the Triton server at once, and close the connections."""
        self._set_deadline()
        for row in range(self.streams):
            if not self._starting[row] and not self._lost_reasons[row]:
                with suppress(PlifError):  # the server then ends the sequence when it times out
                    self._infer(row, np.zeros((1, *self.shape), "<f4"), end=True)
                self._starting[row] = True
            self._disconnect(row)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def __enter__(self) -> TritonSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_rows(self, rows: Sequence[int]) -> list[int]:
        numbers = [int(row) for row in rows]
        if len(set(numbers)) != len(numbers) or any(not 0 <= row < self.streams for row in numbers):
            raise PlifError(f"rows {numbers}: expected different numbers from 0 to {self.streams - 1}")
        return numbers

    def _step(self, row: int, frame: np.ndarray) -> np.ndarray | PlifError:
        try:
            try:
                y = self._infer(row, frame[None])
            except SequenceLost:
                if self._policy == "raise":
                    self._lost_reasons[row] = "the server has forgotten it (idle for too long, or started again)"
                    raise
                self.lost[row] += 1
                self._restart(row)
                y = self._infer(row, frame[None])
        except PlifError as error:
            return error
        self.steps[row] += 1
        return y

    def _infer(self, row: int, x: np.ndarray, end: bool = False) -> np.ndarray:
        """Send the Triton server one inference request of one stream: x float32 [1, ...] -> y float32 [classes]."""
        parameters = {"sequence_id": self._ids[row], "sequence_start": self._starting[row], "sequence_end": end}
        size = {"binary_data_size": x.nbytes}
        tensor = {"name": self.input, "shape": list(x.shape), "datatype": "FP32", "parameters": size}
        outputs = [{"name": "y", "parameters": {"binary_data": True}}]
        document = {"parameters": parameters, "inputs": [tensor], "outputs": outputs}
        head = json.dumps(document).encode()
        # set before the request and cleared by an answer: any error in between leaves the stream lost
        self._lost_reasons[row] = "no answer came, so nobody knows whether the step was taken"
        status, length, body = self._send_request(
            row, "POST", f"/v2/models/{quote(self.model)}/infer", head + x.tobytes(), {_LENGTH: str(len(head))}
        )
        if status != 200:
            self._lost_reasons[row] = f"the server answered {status} in the middle of it" if status >= 500 else ""
            raise self._refusal_error(row, status, body)
        self._lost_reasons[row] = "the answer before could not be used"
        y = decode_output(body, length, self.classes, self.url)
        self._starting[row], self._lost_reasons[row] = False, ""
        return y

    def _refusal_error(self, row: int, status: int, body: bytes) -> PlifError:
        document = parse_json(body)
        error = document.get("error") if isinstance(document, dict) else None
        text = error if isinstance(error, str) else body[:120].decode("utf-8", "replace")
        text = " ".join(text.split())[:200]
        if "START flag" in text:
            return SequenceLost(f"{self.url}: stream {row}: {text}", [row])
        return PlifError(f"{self.url}: the server answered {status}: {text or 'nothing'}")

    def _read_metadata(self) -> dict[str, Any]:
        status, _, body = self._send_request(0, "GET", f"/v2/models/{quote(self.model)}", b"", {})
        if status != 200:
            raise self._refusal_error(0, status, body)
        metadata = parse_json(body)
        if not isinstance(metadata, dict):
            raise PlifError(f"{self.url}: its answer is not JSON; expected a Triton server")
        return metadata

    def _send_request(
        self, row: int, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, int | None, bytes]:
        """Send an HTTP request to the Triton server; return (status, bytes of JSON before the binary data, body)."""
        connection = self._connections[row]
        if connection is None:
            connection = self._connections[row] = _Connection(self._host, self._port)
        connection.until_s, connection.left = self._until_s, MAX_ANSWER
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk of a negative size
            self._disconnect(row)
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PlifError(
                f"{self.url}: no answer ({reason}); is it served? tritonserver --model-repository=FOLDER"
            ) from None
        length = answer.headers.get(_LENGTH)
        return answer.status, int(length) if length and re.fullmatch("[0-9]{1,18}", length) else None, content

    def _disconnect(self, row: int) -> None:
        connection, self._connections[row] = self._connections[row], None
        if connection is not None:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """An HTTP connection with a deadline, `until_s` of time.monotonic(), by which an answer must be complete.

    A socket's own timeout starts anew with each piece. `left` bytes of the answer may still come, however it is framed.
    """

    until_s = 0.0
    left = 0

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
    """The socket of an HTTP connection, which keeps to the connection's deadline and number of bytes.

    sendall counts all its pieces as one.
    """

    connection: _Connection

    def _update_timeout(self) -> None:
        left_s = self.connection.until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left_s)

    def connect(self, address: Any) -> None:
        self._update_timeout()
        super().connect(address)

    def sendall(self, *data: Any) -> None:
        self._update_timeout()
        super().sendall(*data)

    def recv_into(self, *buffer: Any) -> int:
        self._update_timeout()
        count = super().recv_into(*buffer)
        self.connection.left -= count
        if self.connection.left < 0:
            raise OSError(f"more than {MAX_ANSWER} bytes")
        return count
