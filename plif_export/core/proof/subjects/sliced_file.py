"""An ONNX file as a subject of the gate: a slice for each layer, one for the output, the whole file, and the runtime's session.

Each layer's slice gets the reference's spikes and the reference's states, so that one flip cannot excuse the next. The whole
file, with the spikes of its layers as further outputs, runs on its own. The runtime opens it as it opens any file, with its
defaults, and steps several streams beside each other.
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
from plif_export.core.proof.subjects.slices import CannotRun, OpenFile, cut, open_model, step_model, with_outputs
from plif_export.core.proof.subjects.subject import Answer, Case, EngineSession, States, Subject
from runtime.core.api import open_as_it_is
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import flushes
from runtime.core.model.card import Card, output_shape
from runtime.core.model.graph import key_of, spikes

CANNOT = "the whole file cannot run {} streams"


class WholeFile(Subject):
    """The file as it is, opened. layers: those whose spikes it shows, as further outputs."""

    def __init__(self, file: OpenFile, card: Card, layers: list[str], where: str) -> None:
        super().__init__(card, where)
        self.file, self.layers, self.input = file, layers, card["graph"]["input"]

    def call(self, x: Array, states: States) -> Answer:
        rows, records = x.shape[1], self.card["states"]
        names = ["y", *(record["output"] for record in records), *(spikes(layer) for layer in self.layers)]
        feed = {self.input: self.inputs(x)}
        feed |= {r["input"]: states[layer][name] for r, (layer, name) in zip(records, self.states, strict=True)}
        found = self.file.run(names, feed, "states", CANNOT.format(rows))
        y = found["y"] if self.unrolled else found["y"][None]
        expected = [self.chunk, rows, *output_shape(self.card)]
        if list(y.shape) != expected:
            raise CannotRun("output", f"y is {list(y.shape)} for {rows} streams; expected {expected}")
        for record in records:
            v = found[record["output"]]
            if list(v.shape) != [rows, *record["shape"]]:
                raise CannotRun(record["layer"], f"{record['output']} is {list(v.shape)} for {rows} streams")
        after = self.by_layer(found[record["output"]] for record in records)
        fired = {layer: found[spikes(layer)].reshape(self.chunk, rows, -1) for layer in self.layers}
        layers = {layer: {k: Observation({}, s=s[k]) for k in range(self.chunk)} for layer, s in fired.items()}
        for layer, state in after.items():
            s = fired[layer][-1] if layer in fired else None
            layers.setdefault(layer, {})[self.chunk - 1] = Observation(state, s=s)
        return Answer(y, layers)


class SlicedFile(Subject):
    """The file, or the step that is in it, in slices. layers: the model's, in forward order. Raises PlifError for a file
    that cannot be cut into them."""

    shows_spikes = asks_layers = True
    rows_steps = 4

    def __init__(self, model: onnx.ModelProto, card: Card, layers: list[str], where: str = "artifact") -> None:
        super().__init__(card, where)
        self.file, self.input, flush = model, card["graph"]["input"], flushes(card, EngineOptions())
        if card["form"] not in ("step", "unrolled"):
            model = step_model(model, where)
        shown = with_outputs(model, [spikes(layer) for layer in layers], flush, where)
        self.whole, self.flush = WholeFile(shown, card, layers, where), flush
        # (layer, variable) -> the tensors of the state that comes in and of the one that goes out
        self.ends = {key: (r["input"], r["output"]) for key, r in zip(self.states, card["states"], strict=True)}
        self.variables = {layer: [name for own, name in self.states if own == layer] for layer in layers}
        steps = range(self.chunk)
        boundary = {self.input, *(spikes(layer) for layer in layers)}
        boundary |= {self.state(layer, name, k) for layer, name in self.states for k in range(self.chunk + 1)}
        boundary |= {self.fired(layer, k) for layer in layers for k in steps}
        self.slices = {}
        for layer in layers:
            after = [self.state(layer, name, k + 1) for name in self.variables[layer] for k in steps]
            outputs = [spikes(layer), *(self.h(layer, k) for k in steps), *after]
            # its own spikes are not given: a soft reset subtracts what the file's comparison said, not the reference's
            own = {spikes(layer), *(self.fired(layer, k) for k in steps)}
            own |= {self.state(layer, name, self.chunk) for name in self.variables[layer]}
            self.slices[layer] = cut(model, layer, outputs, boundary - own, flush, f"{where}: layer {layer}")
        self.output = cut(model, "output", ["y"], boundary, flush, f"{where}: output")

    def call(self, x: Array, states: States) -> Answer:
        try:
            return self.runtime.call(x, states)
        except Exception as error:  # onnxruntime raises a family of its own
            raise CannotRun("states", f"{CANNOT.format(x.shape[1])} ({' '.join(str(error).split())[:120]})") from None

    def alone(self, x: Array, states: States) -> Answer:
        return self.whole.alone(x, states)

    def with_card(self, card: Card) -> Subject:
        return WholeFile(self._as_it_is, card, [], self.where)

    @cached_property
    def _as_it_is(self) -> OpenFile:
        return open_model(self.file, self.flush, self.where)

    @cached_property
    def runtime(self) -> EngineSession:
        """The file as `runtime.load` opens it for ONNX Runtime, with its own defaults."""
        with tempfile.TemporaryDirectory(prefix="plif-gate-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(self.file.SerializeToString(deterministic=True))
            return EngineSession(open_as_it_is(path, self.card, "onnxruntime", EngineOptions()), self.where)

    def h(self, layer: str, k: int) -> str:
        """The tensor of the membrane before the reset, in step k of a call."""
        return f"{layer}.h.t{k}" if self.unrolled else f"{layer}.h"

    def fired(self, layer: str, k: int) -> str:
        """The tensor of the spikes of step k of a call alone."""
        return f"{layer}.s.t{k}" if self.unrolled else spikes(layer)

    def state(self, layer: str, variable: str, k: int) -> str:
        """The tensor of a state variable before step k of a call; after the last step it is the state that goes out."""
        first, last = self.ends[layer, variable]
        return first if k == 0 else last if k == self.chunk else f"{layer}.{variable}.t{k}"

    def forced(self, case: Case) -> Answer:
        known = {self.input: self.inputs(case.x)}
        for layer, fired in case.spikes.items():
            known |= {self.fired(layer, k): s.astype(np.float32) for k, s in enumerate(fired)}
            known |= {spikes(layer): np.concatenate(fired).astype(np.float32)}
        for layer, states in case.before.items():
            for k, state in enumerate(states):
                known |= {self.state(layer, name, k): value for name, value in state.items()}
            last = case.expected[layer][self.chunk - 1].after
            known |= {self.state(layer, name, self.chunk): value for name, value in last.items()}
        layers = {layer: self._layer(layer, known) for layer in case.expected}
        if not case.y.size:
            return Answer(case.y, layers)
        y = self.output.run(known)["y"]
        if y.size != case.y.size:
            raise CannotRun("output", f"y is {list(y.shape)}; expected {list(case.y.shape)}")
        return Answer(y.reshape(case.y.shape), layers)  # the y of the step form has no axis for steps

    def _layer(self, layer: str, known: dict[str, Array]) -> dict[int, Observation]:
        """A layer's slice on the tensors that are known: what the layer did in each step of the call."""
        found = self.slices[layer].run(known)
        fired, shape = found[spikes(layer)], known[spikes(layer)].shape  # [steps * rows, neurons of the layer]
        if fired.shape != shape:
            raise CannotRun(layer, f"its spikes are {list(fired.shape)}; expected {list(shape)}")
        return {
            k: Observation(
                {name: found[self.state(layer, name, k + 1)] for name in self.variables[layer]},
                found[self.h(layer, k)],
                s,
            )
            for k, s in enumerate(np.split(fired, self.chunk))
        }


def refuse_another_model(card: Card, reference: Reference, shape: list[int], where: str) -> None:
    """Raises PlifError for a file of another model, before anything runs: its states or its input then differ.

    shape  of the model's input
    """
    states, initial = {key_of(record): record for record in card["states"]}, reference.initial()
    for key in initial:
        if key not in states:
            raise PlifError(f"{where}: has no layer '{key}', which the model has; it was exported from another model")
    if shape != card["input"]["shape"]:
        raise PlifError(f"{where}: takes {card['input']['shape']}, the model {shape}; it is of another model")
    for key, record in states.items():
        wanted = list(initial[key].shape[1:]) if key in initial else "nothing"
        if record["shape"] != wanted:
            raise PlifError(
                f"{where}: state {record['name']} is {record['shape']}, the model's {wanted}; it is of another model"
            )
