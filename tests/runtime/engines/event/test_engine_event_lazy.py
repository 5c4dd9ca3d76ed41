"""Lazy neurons: a network whose silent neurons wait is the network that steps them all, bit for bit, whoever looks and when."""

from __future__ import annotations

import ctypes as c
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from plif_train.core.network.network import Network
from runtime import native
from runtime.core.engines import Engine
from runtime.core.engines.session import Session
from runtime.core.events import make_frames, read_events
from runtime.engines.event.engine import EventEngine
from tests.libplif import CSession, Handle, library
from tests.networks import firing

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]

SHAPE = (2, 32, 32)
# first layers of 128 outputs in one piece, of 80 in two, and of 16; then pieces of 64
NOTATIONS = (
    "c128k3s1-BN-PLIF-MPk2s2-c80k3s1-PLIF-MPk2s2-FC30-PLIF-APk10s10",
    "c80k3s1-PLIF-MPk2s2-c16k3s1-PLIF-MPk2s2-FC30-PLIF-APk10s10",
    "c16k4s4-BN-PLIF-c8k3s1-PLIF-FC30-PLIF-APk10s10",
)
PATHS = native.cpu_paths() if native.is_built() else ()
WAITS = 1  # a unit owes its byte less this many steps, and none at 0 and 255


@pytest.fixture(scope="module", params=NOTATIONS)
def net(request: pytest.FixtureRequest) -> Network:
    return shifted(firing(request.param, SHAPE), np.random.default_rng(2).uniform(-0.4, 0.4, 128))


