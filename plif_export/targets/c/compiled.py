"""Generated C as a subject of the gate: compiled here, and run in a separate process for every call.

Texts that the target wrote itself (target.py) are compiled and run here, others only if the user allows it. Both run
within limits of processor time, memory and output, and without rights (runtime/formats/child/sandbox.py): a compiler
writes into its own folder only, a program reads a request and writes an answer. A small program, confine.c, gives the
rights up and becomes either, since Python takes as long to start as ten calls.

They are compiled with -DPLIF_PROBE, which shows h, spikes and states of every layer, and lets the spikes and states
of the reference replace a layer's own. So each layer is checked alone, as those of an ONNX file are, in one call of
the step. The program without the probe must give the same outputs, which is checked at the end (`release_differs`).
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
from runtime.artifacts.c.source import SourceFiles
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card
from runtime.formats.child.children import filter_environment
from runtime.formats.child.sandbox import SYSTEM, Rights, read_landlock_version

PROBE, CONFINE = Path(__file__).with_name("probe.c"), Path(__file__).with_name("confine.c")
FLAGS = ("-std=c99", "-O2")
COMPILERS = ("cc", "gcc", "clang")
MOST_S = 120  # seconds of one call; a step takes milliseconds
MOST_OUTPUT = 1 << 30  # bytes: a compiled network, and the values of all layers in one step
MOST_MEMORY = 8 << 30  # bytes: a compiler needs some, for weights written as text
LIMITS = (MOST_S, MOST_MEMORY, MOST_OUTPUT, 256, 0)  # ..., open files, core dump bytes
RESET, FREE, FORCED, SHIPPED = range(4)

Run = Callable[[Path, bytes], "subprocess.CompletedProcess[bytes]"]


def find_compiler() -> str | None:
    """Return the path of a C compiler on this machine: $CC, or one found by its usual names."""
    return next(
        (path for name in (os.environ.get("CC", ""), *COMPILERS) if name and (path := shutil.which(name))), None
    )


def compile_here(compiler: str, source: Path, name: str, program: Path, flags: Sequence[str]) -> None:
    """Compile a generated C file, together with the probe program that shows its inner values, on this machine.

    Raises PlifError with the compiler's first error.
    """
    defines = (f'-DPLIF_SOURCE="{source}"', f"-DPLIF_NAME={name}", f"-DPLIF_BIG={name.upper()}")
    command = [shutil.which(compiler) or compiler, *FLAGS, *flags, *defines, str(PROBE), "-o", str(program), "-lm"]
    folder = str(program.parent)
    process = run_limited(command, b"", Rights(None, write=(folder,), processes=True, owners=True), folder)
    if process.returncode:
        log = process.stderr.decode("utf-8", "replace")
        first = next((line for line in log.splitlines() if "error" in line), log[:200])
        raise PlifError(f"{source.name}: {compiler} cannot compile it ({first.strip()[:160]})")


def run_here(program: Path, request: bytes) -> subprocess.CompletedProcess[bytes]:
    return run_limited([str(program)], request, Rights(SYSTEM, run=(str(program), *SYSTEM)))


def run_limited(
    command: Sequence[str], request: bytes, rights: Rights, temporary: str | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with `request` as its input, in a process that the operating system restricts.

    temporary: a folder for temporary files
    """
    env = {**os.environ, "TMPDIR": temporary, "CCACHE_DISABLE": "1"} if temporary else filter_environment()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        confined = [*launch_command(find_compiler() or command[0], rights), *command]
        process = subprocess.run(confined, input=request, stdout=out, stderr=err, timeout=MOST_S, env=env)
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, out.read(MOST_OUTPUT), err.read(MOST_OUTPUT))


