"""The answer belongs to a stream's input alone: however it is cut, beside whom, by how many threads, in which process.

The reference is eight streams that run one after the other, each alone in a session, in one thread. Each condition gives the
same outputs, and the same membranes at the end. Recordings and replays of streams are compared in
tests/runtime/observers/replayed_stream/test_record.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plif_export import export
from plif_train import save
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.engines.session import Session
from tests.conftest import REPOSITORY
from tests.networks import firing
from tests.reliability.opened import ENGINES, STREAMS, Artifacts, T, spiking_frames

Answer = list[np.ndarray]  # y [T, STREAMS, classes], and each state [STREAMS, ...] at the end
FORM_T = 5  # steps of one call of the unrolled form, as tests.networks.firing has it


def of_session(y: np.ndarray, session: Session) -> Answer:
    return [y, *session.snapshot()]


def one_by_one(model: Model, x: np.ndarray) -> Answer:
    """Each stream in a session of its own, one after the other."""
    answers = []
    for i in range(STREAMS):
        session = model.session()
        answers.append(of_session(session.run(x[:, i : i + 1]), session))
    y, *states = zip(*answers, strict=True)
    return [np.concatenate(y, axis=1), *(np.concatenate(v) for v in states)]


# --- how the input is cut ---------------------------------------------------------------------------------------------


def whole(model: Model, x: np.ndarray) -> Answer:
    session = model.session(STREAMS)
    return of_session(session.run(x), session)


def step_by_step(model: Model, x: np.ndarray) -> Answer:
    session = model.session(STREAMS)
    return of_session(np.stack([session.step(x_t) for x_t in x]), session)


def split(model: Model, x: np.ndarray, cuts: list[int]) -> Answer:
    """In pieces, each in another session, which takes over where the one before stopped."""
    session, parts = model.session(STREAMS), []
    for piece in np.split(x, cuts):
        following = model.session(STREAMS)
        following.restore(session.snapshot())
        session = following
        parts += [session.run(piece)] if len(piece) else []
    return of_session(np.concatenate(parts), session)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("engine", ENGINES)
def test_fifty_random_splits_change_nothing(artifacts: Artifacts, engine: str) -> None:
    model, x, rng = artifacts.load(engine), spiking_frames(), np.random.default_rng(1)
    expected = whole(model, x)
    for _ in range(50):
        same(split(model, x, np.sort(rng.integers(0, T + 1, rng.integers(1, 6))).tolist()), expected)


@pytest.mark.parametrize("engine", ("onnxruntime", "event", "openvino"))
def test_the_unrolled_form_is_the_step_form_however_it_is_cut(artifacts: Artifacts, engine: str) -> None:
    unrolled, x = artifacts.load(engine, "unrolled"), spiking_frames()
    expected = whole(artifacts.load(engine), x)
    for cuts in ([], [FORM_T], [10, 15, 35], list(range(FORM_T, T, FORM_T))):
        same(split(unrolled, x, cuts), expected, engine != "openvino")


# --- beside whom ------------------------------------------------------------------------------------------------------


def interleaved(model: Model, x: np.ndarray) -> Answer:
    """Eight rows of one session that advance in turns, some at a time, in an order that is drawn."""
    session, rng = model.session(STREAMS), np.random.default_rng(2)
    at, y = np.zeros(STREAMS, int), np.zeros((T, STREAMS, len(model.classes)), np.float32)
    while (at < T).any():
        rows = rng.permutation(STREAMS)[: rng.integers(1, STREAMS + 1)]
        rows = rows[at[rows] < T]
        y[at[rows], rows] = session.step(x[at[rows], rows], rows.tolist())
        at[rows] += 1
    return of_session(y, session)


def beside_sessions_in_threads(model: Model, x: np.ndarray) -> Answer:
    """Eight sessions of one model, each in a thread of its own, all at once."""
    answers: list[Any] = [None] * STREAMS
    start = threading.Barrier(STREAMS)

    def run(i: int) -> None:
        session = model.session()
        start.wait()
        answers[i] = of_session(session.run(x[:, i : i + 1]), session)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    y, *states = zip(*answers, strict=True)
    return [np.concatenate(y, axis=1), *(np.concatenate(v) for v in states)]


def after_a_reset(model: Model, x: np.ndarray) -> Answer:
    """A session that has run something else before, as if it had been opened now."""
    session = model.session(STREAMS)
    session.run(x[::-1])
    session.reset()
    return of_session(session.run(x), session)


def rows_reset_beside_others(model: Model, x: np.ndarray) -> Answer:
    """Four streams are reset, and begin, while the other four are half through."""
    late = list(range(1, STREAMS, 2))
    session, half = model.session(STREAMS), T // 2
    first, second = x[:half], x[half:]
    before, after = first.copy(), second.copy()
    before[:, late], after[:, late] = second[:, late], first[:, late]  # before the reset: something else
    y = [session.run(before)]
    session.reset(late)
    mixed = session.run(after)
    y[0][:, late] = mixed[:, late]
    mixed[:, late] = session.run(second[:, late], late)
    return of_session(np.concatenate([*y, mixed]), session)


CONDITIONS: dict[str, Callable[[Model, np.ndarray], Answer]] = {
    f.__name__: f
    for f in (whole, step_by_step, interleaved, beside_sessions_in_threads, after_a_reset, rows_reset_beside_others)
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("threads", (1, 4))
@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_answers_as_it_does_alone(artifacts: Artifacts, engine: str, threads: int) -> None:
    x = spiking_frames()
    alone = one_by_one(artifacts.load(engine, threads=1), x)
    assert alone[0].sum() > 20
    model = artifacts.load(engine, threads=threads)
    for name, condition in CONDITIONS.items():
        same(condition(model, x), alone, engine != "openvino", name)


def same(found: Answer, expected: Answer, in_bits: bool = True, name: str = "") -> None:
    """Equal in every output; in every bit of the membranes, too, or (OpenVINO, whose kernels differ by batch) within 1e-5."""
    np.testing.assert_array_equal(found[0], expected[0], err_msg=name)
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if in_bits else 1e-5, err_msg=name)


@pytest.mark.parametrize("engine", ENGINES)
def test_another_number_of_streams_without_a_new_session_is_refused(artifacts: Artifacts, engine: str) -> None:
    session = artifacts.load(engine).session(2)
    session.run(spiking_frames()[:3, :2])
    before = session.snapshot()
    with pytest.raises(PlifError, match="2 streams"):
        session.step(spiking_frames()[3, :3])
    same(session.snapshot(), before)
    assert session.steps.tolist() == [3, 3]


# --- in which process -------------------------------------------------------------------------------------------------

HASHES = """
import hashlib, sys, warnings
import numpy as np
warnings.simplefilter("ignore")
import runtime
path, engine, threads, x = sys.argv[1:]
model = runtime.load(path, engine, threads=int(threads), rates=True)
session, spikes = model.session(8), hashlib.sha256()
for x_t in np.load(x):
    spikes.update(session.step(x_t).tobytes() + b"".join(r.tobytes() for r in session.last_rates.values()))
