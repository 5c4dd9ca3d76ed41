"""Break the code on purpose, and say which test notices: the tables and the guards of docs/reliability.md.

    python -m tests.reliability.broken                       each change of the first table
    python -m tests.reliability.broken --now                 each change of the second: mistakes that plif once had
    python -m tests.reliability.broken --guards 50 --seed 0  so many guards, drawn: each is left out, one by one

It works on a copy of the repository in which every slow case counts as passed. There it runs what `make test` runs after the
change, of the files that should notice. Exit code 1: one was missed.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from runtime.core.parts import PACKAGES
from tests.processes import run_group
from tests.selection.imports import REPOSITORY
from tests.selection.sources import list_files

FLAGS = ("-std=gnu11", "-O1", "-ffp-contract=off", "-Wno-psabi", "-pthread", "-fPIC", "-w")
HERE = "tests/reliability/test_"
STEP = "        buffers.x[...] = x\n"  # of Session.step
LONGEST_S = 600.0  # a change may also make a test wait for ever
NOTHING_RAN = 5  # pytest's exit code
# In the copy, before any change: every slow case counts as passed (tests/selection/select.py).
MARK_PASSED = """
from tests.selection.costs import read_costs
from tests.selection.select import PASSED, assume_passed, make_keys, write_passed

costs = read_costs()
write_passed(PASSED, assume_passed(costs, make_keys(costs), ()))
"""


class Change(NamedTuple):
    what: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]


CHANGES = (
    Change("> for >= in the ONNX writer", "plif_export/core/writers/emit.py",
           'e.op("GreaterOrEqual", [h, threshold]', 'e.op("Greater", [h, threshold]', (f"{HERE}ties.py",)),
    Change("> for >= in the event engine", "runtime/native/engine/kernels/simd.h",
           "INLINE uint32_t at_least(fr a, fr b) {\n",
           "INLINE uint32_t greater_than(fr a, fr b);\nINLINE uint32_t at_least(fr a, fr b) {\n    return greater_than(a, b);\n",
           (f"{HERE}ties.py",)),
    Change("a membrane keeps h on a tie, in the ONNX writer", "plif_export/core/writers/emit.py",
           'e.op("Less", [h, threshold]', 'e.op("LessOrEqual", [h, threshold]', (f"{HERE}ties.py",)),
    Change("a membrane keeps h on a tie, in the event engine", "runtime/native/engine/kernels/simd.h",
           "const ir wide = (ir)(h >= threshold);", "const ir wide = (ir)(h > threshold);", (f"{HERE}ties.py",)),
    Change("membranes of some rows are not given back", "runtime/core/engines/session.py",
           "            v[index] = part\n", "            v[index][...] = part\n", (f"{HERE}same_answer.py",)),
    Change("reset of some rows resets all", "runtime/core/engines/session.py",
           'v[index] = state["initial"]', 'v[:] = state["initial"]', (f"{HERE}same_answer.py",)),
    Change("restore forgets the last layer", "runtime/core/engines/session.py",
           "zip(membranes, snapshot, strict=True)", "zip(membranes[:-1], snapshot, strict=False)",
           (f"{HERE}same_answer.py",)),
    Change("membranes creep up by 1e-4 a step", "runtime/core/engines/session.py",
           STEP, f"{STEP}        for v in buffers.membranes():\n            v += 1e-4\n", (f"{HERE}long_runs.py",)),
    Change("a session keeps what it was given", "runtime/core/engines/session.py",
           STEP, f'{STEP}        self.__dict__.setdefault("kept", []).append(x.copy())\n', (f"{HERE}long_runs.py",)),
    Change("an entry of the card follows the order of a set", "plif_export/core/cards.py",
           "    return {\n", '    return {\n        "order": list({"a", "b", "c", "d", "e", "f"}),\n',
           (f"{HERE}same_answer.py",)),
    Change("the evidence of leak never fades", "runtime/native/rules/decisions/decide.c",
           "exp(-(double)(dt_us > 0 ? dt_us : 0) / (double)r->tau_us)", "1.0", (f"{HERE}drift.py",)),
    Change("Ctrl-C interrupts an import", "runtime/core/cli/signals.py",
           '"importlib" in name or', "False and", (f"{HERE}interrupts.py",)),
    Change("a file is renamed before it is on the disk", "runtime/core/base/files.py",
           '_sync(*source.rglob("*"), source)', "pass", (f"{HERE}power_cut.py",)),
    Change("a rename is not synced", "runtime/core/base/files.py",
           "_sync(*dict.fromkeys(path.parent for path in paths))", "pass", (f"{HERE}power_cut.py",)),
)  # fmt: skip

# Mistakes that plif once had, made again.
SENSORS = "tests/runtime/core/test_larger_sensors.py"
ORIGINAL, UNSEEN = (
    f"tests/plif_export/readers/{name}.py" for name in ("module_runs/test_module_original", "module/test_unseen_state")
)
IMPORT_PLIF, NOT_FINITE = "tests/pipeline/test_import_plif.py", "tests/runtime/core/test_not_finite.py"
TRITON = "tests/runtime/observers/triton_repository/test_triton_hostile.py"
UDP, STRANGERS = "tests/runtime/sources/udp/test_udp.py", "tests/runtime/sources/udp/test_udp_strangers.py"
ALONE = "tests/plif_export/readers/module_runs/test_runs_alone.py"
GATE_REPORT, CI = "tests/plif_export/core/test_gate_report.py", "tests/strangers/test_ci.py"
VIEW = "runtime/native/rules/frames/view.c"
CLIENT, ANSWERS = (f"runtime/observers/triton_repository/{name}.py" for name in ("client", "answers"))
NOW = (
    Change("`resize=nearest` shows the first pixel of a cell, not the middle one", VIEW,
           "(2 * cell + 1) * size / (2 * target) == at", "2 * cell * size / (2 * target) == at", (SENSORS,)),
    Change("`resize=auto` sums the pixels of a larger sensor", "runtime/native/rules/frames/framing.c",
           "f->binary && native ? RESIZE_NEAREST : RESIZE_SUM", "RESIZE_SUM", (SENSORS,)),
    Change("`shape=square` stretches the picture", VIEW,
           "wide = framing->square ? shorter : width", "wide = width", (SENSORS,)),
    Change("a module is not compared with its copies", "plif_export/readers/module_runs/original.py",
           "if bits == rollout.monitor.bits:", "if True:", (ORIGINAL,)),
    Change("a tensor in the memory of a moving one is a constant", "plif_export/readers/tracing/record.py",
           "if constant and self.memory.is_dynamic(tensor)", "if False", (UNSEEN,)),
    Change("a tensor made of the numbers of a moving one is a constant", "plif_export/readers/unseen_state/looks.py",
           "if self.constants > before and", "if False and", (UNSEEN,)),
    Change("subnormal numbers are flushed in networks that notice it", "plif_export/core/cards.py",
           "if find_flush_effect(graph) else", "if False else",
           ("tests/plif_export/checks/subnormals/test_subnormals.py",)),
    Change("a call leaves the floating-point mode of the caller changed", "runtime/native/engine/event.c",
           "void plif_unflush(uint64_t before) { set_control(before); }", "void plif_unflush(uint64_t before) { (void)before; }",
           (IMPORT_PLIF,)),
    Change("a session steps a frame with NaN", "runtime/core/engines/session.py",
           "            buffers.require_finite()\n", "            pass\n", (NOT_FINITE,)),
    Change("libplif steps a frame with NaN", "runtime/native/session/session.c",
           '    TRY(plif_session_frame(s, x, "plif_step"));\n', "", (NOT_FINITE,)),
    Change("a layer of 0 outputs is read", "runtime/core/model/graph.py",
           "if 0 in node.shape and problem is None:", "if False:",
           ("tests/plif_export/readers/module/test_read_module.py",)),
    Change("a time that is no int64 becomes another time", "runtime/core/events/array.py",
           "_check_range(name, np.asarray(values))", "np.asarray(values)", ("tests/runtime/core/test_packets.py",)),
    Change("an error of ONNX Runtime leaves a step as it is", "runtime/core/engines/onnxruntime.py",
           "raise self.cannot_run(error) from None", "raise", ("tests/plif_export/writers/looped/test_form_loop.py",)),
    Change("a deep answer of a Triton server is a RecursionError", ANSWERS,
           "<= MAX_LISTS", "<= 1 << 30", (TRITON,)),
    Change("NaN of a Triton server is an answer", ANSWERS,
           "if not np.isfinite(values).all():", "if False:", (TRITON,)),
    Change("a Triton server that sends nothing is waited for longer than asked", CLIENT,
           "self.settimeout(left_s)", "self.settimeout(10)", (TRITON,)),
    Change("another host owns a UDP stream after 2 s of silence", "runtime/sources/udp/ownership.py",
           "return lost and silent_us >= 1e6 * self.silence_s", "return lost", (STRANGERS,)),
    Change("a refused host is not in the status", "runtime/sources/udp/ownership.py",
           "list(self.refused.items())]", "[]]", (STRANGERS,)),
    Change("a decoder may write 64 MiB into each file", "runtime/formats/child/children.py",
           "RLIMIT_FSIZE, 0)", "RLIMIT_FSIZE, 64 << 20)", ("tests/runtime/formats/child/test_sandbox.py",)),
    Change("the action imports from the folder that it checks", "action.yml",
           "python -I -c 'import json, sys; print(json", "python -c 'import json, sys; print(json", (CI,)),
    Change("the health check imports from its working directory", "Dockerfile",
           '"python", "-I", "-c"', '"python", "-c"', (CI,)),
    Change("an unknown option is refused without the one that was meant", "runtime/core/base/options.py",
           "there is no such option; {hint}", "there is no such option", (IMPORT_PLIF,)),
    Change("`plif.train` of an own module is a TypeError", "plif_train/core/recipe.py",
           "if not isinstance(word, Recipe | Mapping | str | Path):", "if False:", (IMPORT_PLIF,)),
    Change("`plif.save` of an own module is an AttributeError", "plif_train/core/loop/checkpoint.py",
           "if not isinstance(net, Network):", "if False:", (IMPORT_PLIF,)),
    Change("int8 is praised for spikes that its weights had no part in", "plif_export/precisions/rounded_weights/flips.py",
           "(step.s != 0) & (without_input != step.s)", "step.s != 0", (GATE_REPORT,)),
    Change("int8 does not say that no layer fires", "plif_export/core/proof/gate.py",
           "report.rounded_fire = flips.any_fires(x)", "report.rounded_fire = True", (GATE_REPORT,)),
    Change("no note names the states that a reset leaves", "plif_export/readers/module_runs/original.py",
           "if not leftover:", "if True:",
           ("tests/plif_export/readers/module/test_module_state.py",)),
    Change("a file of AER-DAT1.0 is refused without its name", "runtime/formats/aedat2/__init__.py",
           "elif is_aedat1(head):", "elif False:", ("tests/runtime/formats/aedat2/test_aedat2.py",)),
    Change("`plif send` does not say that nobody listens", "runtime/commands/send/recording.py",
           "if _send_datagram(udp, body) and not refused:", "if _send_datagram(udp, body) and False:", (UDP,)),
    Change("the bench of additions gives each operation a memory of its own", "bench/additions.py",
           "part._allocate_scratch = lambda: scratch", "part.scratch = lambda: scratch", ("tests/pipeline/test_benches.py",)),
    Change("a UDP stream does not say that it listens", "runtime/sources/udp/__init__.py",
           "        self.say(\n            f\"listens at", "        str(\n            f\"listens at", (UDP,)),
    Change("the status of a UDP stream does not say where it listens", "runtime/sources/udp/__init__.py",
           '"listens": self._listen_address', '"listens": None', (UDP,)),
    Change("a module's own run is not compared", "plif_export/readers/module_runs/alone.py",
           "        if not bool(same.all()):", "        if False:", (ALONE,)),
    Change("no batch is run at which a comparison of sizes changes", "plif_export/readers/module_runs/sizes.py",
           "small = [n for n in sorted(flips) if", "small = [n for n in sorted({}) if", (ALONE,)),
    Change("a module runs alone on frames without gaps only", "plif_export/readers/module_runs/alone.py",
           "return torch.stack((x, x), -1)[..., 1]", "return x", (ALONE,)),
    Change("a tensor of another thread is a constant", "plif_export/readers/tracing/record.py",
           "if not (made_of_numbers or self.memory.is_known(tensor)):", "if False:", (ALONE,)),
    Change("first calls are not repeated", "plif_export/readers/module_runs/check.py",
           "if self.reading.repeat_first_calls is not None:", "if False:", (ALONE,)),
    Change("a module that computes in bytes passes", "plif_export/readers/module_runs/alone.py",
           "        if line:", "        if False:", (ALONE,)),
    Change("a module in evaluation mode is put into it again", "plif_export/readers/tracing/copies.py",
           "if any(part.training for part in module.modules()):", "if True:", (ALONE,)),
    Change("a script sees the options of plif", "plif_export/readers/python_code/__init__.py",
           "sys.argv, [file]", "sys.argv, sys.argv", ("tests/plif_export/readers/python_code/test_read_code.py",)),
    Change("a second sample is not run after a reset", "plif_export/readers/module_runs/check.py",
           "if leftovers == [] and", "if False and", (ALONE,)),
    Change("sets of strings are not reordered", "plif_export/readers/module_runs/first_calls.py",
           "        for strings in sets:", "        for strings in []:", (ALONE,)),
    Change("an output that later calls overwrite passes", "plif_export/readers/module_runs/first_calls.py",
           "if first is not None and first[-1] else []", "if False else []", (ALONE,)),
    Change("no run of an artifact from reset", "plif_export/observers/random_states/probe.py",
           "        check_from_reset(subject, graph, bounds, report, rng)", "        pass",
           ("tests/plif_export/observers/random_states/test_from_reset.py",)),
    Change("an engine among which auto chooses is not proved", "plif_export/observers/proved_engines/engines.py",
           '"auto": [name for name in known if name in engines_for(kind)]', '"auto": []',
           ("tests/plif_export/observers/proved_engines/test_proved_engines.py",)),
    Change("a process that flushes exports what notices", "plif_export/core/cards.py",
           "    if flushes_caller():", "    if False:",
           ("tests/plif_export/checks/subnormals/test_subnormals.py",)),
    Change("OpenVINO's version hides a bias", "plif_export/targets/openvino_ir/nodes.py",
           '"layer": {layer.get("name", ""): _layer_contents(layer, weights, places) for layer in layers},', '"layer": {},',
           ("tests/plif_export/targets/openvino_ir/test_another_version.py",)),
    Change("a certificate that covers little passes", "examples/recheck.py",
           'if not least <= certificate["share"][name] <= 1:', "if False:",
           ("tests/plif_export/observers/certificate/test_recheck_refuses.py",)),
    Change("a crash of the user's code ends the command", "plif_export/readers/python_code/apart.py",
           "if not (hasattr(os, \"fork\") and is_own_process()):", "if True:",
           ("tests/plif_export/readers/python_code/test_code_apart.py",)),
    Change("the stages of a command are shown at once", "runtime/core/base/progress.py",
           "    if time.monotonic() >= _next_stage_s:", "    if True:", ("tests/runtime/core/test_progress.py",)),
)  # fmt: skip

# Files of guards -> the tests that notice when one is left out.
PROGRAMS = tuple(
    f"tests/runtime/engines/event_program/test_{name}_check.py"
    for name in ("program", "call", "program_lines", "program_views", "program_layers")
)
ROOM = "tests/runtime/core/test_libplif_limits.py"
HOSTILE = "tests/runtime/core/test_hostile_models.py"
GUARDED: dict[str, tuple[str, ...]] = {
    "runtime/native/engine/check*.c": (*PROGRAMS, ROOM),
    "runtime/formats/hdf5/*.py": (
        "tests/runtime/formats/hdf5/test_hdf5.py",
        "tests/plif_export/readers/nir_file/test_hostile_nir.py",
    ),
    "runtime/core/model/readers/*_zip.py": (HOSTILE, "tests/plif_train/core/test_checkpoint.py"),
    "runtime/core/model/readers/onnx_*.py": (
        HOSTILE,
        "tests/runtime/core/test_card.py",
        "tests/runtime/engines/event/test_engine_event_hostile.py",
    ),
    "runtime/core/model/digest.py": ("tests/plif_export/core/test_digest.py",),
}


def guards() -> list[Change]:
    found = []
    for pattern, tests in GUARDED.items():
        for path in sorted(REPOSITORY.glob(pattern)):
            name, text = path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8")
            for start, end in conditions_in_c(text) if path.suffix == ".c" else conditions_in_python(text):
                line = text.count("\n", 0, start) + 1
                never = "1" if path.suffix == ".c" else "False"  # what is required holds; what is refused is not so
                what = f"{name}:{line}: {' '.join(text[start:end].split())}"
                found.append(Change(what, name, text, text[:start] + never + text[end:], tests))
    return found


def conditions_in_c(text: str) -> list[tuple[int, int]]:
    """Where each && of each REQUIRE(condition, ...) lies."""
    found = []
    for match in re.finditer(r"^ +REQUIRE\(", text, re.MULTILINE):
        depth, start, at = 0, match.end(), match.end()
        while depth or text[at] != ",":
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            if not depth and text.startswith("&&", at):
                found.append((start, at))
                start = at + 2
            at += 1
        found.append((start, at))
    return found


def conditions_in_python(text: str) -> list[tuple[int, int]]:
    """Where the condition of each `if` lies that raises and does nothing else."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    tests = (
        node.test
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)
    )
    return [
        (starts[t.lineno - 1] + t.col_offset, starts[(t.end_lineno or 1) - 1] + (t.end_col_offset or 0)) for t in tests
    ]


