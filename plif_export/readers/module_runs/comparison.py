"""A module's forward and the step program found for it, each run on the same input, and where they differ.

The output is compared, and the current, the spikes and the states of each layer of neurons. Neurons also get random
currents on top of their own.

A layer of all steps at once adds its terms in another order than one step by itself: in a large network one spike in
millions then differs. So if the two differ, each neuron gets the module's own current, from which it must fire the
same spikes, and the layers before it must compute that current except for rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from plif_export.core.readers.rules import Problem
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module_runs.original import Rollout
from plif_export.readers.module_runs.sides import (
    ForwardMonitor,
    NoiseCurrents,
    RunValues,
    all_close,
    is_close,
    run_step_program,
)
from plif_export.readers.step_program.body import NodeValues
from plif_export.readers.step_program.places import NO_CALL_SITES, strip_reshapes
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.step_program.regions import is_inside
from plif_export.readers.tracing.nodes import TraceNode
from runtime.core.base.progress import show_stage
from runtime.core.events import stimulus

CHUNK = 8  # steps of a stream between comparisons
STEPS, LONG = 64, 32  # of a stream, and of a sequence, from reset
BATCHES = (2, 3, 10, 33)
DISTINCT_ROWS = 3  # different rows in each batch
LARGE_WEIGHTS, LARGE_NEURONS = 10_000_000, 100_000  # weights, neurons: a larger network is run for fewer steps


class DifferenceError(Exception):
    """The error for a module whose forward differs from the program found for its steps; holds rule and advice."""


@dataclass
class ComparisonResult:
    """The result of comparing a module's forward with its step program (the operations found in one step).

    not_proved: cases that were not tried. untested: names of layers that never fired. sampled: the runs and inputs.
    """

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    sampled: str = ""


class ForwardComparison:
    """The two sides of a comparison of a module's forward with its step program, and what was run so far.

    T: of the sequences that the module will get. steps: the number of steps to run at least.
    """

    def __init__(self, reading: ModuleReading, T: int | None = None, steps: int = 0) -> None:
        self.reading, self.program, self.form = reading, reading.program, reading.form
        layers = {name: layer for name, layer in reading.layers.items() if layer.h is not None}
        self.layers = dict(sorted(layers.items(), key=lambda pair: pair[1].spikes.index))  # in the order of forward
        self.by_path = {layer.region.path: layer for layer in self.layers.values() if layer.region.path}
        stateful_paths = [path for path, part in self.form.module.named_modules() if keeps_state(part)]
        self.neurons = list(dict.fromkeys((*self.by_path, *stateful_paths)))
        large = sum(p.numel() for p in self.form.module.parameters()) > LARGE_WEIGHTS
        self.caller_T = T or self.form.T or CHUNK
        self.long_T = max(steps, self.caller_T, *([] if large else [LONG]))
        self.steps = max(steps, 2 * CHUNK if large else STEPS)
        neurons = sum(math.prod(layer.region.shape) for layer in self.layers.values())
        self.batch_T = 2 if large or neurons > LARGE_NEURONS else 4
        self.silent = [*self.layers]
        self.rollouts: list[Rollout] = []  # the runs of copies so far
        owned = {n for layer in self.layers.values() for n in layer.region.nodes}
        self.current_nodes: dict[str, TraceNode] = {}  # {layer: the node of its current, if its call site is known}
        for name, layer in self.layers.items():
            placed = (n for n in map(strip_reshapes, layer.inputs) if n in reading.call_sites.sites and n not in owned)
            if (node := next(placed, None)) is not None and node.dtype.is_floating_point:
                self.current_nodes[name] = node
        self.hooked_paths: dict[str, list[str]] = {}  # {layer with a hook: paths of submodules that get its current}
        self.comparison = ComparisonResult()
        self.stimuli: dict[tuple[int, int, int], Tensor] = {}  # the last one: {(steps, rows, seed): input}
        self.input_range: list[float] = [0.0, 0.0]  # the range of all input numbers
        self.lengths: list[int] = []  # the numbers of steps of the runs
        self.batches = list(BATCHES)
        self.program_runs: list[tuple[Tensor, RunValues]] = []  # the last input of the step program, and its run
        self.held_rows: set[int] = set()  # sizes of batches whose state the module holds from an earlier call

    def make_input(self, T: int, rows: int = 1, seed: int = 0, first: int = 0, scale: float = 1.0) -> Tensor:
        """Make the input of T steps from step `first` on, [T, B, ...], or an image [B, ...]; record its range.

        It is the stimulus of the gate: no event, one pixel, hot pixels, the largest counts, a silence, a burst.
        """
        steps = max(STEPS, first + T) if self.form.kind == "step" else max(T, 2 * CHUNK)
        key = (steps, rows, seed)
        if key not in self.stimuli:
            rng, shape = np.random.default_rng(seed), self.form.shape
            if self.form.kind == "static":
                x = stimulus.make_stress_images(1, rows, shape, None, rng)[0]
            else:
                x = stimulus.make_stress_frames(steps, rows, shape, None, rng)
            self.stimuli = {key: torch.from_numpy(x)}
        x, first = self.stimuli[key], first if self.form.kind == "step" else 5 * seed % (steps - T + 1)
        x = (x if self.form.kind == "static" else x[first : first + T]) * scale
        self.input_range = [min(self.input_range[0], float(x.min())), max(self.input_range[1], float(x.max()))]
        return x

    def make_noise(self, T: int, drive: float, rows: int = 1, placed: bool = True) -> NoiseCurrents:
        """Make random currents to add to the inputs of neuron layers, in size about `drive` times the threshold."""
        noise = NoiseCurrents()
        for number, (name, layer) in enumerate(self.layers.items() if drive else ()):
            generator = torch.Generator().manual_seed(number)
            node = self.current_nodes.get(name) if placed else None
            if node is not None or name in self.hooked_paths:
                shape = (node or layer.inputs[0]).shape[1:]
                current = (torch.randn((T, rows, *shape), generator=generator) + 0.25) * drive * layer.threshold
                if node is not None:
                    noise.nodes.setdefault(node, current)
                else:
                    noise.paths |= dict.fromkeys(self.hooked_paths[name], current)
        return noise

    def find_hooked_layers(self, program_run: RunValues, module_run: RunValues) -> None:
        """Find the neuron layers whose input a hook on their submodule, or submodules of equal values, can change."""
        for path, layer in self.by_path.items():
            name = next(name for name, named in self.layers.items() if named is layer)
            current = module_run.currents.get(path, [])
            program_current = program_run.values.get(layer.inputs[0]) if len(layer.inputs) == 1 else None
            if program_current is not None and current and all_close([program_current], current):
                free_paths = [free_path for free_path in self.neurons if free_path not in self.by_path]
                currents, spikes = module_run.currents, module_run.spikes
                self.hooked_paths[name] = [path] + [
                    free_path for free_path in free_paths
                    if all_close(current, currents.get(free_path, [])) and all_close(spikes[path], spikes.get(free_path, []))
                ]  # fmt: skip

    def run_module(
        self, watched: ForwardMonitor, x: Tensor, T: int, noise: NoiseCurrents, condition: str, placed: bool = True
    ) -> RunValues:
        """Run the forward of the module under comparison on x [T, B, ...] or an image [B, ...]; record values."""
        show_stage(f"reading the module: running it {condition}")
        call_sites = self.reading.call_sites if placed else NO_CALL_SITES
        try:
            nodes = self._list_compared_nodes()
            return watched.run(x, T, call_sites, nodes, noise, self.reading.readout, self.reading.output)
        except Exception as error:  # whatever the module's own Python raises when it runs
            message = " ".join(str(error).split())[:160]
            advice = "it must run with any number of steps, and of rows"
            raise DifferenceError(f"its own forward fails {condition} ({message})", advice) from None

    def run_program(
        self, x: Tensor, T: int, first: int, state: NodeValues | None, noise: NoiseCurrents,
        module_run: RunValues | None = None,
    ) -> RunValues:  # fmt: skip
        """Run a module's step program on x [T, 1, ...] or an image; neurons get the currents of `module_run`."""
        module_run, module_values = module_run or RunValues(), dict[TraceNode, Tensor]()
        for path, layer in self.by_path.items():
            current = module_run.currents.get(path, [])
            shape = (T, 1, *layer.inputs[0].shape[1:]) if layer.inputs else ()
            if current and len(layer.inputs) == 1 and sum(x_t.numel() for x_t in current) == math.prod(shape):
                module_values[layer.inputs[0]] = torch.stack(current).reshape(shape)
        for node in self.current_nodes.values():
            if node in module_run.values:  # of the last steps only, and before noise is added
                last = module_run.values[node]
                before = module_values[node][: T - len(last)] if node in module_values else last[:0]
                module_values[node] = torch.cat((before.reshape(-1, *last.shape[1:]), last))
        return run_step_program(
            self.program, self.reading.readout, x, T, first, state, noise, self._list_compared_nodes(), self.by_path,
            self.reading.call_sites, module_values,
        )  # fmt: skip

    def compute_output(self, x: Tensor, T: int) -> Tensor:
        """Compute the output of the step program for one row, x [T, 1, ...] or an image, from reset.

        Of the beginning of an input that it ran before, the outputs of the steps are combined again.
        """
        known = next((run for data, run in self.program_runs if _is_beginning(x, data, self.form.kind)), None)
        if known is None or len(known.outputs) < T:
            known = self.run_program(x, T, 0, None, NoiseCurrents())
            self.program_runs = [(x, known)]
        readout, image = self.reading.readout, x if self.program.image else None
        constants = self.program.fold_constants(1, image, readout.tail, readout.reduced)
        return readout.combine_steps(known.outputs[:T], constants, 1)

    def check_rows(self, module_run: RunValues, inputs: list[tuple[Tensor, NoiseCurrents]], T: int) -> None:
        """Check that each row of a module's run is what the program gives on that row and the module's currents.

        inputs: of each row, [T, 1, ...] or an image [1, ...], and its noise. Raises DifferenceError.
        """
        for r, (row, row_noise) in enumerate(inputs):
            module_row = module_run.select_rows([r], self.reading.readout)
            module_row.currents = self._select_currents(module_run, r)
            program_run = self.run_program(row, T, 0, None, row_noise, module_row)
            different = self.find_difference(program_run, module_row)
            if different is not None:
                rule = f"row {r} of a batch of {len(inputs)} is not what it is alone (first in {different[0]})"
                raise DifferenceError(rule, "no row may depend on others, or on how many there are")

    def _select_currents(self, module_run: RunValues, r: int) -> dict[str, list[Tensor]]:
        """Return the recorded currents of one row, by path, where neurons got tensors [B, ...] or [T, B, ...]."""
        axes = {path: len(layer.inputs[0].shape) for path, layer in self.by_path.items() if len(layer.inputs) == 1}
        return {
            path: [x.narrow(x.dim() - axes[path], r, 1) for x in current]
            for path, current in module_run.currents.items()
            if path in axes and all(x.dim() - axes[path] in (0, 1) for x in current)
        }

    def watch_copy(self, x: Tensor, T: int) -> Tensor:
        """Run a monitored copy of the module on x [T, B, ...], check each of its rows, and return its output."""
        axis = 0 if self.form.kind == "static" else 1
        rows, still = [x.narrow(axis, r, 1) for r in range(x.shape[axis])], NoiseCurrents()
        module_run = self.run_module(ForwardMonitor(self.form, self.neurons), x, T, still, f"over {T} steps")
        self.check_rows(module_run, [(row, still) for row in rows], T)
        return module_run.y

    def _list_compared_nodes(self) -> list[TraceNode]:
        """List the nodes whose values a comparison of module and step program checks: currents, states, spikes."""
        return [node for name in self.layers for node in self._list_layer_nodes(name)]

    def _list_layer_nodes(self, name: str) -> list[TraceNode]:
        layer, current = self.layers[name], [self.current_nodes[name]] if name in self.current_nodes else []
        return [*current, *layer.inputs[:1], *(s.after for s in layer.variables.values()), layer.spikes]

    def find_difference(self, program_run: RunValues, module_run: RunValues) -> tuple[str, int | None] | None:
        """Return where the runs of a module and of its step program first differ: (layer or output, step), or None."""
        differ: list[tuple[str, int | None]] = []
        for name, layer in self.layers.items():
            path = layer.region.path or name
            nodes = [node for node in self._list_layer_nodes(name) if node in module_run.values]
            pairs = [(program_run.values[node], module_run.values[node]) for node in nodes]
            # the spikes that the submodule itself returned; spikes of any size count as spikes
            module_spikes = module_run.spikes.get(path, []) if is_inside(layer.spikes.path, path) else []
            spikes, module_size = program_run.values[layer.spikes], sum(entry.numel() for entry in module_spikes)
            if layer.spikes not in module_run.values and module_size == spikes.numel():
                pairs.append((spikes != 0, torch.stack(module_spikes).reshape(spikes.shape) != 0))
            for program_values, module_values in pairs:
                wrong = ~is_close(program_values[-len(module_values) :], module_values).flatten(1).all(1)
                if bool(wrong.any()):
                    differ.append((name, len(program_values) - len(module_values) + int(wrong.int().argmax())))
        y, comparable = module_run.y, program_run.y.numel() == module_run.y.numel()
        if not comparable or not bool((is_equal := is_close(program_run.y.reshape(y.shape), y)).all()):
            stacked = comparable and self.reading.readout.reduction == "stack"
            differ.append(("its output", int((~is_equal).flatten(1).any(1).int().argmax()) if stacked else None))
        return min(differ, key=lambda entry: math.inf if entry[1] is None else entry[1], default=None)


def _is_beginning(x: Tensor, whole: Tensor, kind: str) -> bool:
    """Return whether an input [T, B, ...] is the beginning of another, or the same image."""
    return torch.equal(x, whole if kind == "static" else whole[: len(x)])
