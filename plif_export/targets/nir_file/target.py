"""The target --to nir: one NIR file (github.com/neuromorphs/NIR) for other tools and chips.

NIR is the neuromorphic intermediate representation. Its neurons are differential equations, so a step gets a length
dt; with k = dt / tau (runtime/core/model/neurons.py, NIR-LIF):

    ours  exact    h = v + alpha (x - (v - v_reset))       tau = dt / alpha   R = 1           v_leak = v_reset
          without decay_input: h = v - alpha (v - v_reset) + x                R = 1 / alpha   v_leak = v_reset
          folded   h = (1 - alpha) v + x'                                     R = 1 / alpha   v_leak = 0
    IF             h = v + x                               R = 1 / dt
    NIR            h = v + k (v_leak - v + R x)            s = h > v_threshold

NIR fires at >, plif's neurons at >=. So v_threshold is written as the next lower float32: h > before(1) is h >= 1 for
every float32 h. For a tool that compares with >= anyway (SpikingJelly, sinabs), --set fire=ge writes v_threshold as
it is.

Which form a tool reads: R = 1 (exact, the default) suits Norse, R = tau / dt (--math folded) snnTorch.

--set dt=1e-4      seconds of a step; snnTorch and SpikingJelly expect 1e-4, Norse 1e-3, sinabs 1
--set fire=gt|ge   the comparison of the reading tool
--set votes=fold   the vote layer becomes a Linear with weights of 1 / voters; NIR has no vote

A residual addition becomes two edges into one node. NIR cannot express max-pooling, concatenation, products and soft
resets. The metadata of the graph contains the card. The written file is read back, and that graph must pass the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.interpret import Array, State
from plif_export.core.proof.compare import Observation
from plif_export.core.proof.structure import FileContents
from plif_export.core.proof.subjects.subject import Answer, Case, States, Subject
from plif_export.core.readers.rules import Problem, Unsupported, refuse_problems, require
from plif_export.core.targets.target import ExportJob, Target, parse_setting
from plif_export.targets.nir_file.layers import LAYERS
from runtime.artifacts.nir_file.kind import read_contents as read_nir
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.grammar import choice_parser, parse_scalar
from runtime.core.model.artifacts import CARD_KEY
from runtime.core.model.card import Card, encode_card
from runtime.core.model.digest import write_digest
from runtime.core.model.graph import Graph, Node, Shape, initial_membrane, state_key
from runtime.core.model.ops.operation import reshape_broadcast
from runtime.formats.hdf5.tree import read_hdf5

DT = 1e-4
KINDS = ("IF", "LIF", "PLIF", "NIR-IF", "NIR-LIF", "NIR-CubaLIF", "LIFBox")


class NirTarget(Target):
    """The export target that writes a NIR file; it names no engine, since the proof interprets the file in NumPy."""

    name: ClassVar[str] = "nir"
    suffix: ClassVar[str] = ".nir"
    math: ClassVar[str] = "exact"
    forms: ClassVar[tuple[str, ...]] = ("step",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    options: ClassVar[tuple[str, ...]] = ("dt", "fire", "votes")

    def check(self, graph: Graph, card: Card, options: Mapping[str, str]) -> None:
        if find_spec("nir") is None:
            raise MissingExtra("--to nir", "nir")
        if card["batch"] is not None:
            raise PlifError("--batch: NIR has no word for a batch; leave it out")
        writer = _Writer(graph, options)
        nodes, edges = writer.write()
        refuse_problems(writer.problems)
        import nir

        try:
            nir.NIRGraph(nodes, edges)  # NIR checks its types here, also of grouped convolutions
        except Exception as error:
            raise _nir_error(error) from None

    def problems(self, graph: Graph, options: Mapping[str, str]) -> list[Problem]:
        """Return the layers that NIR cannot express, and why."""
        writer = _Writer(graph, options)
        writer.write()
        return writer.problems

    def write(self, job: ExportJob, path: Path) -> None:
        import nir

        writer = _Writer(job.graph, job.options)
        nodes, edges = writer.write()
        job.card.update(target=self.name, nir={"dt": writer.dt, "fire": writer.fire, "reset": "value"})
        job.card["versions"]["nir"] = str(nir.version)
        try:
            nir.write(path, nir.NIRGraph(nodes, edges))  # the digest in the card is of this file
            write_digest(job.card, read_nir(path))
            nir.write(path, nir.NIRGraph(nodes, edges, metadata={CARD_KEY: encode_card(job.card)}))
        except (OSError, PlifError):
            raise
        except Exception as error:  # NIR's own checks of types raise ValueError, and h5py many kinds
            raise _nir_error(error) from None
        job.notes.append(f"a step is dt={writer.dt:g} s; a tool that takes another dt leaks otherwise: --set dt=...")

    def normalized_contents(self, path: Path, card: Card) -> FileContents:
        """Return every data set and attribute of a NIR file except the metadata card, for a comparison."""
        contents: FileContents = {}
        for name, (values, attributes) in read_hdf5(path, "a NIR file", "nir").items():
            if name != f"node/metadata/{CARD_KEY}":
                array = None if values is None else np.asarray(values)
                texts = array is not None and array.dtype.kind == "O"
                contents[name.removeprefix("node/")] = {"": repr(array) if texts else array, **attributes}
        return contents

    def open(self, path: Path, card: Card, sha256: str | None = None, job: ExportJob | None = None) -> Subject:
        """Read a written NIR file back and return its graph as an artifact under test that runs in NumPy."""
        from plif_export.readers.nir_file.reader import read_nir_graph

        graph, problems = read_nir_graph(path, **_reader_options(card, path))
        if graph is None:
            raise PlifError(f"{path}: {problems[0]}")
        layers = {f"{n['name']}_neuron": n["attrs"]["layer"] for n in card["graph"]["nodes"] if n["op"] == "Neuron"}
        return InterpretedGraph(card, graph, {layers.get(n.name, n.layer): n.layer for n in graph.neurons}, self.name)


def _nir_error(error: Exception) -> PlifError:
    return PlifError(f"NIR refuses the network ({' '.join(str(error).split())[:160]})")


def _reader_options(card: Card, path: Path) -> dict[str, object]:
    """Return the options with which a NIR file must be read, from its metadata card.

    {"dt": seconds, "fire": ..., "reset": ...}
    """
    fields = card.get("nir")
    if not isinstance(fields, dict) or set(fields) != {"dt", "fire", "reset"}:
        raise PlifError(f"{path}: its card does not say dt, fire and reset; export it again: --to nir")
    return dict(fields)


class _Writer:
    def __init__(self, graph: Graph, options: Mapping[str, str]) -> None:
        self.graph, self.dt = graph, parse_setting(options, "dt", _seconds, DT)
        self.fire = parse_setting(options, "fire", choice_parser("gt", "ge"), "gt")
        self.fold_votes = parse_setting(options, "votes", choice_parser("refuse", "fold"), "refuse") == "fold"
        self.problems: list[Problem] = []
        self.shapes: dict[str, Shape] = {graph.input: graph.input_shape, **{n.name: n.shape for n in graph}}

    def write(self) -> tuple[dict[str, object], list[tuple[str, str]]]:
        """Return the nodes and edges of a NIR graph; layers that NIR cannot express are added to `problems`."""
        import nir

        nodes: dict[str, object] = {"input": nir.Input(input_type={"input": np.array(self.graph.input_shape)})}
        edges: list[tuple[str, str]] = []
        ends: dict[str, tuple[str, ...]] = {
            self.graph.input: ("input",)
        }  # graph node -> the NIR nodes that add up to it
        for node in self.graph:
            sources = tuple(end for name in node.inputs for end in ends[name])
            try:
                require(len(set(sources)) == len(sources), "it adds a value to itself", "multiply the weights instead")
                if node.op == "Add":
                    equal_shapes = all(self.shapes[name] == node.shape for name in node.inputs)
                    require(
                        equal_shapes, "NIR adds values of one shape only", "repeat the smaller one, or use --to onnx"
                    )
                    ends[node.name] = sources
                    continue
                name = {"input": "input_1", "output": "output_1"}.get(node.name, node.name)
                nodes[name] = self._node(nir, node)
                edges += [(source, name) for source in sources]
                ends[node.name] = (name,)
            except Unsupported as problem:
                self.problems.append(Problem(node.name, node.op, problem.rule, problem.advice))
                ends[node.name] = sources[:1]
        nodes["output"] = nir.Output(output_type={"output": np.array(self.graph[self.graph.output].shape)})
        edges += [(source, "output") for source in ends[self.graph.output]]
        return nodes, edges

    def _node(self, nir: ModuleType, node: Node) -> object:
        make = self._neuron if node.op == "Neuron" else LAYERS.get(node.op)
        if make is None:
            raise Unsupported("NIR has no word for it", "choose another layer, or another target")
        return make(nir, node, self.shapes[node.inputs[0]], self)

    @staticmethod
    def expand(value: np.ndarray | np.floating | float, shape: Shape) -> np.ndarray:
        """Expand a layer's parameter [], [C] or [*shape] to one number for each neuron, [*shape]."""
        return np.array(np.broadcast_to(reshape_broadcast(np.asarray(value), shape), shape))

    def _neuron(self, nir: ModuleType, node: Node, shape: Shape, _: object) -> object:
        a, kind = node.attrs, node.attrs["kind"]
        advice = "its library writes NIR itself (snntorch.export_nir, norse.torch.to_nir)"
        require(kind in KINDS, f"neurons of kind {kind} are not written as NIR", advice)
        require(
            a["v_reset"] is not None,
            "NIR cannot subtract v_threshold at a reset",
            "train with v_reset=0.0, or use --to onnx",
        )
        v_threshold = np.float32(a["v_threshold"])
        fires = ">" if kind == "LIFBox" else a.get("fire", ">=")
        if fires == ">=" and self.fire == "gt":
            v_threshold = np.nextafter(v_threshold, np.float32(-np.inf))
        elif fires == ">" and self.fire == "ge":
            v_threshold = np.nextafter(v_threshold, np.float32(np.inf))
        common = {
            name: self.expand(value, shape) for name, value in (("v_threshold", v_threshold), ("v_reset", a["v_reset"]))
        }
        if kind in ("IF", "NIR-IF"):
            rule = "NIR starts an IF neuron at 0, the model at v_reset"
            require(initial_membrane(node) == 0, rule, "train with v_reset=0.0, or with a leak")
            return nir.IF(r=self.expand(_to_float64(node, "gain", 1.0) / self.dt, shape), **common)
        k = _to_float64(node, "alpha" if kind in ("LIF", "PLIF") else "k", 0.0)
        require(
            bool(np.all(k > 0)),
            "a time constant is infinite in some channels, and NIR's IF is a layer of its own",
            "use IF",
        )
        r, v_leak = _to_float64(node, "r", 1.0), float(a.get("v_leak", 0.0))
        if kind in ("LIF", "PLIF"):
            folded = a["charge"] == "folded"
            rule = "with folded math, membranes start at v_reset, and NIR's at v_leak=0"
            require(not folded or initial_membrane(node) == 0, rule, "use --math exact")
            v_leak = 0.0 if folded else initial_membrane(node)
            r = 1 / k if folded or not a["decay_input"] else r
        tau = self.expand(self.dt / k, shape)
        common |= {"r": self.expand(r, shape), "v_leak": self.expand(v_leak, shape)}
        if kind != "NIR-CubaLIF":
            return nir.LIF(tau=tau, **common)
        k_syn = _to_float64(node, "k_syn", 1.0)
        w_in = self.expand(_to_float64(node, "gain", 1.0) / k_syn, shape)
        return nir.CubaLIF(tau_syn=self.expand(self.dt / k_syn, shape), tau_mem=tau, w_in=w_in, **common)


