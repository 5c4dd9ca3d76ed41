"""The result of reading a PyTorch module, as a step program and a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from plif_export.core.readers.rules import Problem
from plif_export.readers.step_program.body import StepProgram
from plif_export.readers.step_program.neuron_program import NeuronLayer
from plif_export.readers.step_program.places import NO_CALL_SITES, CallSites
from plif_export.readers.step_program.readout import Readout
from plif_export.readers.tracing.forms import CallForm
from plif_export.readers.tracing.nodes import TraceNode
from runtime.core.model import graph as graphs
from runtime.core.model.graph import Graph


@dataclass
class ModuleReading:
    """The result of reading a PyTorch module: its step program, how steps give the output, and the graph or None.

    entries: each node of the graph, or problem, in order. layers: {layer's name: its neurons}.
    final_states: {node: name of the module's tensor that holds it after a call, as a state for the next call}.
    output: the index of the returned tensor that is read. not_proved: unproved cases, in short, such as the steps
      after some step.
    places: the call sites of the step's values in a run of the module. original: the module itself.
    repeat_first_calls: returns problems and notes of its first calls, repeated.
    """

    form: CallForm
    program: StepProgram
    readout: Readout
    output: int = 0
    final_states: dict[TraceNode, str] = field(default_factory=dict)
    graph: Graph | None = None
    entries: list[graphs.Node | Problem] = field(default_factory=list)
    layers: dict[str, NeuronLayer] = field(default_factory=dict)
    not_proved: list[str] = field(default_factory=list)
    call_sites: CallSites = NO_CALL_SITES
    original: nn.Module | None = None
    repeat_first_calls: Callable[[], tuple[list[Problem], list[str]]] | None = None

    @property
    def neurons(self) -> dict[str, str]:
        """The layers of neurons found in a module: {path of the submodule: name of the layer in the graph}."""
        return {layer.region.path: name for name, layer in self.layers.items()}
