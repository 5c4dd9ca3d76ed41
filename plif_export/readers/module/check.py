"""The comparison of a module's own forward with the step program found, for as long as it will be run.

A sequence is run with the caller's own T, with LONG or more, and with one step more than that. A module of one step
is run for STEPS steps in a row. Each row of a batch of BATCHES rows must equal the row alone. The output is compared,
and the current, the spikes and the states of each layer of neurons. Neurons also get random currents on top of their
own, stronger and stronger until each layer has fired.

A layer of all steps at once adds its terms in another order than one step by itself: in a large network one spike in
millions then differs. So if the two differ, each neuron gets the module's own current, from which it must fire the
same spikes, and the layers before it must compute that current except for rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from plif_export.core.proof.reference import one_thread
from plif_export.core.readers.rules import REGISTER, Problem
from plif_export.readers.libraries.neurons import keeps_state
from plif_export.readers.module.body import NodeValues
from plif_export.readers.module.lower import ModuleReading
from plif_export.readers.module.regions import is_inside
from plif_export.readers.module.runs.original import Rollout, compare_with_copy, find_reset_leftovers, list_start_states
from plif_export.readers.module.runs.places import NO_CALL_SITES, strip_reshapes
from plif_export.readers.module.runs.sides import (
    ForwardMonitor,
    NoiseCurrents,
    RunValues,
    all_close,
    is_close,
    run_step_program,
    stack_rows,
)
from plif_export.readers.tracing.copies import preserve_module
from plif_export.readers.tracing.nodes import TraceNode

CHUNK = 8  # steps of a stream between comparisons
STEPS, LONG = 64, 32  # of a stream, and of a sequence, from reset
DRIVE_GAINS = (8.0, 64.0, 512.0)  # stronger random currents, in thresholds, for layers that did not fire with less
BATCHES, DISTINCT_ROWS = (2, 3, 10, 33), 3  # sizes of batches; number of different rows in each
LARGE_WEIGHTS, LARGE_NEURONS = 10_000_000, 100_000  # weights, neurons: a larger network is run for fewer steps


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


def compare_with_module(reading: ModuleReading, T: int | None = None, steps: int | None = None) -> ComparisonResult:
    """Compare a module's forward, over many steps and batch sizes, with the program found for one step.

    T: of the sequences that the module will get. steps: the number of steps to run at least.
    """
    with one_thread(), preserve_module(reading.form.module):
        return _ForwardCheck(reading, T, steps or 0).run()


class _DifferenceError(Exception):
    """The error for a module whose forward differs from the program found for its steps; holds rule and advice."""


class _ForwardCheck:
    def __init__(self, reading: ModuleReading, T: int | None, steps: int) -> None:
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
        self.input_range: list[float] = [0.0, 0.0]  # the range of all input numbers
        self.lengths: list[int] = []  # the numbers of steps of the runs

    def run(self) -> ComparisonResult:
        try:
            self._check_lengths()
            self._check_batches()
            if self.reading.original is not None:
                self.comparison.problems = compare_with_copy(self.reading.original, self.form, self.rollouts)
        except _DifferenceError as problem:
            return ComparisonResult([Problem("forward", type(self.form.module).__name__, *problem.args)])
        for name in self.silent:
            current = f"whatever current it was given (up to {DRIVE_GAINS[-1]:g} thresholds)"
            if name not in self.current_nodes and name not in self.hooked_paths:
                current = "and no current of its own could be given to it"
            self.comparison.notes.append(f"{name}: never fired, {current}; only its states were compared")
        final_states = self.reading.final_states
        states = {final_states[s.after] for s in self.program.states if s.after in final_states}
        self.comparison.notes += find_reset_leftovers(self.rollouts[0].monitor.module, self.form.copy(), states)
        self.comparison.untested = self.silent
        low, high = self.input_range
        lengths = ", ".join(map(str, sorted({*self.lengths})))
        run = f"{lengths} steps in a row" if self.form.kind == "step" else f"sequences of {lengths} steps"
        self.comparison.sampled = f"{run}, batches of {', '.join(map(str, BATCHES))}, input from {low:g} to {high:g}"
        readout = self.reading.readout
        if self.form.kind == "step" or readout.reduction not in ("sum", "mean") or not readout.folded:
            self.comparison.not_proved.append("that the outputs of all steps are added up")
        return self.comparison

    def _check_lengths(self) -> None:
        if self.form.kind == "step":
            run = _PairedRollout(self)
            for i, first in enumerate(range(0, self.steps, CHUNK)):
                run.advance(min(CHUNK, self.steps - first), float(i % 2))
            self.lengths = [self.steps]
            self.comparison.not_proved.append(f"more than {self.steps} steps in a row")
        else:
            run = _PairedRollout(self)
            run.advance(self.caller_T, 0.0)
            run.advance(min(self.caller_T, CHUNK), 1.0)
            _PairedRollout(self).advance(self.long_T, 1.0)
            _PairedRollout(self).advance(self.long_T + 1, 0.0)
            self.lengths = [self.caller_T, self.long_T, self.long_T + 1]
            *shorter, last = (str(T) for T in sorted({self.caller_T, self.long_T, self.long_T + 1}))
            self.comparison.not_proved.append(f"sequences of other lengths than {', '.join(shorter)} and {last}")
        for drive in DRIVE_GAINS:
            if self.silent:
                (run if self.form.kind == "step" else _PairedRollout(self)).advance(CHUNK, drive)

    def _check_batches(self) -> None:
        T, readout = self.batch_T, self.reading.readout
        axis = 0 if self.form.kind == "static" else 1
        x = self.make_input(T, DISTINCT_ROWS, seed=3)
        awake = [layer for name, layer in self.layers.items() if name not in self.silent]
        for drive in (1.0, *DRIVE_GAINS):
            noise = NoiseCurrents(self.make_noise(T, drive, DISTINCT_ROWS).nodes)
            alone_inputs = [(x.narrow(axis, r, 1), noise.select_row(r)) for r in range(DISTINCT_ROWS)]
            alone = [self.run_program(row, T, 0, None, row_noise) for row, row_noise in alone_inputs]
            if all(any(bool((ran.values[layer.spikes] != 0).any()) for ran in alone) for layer in awake):
                break
        for batch in BATCHES:
            rows = [r % DISTINCT_ROWS for r in range(batch)]
            watched, row_indices = ForwardMonitor(self.form), torch.tensor(rows)
            wide = NoiseCurrents({node: current.index_select(1, row_indices) for node, current in noise.nodes.items()})
            module_run = self.run_module(watched, x.index_select(axis, row_indices), T, wide, f"on a batch of {batch}")
            joint = stack_rows([alone[r] for r in rows], readout)
            if self.find_difference(joint, module_run) is None:
                continue
            for r, alone_row in enumerate(rows):
                module_row = module_run.select_rows([r], readout)
                row, row_noise = alone_inputs[alone_row]
                program_run = self.run_program(row, T, 0, None, row_noise, module_row)
                different = self.find_difference(program_run, module_row)
                if different is not None:
                    rule = f"row {r} of a batch of {batch} is not what it is alone (first in {different[0]})"
                    raise _DifferenceError(rule, "no row may depend on others, or on how many there are")

    def make_input(self, T: int, rows: int, seed: int, scale: float = 1.0) -> Tensor:
        """Make random input to compare a module with its step program; widen the recorded range of input values."""
        x = self.form.make_input(T, rows, seed, scale)
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
        call_sites = self.reading.call_sites if placed else NO_CALL_SITES
        try:
            nodes = self._list_compared_nodes()
            return watched.run(x, T, call_sites, nodes, noise, self.reading.readout, self.reading.output)
        except Exception as error:  # whatever the module's own Python raises when it runs
            message = " ".join(str(error).split())[:160]
            advice = "it must run with any number of steps, and of rows"
            raise _DifferenceError(f"its own forward fails {condition} ({message})", advice) from None

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
        module_values |= {
            node: module_run.values[node] for node in self.current_nodes.values() if node in module_run.values
        }
        return run_step_program(
            self.program, self.reading.readout, x, T, first, state, noise, self._list_compared_nodes(), self.by_path,
            self.reading.call_sites, module_values,
        )  # fmt: skip

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


class _PairedRollout:
    """A run of a module side by side with the program found for its steps, over consecutive steps or calls."""

    def __init__(self, check: _ForwardCheck) -> None:
        self.check, self.form = check, check.form
        self.rollout = Rollout(ForwardMonitor(check.form, check.neurons))
        check.rollouts.append(self.rollout)
        self.start: NodeValues = {}
        self.state: NodeValues | None = None
        self.first = self.calls = 0  # steps before, of a stream; calls before

    def advance(self, T: int, drive: float) -> None:
        """Run T more steps on a module and its step program side by side. Raises an error if they differ."""
        check, call_sites = self.check, self.check.reading.call_sites
        is_repeated = self.calls > 0 and self.form.kind != "step"
        placed = not is_repeated and self.first + T > call_sites.since
        seed, scale = int(drive) + self.calls, max(drive, 1.0)

        def make_x_and_noise() -> tuple[Tensor, NoiseCurrents]:
            return check.make_input(T, 1, seed, scale), check.make_noise(T, drive, placed=placed)

        def play(watched: ForwardMonitor) -> RunValues:
            x, noise = make_x_and_noise()
            return check.run_module(watched, x, T, noise, f"over {T} steps", placed)

        x, noise = make_x_and_noise()
        module_run = self.rollout.play(play)
        program_run = self._find_agreement(x, T, noise, module_run, is_repeated)
        if program_run is None:
            different = check.find_difference(check.run_program(x, T, self.first, self.state, noise), module_run)
            raise self._make_difference(different, is_repeated)
        if placed:
            self._check_call_counts(T)
        if (
            is_repeated
            and check.find_difference(check.run_program(x, T, self.first, None, noise), module_run) is not None
        ):
            note = "a call goes on from where the last one ended: reset it between samples"
            check.comparison.notes.append(f"{type(self.form.module).__name__}: {note}")
        if not drive and not self.calls:
            check.find_hooked_layers(program_run, module_run)
        fired = {name for name in check.silent if bool((program_run.values[check.layers[name].spikes] != 0).any())}
        check.silent = [name for name in check.silent if name not in fired]
        self.start, self.state, self.calls = program_run.start, program_run.state, self.calls + 1
        self.first += T if self.form.kind == "step" else 0

    def _find_agreement(
        self, x: Tensor, T: int, noise: NoiseCurrents, module_run: RunValues, is_repeated: bool
    ) -> RunValues | None:
        """Return a run of the step program, on its own currents or the module's, equal to the module's run, or None."""
        check, states = self.check, [self.state]
        if is_repeated and self.state is not None:
            final_states = check.reading.final_states
            states = list_start_states(check.program, self.form.module, final_states, self.start, self.state)
        for currents_from in (None, module_run):
            for state in states:
                program_run = check.run_program(x, T, self.first, state, noise, currents_from)
                if check.find_difference(program_run, module_run) is None:
                    return program_run
        return None

    def _make_difference(self, different: tuple[str, int | None] | None, is_repeated: bool) -> _DifferenceError:
        layer, t = different or ("its output", None)
        step = f"step {self.first + t}" if t is not None else "a step"
        second = ", in the second call," if is_repeated else ""
        rule = f"{step} of the module{second} is not what its layers make, one after the other (first in {layer})"
        return _DifferenceError(rule, f"it keeps a state that was not found. If it has a neuron of its own, {REGISTER}")

    def _check_call_counts(self, T: int) -> None:
        """Check that a module calls each PyTorch operation as often as its number of time-steps predicts."""
        for (path, name), (offset, per_step) in self.check.reading.call_sites.calls.items():
            expected, actual = offset + per_step * (self.first + T), self.rollout.monitor.calls[path, name]
            if expected != actual:
                calls = f"call {name}() {actual} times in {path or 'forward'}"
                rule = f"{self.first + T} steps {calls}, where its first steps would {expected} times"
                raise _DifferenceError(rule, "every step must do the same")
