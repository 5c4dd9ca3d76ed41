"""`plif bench MODEL_triton --triton HOST:PORT`: how many live streams a Triton server holds at a p99.

Open loop. Frame n of a stream is due at t_0 + n * every, as a camera's is, whether the answer before it has come or not; and
its latency counts from the moment at which it was due. A client that waits for an answer before it starts its clock would
leave out the waiting in the queue: a slow server would slow the questions down too, and look quick.

One number of streams is held when the p99 of all its frames is at most the bar, no frame failed and no stream was lost. The
number is doubled until one is not held, then the gap is halved.
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
from runtime.core.events.stimulus import seen_by
from runtime.core.model.card import Card, read_card
from runtime.observers.triton_repository.client import TritonSession
from runtime.observers.triton_repository.options import ServedOptions

FRAMES = 10  # that a stream sends, over and over
HOPELESS_S = 1.0  # a stream that is so late gives up: the number is not held, and a queue without end is not waited for
SPACE_S = 0.05  # from the last warm-up answer to the first frame that is due


@dataclass
class ServerLoad:
    """So many streams for some seconds. Milliseconds; those of a frame count from when it was due to its answer.

    late_p99_ms   how late the client itself sent frames whose answer before was there: where that is not far below p99_ms,
                  it is the client that is slow
    failed        frames without an answer, lost streams among them
    problem       what the first of these said, or that a stream was hopelessly late
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
class Served:
    """What a server holds: `streams` of one frame every `every_ms` at `p99_ms`; 0 when not even one. `loads`: each try."""

    server: str
    model: str
    every_ms: float
    bar_p99_ms: float
    streams: int
    most: int
    loads: list[ServerLoad]

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@with_fields(ServedOptions)
def served(
    repository: str | Path,
    triton: str,
    *,
    streams: int = 1,
    seconds: float = 5.0,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Served:
    """Finds the largest number of streams, at most `streams`, whose frames are answered within `p99` in 99 of 100 cases.

    repository   what `plif export --to triton` wrote, as the server serves it: it names the model and its frames
    triton       HOST:PORT of the server
    seconds      of each try
    options      p99=, every=: the fields of ServedOptions

    Raises PlifError where no server answers, it serves another network, or nothing says how often a frame comes.
    """
    how, server = ServedOptions(triton=triton, **options), triton
    card = read_card(repository)
    about = card.get("triton")
    if not isinstance(about, dict) or not isinstance(about.get("model"), str):
        raise PlifError(f"{repository}: is not served by Triton; expected the folder of plif export --to triton")
    period = how.every or _period_us(card)
    if period is None:
        raise PlifError(f"{repository}: its framing does not say how often a frame comes; give --every, as 10ms")
    shape = tuple(card["input"]["shape"])
    x = seen_by(card, FRAMES, 1, np.random.default_rng(0))[:, 0]
    with TritonSession(server, about["model"]) as session:
        if session.shape != shape:
            raise PlifError(f"{session.where}: takes frames {list(session.shape)}; {repository} has {list(shape)}")
    loads: list[ServerLoad] = []

    def held(number: int) -> bool:
        loads.append(load(server, about["model"], x, number, period * 1e-6, how.p99 * 1e-3, seconds))
        if progress:
            progress(len(loads), 2 * max(1, streams.bit_length()))
        return loads[-1].held

    most = search(held, streams)
    return Served(server, about["model"], period / 1e3, how.p99 / 1e3, most, streams, loads)


def search(held: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that is held, 0 when none is: doubled until one is not, then halved."""
    good, bad, number = 0, most + 1, 1
    while good + 1 < bad:
        if held(number):
            good = number
            number = min(2 * good, most) if bad > most else (good + bad) // 2
        else:
            bad = number
            number = (good + bad) // 2
    return good


def load(
    server: str, model: str, x: np.ndarray, streams: int, every_s: float, bar_ms: float, seconds: float
) -> ServerLoad:
    """One try. x float32 [frames, C, H, W] is what every stream sends, over and over."""
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
    took = np.concatenate([client.took for client in clients])
    late = np.concatenate([client.late for client in clients])
    problems = [client.problem for client in clients if client.problem]
    failed = sum(client.failed for client in clients)
    p50, p99, late_p99 = _percentile(took, 50), _percentile(took, 99), _percentile(late, 99)
    fits = p99 is not None and p99 <= bar_ms and not problems
    return ServerLoad(streams, len(took), p50, p99, late_p99, failed, problems[0] if problems else None, fits)


class _Client:
    """One stream: what its frames took, and how late it sent them, in seconds."""

    def __init__(self, server: str, model: str, x: np.ndarray) -> None:
        self._server, self._model, self._x = server, model, x
        self.took: list[float] = []
        self.late: list[float] = []
        self.failed = 0
        self.problem: str | None = None

    def run(self, ready: threading.Barrier, phase_s: float, every_s: float, seconds: float) -> None:
        """Waits until all streams have their sequence, then sends for so many seconds, the first frame after `phase_s`."""
        try:
            with ExitStack() as stack:
                try:
                    session = stack.enter_context(TritonSession(self._server, self._model))
                    session.step(self._x[:1])  # the sequence begins; connecting is not what is measured
                finally:
                    ready.wait()  # also of a stream that did not begin, for which the others would wait for ever
                self._send(session, time.perf_counter() + SPACE_S + phase_s, every_s, max(1, round(seconds / every_s)))
        except PlifError as error:
            self.failed += 1
            self.problem = str(error)

    def _send(self, session: TritonSession, t_0: float, every_s: float, frames: int) -> None:
        answered = 0.0
        for n in range(frames):
            due = t_0 + n * every_s
            time.sleep(max(0.0, due - time.perf_counter()))
            if answered <= due:  # nothing of the stream's own held this frame up
                self.late.append(time.perf_counter() - due)
            session.step(self._x[(n + 1) % FRAMES][None])
            answered = time.perf_counter()
            self.took.append(answered - due)
            if self.took[-1] > HOPELESS_S:
                self.problem = f"a frame was answered {self.took[-1]:.1f} s after it was due"
                return


def _period_us(card: Card) -> int | None:
    from runtime.core.events.framing import Framing

    framing = card.get("framing")
    return Framing.parse(framing).step_us if isinstance(framing, str) else None


def _percentile(seconds: Sequence[float] | np.ndarray, p: float) -> float | None:
    """In milliseconds; None of nothing."""
    return round(1e3 * float(np.percentile(seconds, p)), 3) if len(seconds) else None