@pytest.fixture(scope="module")
def files(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lazy")
    export(net, folder / "a.onnx", verify=False)
    export(net, folder / "a.plif", to="plif", verify=False)
    return folder


def shifted(net: Network, by: np.ndarray) -> Network:
    """The network with these currents in the channels behind each batch normalisation where nothing comes in; `by` [128]."""
    for named in net.named_layers:
        if named.op == "BatchNorm":
            bn = net.get_submodule(named.name)
            mean = bn.running_mean * bn.weight / (bn.running_var + bn.eps).sqrt()
            bn.bias.data.copy_(mean + mean.new_tensor(by[: len(mean)]))
    return net


def session_of(path: Path, lazy: bool, streams: int = 1, **options: Any) -> Session:
    """A session of the event engine; not lazy: it steps every neuron, as buffers of other engines do."""
    with pytest.MonkeyPatch.context() as patch:
        if not lazy:
            patch.setattr(EventEngine, "buffers", Engine.buffers)
        return runtime.load(path, "event", **options).session(streams)


def bursts(steps: int, rows: int, seed: int = 0) -> np.ndarray:
    """Event counts float32 [steps, rows, *SHAPE]: a spot that jumps, moves, and is silent for up to 200 steps, in each row."""
    rng = np.random.default_rng(seed)
    x = np.zeros((steps, rows, *SHAPE), np.float32)
    for row in range(rows):
        t = 0
        while t < steps:
            lasts, size = int(rng.choice([1, 2, 5, 20])), int(rng.choice([1, 4, 12, 32]))
            at = rng.integers(0, 33 - size, 2)
            for k in range(t, min(t + lasts, steps)):
                x[k, row, :, at[0] : at[0] + size, at[1] : at[1] + size] = rng.poisson(0.3, (2, size, size))
            t += lasts + int(rng.choice([0, 1, 17, 40, 200]))
    return x


def digest(session: Session) -> str:
    return hashlib.sha256(b"".join(v.tobytes() for v in session.snapshot())).hexdigest()


def owed(session: Session) -> int:
    """Steps that the session's neurons have not taken."""
    values = np.concatenate(session._all.pending_decay).astype(int)  # type: ignore[attr-defined]
    return int((values[(values > WAITS) & (values < 255)] - WAITS).sum())


def compare(lazy: Session, eager: Session, x: np.ndarray, look: Callable[[int, Session], None]) -> int:
    """Steps both through x, calling `look` on both after each step; returns the most steps that were owed."""
    most = 0
    for t, x_t in enumerate(x):
        np.testing.assert_array_equal(lazy.step(x_t).view(np.int32), eager.step(x_t).view(np.int32))
        most = max(most, owed(lazy))
        look(t, lazy)
        look(t, eager)
    assert digest(lazy) == digest(eager)
    assert owed(lazy) == 0
    return most


@pytest.mark.one_in(4)
@pytest.mark.parametrize("steps", [1500, pytest.param(10_000, marks=pytest.mark.large)])
@pytest.mark.parametrize("path", PATHS)
def test_thousands_of_steps_with_all_that_looks_in_between_are_the_same_bits(
    path: str, steps: int, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIF_CPU", path)
    lazy, eager = (session_of(files / "a.onnx", waits, 3, threads=2) for waits in (True, False))
    x, saved, seen = bursts(steps, 3), {}, {}

    def look(t: int, session: Session) -> None:
        what = np.random.default_rng(t).integers(0, 700)
        if what < 10:
            session.reset(rows=[int(what % 3)])
        elif what < 20:
            saved[session] = session.snapshot()
        elif what < 30 and session in saved:
            session.restore(saved[session])
        elif what < 40:
            session.fade(0.7, rows=[1])
        elif what < 50:
            for v in session.state.values():
                v[2] += np.float32(0.9)  # many beyond their thresholds
        elif what < 60:
            seen.setdefault(t, digest(session))
            assert seen[t] == digest(session)
        elif what < 70:
            session.step(x[t, :2], rows=[2, 0])
        elif what < 80:
            session.run(x[t : t + 3])

    assert compare(lazy, eager, x, look) > 40
    assert saved and seen


@pytest.mark.parametrize("count", [1, pytest.param(6, marks=pytest.mark.large)])
def test_real_recordings_are_answered_with_the_same_bits(count: int, net: Network, files: Path, clips: Path) -> None:
    paths = sorted(clips.glob("*.bs2"))[:count]
    frames = [make_frames(read_events(path), "duration:1ms", SHAPE, (128, 128))[:, None] for path in paths]
    x = np.concatenate(frames).astype(np.float32)
    lazy, eager = (session_of(files / "a.onnx", waits) for waits in (True, False))
    assert len(x) > 1000 * count and compare(lazy, eager, x, lambda t, s: None) > 40


def test_the_membranes_of_an_unrolled_call_are_the_same_bits(net: Network, tmp_path: Path) -> None:
    path = export(net, tmp_path / "a.onnx", form="unrolled", verify=False).path
    lazy, eager = (session_of(path, waits, 2) for waits in (True, False))
    steps = lazy.model.T
    x = bursts(40 * steps, 2)
    for t in range(40):
        call = x[t * steps : (t + 1) * steps]
        np.testing.assert_array_equal(lazy.run(call), eager.run(call))
    assert owed(lazy) > 40 and digest(lazy) == digest(eager)


def test_sessions_in_several_threads_wait_each_for_itself(files: Path) -> None:
    model = runtime.load(files / "a.onnx", "event", threads=2)
    inputs = [bursts(300, 2, seed) for seed in range(4)]

    def outcome(x: np.ndarray) -> tuple[str, str]:
        session = model.session(2)
        return hashlib.sha256(session.run(x).tobytes()).hexdigest(), digest(session)

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(outcome, inputs))
    for x, found in zip(inputs, together, strict=True):
        eager = session_of(files / "a.onnx", False, 2)
        assert (hashlib.sha256(eager.run(x).tobytes()).hexdigest(), digest(eager)) == found


def test_libplif_gives_the_same_bits_with_snapshots_membranes_and_resets_in_between(files: Path) -> None:
    handle, eager = Handle(files / "a.plif"), session_of(files / "a.plif", False)
    first, second = CSession(handle, threads=2), CSession(handle)
    for t, x_t in enumerate(bursts(600, 1, seed=3)):
        assert first.step(x_t[0]).tobytes() == eager.step(x_t)[0].tobytes()
        if t % 97 == 50:
            check_membranes(first, eager)
        if t % 150 == 120:
            second.step(x_t[0] + 1)  # somewhere else
            second.restore(first.snapshot())
            first, second = second, first
        if t % 200 == 199:
            library().plif_reset_network(first.at)
            eager.reset()
    check_membranes(first, eager)
    for session in (first, second):
        session.free()
    handle.close()


def check_membranes(session: CSession, expected: Session) -> None:
    shape, lanes = (c.c_int * 3)(), c.c_int()
    for i, v in enumerate(expected.snapshot()):
        at = library().plif_membranes(session.at, i, shape, c.byref(lanes))
        n, h, w = shape
        found = np.ctypeslib.as_array((c.c_float * (h * w * lanes.value)).from_address(at)).reshape(h, w, lanes.value)
        np.testing.assert_array_equal(np.moveaxis(found[..., :n], -1, 0).reshape(v[0].shape), v[0])


def test_a_channel_that_fires_by_its_bias_is_stepped(tmp_path: Path) -> None:
    """Its layer is stepped whole; it fires in silence, in the steps in which it always did."""
    by = np.zeros(128)
    by[3] = 1.5
    net = shifted(firing("c16k3s1-BN-PLIF-FC30-PLIF-APk10s10", SHAPE), by)
    path = export(net, tmp_path / "a.onnx", verify=False).path
    lazy, eager = (session_of(path, waits, rates=True) for waits in (True, False))
    silence = np.zeros((1, *SHAPE), np.float32)
    fired = 0.0
    for _ in range(100):
        lazy.step(silence), eager.step(silence)
        assert lazy.rates == eager.rates
        fired += next(iter(lazy.rates.values()))
    assert fired > 0
