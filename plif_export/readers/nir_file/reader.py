"""The reader of NIR files (neuromorphic intermediate representation, github.com/neuromorphs/NIR): file -> SNN graph.

NIR's neurons are differential equations. A network of time-steps needs a step dt, which NIR files do not hold. With
forward Euler and k = dt / tau (runtime/core/model/neurons.py: NIR-IF, NIR-LIF, NIR-CubaLIF):

    LIF      h = v + k (v_leak - v + R x)        s = h > v_threshold        v = v_reset where s

dt: 1e-4, as snnTorch and SpikingJelly write; Norse 1e-3; sinabs counts in steps: 1.
fire: ">" as NIR says, or ">=" as SpikingJelly means: they differ if a membrane equals the threshold exactly.
reset: "value" (v_reset) as NIR says, or "subtract": NIR cannot express it, and a library that subtracts writes
  v_reset 0.

Edges into one node add up. Nested graphs are flattened, and recurrent spikes arrive one step later (order.py);
neurons.py has all kinds of neurons. There is no module to compare with, so the artifact is proved against the NumPy
interpreter.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from plif_export.core.options import CallerFacts
from plif_export.core.proof.reference import GraphReference
from plif_export.core.readers.facts import ModelCheck, ModelFacts, TrainedModel
from plif_export.core.readers.rules import Problem, Unsupported, refuse_problems, require
from plif_export.readers.nir_file.layers import LAYERS
from plif_export.readers.nir_file.neurons import NEURON_TYPES, NirNode, NirSettings, collapse_uniform, read_neuron
from plif_export.readers.nir_file.order import flatten_graph, sort_nodes
from runtime.core.base.errors import PARSE_ERRORS, MissingExtra, PlifError
from runtime.core.model.card import Card, read_card
from runtime.core.model.graph import Graph, Node, Shape
from runtime.core.model.ops import expand_sizes
from runtime.core.model.ops.shapes import ShapeMismatch, infer_unary_shape
from runtime.formats.hdf5.tree import Hdf5Objects, read_hdf5

Attrs = Mapping[str, object]
Arrays = Mapping[str, np.ndarray]
DT = 1e-4
ASSUMED = {
    "dt": f"dt = {DT:g} s",
    "fire": "firing at v > v_threshold",
    "reset": "reset to v_reset",
}  # used if neither the file nor the user says it
NODES = ", ".join((*LAYERS, *NEURON_TYPES))


def read(path: Path, caller: CallerFacts, sha256: str | None = None) -> TrainedModel:
    """Read a NIR file into the graph for an export. Raises PlifError with the first problem."""
    options = caller.neuron
    card = read_plif_card(path)
    graph, problems = read_nir_graph(path, **options)
    refuse_problems(problems, f"{path}: ")
    assert graph is not None
    settings = {**card.get("nir", {}), **options}
    dt_source = "is what its card says" if "dt" in card.get("nir", {}) and "dt" not in options else "was taken"
    assumed = {name: text for name, text in ASSUMED.items() if name not in settings}
    note = f"NIR has no time-step: dt={_number(settings.get('dt', DT)):g} s {dt_source}; --neuron dt=... says another"
    if assumed:
        names = ",".join(f"{name}=..." for name in assumed)
        note = f"NIR does not say and nobody said, so assumed: {', '.join(assumed.values())}; say it: --neuron {names}"
    if card:  # plif wrote the file: its card completes the caller's facts
        caller = CallerFacts(
            classes=caller.classes or (tuple(card["classes"]) if card.get("classes_named", True) else None),
            framing=caller.framing or card["framing"],
            kind=caller.kind or card["input"]["kind"],
            T=caller.T or card["T"],
        )
    silent = (
        f"dt={_number(settings.get('dt', DT)):g} s and reset {settings.get('reset', 'value')} "
        f"{dt_source.removeprefix('was ')} for this NIR file: SpikingJelly and snnTorch write for dt=1e-4, "
        "Norse for 1e-3, sinabs for 1 and for reset=subtract; say which: "
        "--neuron dt=...,reset=..."
    )
    facts = ModelFacts.from_caller(caller, graph)
    unsaid = [f"assumed {text}" for text in assumed.values()]
    return TrainedModel(graph, GraphReference(graph), facts, sha256, notes=[note], if_silent=silent, not_proved=unsaid)


def read_plif_card(path: Path) -> Card:
    """Return the metadata card in a NIR file that plif wrote; an empty card for files of other programs."""
    try:
        return read_card(path)
    except PlifError:
        return {}


def check(path: str | Path, caller: CallerFacts, _: object) -> ModelCheck:
    """Check a NIR file for an export: return the graph node or the problem of each node in it."""
    graph, problems = read_nir_graph(Path(path), **caller.neuron)
    facts = None if graph is None else ModelFacts.from_caller(CallerFacts(), graph)
    return ModelCheck([] if graph is None else list(graph), problems, graph, facts)


def read_nir_graph(path: Path, **options: object) -> tuple[Graph | None, list[Problem]]:
    """Return the graph of a NIR file, or None if a node cannot be read, and the list of problems.

    options: dt, fire, reset. An option that is left out is taken from the file's plif card, or else has NIR's own
    meaning.
    """
    settings = read_plif_card(path).get("nir", {})
    settings = {**(settings if isinstance(settings, dict) else {}), **options}
    dt, fire, reset = settings.pop("dt", DT), settings.pop("fire", ">"), settings.pop("reset", "value")
    if settings:
        raise PlifError(f"--neuron {next(iter(settings))}: for a NIR file expected some of dt, fire, reset")
    fire = {"gt": ">", "ge": ">="}.get(str(fire), str(fire))
    if fire not in (">", ">=") or reset not in ("value", "subtract") or not _number(dt) > 0:
        raise PlifError("--neuron: expected dt=SECONDS, fire=gt or ge, reset=value or subtract")
    try:
        return _GraphReader(_open_nir(path), _number(dt), fire, str(reset), path).read()
    except PARSE_ERRORS as error:
        message = " ".join(str(error).split())[:100]
        raise PlifError(f"{path}: its nodes cannot be read ({type(error).__name__}: {message}); damaged?") from None


def _number(value: object) -> float:
    return float(value) if isinstance(value, float | int) else 0.0


def _open_nir(path: Path) -> NirNode:
    try:
        import nir
    except ImportError:
        raise MissingExtra("reading a NIR file", "nir") from None
    items = read_hdf5(path, "a NIR file", "nir")
    try:
        graph: NirNode = nir.dict2NIRNode({**_build_tree(items), "type_check": False})
    except Exception as error:  # nir's classes raise many kinds of errors
        reason = " ".join(str(error).split())[:120]
        raise PlifError(f"{path}: not a NIR file, or damaged ({reason})") from None
    unknown = sorted({end for edge in graph.edges for end in edge} - set(graph.nodes))
    if unknown:
        raise PlifError(f"{path}: an edge leads to {unknown[0]}, which is none of its nodes; the file was damaged")
    return graph


def _build_tree(items: Hdf5Objects) -> dict[str, object]:
    """Build the nested dicts that the nir package parses, from the flat list of items in an HDF5 file."""
    groups: dict[str, dict[str, object]] = {"": {}}
    for path, (values, _) in items.items():
        group, _, name = path.rpartition("/")
        if values is None:
            groups[path] = {}
        groups[group][name] = (
            groups[path] if values is None else values.decode() if isinstance(values, bytes) else values
        )
    return groups["node"]


class _GraphReader:
    def __init__(self, source: NirNode, dt: float, fire: str, reset: str, path: Path) -> None:
        self.graph, self.path = source, path
        self.settings = NirSettings(dt, fire, reset)
        self.problems: list[Problem] = []
        self.nodes: list[Node] = []
        self.last_spikes: dict[str, tuple[str, Shape]] = {}  # {layer: the State node of its last spikes}
        self.outputs: dict[str, tuple[str, Shape]] = {}  # {NIR name: (graph node, shape without the batch)}

    def read(self) -> tuple[Graph | None, list[Problem]]:
        inputs = [name for name, node in self.graph.nodes.items() if _kind(node) == "Input"]
        outputs = [name for name, node in self.graph.nodes.items() if _kind(node) == "Output"]
        if len(inputs) != 1 or len(outputs) != 1:
            raise PlifError(f"{self.path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        shape = self._input_shape(inputs[0])
        try:
            self.source, edges = flatten_graph(self.graph.nodes, self.graph.edges)
        except Unsupported as problem:
            return None, [Problem(str(self.path), "NIRGraph", problem.rule, problem.advice)]
        for name, node in self.source.items():
            for key, value in vars(node).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
                    raise PlifError(f"{self.path}: {key} of {name} has numbers that are NaN or infinite")
        self.order = sort_nodes(self.source, edges, inputs[0])
        if self.order.problems:
            return None, self.order.problems
        self.outputs[inputs[0]] = ("x", shape)
        for a, _ in sorted(self.order.delayed):
            self._add_last_spikes(a)
        for name in self.order.names:
            if name not in self.outputs:
                self._read_node(name)
        if self.problems:
            return None, self.problems
        output = self.outputs[outputs[0]][0]
        return Graph(shape, tuple(self.nodes), output), []

    def _input_shape(self, name: str) -> Shape:
        input_shape = next(iter(self.graph.nodes[name].input_type.values()))
        if input_shape is None or not np.size(input_shape):
            raise PlifError(f"{self.path}: its input has no shape; write it again with one")
        return tuple(int(n) for n in np.asarray(input_shape).ravel())

    def _read_node(self, name: str) -> None:
        node, before = self.source[name], self.order.before[name]
        try:
            delayed = [(need, name) in self.order.delayed for need in before]
            sources = [
                self._add_last_spikes(need) if late else self.outputs[need]
                for need, late in zip(before, delayed, strict=True)
            ]
            require(bool(sources), "nothing leads to it", "connect it, or leave it out")
            x, shape = sources[0]
            if len(sources) > 1:
                require(all(s == shape for _, s in sources), "inputs of different shapes", "give them one shape")
                x = self.add(f"{name.replace('.', '_')}_sum", "Add", tuple(s for s, _ in sources), shape)
            if _kind(node) in ("Input", "Output"):  # of a nested graph, too
                self.outputs[name] = (x, shape)
                return
            if _kind(node) not in (*LAYERS, *NEURON_TYPES):
                raise Unsupported("this node is not exported", f"use {NODES}")
            read = LAYERS.get(_kind(node), _GraphReader._add_neuron)
            self.outputs[name] = read(self, name.replace(".", "_"), node, x, shape)
        except Unsupported as problem:
            self.problems.append(Problem(name, _kind(node), problem.rule, problem.advice))
            self.outputs[name] = self.outputs.get(before[0], ("x", ())) if before else ("x", ())

    def add(
        self, name: str, op: str, inputs: tuple[str, ...], shape: Shape, attrs: Attrs | None = None, params: Arrays | None = None
    ) -> str:  # fmt: skip
        name = {"x": "x_1", "y": "y_1"}.get(name, name)  # names of the graph's own input and output
        self.nodes.append(Node(name, op, inputs, shape, attrs or {}, params or {}))
        return name

    def add_layer(
        self, name: str, op: str, x: str, shape: Shape, attrs: Attrs, params: Arrays | None = None
    ) -> tuple[str, Shape]:
        """Add a layer that reads one tensor, of the given shape, to a NIR file's graph; return its name and shape."""
        try:
            out = infer_unary_shape(op, attrs, params or {}, shape)
        except ShapeMismatch as misfit:
            raise Unsupported(f"it {misfit}", "check it") from None
        return self.add(name, op, (x,), out, attrs, params), out

    collapse_uniform = staticmethod(collapse_uniform)

    @staticmethod
    def read_sizes(value: np.ndarray, dims: int) -> tuple[int, ...]:
        flat = [int(v) for v in np.asarray(value).ravel()]
        return expand_sizes(flat[0] if len(flat) == 1 else flat, dims)

    # --- neurons --------------------------------------------------------------------------------------------------------

    def _add_neuron(self, name: str, node: NirNode, x: str, shape: Shape) -> tuple[str, Shape]:
        attrs, params = read_neuron(node, shape, self.settings, recurrent=name in self.last_spikes)
        return self.add(f"{name}_neuron", "Neuron", (x,), shape, {**attrs, "layer": name}, params), shape

    def _add_last_spikes(self, name: str) -> tuple[str, Shape]:
        """Add a State node with a neuron's spikes of the step before to the graph, once; return its name and shape.

        Its shape is that of the neuron's thresholds.
        """
        node, layer = self.source[name], name.replace(".", "_")
        shape = np.shape(node.threshold if _kind(node) == "Threshold" else node.v_threshold)
        attrs = {"layer": layer, "variable": "last", "when": "before"}
        if layer not in self.last_spikes:
            self.last_spikes[layer] = self.add(f"{layer}_last", "State", (), shape, attrs), shape
        return self.last_spikes[layer]


def _kind(node: NirNode) -> str:
    return type(node).__name__
