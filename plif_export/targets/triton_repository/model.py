"""A model for Triton's Python backend: one row of a plif session holds the membranes of each sequence.

Triton's Python backend does not keep `state` tensors, so the session here does. Requests of different sequences that
arrive together are one batch; no row touches another. Needs `pip install '.[cpu]'` on the Triton server. Parameters
in config.pbtxt: engine (auto), threads.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import triton_python_backend_utils as pb_utils

import runtime

START, END = 1, 2  # of a request's flags


class Request(Protocol):
    """The interface of a Triton request (pb_utils.InferenceRequest), as far as the model uses it."""

    def correlation_id(self) -> int | str: ...
    def flags(self) -> int: ...


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        batching = config["sequence_batching"]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        threads = int(parameters["threads"]) if "threads" in parameters else None
        model = runtime.load(path, parameters.get("engine", "auto"), threads=threads)
        self.input = model.card["graph"]["input"]
        rows = int(batching["oldest"]["max_candidate_sequences"])
        self.session = model.session(streams=rows)
        self.free = list(range(rows))
        self.rows: dict[int | str, int] = {}  # correlation id -> row
        self.used: dict[int | str, float] = {}  # correlation id -> time of its last request, in seconds

    def execute(self, requests: list[Request]) -> list[object]:
        responses: list[object] = [None] * len(requests)
        pending = list(enumerate(requests))
        while (
            pending
        ):  # Triton sends one request of a sequence at a time; if it sends more, they run one after the other
            batch: dict[int | str, tuple[int, Request]] = {}
            for i, request in pending:
                batch.setdefault(request.correlation_id(), (i, request))
            self._step(list(batch.values()), responses)
            pending = [pair for pair in pending if pair not in batch.values()]
        return responses

    def _step(self, requests: list[tuple[int, Request]], responses: list[object]) -> None:
        """Run one time-step of several Triton sequences together as one batch."""
        accepted, rows, frames = [], [], []
        for i, request in requests:
            key, flags = request.correlation_id(), request.flags()
            if flags & START:
                self._start(key)
            elif key not in self.rows:
                # Triton lets it through only when it knows the sequence: the model was loaded again meanwhile
                error = f"sequence {key} is not known here; send the START flag: its membranes are lost"
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(error))
                continue
            self.used[key] = time.monotonic()
            frame = pb_utils.get_input_tensor_by_name(request, self.input).as_numpy()[0]
            if not np.isfinite(frame).all():  # refused alone: the session would refuse the whole batch
                error = f"sequence {key}: its input is not finite; its membranes are as they were"
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(error))
                if flags & END:
                    self._forget(key)
                continue
            accepted.append((i, key, flags))
            rows.append(self.rows[key])
            frames.append(frame)
        if not rows:
            return
        y = self.session.step(np.stack(frames), rows)
        for k, (i, key, flags) in enumerate(accepted):
            responses[i] = pb_utils.InferenceResponse([pb_utils.Tensor("y", y[k : k + 1])])  # y[k][None] arrives empty
            if flags & END:
                self._forget(key)

    def _start(self, key: int | str) -> None:
        """Assign a row of the session to a Triton sequence that begins, and reset the row."""
        if key not in self.rows:
            if not self.free:  # Triton admits no more sequences than rows, so the one idle longest has timed out there
                self._forget(min(self.used, key=lambda k: self.used[k]))
            self.rows[key] = self.free.pop()
        self.session.reset([self.rows[key]])

    def _forget(self, key: int | str) -> None:
        self.free.append(self.rows.pop(key))
        self.used.pop(key, None)
