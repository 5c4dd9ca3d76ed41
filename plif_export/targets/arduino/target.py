"""--to c --set layout=arduino: the same two files in a library that the Arduino IDE takes, with a self-test.

    NAME_arduino/library.properties             what the IDE shows
    NAME_arduino/src/NAME.c, NAME.h             as --to c writes them, with NAME_selftest() (selftest.py)
    NAME_arduino/examples/check/check.ino       runs the self-test on the board, says what it found, and times a step

What the self-test expects, the program itself gives here, before the gate asks the very same text layer by layer.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import ClassVar

import numpy as np

from plif_export.core.proof.structure import Places
from plif_export.core.readers.rules import Problem
from plif_export.targets.arduino.selftest import INEXACT, LIMITS, STEPS, Expected
from plif_export.targets.c.compiled import compile_here, find_compiler, run_here
from plif_export.targets.c.target import CTarget
from plif_export.writers.c import CFiles, examine, write_c
from plif_export.writers.c.names import comment, identifier
from runtime.artifacts.c.source import LIBRARY, Texts, read_texts
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph

SKETCH = "examples/check/check.ino"


class ArduinoTarget(CTarget):
    """A folder in place of two files."""

    suffix: ClassVar[str] = "_arduino"
    beside: ClassVar[tuple[str, ...]] = ()
    folder: ClassVar[bool] = True

    def stem(self, name: str) -> str:
        return identifier(name.removesuffix(self.suffix))

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Also what no self-test can compare."""
        rule, advice = (
            "the self-test compares bits, and on another board {} has others",
            "leave --set layout=arduino out",
        )
        return super().problems(graph, options) + [
            Problem(found[1], "C", rule.format(found[2]), advice)
            for function in examine(graph)[0].functions
            if (found := INEXACT.search(function)) is not None
        ]

    def made(self, graph: Graph, card: Card, stem: str, input_type: str) -> CFiles:
        files = super().made(graph, card, stem, input_type)
        if files.problems:
            return files
        compiler = find_compiler()
        if compiler is None:
            raise PlifError(
                "--set layout=arduino: a C compiler (gcc, clang or cc) makes what the self-test compares with, and here is none; "
                "install one"
            )
        for limit in LIMITS if card["input"]["kind"] == "events" else (0,):
            asked = write_c(graph, card, stem, input_type, Expected(limit))
            expected, fired = _asked(asked, stem, limit, len(files.program.shown), compiler)
            if fired:
                break
        return write_c(graph, card, stem, input_type, expected)

    def lay(self, texts: Texts, card: Card, path: Path) -> None:
        for place, text in {**_library(texts, card), **_sources(texts)}.items():
            file = path / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    def named(self, path: Path, card: Card) -> str:
        return read_texts(path).name + self.suffix

    def anatomy(self, path: Path, card: Card) -> Places:
        texts = read_texts(path)
        made = _sources(texts)
        files = {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if not file.is_dir()}
        beside = {
            place: read_regular(file).decode("utf-8", "backslashreplace")
            for place, file in files.items()
            if place not in made
        }
        return {**super().anatomy(path, card), **beside}


def _asked(files: CFiles, stem: str, limit: int, layers: int, compiler: str) -> tuple[Expected, bool]:
    """What the program of these files gives, and whether every layer fired."""
    with tempfile.TemporaryDirectory(prefix="plif-c-") as folder:
        source, program = Path(folder) / f"{stem}.c", Path(folder) / "asked"
        source.write_text(files.source, "utf-8")
        source.with_suffix(".h").write_text(files.header, "utf-8")
        compile_here(compiler, source, identifier(stem), program, ("-DPLIF_TESTED",))
        found = np.frombuffer(run_here(program, struct.pack("=ii", 4, STEPS)).stdout, np.uint32)
    sums = found[1 : 1 + STEPS * (layers + 1)].reshape(STEPS, layers + 1)
    return Expected(limit, int(found[0]), sums.tolist()), bool(found[1 + sums.size :].all())


def _sources(texts: Texts) -> dict[str, str]:
    return {f"src/{texts.name}.c": texts.source, f"src/{texts.name}.h": texts.header}


def _library(texts: Texts, card: Card) -> dict[str, str]:
    """What is beside the sources: {place: text}."""
    name = texts.name
    shape = "x".join(map(str, card["input"]["shape"]))
    what = f"{comment(card['notation'] or 'read from a module')}, {shape} to {len(card['classes'])} classes, {card['precision']}"
    return {
        LIBRARY: f"""name={name}
version={card["versions"]["plif"]}
author=plif
maintainer=plif
sentence=A spiking network as C: {what}.
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
