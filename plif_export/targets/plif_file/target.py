"""The target --to plif: one flat file with the program of the event engine, for libplif and the event engine.

The operations are compiled here, by the code that the event engine uses for ONNX files, and written as they are, for
each CPU path. A program that opens the file checks it and runs it, and makes no further decision (docs/edge.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import onnx.numpy_helper

from plif_export.core.proof.structure import FileContents
from plif_export.core.readers.rules import Problem, refuse_problems
from plif_export.core.targets.target import ExportJob, Target, find_map_output
from plif_export.targets.plif_file.sections import build_sections
from runtime import native
from runtime.artifacts.plif_file.file import ARRAY, EXPECTED, decode_text, pack_file, split_file, unpack_records
from runtime.artifacts.plif_file.program import hash_contents, parse_plif
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS
from runtime.engines.event_program.program import find_unsupported

IN_BYTES = {"int4": "i1", "uint4": "u1"}


class PlifTarget(Target):
    """The export target that writes a .plif file, proved in the event engine, which opens it in C as libplif does."""

    name: ClassVar[str] = "plif"
    suffix: ClassVar[str] = ".plif"
    forms: ClassVar[tuple[str, ...]] = ("step",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", *GRIDS)
    engine: ClassVar[str | None] = "event"

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        refuse_problems(self.problems(graph, options))
        if card["batch"] is not None:
            raise PlifError("--batch: a .plif file steps one stream, and each session is a stream; leave it out")
        native.library()  # needed for the proof

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Return the layers that a .plif file cannot have, since the event engine does not run them, and why."""
        advice = "use --to onnx"
        return find_map_output(graph) + [
            Problem(node["name"], node["op"], f"{unsupported} is not in the event engine", advice)
            for node in graph.to_record()["nodes"]
            if (unsupported := find_unsupported(node)) is not None
        ]

    def write(self, job: ExportJob, path: Path) -> None:
        path.write_bytes(self.pack_bytes(job, path, native.PATHS))

    def pack_bytes(self, job: ExportJob, path: Path, cpus: Sequence[str]) -> bytes:
        """Return the bytes of a .plif file with programs for these CPU types; its card gets the contents' hash."""
        arrays = ((tensor.name, onnx.numpy_helper.to_array(tensor)) for tensor in job.proto.graph.initializer)
        weights = {name: array.astype(IN_BYTES.get(array.dtype.name, array.dtype)) for name, array in arrays}
        job.card.update(target=self.name)
        sections, facts = build_sections(job.card, weights, job.name, cpus)
        write_digest(job.card, hash_contents(path, sections, facts))
        return pack_file(encode_card(job.card), sections, facts)

    def read_plif(self, path: Path) -> bytes:
        """Return the bytes of the .plif file in an artifact."""
        return read_regular(path, EXPECTED)

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        data = self.read_plif(path)
        sections, facts = split_file(path, data)
        arrays = parse_plif(path, data).arrays
        same_packing = (
            pack_file(decode_text(path, sections.pop("card")), sections, facts) == data
        )  # also the bytes between the sections
        plain_sections, padding = (
            {name: part for name, part in sections.items() if name != "weights"},
            bytearray(sections["weights"]),
        )
        for offset, size, _, _ in unpack_records(path, sections, "arrays", ARRAY):
            padding[offset : offset + size] = bytes(size)
        layout = {"packed as by this version": same_packing, "between the weights": bytes(padding)}
        return {**plain_sections, "facts": list(facts), "weights": arrays, **layout}


TARGETS = (PlifTarget,)
