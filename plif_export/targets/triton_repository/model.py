"""A model of Triton's Python backend: membranes for each sequence, in one session of plif's runtime.

Triton's Python backend does not keep `state` tensors, so the session here does: each sequence is a row of it. Requests of
different sequences that come together are one batch; no row touches another. Needs `pip install '.[cpu]'` where Triton runs.
Parameters in config.pbtxt: engine (auto), threads.
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
    """pb_utils.InferenceRequest, as far as it is asked here."""

    def correlation_id(self) -> int | str: ...
    def flags(self) -> int: ...


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        batching = config["sequence_batching"]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        threads = int(given["threads"]) if "threads" in given else None
        model = runtime.load(path, given.get("engine", "auto"), threads=threads)
        self.input = model.card["graph"]["input"]
        rows = int(batching["oldest"]["max_candidate_sequences"])
        self.session = model.session(streams=rows)
        self.free = list(range(rows))
        self.rows: dict[int | str, int] = {}  # correlation id -> row
        self.used: dict[int | str, float] = {}  # correlation id -> when it was last asked, in seconds

    def execute(self, requests: list[Request]) -> list[object]:
        responses: list[object] = [None] * len(requests)
        todo = list(enumerate(requests))
        while (
            todo
        ):  # Triton sends one request of a sequence at a time; should it send more, they go one after the other
            now: dict[int | str, tuple[int, Request]] = {}
            for i, request in todo:
                now.setdefault(request.correlation_id(), (i, request))
            self._step(list(now.values()), responses)
            todo = [each for each in todo if each not in now.values()]
        return responses

    def _step(self, requests: list[tuple[int, Request]], responses: list[object]) -> None:
        """One time-step of different sequences."""
        which, rows, frames = [], [], []
        for i, request in requests:
            key, flags = request.correlation_id(), request.flags()
            if flags & START:
                self._start(key)
            elif key not in self.rows:
                # Triton lets it through only when it knows the sequence: the model was loaded again meanwhile
                what = f"sequence {key} is not known here; send the START flag: its membranes are lost"
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(what))
                continue
            self.used[key] = time.monotonic()
            frame = pb_utils.get_input_tensor_by_name(request, self.input).as_numpy()[0]
            if not np.isfinite(frame).all():  # refused by itself: the session would refuse the frames beside it, too
                what = f"sequence {key}: its input is not finite; its membranes are as they were"
                responses[i] = pb_utils.InferenceResponse(error=pb_utils.TritonError(what))
                if flags & END:
                    self._forget(key)
                continue
            which.append((i, key, flags))
            rows.append(self.rows[key])
            frames.append(frame)
        if not rows:
            return
        y = self.session.step(np.stack(frames), rows)
        for k, (i, key, flags) in enumerate(which):
            responses[i] = pb_utils.InferenceResponse([pb_utils.Tensor("y", y[k : k + 1])])  # y[k][None] arrives empty
            if flags & END:
                self._forget(key)

    def _start(self, key: int | str) -> None:
        """A row for a sequence that begins, from reset."""
        if key not in self.rows:
            if not self.free:  # Triton admits no more sequences than rows, so the one idle longest has timed out there
                self._forget(min(self.used, key=lambda k: self.used[k]))
            self.rows[key] = self.free.pop()
        self.session.reset([self.rows[key]])

    def _forget(self, key: int | str) -> None:
        self.free.append(self.rows.pop(key))
        self.used.pop(key, None)
