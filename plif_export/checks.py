"""`plif check`: what of a model can be exported, layer by layer, said before anything is written.

It has no rules of its own: it reads the model as an export does and lists what the reader found (readers/rules.py), all of
it instead of the first, and then asks the target. A layer counts as supported when the reader made a node of it and the
target can write that node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from plif_export.cards import make_card
from plif_export.passes import prepare
from plif_export.readers import HDF5, Facts, Given, neuron_options, read
from plif_export.readers.rules import Problem
from plif_export.targets import Explains, Target, check_options, default_math, find_target
from plif_export.writers.emit import writable
from plif_train.network import Network
from runtime.base.errors import PlifError
from runtime.model.artifacts import kind_of
from runtime.model.card import ARTIFACT_FORMAT, read_card
from runtime.model.graph import Graph


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
    target: str
    layers: list[LayerCheck] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

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
        return [*found, result]


def check(
    module: nn.Module, example_input: Any = None, *, to: str = "onnx", options: Mapping[str, str] | None = None
) -> CheckReport:
    """What of a live module is supported. example_input [B, ...] gives the shape of one step; to, options as in export."""
    target, report = _target(to, options), CheckReport(to)
    if isinstance(module, Network):
        source = read(module)
        return _of_graph(report, source.graph, source.facts, target, options)
    from plif_export.readers.module import examine

    if example_input is None:
        raise PlifError("check(module, example_input): one step [B, ...] is needed for the shapes")
    traced, problems = examine(module, example_input)
    for problem, node in traced.nodes if traced is not None else []:
        if problem is not None:
            _add(report, problem)
        elif node is not None:
            _add_node(report, node.name, node.op, node.attrs.get("kind"))
    listed = {problem for problem, _ in traced.nodes} if traced is not None else set()
    for problem in problems:
        if problem not in listed:
            _add(report, problem)
    if report.supported and traced is not None and traced.graph is not None:
        graph = traced.graph
        _ask(report, graph, Given().facts(graph.input_shape, graph[graph.output].shape[0]), target, options)
    return report


def check_file(
    path: str | Path,
    *,
    to: str = "onnx",
    network: str | None = None,
    shape: Sequence[int] | None = None,
    neuron: Mapping[str, Any] | str | None = None,
    options: Mapping[str, str] | None = None,
) -> CheckReport:
    """What of a file is supported. Raises PlifError when the file cannot be read at all. to, options as in export."""
    target, report, path = _target(to, options), CheckReport(to), Path(path)
    if path.suffix in (".onnx", ".engine") or path.is_dir():
        card = read_card(path)
        if card["format"] == ARTIFACT_FORMAT:  # an artifact has no weights to ask a target about
            if to not in ("onnx", kind_of(path).name):
                raise PlifError(
                    f"{path}: is exported already; whether --to {to} takes it, the model it was made from tells"
                )
            for node in card["graph"]["nodes"]:
                _add_node(report, node["name"], node["op"], node["attrs"].get("kind"))
        return report
    if path.is_file() and path.read_bytes()[:8] == HDF5:
        from plif_export.readers.nir import examine_nir

        graph, problems = examine_nir(path, **neuron_options(neuron))
        for problem in problems:
            _add(report, problem)
        if graph is None:
            return report
        facts = Given().facts(graph.input_shape, graph[graph.output].shape[0])
        return _of_graph(report, graph, facts, target, options)
    source = read(path, network=network, shape=shape, neuron=neuron)
    return _of_graph(report, source.graph, source.facts, target, options)


def _target(to: str, options: Mapping[str, str] | None) -> Target:
    target = find_target(to)
    check_options(target, options or {})
    return target


def _of_graph(
    report: CheckReport, graph: Graph, facts: Facts, target: Target, options: Mapping[str, str] | None
) -> CheckReport:
    for node in graph:
        _add_node(report, node.name, node.op, node.attrs.get("kind"))
    if report.supported:
        _ask(report, graph, facts, target, options)
    return report


def _ask(report: CheckReport, graph: Graph, facts: Facts, target: Target, options: Mapping[str, str] | None) -> None:
    """The target's own word, on the graph as an export would hand it over: of each layer where it has one, else as a whole."""
    math = default_math(target)
    graph = prepare(graph, math, static=False)
    choices: dict[str, Any] = {"form": target.forms[0], "T": facts.T, "precision": "fp32", "math": math, "batch": None}
    card = make_card(facts, graph, **choices, source_sha256=None)
    if isinstance(target, Explains):
        for problem in target.problems(graph, options or {}):
            refused = LayerCheck(problem.path, problem.type, None, False, problem.rule, problem.advice)
            report.layers = [refused if layer.path == problem.path else layer for layer in report.layers]
            report.problems.append(str(problem))
    if report.supported:
        try:
            target.check(graph, card, options or {})
        except PlifError as error:
            report.problems.append(str(error))


def _add(report: CheckReport, problem: Problem) -> None:
    report.layers.append(LayerCheck(problem.path, problem.type, None, False, problem.rule, problem.advice))
    report.problems.append(str(problem))


def _add_node(report: CheckReport, name: str, op: str, kind: str | None) -> None:
    if writable(op):
        report.layers.append(LayerCheck(name, kind or op, op, True))
    else:
        rule = f"the {report.target} target cannot write it"
        _add(report, Problem(name, op, rule, "choose another layer, or another target"))
