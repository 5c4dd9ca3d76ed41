"""The target --to c --set layout=arduino: the C files as a library for the Arduino IDE, with a self-test.

    NAME_arduino/library.properties             the description for the IDE
    NAME_arduino/src/NAME.c, NAME.h             as --to c writes them, with NAME_selftest() (selftest.py)
    NAME_arduino/examples/check/check.ino       runs the self-test on the board, prints its result, and times a step

The program itself computes here the sums that the self-test expects, before the gate checks the same text layer by
layer.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import ClassVar

import numpy as np

from plif_export.core.proof.structure import FileContents
from plif_export.core.readers.rules import Problem
from plif_export.targets.arduino.selftest import INEXACT, LIMITS, STEPS, SelfTestSums
from plif_export.targets.c.compiled import compile_here, find_compiler, run_here
from plif_export.targets.c.target import CTarget
from plif_export.writers.c import CFiles, build_program, write_c
from plif_export.writers.c.names import escape_comment, to_identifier
from runtime.artifacts.c.source import LIBRARY, SourceFiles, read_texts
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph

SKETCH = "examples/check/check.ino"


class ArduinoTarget(CTarget):
    """The export target for C code that writes an Arduino library folder in place of two files."""

    suffix: ClassVar[str] = "_arduino"
    extra_suffixes: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[bool] = True

    def file_stem(self, name: str) -> str:
        return to_identifier(name.removesuffix(self.suffix))

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Return the layers that the Arduino target cannot write, those that no self-test can compare included."""
        rule, advice = (
            "the self-test compares bits, and on another board {} has others",
            "leave --set layout=arduino out",
        )
        return super().problems(graph, options) + [
            Problem(inexact[1], "C", rule.format(inexact[2]), advice)
            for function in build_program(graph)[0].functions
            if (inexact := INEXACT.search(function)) is not None
        ]

    def generate(self, graph: Graph, card: Card, stem: str, input_type: str) -> CFiles:
        files = super().generate(graph, card, stem, input_type)
        if files.problems:
            return files
        compiler = find_compiler()
        if compiler is None:
            raise PlifError(
                "--set layout=arduino: a C compiler (gcc, clang or cc) makes what the self-test compares with, and here is none; "
                "install one"
            )
        for limit in LIMITS if card["input"]["kind"] == "events" else (0,):
            empty_test = write_c(graph, card, stem, input_type, SelfTestSums(limit))
            expected, fired = _run_self_test(empty_test, stem, limit, len(files.program.shown), compiler)
            if fired:
                break
        return write_c(graph, card, stem, input_type, expected)

    def write_texts(self, texts: SourceFiles, card: Card, path: Path) -> None:
        for place, text in {**_library_files(texts, card), **_source_files(texts)}.items():
            file = path / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    def stored_name(self, path: Path, card: Card) -> str:
        return read_texts(path).name + self.suffix

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        texts = read_texts(path)
        sources = _source_files(texts)
        files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if not file.is_dir()}
        other_files = {
            place: read_regular(file).decode("utf-8", "backslashreplace")
            for place, file in files.items()
            if place not in sources
        }
        return {**super().normalized_contents(path, card), **other_files}


def _run_self_test(files: CFiles, stem: str, limit: int, layers: int, compiler: str) -> tuple[SelfTestSums, bool]:
    """Run the compiled Arduino files here and return the self-test's sums, and whether every layer fired."""
    with tempfile.TemporaryDirectory(prefix="plif-c-") as folder:
        source, program = Path(folder) / f"{stem}.c", Path(folder) / "asked"
        source.write_text(files.source, "utf-8")
        source.with_suffix(".h").write_text(files.header, "utf-8")
        compile_here(compiler, source, to_identifier(stem), program, ("-DPLIF_TESTED",))
        numbers = np.frombuffer(run_here(program, struct.pack("=ii", 4, STEPS)).stdout, np.uint32)
    sums = numbers[1 : 1 + STEPS * (layers + 1)].reshape(STEPS, layers + 1)
    return SelfTestSums(limit, int(numbers[0]), sums.tolist()), bool(numbers[1 + sums.size :].all())


def _source_files(texts: SourceFiles) -> dict[str, str]:
    return {f"src/{texts.name}.c": texts.source, f"src/{texts.name}.h": texts.header}


def _library_files(texts: SourceFiles, card: Card) -> dict[str, str]:
    """Return the files of the Arduino library other than the C sources: {path: text}."""
    name = texts.name
    shape = "x".join(map(str, card["input"]["shape"]))
    network = escape_comment(card["notation"] or "read from a module")
    summary = f"{network}, {shape} to {len(card['classes'])} classes, {card['precision']}"
    return {
        LIBRARY: f"""name={name}
version={card["versions"]["plif"]}
author=plif
maintainer=plif
sentence=A spiking network as C: {summary}.
paragraph=Exported by plif; {name}_selftest() checks compiler, FPU and flash on the board.
category=Data Processing
url=https://arxiv.org/abs/2007.05785
architectures=*
includes={name}.h
""",
        SKETCH: SKETCH_TEXT.substitute(name=name, BIG=name.upper()),
    }


SKETCH_TEXT = Template("""// The self-test of $name, and the time of a step: open the serial monitor at 115200 baud.
#include <$name.h>

static ${name}_input x[${BIG}_INPUTS];  // a frame: for your own, see the top of $name.h
static float y[${BIG}_CLASSES];
static const char *const layers[] = ${BIG}_LAYER_NAMES;

void setup() {
  Serial.begin(115200);
  while (!Serial && millis() < 5000) {
  }
  const int wrong = ${name}_selftest();
  if (wrong == 0) {
    Serial.println("self-test passed: this board gives what was proved");
  } else if (wrong < 0) {
    Serial.println("self-test FAILED: a weight is not as it was written");
  } else {
    Serial.print("self-test FAILED: first differs ");
    Serial.println(wrong <= ${BIG}_LAYERS ? layers[wrong - 1] : "the output");
  }
  ${name}_reset();
}

void loop() {
  const unsigned long began = micros();
  ${name}_step(x, y);
  Serial.print("a step of an empty frame takes us: ");
  Serial.println(micros() - began);
  delay(1000);
}
""")


TARGETS = (ArduinoTarget,)