decisions = hashlib.sha256()
for d in model.stream("sim:digits?seed=3&seconds=1", framing="duration:10ms"):
    decisions.update(repr((d.t_us, d.step, d.label, d.score, d.votes)).encode())
print(spikes.hexdigest(), decisions.hexdigest())
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_with_other_threads_give_the_same_sha256(
    artifacts: Artifacts, engine: str, tmp_path: Path
) -> None:
    artifacts.load(engine)  # or skip
    np.save(tmp_path / "x.npy", spiking_frames())
    found = []
    for threads, seed in (("1", "0"), ("4", "1")):
        command = [sys.executable, "-c", HASHES, str(artifacts.path(engine)), engine, threads, str(tmp_path / "x.npy")]
        found.append(run(command, seed))
    assert found[0] == found[1] and len(found[0]) == 2 * 64 + 2


def test_another_process_exports_the_same_bytes(tmp_path: Path) -> None:
    save(firing(), tmp_path / "m.pt")
    here = export(tmp_path / "m.pt", tmp_path / "here.onnx", verify=False)
    program = "import sys; from plif_export import export; print(export(*sys.argv[1:], verify=False).sha256)"
    there = run([sys.executable, "-c", program, str(tmp_path / "m.pt"), str(tmp_path / "there.onnx")], "1")
    assert there.strip() == here.sha256
    assert (tmp_path / "there.onnx").read_bytes() == (tmp_path / "here.onnx").read_bytes()


def run(command: list[str], hash_seed: str) -> str:
    """What it prints; the order of its sets and the hashes of its strings are other ones."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout
