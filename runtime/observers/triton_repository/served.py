"""The capacity of a Triton server: the number of live streams that it holds at a p99 latency.

The command is `plif bench MODEL_triton --triton HOST:PORT`. The load is open loop. Frame n of a stream is due at t_0
+ n * every, as a camera's is, with or without the answer to the one before; its latency counts from its due time. A
client that waits for an answer before it starts its clock would leave out the waiting in the queue: a slow server
would slow the requests down, and look fast.

A number of streams is held if the p99 of all its frames is at most the limit, no frame failed and no stream was lost.
The number is doubled until one is not held, then bisected.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.options import with_fields
from runtime.core.events.stimulus import make_input
from runtime.core.model.card import Card, read_card
from runtime.observers.triton_repository.client import TritonSession
from runtime.observers.triton_repository.options import TritonOptions

FRAMES = 10  # the cycle of frames that a stream sends
HOPELESS_S = 1.0  # a stream that is this late gives up: the load is not held, and the queue would grow for ever
SPACE_S = 0.05  # from the last warm-up answer to the first due time


@dataclass
class ServerLoad:
    """The result of one load test of a Triton server with a number of streams.

    A frame's milliseconds count from its due time.

    late_p99_ms   the delay of the client itself, in frames with the answer before in time: if it is not far below
                  p99_ms, the client is slow
    failed        frames without an answer, with those of lost streams
    problem       the first error, or that a stream was hopelessly late
    held          whether the server held this load
    """

    streams: int
    frames: int
    p50_ms: float | None
    p99_ms: float | None
    late_p99_ms: float | None
    failed: int
    problem: str | None
    held: bool


@dataclass
class ServerCapacity:
    """The capacity of a Triton server: the most streams, a frame each `every_ms`, answered within `bar_p99_ms`.

    `streams` is 0 if not even one is served so. `loads`: each load test.
    """

    server: str
    model: str
    every_ms: float
    bar_p99_ms: float
    streams: int
    most: int
    loads: list[ServerLoad]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@with_fields(TritonOptions)
def measure_capacity(
    repository: str | Path,
    triton: str,
    *,
    streams: int = 1,
    seconds: float = 5.0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ServerCapacity:
    """Find the most streams, at most `streams`, for which a Triton server answers 99 of 100 frames within `p99`.

    repository   the folder of `plif export --to triton` on the server: it names the model and its frames
    triton       HOST:PORT of the server
    seconds      of each load test
    options      p99=, every=: the fields of TritonOptions

    Raises PlifError if no server answers, it serves another network, or the frame period is unknown.
    """
    settings, server = TritonOptions(triton=triton, **options), triton
    card = read_card(repository)
    about = card.get("triton")
    if not isinstance(about, dict) or not isinstance(about.get("model"), str):
        raise PlifError(f"{repository}: is not served by Triton; expected the folder of plif export --to triton")
    period = settings.every or _frame_period_us(card)
    if period is None:
        raise PlifError(f"{repository}: its framing does not say how often a frame comes; give --every, as 10ms")
    shape = tuple(card["input"]["shape"])
    x = make_input(card, FRAMES, 1, np.random.default_rng(0))[:, 0]
    with TritonSession(server, about["model"]) as session:
        if session.shape != shape:
            raise PlifError(f"{session.url}: takes frames {list(session.shape)}; {repository} has {list(shape)}")
    loads: list[ServerLoad] = []

    def holds(number: int) -> bool:
        loads.append(run_load_test(server, about["model"], x, number, period * 1e-6, settings.p99 * 1e-3, seconds))
        if progress:
            progress(len(loads), 2 * max(1, streams.bit_length()))
        return loads[-1].held

    most = find_largest(holds, streams)
    return ServerCapacity(server, about["model"], period / 1e3, settings.p99 / 1e3, most, streams, loads)


def find_largest(is_held: Callable[[int], bool], most: int) -> int:
    """Find the largest number from 1 to `most` for which `is_held` is true, 0 if none: double, then bisect."""
    good, bad, number = 0, most + 1, 1
    while good + 1 < bad:
        if is_held(number):
            good = number
            number = min(2 * good, most) if bad > most else (good + bad) // 2
        else:
            bad = number
            number = (good + bad) // 2
    return good


def run_load_test(
    server: str, model: str, x: np.ndarray, streams: int, every_s: float, bar_ms: float, seconds: float
) -> ServerLoad:
    """Run one load test of a Triton server; each stream sends the frames x, float32 [frames, C, H, W], in a cycle."""
    clients = [_Client(server, model, x) for _ in range(streams)]
    ready = threading.Barrier(streams + 1)
    threads = [
        threading.Thread(target=client.run, args=(ready, i * every_s / streams, every_s, seconds), daemon=True)
        for i, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    for thread in threads:
        thread.join()
    latencies = np.concatenate([client.latencies for client in clients])
    delays = np.concatenate([client.delays for client in clients])
    problems = [client.problem for client in clients if client.problem]
    failed = sum(client.failed for client in clients)
    p50, p99, late_p99 = _percentile(latencies, 50), _percentile(latencies, 99), _percentile(delays, 99)
    fits = p99 is not None and p99 <= bar_ms and not problems
    return ServerLoad(streams, len(latencies), p50, p99, late_p99, failed, problems[0] if problems else None, fits)


class _Client:
    """One stream of a load test of a Triton server: the latencies of its frames and its sending delays, in seconds."""

    def __init__(self, server: str, model: str, x: np.ndarray) -> None:
        self._server, self._model, self._x = server, model, x
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self.failed = 0
        self.problem: str | None = None

    def run(self, ready: threading.Barrier, phase_s: float, every_s: float, seconds: float) -> None:
        """Run one stream of a load test: wait for all streams, then send frames, the first after `phase_s`."""
        try:
            with ExitStack() as stack:
                try:
                    session = stack.enter_context(TritonSession(self._server, self._model))
                    session.step(self._x[:1])  # start the sequence; connecting is not measured
                finally:
                    ready.wait()  # also after a failed start: the others would wait for ever
                self._send(session, time.perf_counter() + SPACE_S + phase_s, every_s, max(1, round(seconds / every_s)))
        except PlifError as error:
            self.failed += 1
            self.problem = str(error)

    def _send(self, session: TritonSession, t_0: float, every_s: float, frames: int) -> None:
        answered = 0.0
        for n in range(frames):
            due = t_0 + n * every_s
            time.sleep(max(0.0, due - time.perf_counter()))
            if answered <= due:  # the stream itself did not delay this frame
                self.delays.append(time.perf_counter() - due)
            session.step(self._x[(n + 1) % FRAMES][None])
            answered = time.perf_counter()
            self.latencies.append(answered - due)
            if self.latencies[-1] > HOPELESS_S:
                self.problem = f"a frame was answered {self.latencies[-1]:.1f} s after it was due"
                return


def _frame_period_us(card: Card) -> int | None:
    from runtime.core.events.framing import Framing

    framing = card.get("framing")
    return Framing.parse(framing).step_us if isinstance(framing, str) else None


def _percentile(seconds: Sequence[float] | np.ndarray, p: float) -> float | None:
    """Return a percentile of times in seconds as milliseconds, or None without times."""
    return round(1e3 * float(np.percentile(seconds, p)), 3) if len(seconds) else None
