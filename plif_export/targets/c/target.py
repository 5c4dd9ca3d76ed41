"""--to c: NAME.c and NAME.h, for firmware and for programs without Python (docs/c.md).

    NAME.c      weights, membranes, the code of every layer with its equation, and, in a comment at the end, the card
    NAME.h      NAME_reset, NAME_step, sizes as macros, how to use it

The network is generated from its graph (plif_export/writers/c), compiled here, and asked by the gate layer by layer, in a process
of its own (plif_export/targets/c/compiled.py). Without a C compiler it is written and said not to be proved.

C is code, and what a proof compiles it runs. So a proof writes both texts once more, from the model and the card, and refuses a
file that is not equal to them byte for byte. `plif verify --run` runs it all the same.

--set input=float|uint8     what a frame is made of; uint8 by itself where the framing is binary (0 or 1)
--set layout=NAME           another layout of the same two files, where a part has one: a library for an IDE, ...
--flash 512K --ram 256K     a network that does not fit is refused, with the layer that is too large
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod, sqrt
from pathlib import Path
from typing import ClassVar

import numpy as np

from plif_export.core.options import BUDGETS
from plif_export.core.passes import PRECISIONS, part_of
from plif_export.core.proof.structure import Places, differences
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.readers.rules import Problem, refuse
from plif_export.core.targets import layouts_of
from plif_export.core.targets.target import ExportJob, Target, map_problems, setting
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from plif_export.targets.c.size import Size, bytes_of, kilo, measure, of_arrays, too_large
from plif_export.writers.c import CFiles, examine, write_c
from runtime.artifacts.c.source import Texts, card_comment, code_of, header_of, parts_of, read_texts
from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.grammar import word
from runtime.core.events import stimulus
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card, encode
from runtime.core.model.digest import digest_of, seal
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS
from runtime.core.model.readers.contents import Contents

SHIPPED_STEPS = 12  # in which the program with and without the probe are compared


class CTarget(Target):
    """It names no engine: the gate runs the compiled program itself."""

    name: ClassVar[str] = "c"
    suffix: ClassVar[str] = ".c"
    beside: ClassVar[tuple[str, ...]] = (".h",)
    forms: ClassVar[tuple[str, ...]] = ("step",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", *GRIDS)
    options: ClassVar[tuple[str, ...]] = ("input", "layout", *BUDGETS)
    of_the_day: ClassVar[tuple[str, ...]] = BUDGETS

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        if card["batch"] is not None:
            raise PlifError("--batch: generated C steps one stream; leave it out")
        setting(options, "layout", word("files", *layouts_of(self.name)), "files")
        refuse(self.problems(graph, options))
        budgets = _budgets(options)
        if budgets:
            input_type = _input_type(options, card)
            _require_fit(of_arrays(examine(graph, input_type)[0]), budgets, graph, card, input_type)

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        return map_problems(graph) + examine(graph)[1]

    def stem(self, name: str) -> str:
        """What an artifact of this name calls its files."""
        return name.removesuffix(self.suffix)

    def made(self, graph: Graph, card: Card, stem: str, input_type: str) -> CFiles:
        return write_c(graph, card, stem, input_type)

    def lay(self, texts: Texts, card: Card, path: Path) -> None:
        """Writes both texts where they belong."""
        path.write_text(texts.source, "utf-8")
        header_of(path).write_text(texts.header, "utf-8")

    def write(self, job: ExportJob, path: Path) -> None:
        stem = self.stem(job.name)
        input_type = _input_type(job.options, job.card)
        files = self.made(job.graph, job.card, stem, input_type)
        size = measure(files, stem)
        _require_fit(size, _budgets(job.options), job.graph, job.card, input_type)
        job.card.update(target=self.name, memory=size.totals())
        seal(job.card, Contents(parts_of(files.source, files.header)))
        self.lay(_with_card(files, job.card, stem), job.card, path)
        job.size = size
        if find_compiler() is None:
            job.not_run = "there is no C compiler here (gcc, clang or cc)"

    def named(self, path: Path, card: Card) -> str:
        return read_texts(path).name + self.suffix

    def anatomy(self, path: Path, card: Card) -> Places:
        texts = read_texts(path)
        code = code_of(texts.source)
        only = texts.source[len(code) :] == card_comment(encode(card), str(digest_of(card)))
        return {f"{texts.name}.c": code, f"{texts.name}.h": texts.header, "after the code only the card": only}

    def open(self, path: Path, card: Card, sha256: str | None = None, job: ExportJob | None = None) -> CompiledProgram:
        """Compiles the file where it is what `write` makes of the job, or where the job says that it may run."""
        assert job is not None
        texts = read_texts(path)
        input_type = "uint8_t" if "typedef uint8_t " in texts.header else "float"
        ours = _with_card(self.made(job.graph, job.card, texts.name, input_type), card, texts.name)
        if texts != ours and not job.run:
            found, expected = ({f"{t.name}.c": t.source, f"{t.name}.h": t.header} for t in (texts, ours))
            first = next(differences(found, expected))
            raise CheckFailed(
                f"{first}; it was not compiled: export it again with this version, or run it all the same: plif verify --run"
            )
        compiler = find_compiler()
        if compiler is None:
            raise PlifError(f"{path}: no C compiler here (gcc, clang or cc), so nothing can be proved; install one")
        return CompiledProgram(texts, card, compiler)

    def faults(self, path: Path, card: Card, opened: Model | Subject | None) -> Iterable[tuple[str, str]]:
        """The program without the probe, as it is shipped, gives what the probed one gives."""
        assert isinstance(opened, CompiledProgram)
        program, shape, rng = opened, tuple(card["input"]["shape"]), np.random.default_rng(0)
        if card["input"]["kind"] == "static":
            x = np.broadcast_to(stimulus.images(1, shape, card["normalisation"], rng), (SHIPPED_STEPS, 1, *shape))
        else:
            x = stimulus.events_like(SHIPPED_STEPS, 1, shape, card["framing"], rng)
        try:
            step = program.release_differs(x[:, 0])
        except CannotRun as problem:
            yield problem.layer, f"{program.signature}{problem}"
            return
        if step is not None:
            yield "output", f"step {step}: the program without -DPLIF_PROBE gives another y"


def _with_card(files: CFiles, card: Card, name: str) -> Texts:
    return Texts(name, files.source + card_comment(encode(card), str(digest_of(card))), files.header)


def _input_type(options: Mapping[str, str], card: Card) -> str:
    framing = card["framing"]
    binary = framing is not None and Framing.parse(framing).value == "binary"
    usual = "uint8" if binary and card["normalisation"] is None else "float"
    found = setting(options, "input", word("float", "uint8"), usual)
    if found == "uint8" and card["input"]["kind"] != "events":
        raise PlifError("--set input=uint8: images are no whole numbers; leave it out")
    return "uint8_t" if found == "uint8" else "float"


def _budgets(options: Mapping[str, str]) -> dict[str, int]:
    return {key: bytes_of(options[key], f"--{key}") for key in ("flash", "ram") if key in options}


def _require_fit(size: Size, budgets: Mapping[str, int], graph: Graph, card: Card, input_type: str) -> None:
    problem = too_large(size, budgets)
    if problem is not None:
        raise PlifError(f"--to c: {problem}; {_what_would_fit(size, budgets, graph, card, input_type)}")


def _what_would_fit(size: Size, budgets: Mapping[str, int], graph: Graph, card: Card, input_type: str) -> str:
    """Advice: weights of fewer bits where that is enough, else how much smaller the input has to be (maps shrink with it)."""
    for name in (each for each in GRIDS if each in PRECISIONS and card["precision"] == "fp32"):
        smaller = of_arrays(examine(part_of(name).load("passes:PASSES")[name](graph), input_type)[0])
        flash, ram = smaller.flash + (size.code or 0), smaller.ram
        if flash <= budgets.get("flash", flash) and ram <= budgets.get("ram", ram):
            return f"--precision {name} takes {kilo(flash)} of flash and {kilo(ram)} of RAM"
    share = min(budget / getattr(size, key) for key, budget in budgets.items())
    shape = card["input"]["shape"]
    if len(shape) < 3:
        return f"{prod(shape)} inputs and their layers are too many; train a narrower network"
    height, width = (int(n * sqrt(share)) for n in shape[1:])
    return f"train it for an input of about {height}x{width}, or with fewer channels"


TARGETS = (CTarget,)
