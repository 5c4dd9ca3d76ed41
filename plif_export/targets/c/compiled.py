"""Generated C as a subject of the gate: compiled here, and run in a process of its own for every question.

What is compiled here runs here: texts that the target wrote itself (target.py), and others only where the user says so. Either
way within limits of processor time, memory and output, and without rights (runtime/formats/child/sandbox.py): a compiler writes
into its own folder only, a program reads a request and writes an answer. A small program, confine.c, gives the rights up and
becomes either, since Python takes as long to start as ten questions.

They are compiled with -DPLIF_PROBE, which shows h, spikes and states of every layer, and lets the spikes and states of the
reference stand in for a layer's own. So each layer is asked alone, as those of an ONNX file are, in one call of the step. That
the program without the probe gives the same is asked in the end (`release_differs`).
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from math import prod
from pathlib import Path

import numpy as np

from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.compare import Observation
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Answer, Case, States, Subject
from runtime.artifacts.c.source import Texts
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card
from runtime.formats.child.children import environment
from runtime.formats.child.sandbox import SYSTEM, Rights, landlock_version

PROBE, CONFINE = Path(__file__).with_name("probe.c"), Path(__file__).with_name("confine.c")
FLAGS = ("-std=c99", "-O2")
COMPILERS = ("cc", "gcc", "clang")
MOST_S = 120  # of one call; a step takes milliseconds
MOST_OUTPUT = 1 << 30  # bytes: a compiled network, and what a step says of all its layers
MOST_MEMORY = 8 << 30  # bytes: a compiler takes some, for weights written out as text
LIMITS = (MOST_S, MOST_MEMORY, MOST_OUTPUT, 256, 0)  # and open files, and a core
RESET, FREE, FORCED, SHIPPED = range(4)

Run = Callable[[Path, bytes], "subprocess.CompletedProcess[bytes]"]


def find_compiler() -> str | None:
    """A C compiler of this machine: $CC, or one by its usual names."""
    return next(
        (path for name in (os.environ.get("CC", ""), *COMPILERS) if name and (path := shutil.which(name))), None
    )


def compile_here(compiler: str, source: Path, name: str, program: Path, flags: Sequence[str]) -> None:
    """Compiles the probe around a source file whose functions begin with `name`. Raises PlifError with the compiler's first
    error."""
    defines = (f'-DPLIF_SOURCE="{source}"', f"-DPLIF_NAME={name}", f"-DPLIF_BIG={name.upper()}")
    command = [shutil.which(compiler) or compiler, *FLAGS, *flags, *defines, str(PROBE), "-o", str(program), "-lm"]
    folder = str(program.parent)
    done = within_limits(command, b"", Rights(None, write=(folder,), processes=True, owners=True), folder)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace")
        first = next((line for line in said.splitlines() if "error" in line), said[:200])
        raise PlifError(f"{source.name}: {compiler} cannot compile it ({first.strip()[:160]})")


def run_here(program: Path, request: bytes) -> subprocess.CompletedProcess[bytes]:
    return within_limits([str(program)], request, Rights(SYSTEM, run=(str(program), *SYSTEM)))


def within_limits(
    command: Sequence[str], request: bytes, rights: Rights, temporary: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command that gets `request`, in a process that keeps to LIMITS. temporary: a folder"""
    given = {**os.environ, "TMPDIR": temporary, "CCACHE_DISABLE": "1"} if temporary else environment()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        confined = [*confine(find_compiler() or command[0], rights), *command]
        done = subprocess.run(confined, input=request, stdout=out, stderr=said, timeout=MOST_S, env=given)
        for file in (out, said):
            file.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, out.read(MOST_OUTPUT), said.read(MOST_OUTPUT))