class Copy:
    """A copy of the repository in another folder, with a libplif of its own, in which every slow case counts as passed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library = folder, folder / "build" / "libplif.so"
        built = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("native/*.so")]
        for name in (*list_files(), *(path.relative_to(REPOSITORY).as_posix() for path in built)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
        self.library.parent.mkdir()
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
        subprocess.run([sys.executable, "-c", MARK_PASSED], cwd=folder, env=self.environment, check=True)
        self.passed = (folder / "build" / "passed.json").read_bytes()
        native = folder / "runtime/native"
        self.sources = [path for path in sorted(native.rglob("*.c")) if "examples" not in path.parts]
        self.built = False

    def compile(self, changed: Path | None = None) -> None:
        """All of libplif, or what a changed file is part of."""
        one = [changed] if changed and changed.suffix == ".c" and self.built else self.sources
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(self._object, one))
        objects = [str(self._of(path)) for path in self.sources]
        subprocess.run(["cc", "-shared", "-pthread", *objects, "-o", str(self.library), "-lm"], check=True)
        self.built = True

    def _of(self, source: Path) -> Path:
        return self.library.with_name("-".join(source.relative_to(self.folder).with_suffix(".o").parts))

    def _object(self, source: Path) -> None:
        subprocess.run(["cc", *FLAGS, "-c", str(source), "-o", str(self._of(source))], check=True)

    def noticed(self, change: Change) -> str:
        """Return the first test that fails; empty where none does."""
        path = self.folder / change.path
        text = path.read_text("utf-8")
        assert text.count(change.old) == 1, f"{change.path}: has {change.old!r} {text.count(change.old)} times"
        assert all((self.folder / name).is_file() for name in change.tests), change.tests
        native = path.suffix in (".c", ".h")
        if native and not self.built:
            self.compile()
        (self.folder / "build" / "passed.json").write_bytes(self.passed)
        path.write_text(text.replace(change.old, change.new), "utf-8")
        try:
            if native:
                self.compile(path)
            return self.find_failure(change.tests, **({"PLIF_LIBRARY": str(self.library)} if native else {}))
        finally:
            path.write_text(text, "utf-8")
            if native:
                self.compile(path)

    def find_failure(self, tests: Iterable[str], **variables: str) -> str:
        """Run what `make test` runs of some files of tests; return the first test that fails, empty where none does."""
        command = [sys.executable, "-m", "pytest", "-x", "--slow", "changed", "-p", "no:cacheprovider", *tests]
        ended = run_group(command, LONGEST_S, self.folder, self.environment | variables)
        if ended.late:
            return f"no end within {LONGEST_S:g} s"
        failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", ended.text, re.MULTILINE)
        if failed:
            return failed[1]
        return f"pytest ended with {ended.code}" if ended.code not in (0, NOTHING_RAN) else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--now", action="store_true", help="the second table")
    parser.add_argument("--guards", type=int, help="so many guards, drawn, in place of the tables")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="changes that have this text in their description or file")
    asked = parser.parse_args()
    changes = list(NOW if asked.now else CHANGES)
    if asked.guards:
        every = guards()
        changes = random.Random(asked.seed).sample(every, asked.guards)
        print(f"{asked.guards} of {len(every)} guards")
    changes = [change for change in changes if asked.only in f"{change.path} {change.what}"]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        wrong = copy.find_failure(sorted({name for change in changes for name in change.tests}))
        if wrong:
            print(f"without a change this fails, so nothing can be shown: {wrong}")
            return 1
        for change in changes:
            began_s = time.monotonic()
            by = copy.noticed(change)
            missed += not by
            seconds = time.monotonic() - began_s
            print(f"{'noticed' if by else 'MISSED '} {seconds:4.0f} s  {change.what}  {by}", flush=True)
    print(f"{len(changes) - missed} of {len(changes)} noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
