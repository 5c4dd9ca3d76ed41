"""`plif check`: what of a model can be exported, layer by layer, before anything is written.

It has no rules of its own: it reads the model as an export does, lists every problem that the reader found (readers/rules.py)
instead of the first, and then asks the target. A layer counts as supported when the reader made a node of it and the target
can write that node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from plif_export.commands.supported.options import CheckOptions
from plif_export.core.options import CallerFacts, ExportOptions
from plif_export.core.pipeline import planned
from plif_export.core.proof.arithmetic.interpret import start, step
from plif_export.core.readers import check as read_for_check
from plif_export.core.readers import network_of
from plif_export.core.readers.facts import ModelFacts
from plif_export.core.readers.rules import Problem
from plif_export.core.targets import find_target
from plif_export.core.targets.target import Target
from plif_export.core.writers.emit import writable
from runtime.core.base.errors import PlifError
from runtime.core.base.options import with_fields
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import ARTIFACT_FORMAT, read_card
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import named_in, sentences
from runtime.core.parts import given_by_parts

SILENT_STEPS = 40
MOST_NAMED = 8
MOST_NUMBERS = 1 << 22  # of all neurons: larger graphs would take minutes


@dataclass(frozen=True)
class LayerCheck:
    """One layer: its path, what it is, the graph node it becomes (None where it becomes none), and what is wrong."""

    path: str
    type: str
    op: str | None
    supported: bool
    rule: str | None = None
    advice: str | None = None


@dataclass
class CheckReport:
    """The layers of a model, and every problem as one line; the model can be exported when there is none.

    notes  weights that lie on a grid (on_grids), and what costs without being wrong: layers of a network for events that fire
           without any (silent_layers)
    """

    target: str
    layers: list[LayerCheck] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def supported(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        return {"supported": self.supported, "to": self.target, **asdict(self)}

    def lines(self) -> list[str]:
        found = [
            f"{'ok' if layer.supported else 'NO':<4}{layer.path:<24}{layer.type:<22}"
            f"{layer.op or '' if layer.supported else f'{layer.rule}; {layer.advice}'}".rstrip()
            for layer in self.layers
        ]
        result = (
            f"{self.target}: can be exported" if self.supported else f"{self.target}: {len(self.problems)} problems"
        )
        return [*found, *(f"note: {note}" for note in self.notes), result]

    def add(self, problem: Problem) -> None:
        self.layers.append(_refused(problem))
        self.problems.append(str(problem))

    def add_node(self, name: str, op: str, kind: str | None) -> None:
        """Enters a node of a graph; `kind` is the kind of neuron, where it is one."""
        if writable(op):
            self.layers.append(LayerCheck(name, kind or op, op, True))
        else:
            rule = f"the {self.target} target cannot write it"
            self.add(Problem(name, op, rule, "choose another layer, or another target"))

    def add_refusals(self, graph: Graph, facts: ModelFacts, target: Target, options: Mapping[str, str]) -> None:
        """Enters what the target refuses: of each layer where the target can say it, else of the graph as a whole.

        The target sees the graph as an export would hand it over; nothing is asked where a problem was found before.
        """
        if not self.supported:
            return
        self.notes = sentences(on_grids(graph))
        asked = ExportOptions(to=target.name, options=dict(options), form=target.forms[0])
        try:
            graph, card = planned(graph, facts, asked, target, "the model")
            for problem in target.problems(graph, options):
                self.layers = [_refused(problem) if layer.path == problem.path else layer for layer in self.layers]
                self.problems.append(str(problem))
            if self.supported:
                target.check(graph, card, options)
        except PlifError as error:
            self.problems.append(str(error))
        if self.supported and facts.kind == "events":
            self.notes += silent_layers(graph)


def _refused(problem: Problem) -> LayerCheck:
    return LayerCheck(problem.path, problem.type, None, False, problem.rule, problem.advice)


def check(
    module: nn.Module,
    example_input: object = None,
    *,
    to: str = "onnx",
    output: int | None = None,
    options: Mapping[str, str] | None = None,
    shape: tuple[int, ...] | None = None,
) -> CheckReport:
    """What of a live module is supported. example_input, or the shape (C, H, W) of one step, and the options as in export."""
    return _checked(module, example_input, CallerFacts(output=output, shape=shape), to, options or {})


def _checked(
    model: str | Path | nn.Module, example_input: object, caller: CallerFacts, to: str, options: Mapping[str, str]
) -> CheckReport:
    target, report = find_target(to, options), CheckReport(to)
    found = read_for_check(model, example_input, caller)
    for entry in found.entries:
        if isinstance(entry, Node):
            report.add_node(entry.name, entry.op, entry.attrs.get("kind"))
        else:
            report.add(entry)
    for problem in found.problems:
        if str(problem) not in report.problems:
            report.add(problem)
    if found.graph is not None and found.facts is not None:
        report.add_refusals(found.graph, found.facts, target, options)
    return report


@with_fields(CheckOptions)
def check_file(path: str | Path, **said: Any) -> CheckReport:
    """What of a file is supported. Raises PlifError when the file cannot be read at all. said: the fields of CheckOptions."""
    chosen = ExportOptions(**vars(CheckOptions(**said)))
    to, network = chosen.to, network_of(path)
    if isinstance(network, nn.Module):
        return check(network, to=to, options=chosen.options, shape=chosen.shape)
    path = Path(path)
    report = CheckReport(to)
    if path.suffix in (".onnx", ".engine", ".plif", ".html") or path.is_dir():
        card = read_card(path)
        if card["format"] == ARTIFACT_FORMAT:  # an artifact has no weights to ask a target about
            if to not in ("onnx", kind_of(path).name):
                raise PlifError(
                    f"{path}: is exported already; whether --to {to} takes it, the model it was made from tells"
                )
            for node in card["graph"]["nodes"]:
                report.add_node(node["name"], node["op"], node["attrs"].get("kind"))
            report.notes = sentences(named_in(card), advice=False)
        return report
    return _checked(path, None, chosen, to, chosen.options)


def on_grids(graph: Graph) -> dict[str, str]:
    """{layer: "4 bits a channel"} of the layers of a graph, as it was read, whose weights lie on a grid."""
    named = given_by_parts("precisions", "grids")
    weights = {node.name: node.params["weight"] for node in graph if node.op in ("Conv", "Linear")}
    return named(weights) if named is not None else {}


def silent_layers(graph: Graph) -> list[str]:
    """A sentence for each layer that fires in silence; none where the graph is too large to be run so.

    A neuron whose bias reaches the threshold fires for ever in an empty scene. The golden model runs SILENT_STEPS empty
    steps from reset, of which the second half is counted.
    """
    if sum(prod(neuron.shape) for neuron in graph.neurons) > MOST_NUMBERS:
        return []
    state = start(graph, 1)
    counts = {neuron.layer: np.zeros(neuron.shape, np.int64) for neuron in graph.neurons}
    x = np.zeros((1, *graph.input_shape), np.float32)
    for t in range(SILENT_STEPS):
        _, state, layers = step(graph, x, state)
        for layer, fired in layers.items():
            if 2 * t >= SILENT_STEPS:
                counts[layer] += fired.s[0] != 0
    found = []
    for layer, count in counts.items():
        channels = count.sum(tuple(range(1, count.ndim)))
        firing = [str(channel) for channel in np.flatnonzero(channels)]
        if firing:
            named = ", ".join(firing[:MOST_NAMED]) + (", ..." if len(firing) > MOST_NAMED else "")
            found.append(
                f"{layer}: {len(firing)} of {len(channels)} channels fire without any input ({named}), "
                f"{2 * count.sum() / SILENT_STEPS:.0f} spikes a step: a silent scene costs these; "
                "train with --set bias_limit=0.95"
            )
    return found
