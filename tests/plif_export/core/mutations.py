"""What can be wrong with an artifact: changes of the graph, the file or the card that the gate has to notice.

Each mutation is one function that gives every way to make it in a network, as (where, what changed). `judge` writes the changed
network for one of the WAYS an artifact is run, keeps the card of the true one, and asks the gate. `python docs/mutations.py`
makes the table of docs/numerics.md from it. To add one, write a function and enter it in the registry beside it (GRAPHS, ONNX,
CARDS); why it may be missed stands in REASONS.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from zlib import crc32

import numpy as np

import runtime
from plif_export.core.cards import set_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.core.writers import FORMS
from plif_export.writers.looped import wrap_in_loop
from runtime.core.base.errors import PlifError
from tests.plif_export.core.exact_networks import written
from tests.plif_export.core.mutated_networks import NETWORKS, WHOLE
from tests.plif_export.core.mutations_of_files import CARDS, ONNX
from tests.plif_export.core.mutations_of_graphs import GRAPHS, Mutant

WAYS = ("step", "unrolled", "event", "openvino", "nir")
STEPS = 8  # of the stimulus, fewer than an export takes: what it leaves silent is shown by random spikes
FILES = ("step", "unrolled", "loop", "openvino")  # which are made from an ONNX file


def judge(source: TrainedModel, mutant: Mutant, way: str, math: str, folder: Path) -> Report:
    """The gate on a mutant. Raises PlifError where it cannot be written or opened at all."""
    form = way if way in FORMS else "step"
    proto, card = written(source, form, math)
    wrong = run_passes(mutant.graph or source.graph, math, source.facts.kind == "static" and form == "unrolled")
    in_loop = form == "loop"  # whose step is what is changed
    target = find_target(way if way in ("openvino", "nir") else "onnx")
    changed = FORMS["step" if in_loop else form](wrong, source.facts.T, None, target.dialect)
    if mutant.file is not None:
        mutant.file(changed)
    changed = wrap_in_loop(wrong, changed) if in_loop else changed
    card = {**card, **(mutant.card or {})}
    if way in FORMS:
        set_card(changed, card)
        return prove(changed, card, source, steps=STEPS)
    own = {**card, "graph": wrong.to_record()} if way == "event" else card  # the engine runs the graph of the card
    set_card(changed, own)
    path = Path(mkdtemp(dir=folder)) / f"m{target.suffix}"
    options = {"votes": "fold"} if way == "nir" else {}
    target.check(wrong, own, options)
    target.write(ExportJob(wrong, changed, own, options), path)
    opened = runtime.load(path, "event") if way == "event" else target.open(path, own)
    return prove(proto if way == "event" else None, card, source, opened=opened, steps=STEPS)


MUTATIONS = (*GRAPHS, *ONNX, *CARDS)


def mutants(name: str, source: TrainedModel, way: str, rng: np.random.Generator) -> list[Mutant]:
    """Every way to make a mutation in a network; none where that way of running has no place for it."""
    if name in GRAPHS:
        return list(GRAPHS[name](source.graph, rng))
    if name in CARDS:
        card = written(source, "unrolled" if way == "unrolled" else "step", "folded")[1]
        return list(CARDS[name](card, source.has_card))
    if way not in FILES or (name == "time backwards" and (way != "unrolled" or source.facts.kind == "static")):
        return []
    return list(ONNX[name](source.graph, rng))


@dataclass(frozen=True)
class Trial:
    """One mutant of a network that is right without it, and what became of it: "caught", "refused" before the gate, "missed"."""

    network: str
    way: str
    math: str
    mutation: str
    where: str
    became: str

    @property
    def reason(self) -> str | None:
        """Why it may be missed."""
        if self.mutation in OF_ENGINES and self.way in ("event", "openvino"):
            return OF_ENGINES[self.mutation]
        return None if self.network.startswith(WHOLE) else REASONS.get(self.mutation)


REASONS = {
    "`>=` for `>`, or `>` for `>=`": "where weights, tau or a normalisation are not integers, h is rounded. An h at the "
    "threshold may then fall on either side"
}


OF_ENGINES = {
    "one weight 10 eps of its sum off": "an engine accepts no spikes, and the membranes that make neurons fire or rest are not "
    "integers. Rounding may do as much"
}


def became(source: TrainedModel, mutant: Mutant, way: str, math: str, folder: Path) -> str:
    try:
        return "missed" if judge(source, mutant, way, math, folder).passed else "caught"
    except PlifError:
        return "refused"


def trials(network: str, way: str, mutations: Sequence[str], each: int, folder: Path) -> Iterator[Trial]:
    """Up to `each` mutants of each mutation; nothing where that way cannot run the network."""
    source, rng = NETWORKS[network](), np.random.default_rng(crc32(f"{network} {way}".encode()))
    for math in ("exact", "folded") if way == "step" else ("exact",) if way == "nir" else ("folded",):
        made = [(name, one) for name in mutations for one in _some(mutants(name, source, way, rng), each, rng)]
        honest = became(source, Mutant("nowhere"), way, math, folder) if made else "refused"
        assert honest != "caught", f"{network}, {way}, {math}: does not pass as it is"
        for name, mutant in made if honest == "missed" else ():
            yield Trial(network, way, math, name, mutant.where, became(source, mutant, way, math, folder))


def _some(made: list[Mutant], most: int, rng: np.random.Generator) -> list[Mutant]:
    return [made[i] for i in rng.permutation(len(made))[:most]]
