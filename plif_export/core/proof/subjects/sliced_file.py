"""An ONNX file as a subject of the gate: one slice for each layer, the whole file, and a session.

Each layer's slice gets the reference's spikes and the reference's states, so that one flip cannot excuse the next.
The whole file, with the spikes of its layers as further outputs, runs on its own spikes. The runtime opens it as it
opens any file, with its defaults, and steps several streams in one batch.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from plif_export.core.proof.arithmetic.interpret import Array
from plif_export.core.proof.compare import Observation
from plif_export.core.proof.reference import Reference
from plif_export.core.proof.subjects.slices import (
    CannotRun,
    OpenFile,
    extract_slice,
    extract_step,
    open_model,
    open_with_outputs,
)
from plif_export.core.proof.subjects.subject import Answer, Case, EngineSession, States, Subject
from runtime.core.api import open_unverified
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.files import hash_artifact
from runtime.core.engines import should_flush
from runtime.core.model.card import Card, output_shape
from runtime.core.model.graph import record_key, spikes_name

CANNOT = "the whole file cannot run {} streams"


class WholeFile(Subject):
    """An ONNX file under test, which runs as a whole and shows all layers' spikes.

    layers  the layers with visible spikes, as further outputs
    """

    def __init__(self, file: OpenFile, card: Card, layers: list[str], label: str) -> None:
        super().__init__(card, label)
        self.file, self.layers, self.input = file, layers, card["graph"]["input"]

    def run_call(self, x: Array, states: States) -> Answer:
        rows, records = x.shape[1], self.card["states"]
        names = ["y", *(record["output"] for record in records), *(spikes_name(layer) for layer in self.layers)]
        feed = {self.input: self.shape_input(x)}
        feed |= {r["input"]: states[layer][name] for r, (layer, name) in zip(records, self.states, strict=True)}
        outputs = self.file.run(names, feed, "states", CANNOT.format(rows))
        y = outputs["y"] if self.unrolled else outputs["y"][None]
        expected = [self.chunk, rows, *output_shape(self.card)]
        if list(y.shape) != expected:
            raise CannotRun("output", f"y is {list(y.shape)} for {rows} streams; expected {expected}")
        for record in records:
            v = outputs[record["output"]]
            if list(v.shape) != [rows, *record["shape"]]:
                raise CannotRun(record["layer"], f"{record['output']} is {list(v.shape)} for {rows} streams")
        after = self.group_states(outputs[record["output"]] for record in records)
        layer_spikes = {layer: outputs[spikes_name(layer)].reshape(self.chunk, rows, -1) for layer in self.layers}
        layers = {layer: {k: Observation({}, s=s[k]) for k in range(self.chunk)} for layer, s in layer_spikes.items()}
        for layer, state in after.items():
            s = layer_spikes[layer][-1] if layer in layer_spikes else None
            layers.setdefault(layer, {})[self.chunk - 1] = Observation(state, s=s)
        return Answer(y, layers)


class SlicedFile(Subject):
    """An ONNX file under test, which is cut into layers that run one at a time on given inputs.

    layers  the model's layers, in forward order
    Raises PlifError for a file that cannot be cut into them.
    """

    shows_spikes = tests_layers = True
    rows_steps = 4

    def __init__(self, model: onnx.ModelProto, card: Card, layers: list[str], label: str = "artifact") -> None:
        super().__init__(card, label)
        self.file, self.input, flush = model, card["graph"]["input"], should_flush(card, EngineOptions())
        if card["form"] not in ("step", "unrolled"):
            model = extract_step(model, label)
        open_file = open_with_outputs(model, [spikes_name(layer) for layer in layers], flush, label)
        self.whole, self.flush = WholeFile(open_file, card, layers, label), flush
        # (layer, variable) -> the tensors of the input state and of the output state
        self.state_tensors = {
            key: (r["input"], r["output"]) for key, r in zip(self.states, card["states"], strict=True)
        }
        self.variables = {layer: [name for key, name in self.states if key == layer] for layer in layers}
        steps = range(self.chunk)
        boundary = {self.input, *(spikes_name(layer) for layer in layers)}
        boundary |= {self.state_tensor(layer, name, k) for layer, name in self.states for k in range(self.chunk + 1)}
        boundary |= {self.spike_tensor(layer, k) for layer in layers for k in steps}
        self.slices = {}
        for layer in layers:
            after = [self.state_tensor(layer, name, k + 1) for name in self.variables[layer] for k in steps]
            outputs = [spikes_name(layer), *(self.h_tensor(layer, k) for k in steps), *after]
            # its own spikes are computed, not fed: a soft reset must subtract the file's own decisions
            computed = {spikes_name(layer), *(self.spike_tensor(layer, k) for k in steps)}
            computed |= {self.state_tensor(layer, name, self.chunk) for name in self.variables[layer]}
            self.slices[layer] = extract_slice(
                model, layer, outputs, boundary - computed, flush, f"{label}: layer {layer}"
            )
        self.output = extract_slice(model, "output", ["y"], boundary, flush, f"{label}: output")

    def run_call(self, x: Array, states: States) -> Answer:
        try:
            return self.runtime.run_call(x, states)
        except Exception as error:  # onnxruntime raises its own exception classes
            raise CannotRun("states", f"{CANNOT.format(x.shape[1])} ({' '.join(str(error).split())[:300]})") from None

    def run_single(self, x: Array, states: States) -> Answer:
        return self.whole.run_single(x, states)

    def with_card(self, card: Card) -> Subject:
        return WholeFile(self._plain_file, card, [], self.label)

    @cached_property
    def _plain_file(self) -> OpenFile:
        return open_model(self.file, self.flush, self.label)

    @cached_property
    def runtime(self) -> EngineSession:
        """The ONNX file under test, opened as a user opens it: by `runtime.load` for ONNX Runtime, with defaults.

        It needs no confined process, since this one runs the same file as slices.
        """
        with tempfile.TemporaryDirectory(prefix="plif-gate-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(self.file.SerializeToString(deterministic=True))
            options = EngineOptions(sha256=hash_artifact(path)[1])
            return EngineSession(open_unverified(path, self.card, "onnxruntime", options), self.label)

    def h_tensor(self, layer: str, k: int) -> str:
        """Return the name of the ONNX tensor of a layer's membrane before the reset, in step k of a call."""
        return f"{layer}.h.t{k}" if self.unrolled else f"{layer}.h"

    def spike_tensor(self, layer: str, k: int) -> str:
        """Return the name of the ONNX tensor of a layer's spikes in step k of a call."""
        return f"{layer}.s.t{k}" if self.unrolled else spikes_name(layer)

    def state_tensor(self, layer: str, variable: str, k: int) -> str:
        """Return the name of the ONNX tensor of a state variable before step k of a call.

        After the last step it is the name of the output state.
        """
        first, last = self.state_tensors[layer, variable]
        return first if k == 0 else last if k == self.chunk else f"{layer}.{variable}.t{k}"

    def run_forced(self, case: Case) -> Answer:
        tensors = {self.input: self.shape_input(case.x)}
        for layer, fired in case.spikes.items():
            tensors |= {self.spike_tensor(layer, k): s.astype(np.float32) for k, s in enumerate(fired)}
            tensors |= {spikes_name(layer): np.concatenate(fired).astype(np.float32)}
        for layer, states in case.before.items():
            for k, state in enumerate(states):
                tensors |= {self.state_tensor(layer, name, k): value for name, value in state.items()}
            last = case.expected[layer][self.chunk - 1].after
            tensors |= {self.state_tensor(layer, name, self.chunk): value for name, value in last.items()}
        layers = {layer: self._run_slice(layer, tensors) for layer in case.expected}
        if not case.y.size:
            return Answer(case.y, layers)
        y = self.output.run(tensors)["y"]
        if y.size != case.y.size:
            raise CannotRun("output", f"y is {list(y.shape)}; expected {list(case.y.shape)}")
        return Answer(y.reshape(case.y.shape), layers)  # the y of the step form has no axis for steps

    def _run_slice(self, layer: str, tensors: dict[str, Array]) -> dict[int, Observation]:
        """Run the ONNX nodes of one layer on known tensors; return the layer's values in each step of a call."""
        outputs = self.slices[layer].run(tensors)
        # [steps * rows, neurons of the layer]
        layer_spikes, shape = outputs[spikes_name(layer)], tensors[spikes_name(layer)].shape
        if layer_spikes.shape != shape:
            raise CannotRun(layer, f"its spikes are {list(layer_spikes.shape)}; expected {list(shape)}")
        return {
            k: Observation(
                {name: outputs[self.state_tensor(layer, name, k + 1)] for name in self.variables[layer]},
                outputs[self.h_tensor(layer, k)],
                s,
            )
            for k, s in enumerate(np.split(layer_spikes, self.chunk))
        }


def refuse_another_model(card: Card, reference: Reference, shape: list[int], label: str) -> None:
    """Refuse to test an artifact that was exported from another model, by its states or its input.

    shape  of the model's input
    Raises PlifError.
    """
    states, initial = {record_key(record): record for record in card["states"]}, reference.initial()
    for key in initial:
        if key not in states:
            raise PlifError(f"{label}: has no layer '{key}', which the model has; it was exported from another model")
    if shape != card["input"]["shape"]:
        raise PlifError(f"{label}: takes {card['input']['shape']}, the model {shape}; it is of another model")
    for key, record in states.items():
        expected = list(initial[key].shape[1:]) if key in initial else "nothing"
        if record["shape"] != expected:
            raise PlifError(
                f"{label}: state {record['name']} is {record['shape']}, the model's {expected}; it is of another model"
            )
