"""The target --to web: NAME.html, a page with the network and libplif as WebAssembly.

A browser opens it from the disk. The page contains the .plif file that --to plif writes, with the program of the CPU
path that runs on every machine (docs/web.md). So the event engine opens it and the gate proves it as any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from plif_export.core.proof.structure import FileContents
from plif_export.core.targets.target import ExportJob
from plif_export.targets.plif_file.target import PlifTarget
from plif_export.targets.web_page import PageNetwork, write_page
from runtime.artifacts.web_page.page import EXPECTED, PLIF, find_blocks, read_plif_bytes, remove_contents
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph


class WebTarget(PlifTarget):
    """The export target that writes a web page with a .plif file inside, for networks with event input."""

    name: ClassVar[str] = "web"
    suffix: ClassVar[str] = ".html"

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        super().check(graph, card, options)
        if card["input"]["kind"] == "static" or len(card["input"]["shape"]) != 3:
            raise PlifError(
                "--to web: a page shows events, and this network takes none; use --to plif and a program of your own"
            )
        if not card["framing"]:
            raise PlifError(
                "--to web: the model says no framing, and a page needs one: give --framing, such as duration:10ms"
            )

    def write(self, job: ExportJob, path: Path) -> None:
        name = job.name.removesuffix(self.suffix)
        path.write_text(write_page([PageNetwork(name, name, self.pack_bytes(job, path, ("scalar",)))]), "utf-8")

    def read_plif(self, path: Path) -> bytes:
        return read_plif_bytes(path)

    def stored_name(self, path: Path, card: Card) -> str:
        networks = [
            attributes.get("data-name", "") for attributes, _ in find_blocks(read_regular(path, EXPECTED), PLIF)
        ]
        return networks[0] + self.suffix if networks else path.name

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        """Return the network in a web page, and the page around it, whose code must be this version's."""
        page = remove_contents(read_regular(path, EXPECTED), PLIF).decode("utf-8", "backslashreplace")
        return {**super().normalized_contents(path, card), "page": page}


TARGETS = (WebTarget,)
