"""The calibration behind `--engine auto`: the same steps on each engine, in turn, in a separate process.

The process is separate, since opening an engine has lasting effects: its library, threads and memory stay. A program
that measures and one that finds its engine in the cache must be the same, so the program itself never opens the
engines that are not chosen.

The stimulus is typical input of a network on an event camera: sparse and event-like frames at the card's framing (a
still image for networks of images), then silence.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines.available import open_engine
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session
from runtime.core.engines.unrolled import open_session
from runtime.core.events.stimulus import make_input
from runtime.core.model.card import Card, read_card
from runtime.engines.tuner import Measurement, in_turns

STEPS = 4  # of activity in a round, then as many of silence
CLEAR = 2.0  # engines that differ by more than this factor need no second round
PAUSE_S = 0.05  # before an engine's turn: threads of the one before wait by spinning, and would slow it
TIMEOUT_S = 20.0  # of the whole process


def calibrate(path: Path, engines: Sequence[str], options: EngineOptions) -> Measurement[str]:
    """Measure the speed of engines in a child process; refuse with the reason where that fails."""
    places = [str(Path(part).resolve()) for part in sys.path]  # the child imports what this process imports
    arguments = [places, str(path.resolve()), list(engines), options.threads, options.flush_denormals]
    arguments += [options.confined, options.sha256]
    # and nothing from the folder that the user happens to be in
    code = "import sys; sys.path[:] = filter(None, sys.path); import json; sys.path[:], *asked = json.load(sys.stdin); "
    code += "from runtime.engines.tuner.calibrate import run_child; run_child(*asked)"
    if not sys.executable:
        raise PlifError("no Python interpreter to start")
    try:
        command, payload = [sys.executable, "-c", code], json.dumps(arguments)
        process = subprocess.run(command, input=payload, capture_output=True, text=True, timeout=TIMEOUT_S)
        times, waited = json.loads(process.stdout)
        return {name: tuple(map(float, times[name])) for name in engines}, float(waited)
    except subprocess.TimeoutExpired:
        raise PlifError(f"no result within {TIMEOUT_S:.0f} s") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise PlifError("the measuring process failed") from None


def run_child(
    path: str, engines: list[str], threads: int | None, flush: bool | None, confined: str, sha256: str | None
) -> None:
    """Run the speed measurement of engines, in the child process, and print its result."""
    warnings.simplefilter("ignore")  # the parent opens the chosen engine again, and shows its warnings
    options = EngineOptions(threads=threads, flush_denormals=flush, confined=confined, sha256=sha256)
    print(json.dumps(measure(Path(path), engines, options)))


def measure(path: Path, engines: Sequence[str], options: EngineOptions) -> Measurement[str]:
    """Measure the median time of a call of each engine with active and with silent input, ms, in this process."""
    card = read_card(path)
    sessions = {}
    for name in engines:
        model = OpenModel(path, card, open_engine(name, path, card, options)[0])
        sessions[name] = open_session(model, int(card.get("batch") or 1))
    inputs = _make_inputs(card, next(iter(sessions.values())))
    for session in sessions.values():
        time_calls_ms(session, inputs[0][:1])  # first calls allocate

    def run(name: str) -> tuple[float, ...]:
        time.sleep(PAUSE_S)
        sessions[name].reset()
        return tuple(round(float(np.median(time_calls_ms(sessions[name], x))), 4) for x in inputs)

    return in_turns(run, engines, clear=CLEAR)


def time_calls_ms(session: Session, x: np.ndarray) -> list[float]:
    """Measure the milliseconds of each call of a session, one for each entry of x [calls, ...]."""
    call = session.step if session.model.card["form"] == "step" else session.run
    times = []
    for x_t in x:
        began = time.perf_counter()
        call(x_t)
        times.append(1e3 * (time.perf_counter() - began))
    return times


def _make_inputs(card: Card, session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Generate the inputs of a round's calls, float32 [calls, (T,) rows, ...]: active and silent."""
    in_steps, static, T = card["form"] == "step", card["input"]["kind"] == "static", int(card["T"])
    calls = STEPS if in_steps else 1
    x = make_input(card, calls if in_steps or static else T, session.streams, np.random.default_rng(0))
    if not in_steps and not static:
        x = x.reshape(calls, T, *x.shape[1:])
    return x, x if static else np.zeros_like(x)  # a still image is never silent
