"""TritonSession against a real server: sequences are streams, and what the server forgets is reported."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.observers.triton_repository.client import SequenceLost, TritonSession
from tests.networks import firing, frames
from tests.triton_server import environment, serving

pytestmark = pytest.mark.machines

IDLE_S = 1.5
served_for_real = pytest.mark.skipif(
    isinstance(environment(), str), reason=str(environment()) if isinstance(environment(), str) else ""
)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(8), T=20, streams=6)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: one for everything, one with room for two sequences only."""
    folder = tmp_path_factory.mktemp("served")
    net = firing(v_reset=-0.25, tau="channel")
    for name, sequences in (("digits", "16"), ("narrow", "2")):
        options = {"backend": "python", "name": name, "idle_s": str(IDLE_S), "sequences": sequences}
        path = export(net, folder / f"{name}_triton", to="triton", options=options).path
        if name == "narrow":
            (path / name).rename(folder / "digits_triton" / name)
    return folder / "digits_triton"


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(repository, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def local(repository: Path, x: np.ndarray) -> np.ndarray:
    """What a session in this process gives: [T, streams, classes]."""
    return runtime.load(repository / "digits" / "1" / "model.onnx").session(streams=6).run(x)


@served_for_real
def test_interleaved_sequences_of_two_clients_answer_as_local_sessions(
    server: str, x: np.ndarray, local: np.ndarray
) -> None:
    """Six streams that start at different times, skip steps and are asked in any order and number."""
    assert local.sum() > 5
    rng = np.random.default_rng(9)
    with TritonSession(server, "digits", 4) as a, TritonSession(server, "digits", 2) as b:
        assert a.shape == (2, 16, 16) and a.classes == 3
        at = np.zeros(6, int)
        while at.min() < 20:
            for client, first in ((a, 0), (b, 4)):
                rows = [int(r) for r in rng.permutation(client.streams) if rng.random() < 0.7 and at[first + r] < 20]
                if not rows:
                    continue
                y = client.step(np.stack([x[at[first + r], first + r] for r in rows]), rows)
                for row, y_row in zip(rows, y, strict=True):
                    np.testing.assert_allclose(y_row, local[at[first + row], first + row], atol=1e-6)
                    at[first + row] += 1
        assert list(a.steps) == [20] * 4 and not a.lost.any()


@served_for_real
def test_reset_starts_one_stream_anew_and_leaves_the_others(server: str, x: np.ndarray, local: np.ndarray) -> None:
    with TritonSession(server, "digits", 2) as session:
        for t in range(5):
            session.step(x[t, :2])
        session.reset([1])
        y = session.step(np.stack([x[5, 0], x[0, 1]]))
        np.testing.assert_allclose(y, [local[5, 0], local[0, 1]], atol=1e-6)
        assert list(session.steps) == [6, 1]


@served_for_real
@pytest.mark.parametrize("lost", ("raise", "reset"))
def test_a_stream_that_was_idle_for_too_long_is_lost_and_says_so(
    server: str, x: np.ndarray, local: np.ndarray, lost: str
) -> None:
    with TritonSession(server, "digits", 2, lost=lost) as session:
        for t in range(3):
            session.step(x[t, :2])
        began = time.monotonic()
        t = 3
        while time.monotonic() - began < 2 * IDLE_S:  # stream 0 goes on, stream 1 is silent
            session.step(x[t % 20, :1], rows=[0])
            t += 1
            time.sleep(IDLE_S / 5)
        if lost == "reset":
            np.testing.assert_allclose(session.step(x[0, 1:2], rows=[1])[0], local[0, 1], atol=1e-6)
            assert list(session.lost) == [0, 1] and session.steps[1] == 1
            return
        steps = session.steps[0]
        for _ in range(2):  # it stays lost until somebody decides
            with pytest.raises(
                SequenceLost, match=r"lost streams \[1\]: the server has forgotten it.*reset them"
            ) as found:
                session.step(x[0, :2])
            assert found.value.rows == [1]
        assert session.steps[0] == steps + 1  # the first of the two; the second was not sent
        session.reset([1])
        np.testing.assert_allclose(session.step(x[0, 1:2], rows=[1])[0], local[0, 1], atol=1e-6)


@served_for_real
def test_ended_sequences_make_room_and_timed_out_ones_do_too(server: str, x: np.ndarray, local: np.ndarray) -> None:
    """The model has two rows. Clients that close free theirs at once, others when they have timed out."""
    for _ in range(3):
        with TritonSession(server, "narrow", 2) as session:
            np.testing.assert_allclose(session.step(x[0, :2]), local[0, :2], atol=1e-6)
    gone = TritonSession(server, "narrow", 2)
    gone.step(x[0, :2])  # and is never heard of again
    time.sleep(2 * IDLE_S)
    with TritonSession(server, "narrow", 2) as session:
        for t in range(3):
            np.testing.assert_allclose(session.step(x[t, :2]), local[t, :2], atol=1e-6)
    with pytest.raises(SequenceLost):
        gone.step(x[1, :2])
    gone.close()


@served_for_real
def test_a_server_that_was_started_again_has_forgotten_everything(
    repository: Path, tmp_path: Path, x: np.ndarray, local: np.ndarray
) -> None:
    with serving(repository, tmp_path / "log") as first:
        session = TritonSession(first, "digits", 1, timeout_s=5)
        session.step(x[0, :1])
    with pytest.raises(PlifError, match=r"no answer.*is it served\?"):
        session.step(x[1, :1])
    with serving(repository, tmp_path / "log") as second:
        session._port = int(second.rpartition(":")[2])  # as if it had come back in its old place
        with pytest.raises(SequenceLost, match="no answer came, so nobody knows"):
            session.step(x[1, :1])
        session.reset()
        np.testing.assert_allclose(session.step(x[0, :1]), local[0, :1], atol=1e-6)
        session.close()


@served_for_real
def test_what_is_asked_wrongly_is_one_line(server: str, x: np.ndarray) -> None:
    with pytest.raises(PlifError, match="the server answered 404: "):
        TritonSession(server, "nothing")
    with TritonSession(server, "digits", 2) as session:
        with pytest.raises(PlifError, match=r"x is \[1, 2, 16, 16\]; expected \[2, 2, 16, 16\]"):
            session.step(x[0, :1])
        with pytest.raises(PlifError, match=r"rows \[0, 0\]: expected different numbers from 0 to 1"):
            session.step(x[0, :2], rows=[0, 0])
        assert session.step(x[0, :0], rows=[]).shape == (0, 3)


def test_addresses_and_choices_that_are_none_are_refused() -> None:
    for server in ("127.0.0.1", "http://127.0.0.1:8000", ":8000", "host:0", "host:99999", "host:x", "host:²"):
        with pytest.raises(PlifError, match="expected HOST:PORT"):
            TritonSession(server, "digits")
    with pytest.raises(PlifError, match="expected at least 1, and raise or reset"):
        TritonSession("127.0.0.1:1", "digits", lost="ignore")
    with pytest.raises(PlifError, match="is it served"):
        TritonSession("127.0.0.1:1", "digits", timeout_s=1)
