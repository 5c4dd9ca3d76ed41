"""The check of a model, layer by layer, before anything is written: `plif check`.

It has no rules of its own: it reads the model as an export does, lists every problem that the reader found
(readers/rules.py) instead of the first, and then asks the target. A layer counts as supported if the reader made a
node of it and the target can write that node.
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
from plif_export.core.pipeline import plan_export
from plif_export.core.proof.arithmetic.interpret import initial_state, step
from plif_export.core.readers import check_model as read_for_check
from plif_export.core.readers import resolve_network
from plif_export.core.readers.facts import ModelFacts
from plif_export.core.readers.rules import Problem
from plif_export.core.targets import find_target
from plif_export.core.targets.target import Target
from plif_export.core.writers.emit import is_writable
from runtime.core.base.errors import PlifError
from runtime.core.base.options import with_fields
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import ARTIFACT_FORMAT, read_card
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import describe_quantized, list_quantized
from runtime.core.parts import load_from_parts

SILENT_STEPS = 40
MOST_NAMED = 8
MOST_NUMBERS = 1 << 22  # neurons in all: larger graphs would take minutes


@dataclass(frozen=True)
class LayerCheck:
    """The result of checking one layer for export: path, type, graph node (None if unsupported), problem."""

    path: str
    type: str
    op: str | None
    supported: bool
    rule: str | None = None
    advice: str | None = None


@dataclass
class CheckReport:
    """The report of `plif check`: the layers of a model, and every problem with its export as one line.

    The model can be exported if there is no problem. notes: weights that lie on a grid (find_grids), and costs that
    are no errors: layers of a network for events that fire without any (find_silent_firing).
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
        layer_lines = [
            f"{'ok' if layer.supported else 'NO':<4}{layer.path:<24}{layer.type:<22}"
            f"{layer.op or '' if layer.supported else f'{layer.rule}; {layer.advice}'}".rstrip()
            for layer in self.layers
        ]
        verdict = (
            f"{self.target}: can be exported" if self.supported else f"{self.target}: {len(self.problems)} problems"
        )
        return [*layer_lines, *(f"note: {note}" for note in self.notes), verdict]

    def add(self, problem: Problem) -> None:
        self.layers.append(_refuse_layer(problem))
        self.problems.append(str(problem))

    def add_node(self, name: str, op: str, kind: str | None) -> None:
        """Add a node of a model's graph to the report of `plif check`; `kind` is the kind of a neuron."""
        if is_writable(op):
            self.layers.append(LayerCheck(name, kind or op, op, True))
        else:
            rule = f"the {self.target} target cannot write it"
            self.add(Problem(name, op, rule, "choose another layer, or another target"))

    def add_refusals(self, graph: Graph, facts: ModelFacts, target: Target, options: Mapping[str, str]) -> None:
        """Add to a check report the reasons why the target format cannot take the graph, at the layers concerned.

        The target gets the graph as an export would hand it over. If there are problems already, it is not asked.
        """
        if not self.supported:
            return
        self.notes = describe_quantized(find_grids(graph))
        export_options = ExportOptions(to=target.name, options=dict(options), form=target.forms[0])
        try:
            graph, card = plan_export(graph, facts, export_options, target, "the model")
            for problem in target.problems(graph, options):
                self.layers = [_refuse_layer(problem) if layer.path == problem.path else layer for layer in self.layers]
                self.problems.append(str(problem))
            if self.supported:
                target.check(graph, card, options)
        except PlifError as error:
            self.problems.append(str(error))
        if self.supported and facts.kind == "events":
            self.notes += find_silent_firing(graph)


def _refuse_layer(problem: Problem) -> LayerCheck:
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
    """Check which layers of a live PyTorch module can be exported.

    example_input, or the shape (C, H, W) of one step, and the options are those of export.
    """
    return _check_model(module, example_input, CallerFacts(output=output, shape=shape), to, options or {})


def _check_model(
    model: str | Path | nn.Module, example_input: object, caller: CallerFacts, to: str, options: Mapping[str, str]
) -> CheckReport:
    target, report = find_target(to, options), CheckReport(to)
    examined = read_for_check(model, example_input, caller)
    for entry in examined.entries:
        if isinstance(entry, Node):
            report.add_node(entry.name, entry.op, entry.attrs.get("kind"))
        else:
            report.add(entry)
    for problem in examined.problems:
        if str(problem) not in report.problems:
            report.add(problem)
    if examined.graph is not None and examined.facts is not None:
        report.add_refusals(examined.graph, examined.facts, target, options)
    return report


@with_fields(CheckOptions)
def check_file(path: str | Path, **options: Any) -> CheckReport:
    """Check which layers of a model file can be exported. Raises PlifError if the file cannot be read at all.

    options: the fields of CheckOptions.
    """
    chosen = ExportOptions(**vars(CheckOptions(**options)))
    to, network = chosen.to, resolve_network(path)
    if isinstance(network, nn.Module):
        return check(network, to=to, options=chosen.options, shape=chosen.shape)
    path = Path(path)
    report = CheckReport(to)
    if path.suffix in (".onnx", ".engine", ".plif", ".html") or path.is_dir():
        card = read_card(path)
        if card["format"] == ARTIFACT_FORMAT:  # an artifact has no weights to ask a target about
            if to not in ("onnx", detect_kind(path).name):
                raise PlifError(
                    f"{path}: is exported already; whether --to {to} takes it, the model it was made from tells"
                )
            for node in card["graph"]["nodes"]:
                report.add_node(node["name"], node["op"], node["attrs"].get("kind"))
            report.notes = describe_quantized(list_quantized(card), advice=False)
        return report
    return _check_model(path, None, chosen, to, chosen.options)


def find_grids(graph: Graph) -> dict[str, str]:
    """Return the layers of a graph whose weights are already quantized (evenly spaced): {layer: "4 bits a channel"}."""
    named = load_from_parts("precisions", "grids")
    weights = {node.name: node.params["weight"] for node in graph if node.op in ("Conv", "Linear")}
    return named(weights) if named is not None else {}


def find_silent_firing(graph: Graph) -> list[str]:
    """Return a sentence for each layer that fires without input; an empty list for a graph too large to run.

    A neuron with a bias above the threshold fires for ever in an empty scene. The golden model runs SILENT_STEPS
    empty steps from reset; spikes in the second half count.
    """
    if sum(prod(neuron.shape) for neuron in graph.neurons) > MOST_NUMBERS:
        return []
    state = initial_state(graph, 1)
    counts = {neuron.layer: np.zeros(neuron.shape, np.int64) for neuron in graph.neurons}
    x = np.zeros((1, *graph.input_shape), np.float32)
    for t in range(SILENT_STEPS):
        _, state, layers = step(graph, x, state)
        for layer, fired in layers.items():
            if 2 * t >= SILENT_STEPS:
                counts[layer] += fired.s[0] != 0
    findings = []
    for layer, count in counts.items():
        channels = count.sum(tuple(range(1, count.ndim)))
        firing = [str(channel) for channel in np.flatnonzero(channels)]
        if firing:
            named = ", ".join(firing[:MOST_NAMED]) + (", ..." if len(firing) > MOST_NAMED else "")
            findings.append(
                f"{layer}: {len(firing)} of {len(channels)} channels fire without any input ({named}), "
                f"{2 * count.sum() / SILENT_STEPS:.0f} spikes a step: a silent scene costs these; "
                "train with --set bias_limit=0.95"
            )
    return findings