@lru_cache(maxsize=64)
def confine(compiler: str, rights: Rights) -> list[str]:
    """The command that another is put behind. Raises PlifError where it cannot be made."""
    filters, ruled, rules = b"", b"", list[str]()
    with suppress(LookupError):
        filters = rights.seccomp()
    with suppress(OSError):
        ruled, places = rights.landlock(landlock_version())
        rules = [str(word) for place in places for word in place]
    words = (make_launcher(compiler), *LIMITS, filters.hex(), ruled.hex(), len(rules) // 2)
    return [*map(str, words), *rules]


@lru_cache(maxsize=4)
def make_launcher(compiler: str) -> Path:
    """confine.c, compiled; it goes with this process."""
    folder = Path(tempfile.mkdtemp(prefix="plif-c-"))
    atexit.register(shutil.rmtree, folder, True)
    done = subprocess.run(
        [compiler, "-O1", str(CONFINE), "-o", str(folder / "confine")], capture_output=True, timeout=MOST_S
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise PlifError(f"{compiler} makes no program that runs here ({said[:160]})")
    if not os.access(folder / "confine", os.X_OK):  # a file system may be mounted so
        raise PlifError(f"{folder.parent}: no program may be run from there; name another folder in $TMPDIR")
    return folder / "confine"


class CompiledProgram(Subject):
    """texts: of both files, of one's own making;  compiler, flags: what makes a program of them;  run: (program, request) -> the
    ended process with its answer, of another machine. Raises PlifError where they cannot be compiled."""

    shows_spikes = True
    forces_rows = False
    rows_steps = 4
    engine = "c"

    def __init__(self, texts: Texts, card: Card, compiler: str, flags: Sequence[str] = (), run: Run = run_here) -> None:
        super().__init__(card, f"{texts.name}.c")
        self.signature, self.run = "compiled C: ", run
        folder = tempfile.mkdtemp(prefix="plif-c-")
        self._finish = weakref.finalize(self, shutil.rmtree, folder, True)
        source = Path(folder) / f"{texts.name}.c"
        source.write_text(texts.source, "utf-8")
        source.with_name(f"{texts.name}.h").write_text(texts.header, "utf-8")
        found = re.search(r"void (\w+)_reset\(void\);", texts.header)
        if found is None:
            raise PlifError(f"{self.where}: its header has no NAME_reset; export it again")
        self.probe, self._release = source.with_name("probe"), source.with_name("release")
        self._compile = partial(compile_here, compiler, source, found[1])
        self._flags = flags
        self._compile(self.probe, ("-DPLIF_PROBE", *flags))
        shapes = {n["attrs"]["layer"]: tuple(n["shape"]) for n in card["graph"]["nodes"] if n["op"] == "Neuron"}
        self.shapes: dict[str, tuple[int, ...]] = shapes
        self.variables = {layer: [variable for own, variable in self.states if own == layer] for layer in shapes}

    @cached_property
    def release(self) -> Path:
        """The program as it is shipped, without the probe; compiled when it is asked, which is after the gate has passed."""
        self._compile(self._release, self._flags)
        return self._release

    def forced(self, case: Case) -> Answer:
        given = []
        for layer in self.shapes:
            after = case.expected[layer][0].after
            given += [case.spikes[layer][0], *(after[variable] for variable in self.variables[layer])]
        answer = self._step(FORCED, case.x[0], case.start, given)
        return answer if case.y.size else Answer(case.y, answer.layers)

    def call(self, x: Array, states: States) -> Answer:
        rows = []
        for b in range(x.shape[1]):
            start = {s: {k: v[b : b + 1] for k, v in state.items()} for s, state in states.items()}
            rows.append(self._step(FREE, x[0, b : b + 1], start))
        if len(rows) == 1:
            return rows[0]
        layers = {}
        for layer in self.shapes:
            seen = [row.layers[layer][0] for row in rows]
            after = {k: np.concatenate([one.after[k] for one in seen]) for k in self.variables[layer]}
            layers[layer] = {0: Observation(after, s=np.concatenate([one.s for one in seen if one.s is not None]))}
        return Answer(np.concatenate([row.y for row in rows], axis=1), layers)

    def initial(self) -> States:
        found = self._ask(self.probe, RESET, [], sum(prod(self.shapes[layer]) for layer, _ in self.states))
        values = []
        for layer, _ in self.states:
            value, found = self._take(found, self.shapes[layer])
            values.append(value)
        return self.by_layer(values)

    def shipped(self, x: Array, probe: bool = False) -> Array:
        """y [T, classes] of the program as it is shipped, from a reset, on x [T, ...]; with `probe` of the one that shows."""
        T, classes = len(x), len(self.card["classes"])
        program = self.probe if probe else self.release
        return self._ask(program, SHIPPED, [np.array([T], np.int32), x], T * classes).reshape(T, classes)

    def release_differs(self, x: Array) -> int | None:
        """The first step of x [T, ...] in which the program gives another y without the probe than with it."""
        same = (self.shipped(x) == self.shipped(x, probe=True)).all(axis=1)
        return None if same.all() else int(np.argmin(same))

    def _step(self, what: int, x: Array, states: States, given: Sequence[Array] = ()) -> Answer:
        start = [_last(states[layer][variable]) for layer, variable in self.states]
        sizes = [(2 + len(self.variables[layer])) * prod(shape) for layer, shape in self.shapes.items()]
        classes = len(self.card["classes"])
        found = self._ask(self.probe, what, [*start, x, *map(_last, given)], sum(sizes) + classes)
        layers = {}
        for layer, shape in self.shapes.items():
            h, found = self._take(found, shape)
            s, found = self._take(found, shape)
            after: State = {}
            for variable in self.variables[layer]:
                after[variable], found = self._take(found, shape)
            layers[layer] = {0: Observation(after, h, s)}
        return Answer(found.reshape(1, 1, classes), layers)

    def _ask(self, program: Path, what: int, request: Sequence[Array], answers: int) -> Array:
        """The answer to one question, float32 [answers]. Raises CannotRun where the program gives another number of them."""
        numbers = (np.ascontiguousarray(v if v.dtype == np.int32 else v.astype(np.float32)).tobytes() for v in request)
        data = struct.pack("=i", what) + b"".join(numbers)
        try:
            done = self.run(program, data)
        except subprocess.TimeoutExpired:
            raise CannotRun("output", f"a step takes more than {MOST_S} s") from None
        if done.returncode or len(done.stdout) != 4 * answers:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise CannotRun("output", f"the program ended with {done.returncode} {' '.join(said)}".strip())
        return np.frombuffer(done.stdout, np.float32)

    def _take(self, found: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """The first numbers of an answer as [1, *shape], and the rest."""
        size = prod(shape)
        first = found[:size].reshape(*shape[1:], shape[0])
        return np.ascontiguousarray(np.moveaxis(first, -1, 0))[None], found[size:]


def _last(values: Array) -> Array:
    """[1, C, ...] as it lies in C: [..., C]."""
    return np.moveaxis(values[0], 0, -1)
