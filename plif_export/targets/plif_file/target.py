"""--to plif: one flat file with the program of the event engine, for libplif (docs/edge.md) and for the event engine itself.

The operations are compiled here, by the code that the event engine uses for ONNX files, and written as they are, for each CPU
path. What opens the file checks it and runs it, and decides nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import onnx.numpy_helper

from plif_export.core.proof.structure import Places
from plif_export.core.readers.rules import Problem, refuse
from plif_export.core.targets.target import ExportJob, Target, map_problems
from plif_export.targets.plif_file.sections import sections_of
from runtime import native
from runtime.artifacts.plif_file.file import ARRAY, EXPECTED, pack, records, take_apart, text_of
from runtime.artifacts.plif_file.program import contents_of, plif_of
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.card import Card, encode
from runtime.core.model.digest import seal
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS
from runtime.engines.event_program.program import not_here

IN_BYTES = {"int4": "i1", "uint4": "u1"}


class PlifTarget(Target):
    """Proved in the event engine, which opens the written file in C, as libplif does."""

    name: ClassVar[str] = "plif"
    suffix: ClassVar[str] = ".plif"
    forms: ClassVar[tuple[str, ...]] = ("step",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", *GRIDS)
    engine: ClassVar[str | None] = "event"

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        refuse(self.problems(graph, options))
        if card["batch"] is not None:
            raise PlifError("--batch: a .plif file steps one stream, and each session is a stream; leave it out")
        native.library()  # without it nothing could be proved

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Every layer that the event engine does not run, and why."""
        advice = "use --to onnx"
        return map_problems(graph) + [
            Problem(node["name"], node["op"], f"{foreign} is not in the event engine", advice)
            for node in graph.record()["nodes"]
            if (foreign := not_here(node)) is not None
        ]

    def write(self, job: ExportJob, path: Path) -> None:
        path.write_bytes(self.packed(job, path, native.PATHS))

    def packed(self, job: ExportJob, path: Path, cpus: Sequence[str]) -> bytes:
        """The bytes of a .plif file with programs for these CPU paths; the card is sealed."""
        arrays = ((tensor.name, onnx.numpy_helper.to_array(tensor)) for tensor in job.proto.graph.initializer)
        weights = {name: array.astype(IN_BYTES.get(array.dtype.name, array.dtype)) for name, array in arrays}
        job.card.update(target=self.name)
        sections, facts = sections_of(job.card, weights, job.name, cpus)
        seal(job.card, contents_of(path, sections, facts))
        return pack(encode(job.card), sections, facts)

    def bytes_of(self, path: Path) -> bytes:
        """The .plif file in an artifact."""
        return read_regular(path, EXPECTED)

    def anatomy(self, path: Path, card: Card) -> Places:
        data = self.bytes_of(path)
        sections, facts = take_apart(path, data)
        arrays = plif_of(path, data).arrays
        whole = (
            pack(text_of(path, sections.pop("card")), sections, facts) == data
        )  # also what lies between the sections
        kept, rest = (
            {name: part for name, part in sections.items() if name != "weights"},
            bytearray(sections["weights"]),
        )
        for at, size, _, _ in records(path, sections, "arrays", ARRAY):
            rest[at : at + size] = bytes(size)
        only = {"packed as by this version": whole, "between the weights": bytes(rest)}
        return {**kept, "facts": list(facts), "weights": arrays, **only}


TARGETS = (PlifTarget,)
