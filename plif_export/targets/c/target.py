"""The target --to c: NAME.c and NAME.h, for firmware and for programs without Python (docs/c.md).

    NAME.c      weights, membranes, the code of every layer with its equation, and, in a comment at the end, the card
    NAME.h      NAME_reset, NAME_step, sizes as macros, how to use it

The network is generated from its graph (plif_export/writers/c), compiled here, and checked by the gate layer by
layer, in a separate process (plif_export/targets/c/compiled.py). Without a C compiler it is written and reported as
not proved.

A proof compiles and runs C code. So it writes both texts once more, from the model and the card, and refuses a file
that is not equal to them byte for byte. `plif verify --run` runs it all the same.

--set input=float|uint8     the type of a frame's numbers; uint8 by default if the framing is binary (0 or 1)
--set layout=NAME           another layout of the same two files, if a part has one: a library for an IDE, ...
--flash 512K --ram 256K     a network that does not fit is refused, with the layer that is too large
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod, sqrt
from pathlib import Path
from typing import ClassVar

import numpy as np

from plif_export.core.options import BUDGETS
from plif_export.core.passes import PRECISIONS, precision_part
from plif_export.core.proof.structure import FileContents, find_differences
from plif_export.core.proof.subjects.slices import CannotRun
from plif_export.core.proof.subjects.subject import Subject
from plif_export.core.readers.rules import Problem, refuse_problems
from plif_export.core.targets import list_layouts
from plif_export.core.targets.target import ExportJob, Target, find_map_output, parse_setting
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from plif_export.targets.c.size import MemorySize, count_arrays, explain_excess, format_kib, measure_size, parse_bytes
from plif_export.writers.c import CFiles, build_program, write_c
from runtime.artifacts.c.source import SourceFiles, card_comment, hash_parts, header_path, read_texts, strip_card
from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.grammar import choice_parser
from runtime.core.events import stimulus
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import read_digest, write_digest
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS
from runtime.core.model.readers.contents import Contents

SHIPPED_STEPS = 12  # in which the program with and without the probe are compared


class CTarget(Target):
    """The export target that writes C source files; it names no engine, since the proof runs the compiled program."""

    name: ClassVar[str] = "c"
    suffix: ClassVar[str] = ".c"
    extra_suffixes: ClassVar[tuple[str, ...]] = (".h",)
    forms: ClassVar[tuple[str, ...]] = ("step",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", *GRIDS)
    options: ClassVar[tuple[str, ...]] = ("input", "layout", *BUDGETS)
    nondeterministic_options: ClassVar[tuple[str, ...]] = BUDGETS

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        if card["batch"] is not None:
            raise PlifError("--batch: generated C steps one stream; leave it out")
        parse_setting(options, "layout", choice_parser("files", *list_layouts(self.name)), "files")
        refuse_problems(self.problems(graph, options))
        budgets = _budgets(options)
        if budgets:
            input_type = _input_type(options, card)
            _require_fit(count_arrays(build_program(graph, input_type)[0]), budgets, graph, card, input_type)

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        return find_map_output(graph) + build_program(graph)[1]

    def file_stem(self, name: str) -> str:
        """Return the base name of the C files of an artifact with this name."""
        return name.removesuffix(self.suffix)

    def generate(self, graph: Graph, card: Card, stem: str, input_type: str) -> CFiles:
        return write_c(graph, card, stem, input_type)

    def write_texts(self, texts: SourceFiles, card: Card, path: Path) -> None:
        """Write the C source and header texts of an artifact to its path."""
        path.write_text(texts.source, "utf-8")
        header_path(path).write_text(texts.header, "utf-8")

    def write(self, job: ExportJob, path: Path) -> None:
        stem = self.file_stem(job.name)
        input_type = _input_type(job.options, job.card)
        files = self.generate(job.graph, job.card, stem, input_type)
        size = measure_size(files, stem)
        _require_fit(size, _budgets(job.options), job.graph, job.card, input_type)
        job.card.update(target=self.name, memory=size.totals())
        write_digest(job.card, Contents(hash_parts(files.source, files.header)))
        self.write_texts(_with_card(files, job.card, stem), job.card, path)
        job.size = size
        if find_compiler() is None:
            job.not_run = "there is no C compiler here (gcc, clang or cc)"

    def stored_name(self, path: Path, card: Card) -> str:
        return read_texts(path).name + self.suffix

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        texts = read_texts(path)
        code = strip_card(texts.source)
        only = texts.source[len(code) :] == card_comment(encode_card(card), str(read_digest(card)))
        return {f"{texts.name}.c": code, f"{texts.name}.h": texts.header, "after the code only the card": only}

    def open(self, path: Path, card: Card, sha256: str | None = None, job: ExportJob | None = None) -> CompiledProgram:
        """Compile a C artifact if it equals what `write` gives for the export, or if the user allows to run it."""
        assert job is not None
        texts = read_texts(path)
        input_type = "uint8_t" if "typedef uint8_t " in texts.header else "float"
        ours = _with_card(self.generate(job.graph, job.card, texts.name, input_type), card, texts.name)
        if texts != ours and not job.may_run:
            actual, expected = ({f"{t.name}.c": t.source, f"{t.name}.h": t.header} for t in (texts, ours))
            first = next(find_differences(actual, expected))
            raise CheckFailed(
                f"{first}; it was not compiled: export it again with this version, or run it all the same: plif verify --run"
            )
        compiler = find_compiler()
        if compiler is None:
            raise PlifError(f"{path}: no C compiler here (gcc, clang or cc), so nothing can be proved; install one")
        return CompiledProgram(texts, card, compiler)

    def find_shipped_errors(self, path: Path, card: Card, opened: Model | Subject | None) -> Iterable[tuple[str, str]]:
        """Return the differences of the C program as shipped from the proved one, which also shows inner values."""
        assert isinstance(opened, CompiledProgram)
        program, shape, rng = opened, tuple(card["input"]["shape"]), np.random.default_rng(0)
        if card["input"]["kind"] == "static":
            x = np.broadcast_to(stimulus.make_images(1, shape, card["normalisation"], rng), (SHIPPED_STEPS, 1, *shape))
        else:
            x = stimulus.make_event_frames(SHIPPED_STEPS, 1, shape, card["framing"], rng)
        try:
            step = program.release_differs(x[:, 0])
        except CannotRun as problem:
            yield problem.layer, f"{program.signature}{problem}"
            return
        if step is not None:
            yield "output", f"step {step}: the program without -DPLIF_PROBE gives another y"


def _with_card(files: CFiles, card: Card, name: str) -> SourceFiles:
    return SourceFiles(name, files.source + card_comment(encode_card(card), str(read_digest(card))), files.header)


def _input_type(options: Mapping[str, str], card: Card) -> str:
    framing = card["framing"]
    binary = framing is not None and Framing.parse(framing).value == "binary"
    default = "uint8" if binary and card["normalisation"] is None else "float"
    chosen = parse_setting(options, "input", choice_parser("float", "uint8"), default)
    if chosen == "uint8" and card["input"]["kind"] != "events":
        raise PlifError("--set input=uint8: images are no whole numbers; leave it out")
    return "uint8_t" if chosen == "uint8" else "float"


def _budgets(options: Mapping[str, str]) -> dict[str, int]:
    return {key: parse_bytes(options[key], f"--{key}") for key in ("flash", "ram") if key in options}


def _require_fit(size: MemorySize, budgets: Mapping[str, int], graph: Graph, card: Card, input_type: str) -> None:
    problem = explain_excess(size, budgets)
    if problem is not None:
        raise PlifError(f"--to c: {problem}; {_suggest_smaller(size, budgets, graph, card, input_type)}")


def _suggest_smaller(size: MemorySize, budgets: Mapping[str, int], graph: Graph, card: Card, input_type: str) -> str:
    """Return advice for a network too large for its memory: fewer bits per weight, or a smaller input.

    Maps shrink with the input.
    """
    for name in (grid for grid in GRIDS if grid in PRECISIONS and card["precision"] == "fp32"):
        smaller = count_arrays(build_program(precision_part(name).load("passes:PASSES")[name](graph), input_type)[0])
        flash, ram = smaller.flash + (size.code or 0), smaller.ram
        if flash <= budgets.get("flash", flash) and ram <= budgets.get("ram", ram):
            return f"--precision {name} takes {format_kib(flash)} of flash and {format_kib(ram)} of RAM"
    share = min(budget / getattr(size, key) for key, budget in budgets.items())
    shape = card["input"]["shape"]
    if len(shape) < 3:
        return f"{prod(shape)} inputs and their layers are too many; train a narrower network"
    height, width = (int(n * sqrt(share)) for n in shape[1:])
    return f"train it for an input of about {height}x{width}, or with fewer channels"


TARGETS = (CTarget,)
