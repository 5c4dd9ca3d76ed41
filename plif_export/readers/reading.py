"""What was read of a live module."""

from __future__ import annotations

from dataclasses import dataclass, field

from plif_export.readers.body import StepProgram
from plif_export.readers.forms import Form
from plif_export.readers.neuron_program import NeuronLayer
from plif_export.readers.nodes import Node
from plif_export.readers.readout import Readout
from plif_export.readers.rules import Problem
from runtime.model import graph as graphs
from runtime.model.graph import Graph


@dataclass
class Reading:
    """What was read of a module: its form, the program of a step, the readout, and the graph as far as there is one.

    entries   for each node of the graph, or problem, in order
    layers    {layer's name: its neurons}
    left      nodes that the module's own tensors are after a call: states that the next call goes on from
    output    which of the tensors that forward returns is read
    """

    form: Form
    program: StepProgram
    readout: Readout
    output: int = 0
    left: set[Node] = field(default_factory=set)
    graph: Graph | None = None
    entries: list[graphs.Node | Problem] = field(default_factory=list)
    layers: dict[str, NeuronLayer] = field(default_factory=dict)

    @property
    def neurons(self) -> dict[str, str]:
        """{path of a submodule: the layer of neurons in it}"""
        return {layer.region.path: name for name, layer in self.layers.items()}
