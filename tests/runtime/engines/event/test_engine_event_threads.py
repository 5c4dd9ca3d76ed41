"""Threads of the event engine: shared work is done once, nobody waits for a thread without a processor, and the number of
threads follows what steps take."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import weakref
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.engines.event import engine as event
from runtime.engines.tuner import MARGIN, fastest
from tests.networks import firing, frames
from tests.sanitizers import OPTIONS, find_sanitizers, needs_sanitizers

SELFTEST = Path(__file__).parent / "pool_selftest.c"
needs_library = pytest.mark.skipif(not native.is_built(), reason="the native library is not built here")


def selftest(folder: Path, *flags: str, compiler: str | None = None) -> Path:
    compiler = compiler or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread", *flags, str(SELFTEST)]
    done = subprocess.run([*command, "-o", str(folder / "pool")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "pool"


def test_the_pool_does_every_piece_once_and_ends_without_a_worker_that_has_no_processor(tmp_path: Path) -> None:
    done = subprocess.run([selftest(tmp_path, "-O2")], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and done.stdout.count("ok") == 3, done.stdout


@needs_sanitizers
def test_the_pool_touches_no_memory_that_is_not_its_own(tmp_path: Path) -> None:
    found = find_sanitizers()
    assert found is not None
    program = selftest(tmp_path, "-O1", *found.flags, compiler=found.compiler)
    done = subprocess.run([program], capture_output=True, text=True, timeout=500, env={**os.environ, **OPTIONS})
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_threads_of_the_pool_tell_each_other_is_synchronised(tmp_path: Path) -> None:
    """Under gcc's thread sanitizer, which needs the memory where it has always been."""
    if shutil.which("gcc") is None or shutil.which("setarch") is None:
        pytest.skip("needs gcc with its thread sanitizer, and setarch")
    if subprocess.run(["setarch", "-R", "true"], capture_output=True).returncode:
        pytest.skip("setarch -R is not allowed here")
    program = selftest(tmp_path, "-O1", "-g", "-fsanitize=thread")
    done = subprocess.run(["setarch", "-R", program], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr


LOOK, REST, SLOWER = 16, 160, 1.3  # as in threads.c


class CPools(ctypes.Structure):
    """Pools of threads.c."""

    _fields_ = (("n", ctypes.c_int), ("threads", ctypes.c_int * 9), ("pool", ctypes.c_void_p * 9))


class Chooser:
    """Threads of threads.c: the choice of an engine for calls of one kind, or of calls that a test times."""

    def __init__(
        self,
        most: int = 0,
        exactly: bool = False,
        engine: event.EventEngine | None = None,
        rows: int = 1,
        margin: float = MARGIN,
    ):
        self._library = native.library()
        if engine is not None:
            pools, self._at = engine._pools, engine.thread_chooser(rows)
        else:
            pools = self._library.plif_pools_new(most, exactly)
            self._at = self._library.plif_threads_new(pools, margin)
            weakref.finalize(self, self._library.plif_pools_free, pools)
            weakref.finalize(self, self._library.plif_threads_free, self._at)
        found = CPools.from_address(pools)
        self.counts = tuple(found.threads[: found.n])

    def next(self) -> int:
        return self.counts[self._library.plif_threads_next(self._at)]

    def took(self, threads: int, seconds: float) -> None:
        self._library.plif_threads_took(self._at, self.counts.index(threads), round(1e9 * seconds))


def after(chooser: Chooser, seconds: dict[int, float], steps: int) -> list[int]:
    """How many threads each of so many steps takes, where a step on n threads takes seconds[n]."""
    taken = []
    for _ in range(steps):
        taken.append(chooser.next())
        chooser.took(taken[-1], seconds[taken[-1]])
    return taken


@needs_library
def test_every_count_is_tried_in_a_row_and_the_fastest_is_kept() -> None:
    for most, expected in ((1, (1,)), (2, (2, 1)), (6, (6, 3, 1)), (40, (40, 20, 10, 5, 2, 1))):
        assert Chooser(most).counts == expected and Chooser(most, exactly=True).counts == (most,)
    chooser = Chooser(6)
    assert after(chooser, {1: 3, 3: 1, 6: 2}, 3 * LOOK) == LOOK * [6] + LOOK * [3] + LOOK * [1]
    assert set(after(chooser, {1: 3, 3: 1, 6: 2}, 100)) == {3} and chooser.next() == 3


@needs_library
def test_fewer_threads_are_taken_where_they_are_clearly_faster() -> None:
    for seconds, taken in (({1: 0.95, 2: 1.0, 4: 1.0}, 4), ({1: 0.8, 2: 0.85, 4: 1.0}, 2), ({1: 0.7, 2: 0.9, 4: 1}, 1)):
        chooser = Chooser(4)
        after(chooser, seconds, 3 * LOOK)
        assert chooser.next() == taken == fastest({n: seconds[n] for n in chooser.counts})
        chooser = Chooser(4, margin=0.5)  # the rule is told once, in Python
        after(chooser, seconds, 3 * LOOK)
        assert chooser.next() == 4


@needs_library
def test_steps_of_which_some_are_interrupted_count_with_their_mean() -> None:
    """Beside a busy process for each processor, one thread is undisturbed in most steps, and waits for long in the others."""
    chooser = Chooser(2)
    for seconds in chain.from_iterable(repeat((4, 4, 16, 4, 4, 16, 4, 16), 2 * LOOK // 8)):
        n = chooser.next()
        chooser.took(n, 6 if n == 2 else seconds)
    assert chooser.next() == 2


@needs_library
def test_steps_that_become_slower_are_looked_at_again_and_single_ones_are_not() -> None:
    chooser = Chooser(2)
    after(chooser, {1: 2, 2: 1}, 2 * LOOK)
    for seconds in chain.from_iterable(repeat((1, 30, 1), REST)):  # other programs come and go
        assert chooser.next() == 2
        chooser.took(2, seconds)
    slower = {1: 1.0, 2: SLOWER + 0.01}
    assert after(chooser, slower, LOOK) == LOOK * [2]
    after(chooser, slower, 2 * LOOK)
    assert chooser.next() == 1
    slower = {1: 1.5, 2: 1.4}
    assert after(chooser, slower, REST) == REST * [1]  # it was looked at just now
    after(chooser, slower, 2 * LOOK)
    assert chooser.next() == 2


@needs_library
def test_looks_come_again_but_take_fewer_steps_than_one_in_a_hundred() -> None:
    """A count that was slower while the machine was busy gets another chance when it no longer is."""
    chooser = Chooser(2)
    after(chooser, {1: 1, 2: 2}, 2 * LOOK)
    taken = after(chooser, {1: 1, 2: 2}, 10_000)
    assert 0 < taken.count(2) < 100
    after(chooser, {1: 1, 2: 0.5}, 4_000)
    assert chooser.next() == 2


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("threads") / "m.onnx", verify=False).path


@pytest.fixture
def many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network takes one thread; here up to 4, as a large one on 4 processors."""
    monkeypatch.setattr(native, "count_cores", lambda: 4)
    monkeypatch.setattr(event, "NEURONS_A_THREAD", 1)


@needs_library
@pytest.mark.parametrize("rows", [1, 5])
def test_changing_the_number_of_threads_between_steps_changes_no_bit(
    artifact: Path, many_threads: None, rows: int
) -> None:
    x = frames(firing(), np.random.default_rng(1), T=4 * LOOK, streams=rows)
    model = runtime.load(artifact, "event")
    session = model.session(rows)
    assert isinstance(model.engine, event.EventEngine)
    chooser = Chooser(engine=model.engine, rows=rows)
    assert chooser.counts == (4, 2, 1) and model.engine.threads == 4
    tried, found = [], []
    for x_t in x:
        tried.append(chooser.next())
        found.append(session.step(x_t))
    assert set(tried) == {1, 2, 4}  # of which one is kept
    alone = runtime.load(artifact, "event", threads=1).session(rows)
    np.testing.assert_array_equal(found, alone.run(x))
    for ours, expected in zip(session.snapshot(), alone.snapshot(), strict=True):
        np.testing.assert_array_equal(ours, expected)


@needs_library
def test_an_engine_chooses_its_threads_by_the_margin_of_all_that_is_chosen(artifact: Path, many_threads: None) -> None:
    engine = runtime.load(artifact, "event").engine
    assert isinstance(engine, event.EventEngine)
    for rows, share in ((7, 1 - MARGIN + 0.01), (8, 1 - MARGIN - 0.01)):
        chooser = Chooser(engine=engine, rows=rows)
        after(chooser, {4: 1, 2: share, 1: 1}, 3 * LOOK)
        assert chooser.next() == (4 if rows == 7 else 2)


@needs_library
def test_a_number_of_threads_that_was_asked_for_is_kept(artifact: Path, many_threads: None) -> None:
    for asked in (1, 3):
        engine = runtime.load(artifact, "event", threads=asked).engine
        assert isinstance(engine, event.EventEngine) and Chooser(engine=engine).counts == (asked,)
        alone = engine.with_one_thread()
        assert Chooser(engine=alone).counts == (1,)


@needs_library
def test_sessions_in_several_threads_share_an_engine_that_chooses_its_threads(
    artifact: Path, many_threads: None
) -> None:
    """The pool serves one call at a time; a call that comes meanwhile runs alone."""
    x = frames(firing(), np.random.default_rng(2), T=60, streams=4)
    model = runtime.load(artifact, "event")
    expected = runtime.load(artifact, "event", threads=1).session(4).run(x)
    found = np.zeros_like(expected)

    def run(i: int) -> None:
        found[:, i : i + 1] = model.session().run(x[:, i : i + 1])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


@needs_library
def test_beside_busy_processes_the_answers_are_the_same(artifact: Path, many_threads: None) -> None:
    x = frames(firing(), np.random.default_rng(3), T=60, streams=1)
    expected = runtime.load(artifact, "event", threads=1).session().run(x)
    others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for threads in (None, 2, 3):
            found = runtime.load(artifact, "event", threads=threads).session().run(x)
            np.testing.assert_array_equal(found, expected)
    finally:
        for other in others:
            other.kill()
            other.wait()
