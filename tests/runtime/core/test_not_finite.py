"""A frame that holds a NaN or an infinity is refused before any membrane sees it: one such membrane never fires again."""

from __future__ import annotations

import ctypes as c
import subprocess
from pathlib import Path

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from plif_export.targets.c.compiled import find_compiler
from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.engines.session import Session
from runtime.core.events.frame import Frame
from tests.libplif import CSession, Handle
from tests.networks import digits_network, firing, frames

ENGINES = ("onnxruntime", "event", "torch", "unrolled")
STEPS = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finite")
    plif_train.save(firing(), folder / "model.pt")
    export(firing(), folder / "step.onnx", verify=False)
    export(firing(), folder / "unrolled.onnx", form="unrolled", verify=False)
    return folder


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(8), T=STEPS, streams=3)


def opened(folder: Path, engine: str, streams: int = 3) -> Session:
    if engine == "event" and not native.is_built():
        pytest.skip("the native library is not built here: it needs a C compiler")
    file = {"torch": "model.pt", "unrolled": "unrolled.onnx"}.get(engine, "step.onnx")
    return runtime.load(folder / file, "onnxruntime" if engine == "unrolled" else engine).session(streams)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e300])
def test_a_step_that_is_not_finite_is_refused_and_the_session_goes_on_as_if_nobody_had_shown_it(
    folder: Path, x: np.ndarray, engine: str, number: float
) -> None:
    session, undisturbed = opened(folder, engine), opened(folder, engine)
    wrong = x.astype(np.float64)
    wrong[7, 1, 0, 3, 5] = number
    expected = undisturbed.run(x[:5])
    np.testing.assert_array_equal(session.run(x[:5]), expected)
    before, steps = session.snapshot(), session.steps.copy()
    with pytest.raises(PlifError, match=r"^x is (nan|-?inf) at \[2, 1, 0, 3, 5\]; expected finite numbers") as error:
        session.run(wrong[5:])  # in its third step
    assert "\n" not in str(error.value)
    if engine != "unrolled":
        with pytest.raises(PlifError, match=r"^x is (nan|-?inf) at \[1, 0, 3, 5\]"):
            session.step(wrong[7])
        with pytest.raises(PlifError, match=r"^x is (nan|-?inf) at \[0, 0, 3, 5\]"):
            session.step(wrong[7, 1:], [2, 0])
    assert all(np.array_equal(a, b) for a, b in zip(before, session.snapshot(), strict=True))
    assert list(session.steps) == list(steps)
    np.testing.assert_array_equal(session.run(x[5:]), undisturbed.run(x[5:]))


def test_a_frame_that_its_maker_has_counted_is_not_looked_at(folder: Path, x: np.ndarray) -> None:
    """What libplif counts are whole numbers; the price of looking is for those who hand in frames of their own."""
    first, other = opened(folder, "onnxruntime"), opened(folder, "onnxruntime")
    np.testing.assert_array_equal(first.step(x[0], counted=True), other.step(x[0]))


@pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler")
def test_libplif_refuses_it_with_a_code_and_its_membranes_are_as_they_were(tmp_path: Path) -> None:
    path = export(digits_network(), tmp_path / "m.plif", to="plif", verify=False).path
    handle = Handle(path)
    session, frame = CSession(handle), np.random.default_rng(0).poisson(0.3, (2, 34, 34)).astype(np.float32)
    session.step(frame)
    before = session.snapshot()
    for number in (np.nan, np.inf, -np.inf):
        wrong = frame.copy()
        wrong[1, 0, 2] = number
        with pytest.raises(PlifError, match=r"plif_step: x\[1158\] is -?(nan|inf); expected finite numbers"):
            session.step(wrong)
        with pytest.raises(PlifError, match=r"plif_frame: x\[1158\] is -?(nan|inf)"):
            session.frame(Frame(wrong, 0, 1000, 5))
    assert session.snapshot() == before
    session.free()
    handle.close()


@pytest.mark.skipif(find_compiler() is None, reason="there is no C compiler here")
@pytest.mark.parametrize("flags", [(), ("-O2",)])
def test_generated_c_refuses_it_with_a_code(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = export(firing(), tmp_path / "net.c", to="c", verify=False).path
    library = tmp_path / "net.so"
    subprocess.run([str(find_compiler()), "-shared", "-fPIC", *flags, str(path), "-o", str(library)], check=True)
    net, y = c.CDLL(str(library)), np.full(3, 7, np.float32)
    frame = np.random.default_rng(0).poisson(0.3, (2, 16, 16)).astype(np.float32)
    wrong = frame.copy()
    wrong[-1, -1, -1] = np.nan
    net.net_reset()
    assert net.net_step(c.c_void_p(wrong.ctypes.data), c.c_void_p(y.ctypes.data)) == -1 and (y == 7).all()
    assert net.net_step(c.c_void_p(frame.ctypes.data), c.c_void_p(y.ctypes.data)) == 0
    expected = runtime.load(export(firing(), tmp_path / "m.onnx", verify=False).path).session().step(frame[None])
    np.testing.assert_allclose(y, expected[0], atol=1e-6)