def _to_float64(node: Node, name: str, default: float) -> np.ndarray:
    """Return a parameter for NIR in float64, so that k = dt / tau gives exactly the original float32."""
    return np.asarray(node.params.get(name, default), np.float64)


def _seconds(text: str) -> float:
    dt = parse_scalar(text)
    if not isinstance(dt, float) or not 0 < dt < float("inf"):
        raise ValueError("seconds, e.g. 1e-4")
    return dt


class InterpretedGraph(Subject):
    """An artifact under test whose graph, read back from the written file, runs in NumPy.

    layers  a layer's name in the card -> its name in the graph
    engine  the name in failure messages
    """

    def __init__(self, card: Card, graph: Graph, layers: Mapping[str, str], engine: str) -> None:
        super().__init__(card, "artifact")
        self.graph, self.engine, self.signature = graph, engine, f"engine {engine}: "
        self.keys = [state_key(layers.get(layer, layer), variable) for layer, variable in self.states]

    def run_forced(self, case: Case) -> Answer:
        return self.run_single(case.x, case.start)

    def run_call(self, x: Array, states: States) -> Answer:
        before = (states[layer][variable] for layer, variable in self.states)
        y, after, _ = interpret.step(self.graph, self.shape_input(x), dict(zip(self.keys, before, strict=True)))
        return Answer(
            y[None], {layer: {0: Observation(state)} for layer, state in self._read(after, x.shape[1]).items()}
        )

    def initial(self) -> States:
        return self._read(interpret.initial_state(self.graph, 1), 1)

    def _read(self, state: State, rows: int) -> States:
        nothing = np.zeros((rows, 0), np.float32)  # a layer that is not in the graph matches no shape
        return self.group_states(state.get(key, nothing) for key in self.keys)


TARGETS = (NirTarget,)