@lru_cache(maxsize=64)
def launch_command(compiler: str, rights: Rights) -> list[str]:
    """Return the command that starts another one with restricted rights. Raises PlifError if none can be built."""
    filters, ruled, rules = b"", b"", list[str]()
    with suppress(LookupError):
        filters = rights.build_seccomp()
    with suppress(OSError):
        ruled, places = rights.build_landlock(read_landlock_version())
        rules = [str(word) for place in places for word in place]
    words = (make_launcher(compiler), *LIMITS, filters.hex(), ruled.hex(), len(rules) // 2)
    return [*map(str, words), *rules]


@lru_cache(maxsize=4)
def make_launcher(compiler: str) -> Path:
    """Compile confine.c, which starts programs with restricted rights; return the program's path."""
    folder = Path(tempfile.mkdtemp(prefix="plif-c-"))
    atexit.register(shutil.rmtree, folder, True)
    process = subprocess.run(
        [compiler, "-O1", str(CONFINE), "-o", str(folder / "confine")], capture_output=True, timeout=MOST_S
    )
    if process.returncode:
        log = process.stderr.decode("utf-8", "replace").strip()
        raise PlifError(f"{compiler} makes no program that runs here ({log[:160]})")
    if not os.access(folder / "confine", os.X_OK):  # a file system may be mounted noexec
        raise PlifError(f"{folder.parent}: no program may be run from there; name another folder in $TMPDIR")
    return folder / "confine"


class CompiledProgram(Subject):
    """The artifact under test of the C target: its generated code, compiled and run on this machine.

    texts: of both files;  compiler, flags: of the compilation;  run: (program, request) -> the ended process with its
    answer, of another machine. Raises PlifError if they cannot be compiled.
    """

    shows_spikes = True
    forces_rows = False
    rows_steps = 4
    engine = "c"

    def __init__(
        self, texts: SourceFiles, card: Card, compiler: str, flags: Sequence[str] = (), run: Run = run_here
    ) -> None:
        super().__init__(card, f"{texts.name}.c")
        self.signature, self.run = "compiled C: ", run
        folder = tempfile.mkdtemp(prefix="plif-c-")
        self._finish = weakref.finalize(self, shutil.rmtree, folder, True)
        source = Path(folder) / f"{texts.name}.c"
        source.write_text(texts.source, "utf-8")
        source.with_name(f"{texts.name}.h").write_text(texts.header, "utf-8")
        reset = re.search(r"void (\w+)_reset\(void\);", texts.header)
        if reset is None:
            raise PlifError(f"{self.label}: its header has no NAME_reset; export it again")
        self.probe, self._release = source.with_name("probe"), source.with_name("release")
        self._compile = partial(compile_here, compiler, source, reset[1])
        self._flags = flags
        self._compile(self.probe, ("-DPLIF_PROBE", *flags))
        shapes = {n["attrs"]["layer"]: tuple(n["shape"]) for n in card["graph"]["nodes"] if n["op"] == "Neuron"}
        self.shapes: dict[str, tuple[int, ...]] = shapes
        self.variables = {layer: [variable for key, variable in self.states if key == layer] for layer in shapes}

    @cached_property
    def release(self) -> Path:
        """The compiled C program as it is shipped, without the code that shows inner values (probe)."""
        self._compile(self._release, self._flags)
        return self._release

    def run_forced(self, case: Case) -> Answer:
        fed = []
        for layer in self.shapes:
            after = case.expected[layer][0].after
            fed += [case.spikes[layer][0], *(after[variable] for variable in self.variables[layer])]
        answer = self._step(FORCED, case.x[0], case.start, fed)
        return answer if case.y.size else Answer(case.y, answer.layers)

    def run_call(self, x: Array, states: States) -> Answer:
        rows = []
        for b in range(x.shape[1]):
            start = {s: {k: v[b : b + 1] for k, v in state.items()} for s, state in states.items()}
            rows.append(self._step(FREE, x[0, b : b + 1], start))
        if len(rows) == 1:
            return rows[0]
        layers = {}
        for layer in self.shapes:
            observations = [row.layers[layer][0] for row in rows]
            after = {k: np.concatenate([observed.after[k] for observed in observations]) for k in self.variables[layer]}
            layers[layer] = {
                0: Observation(
                    after, s=np.concatenate([observed.s for observed in observations if observed.s is not None])
                )
            }
        return Answer(np.concatenate([row.y for row in rows], axis=1), layers)

    def initial(self) -> States:
        answer = self._send_request(self.probe, RESET, [], sum(prod(self.shapes[layer]) for layer, _ in self.states))
        values = []
        for layer, _ in self.states:
            value, answer = self._split_answer(answer, self.shapes[layer])
            values.append(value)
        return self.group_states(values)

    def run_release(self, x: Array, probe: bool = False) -> Array:
        """Return the outputs y [T, classes] of the C program as shipped, from a reset, on x [T, ...].

        `probe` runs the program with the probe instead.
        """
        T, classes = len(x), len(self.card["classes"])
        program = self.probe if probe else self.release
        return self._send_request(program, SHIPPED, [np.array([T], np.int32), x], T * classes).reshape(T, classes)

    def release_differs(self, x: Array) -> int | None:
        """Return the first step of x [T, ...] in which the C program as shipped gives another y; None if none."""
        same = (self.run_release(x) == self.run_release(x, probe=True)).all(axis=1)
        return None if same.all() else int(np.argmin(same))

    def _step(self, mode: int, x: Array, states: States, fed: Sequence[Array] = ()) -> Answer:
        start = [_channels_last(states[layer][variable]) for layer, variable in self.states]
        sizes = [(2 + len(self.variables[layer])) * prod(shape) for layer, shape in self.shapes.items()]
        classes = len(self.card["classes"])
        numbers = self._send_request(self.probe, mode, [*start, x, *map(_channels_last, fed)], sum(sizes) + classes)
        layers = {}
        for layer, shape in self.shapes.items():
            h, numbers = self._split_answer(numbers, shape)
            s, numbers = self._split_answer(numbers, shape)
            after: State = {}
            for variable in self.variables[layer]:
                after[variable], numbers = self._split_answer(numbers, shape)
            layers[layer] = {0: Observation(after, h, s)}
        return Answer(numbers.reshape(1, 1, classes), layers)

    def _send_request(self, program: Path, mode: int, request: Sequence[Array], answers: int) -> Array:
        """Send one request to the compiled C program and return its answer, float32 [answers].

        Raises CannotRun if the program gives another number of values.
        """
        numbers = (np.ascontiguousarray(v if v.dtype == np.int32 else v.astype(np.float32)).tobytes() for v in request)
        data = struct.pack("=i", mode) + b"".join(numbers)
        try:
            process = self.run(program, data)
        except subprocess.TimeoutExpired:
            raise CannotRun("output", f"a step takes more than {MOST_S} s") from None
        if process.returncode or len(process.stdout) != 4 * answers:
            log = process.stderr.decode("utf-8", "replace").strip().splitlines()[:1]
            raise CannotRun("output", f"the program ended with {process.returncode} {' '.join(log)}".strip())
        return np.frombuffer(process.stdout, np.float32)

    def _split_answer(self, numbers: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Split an answer of the compiled C program into an array [1, *shape] and the remaining numbers."""
        size = prod(shape)
        first = numbers[:size].reshape(*shape[1:], shape[0])
        return np.ascontiguousarray(np.moveaxis(first, -1, 0))[None], numbers[size:]


def _channels_last(values: Array) -> Array:
    """Reorder an array [1, C, ...] to the memory layout of the generated C code: [..., C]."""
    return np.moveaxis(values[0], 0, -1)
