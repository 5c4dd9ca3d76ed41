"""Runs of the two sides of a comparison: the module's own forward, and the step program, with the same noise.

Noise is random current on top of a network's own. It is added to the value that a layer of neurons reads, at its call
site in the module (places.py). If no call site is known, it is added to the input of the submodule, and to the
operands of its operations.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from plif_export.readers.step_program.body import NodeValues, StepProgram
from plif_export.readers.step_program.neuron_program import NeuronLayer
from plif_export.readers.step_program.places import CallSite, CallSites, Key, call_name
from plif_export.readers.step_program.readout import Readout
from plif_export.readers.tracing.copies import CallStack, run_uncompiled
from plif_export.readers.tracing.forms import CallForm, list_tensors
from plif_export.readers.tracing.nodes import Argument, Overload, TraceNode, as_outputs, op_name
from plif_export.readers.unseen_state import looks


@dataclass
class NoiseCurrents:
    """Random currents that a comparison run adds to the inputs of a network's layers of neurons.

    nodes: {node: current [T, rows, ...]}. paths: {path of the submodule that alone gets it: current [T, 1, ...]}.
    """

    nodes: NodeValues = field(default_factory=dict)
    paths: dict[str, Tensor] = field(default_factory=dict)

    def select_row(self, r: int) -> NoiseCurrents:
        return NoiseCurrents({node: current[:, r : r + 1] for node, current in self.nodes.items()})


@dataclass
class RunValues:
    """The recorded values of a network's run over some time-steps: output, nodes, currents, spikes, states.

    y: the output. values: of nodes, [T, B, ...], or of the last steps only.
    currents, spikes: inputs and outputs of submodules, by path (run of the module).
    start, state: the states after a reset, and after the steps (run of the step program).
    outputs: of each step of the step program, [1, ...].
    """

    y: Tensor = field(default_factory=lambda: torch.zeros(0))
    values: NodeValues = field(default_factory=dict)
    currents: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    spikes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    outputs: list[Tensor] = field(default_factory=list)
    start: NodeValues = field(default_factory=dict)
    state: NodeValues = field(default_factory=dict)

    def select_rows(self, rows: Sequence[int], readout: Readout) -> RunValues:
        """Return the recorded values of a network's run for some rows (samples) of its batch."""
        indices = torch.tensor(rows)
        return RunValues(
            self.y.index_select(int(readout.reduction == "stack"), indices),
            {node: value.index_select(1, indices) for node, value in self.values.items()},
        )


Checksums: TypeAlias = "list[tuple[torch.Size, int]]"  # shapes and checksums of the outputs of an operation
LARGE = 4096  # bytes of a tensor, from which on a faster checksum is used


class ForwardMonitor(TorchDispatchMode):
    """A monitor that runs a PyTorch module, records the values of its neuron layers, and can add noise.

    It runs a copy, unless a module is given. calls: the number of calls of each kind. bits: of the outputs of each
    operation that is no view. target: the number of such an operation, for which `target_line` gets the call of the
    module and the source line.
    """

    def __init__(
        self, form: CallForm, submodules: Iterable[str] = (), module: nn.Module | None = None, target: int | None = None
    ) -> None:
        TorchDispatchMode.__init__(self)
        self.form, self.module, self.passed = form, module or form.copy(), list[object]()
        self.submodules, self.target, self.call_count, self.target_line = (
            tuple(submodules),
            target,
            0,
            (0, "at its end"),
        )
        self.bits: list[Checksums] = []
        self.values, self.noise, self.T, self.batch, self.first = RunValues(), NoiseCurrents(), 0, 1, 0
        self.paths = CallStack(self.module).paths
        self.calls: Counter[Key] = Counter()
        self.call_sites: dict[tuple[Key, int], list[tuple[CallSite, int]]] = {}
        self.recorded: dict[TraceNode, list[Tensor]] = {}
        self.module.register_forward_pre_hook(self._count_call)
        for path in self.submodules:
            part = self.module.get_submodule(path)
            part.register_forward_pre_hook(lambda m, a, p=path: self._add_input_noise(p, a))
            part.register_forward_hook(lambda m, a, o, p=path: self._record_output(p, o), always_call=True)

    def run(
        self,
        x: Tensor,
        T: int,
        call_sites: CallSites,
        shown: Iterable[TraceNode],
        noise: NoiseCurrents,
        readout: Readout,
        output: int,
    ) -> RunValues:
        """Run the monitored module for T more steps on x [T, B, ...] or an image; return the recorded values.

        shown: nodes whose values are recorded, if their call sites are known.
        """
        self.values, self.noise, self.T = RunValues(), noise, T
        self.batch = x.shape[0 if self.form.kind == "static" else 1]
        self.call_sites, self.recorded = defaultdict(list), defaultdict(list)
        for site in (call_sites.sites[node] for node in dict.fromkeys(shown) if node in call_sites.sites):
            for t in [0] if site.is_all_steps else range(max(site.since - self.first, 0), T):
                self.call_sites[site.key, site.index(self.first + t, T)].append((site, t))
        with self.form.set_length(T), torch.inference_mode(), run_uncompiled(), self:
            out = self.form.make_call(T, self.passed)(self.module, self.form.arrange_input(x))
        if self.form.kind == "step":
            self.first += T
        y = list_tensors(out)[output]
        self.values.y = y.movedim(readout.axis, 0)[readout.lead :] if readout.reduction == "stack" else y
        self.values.values = {node: torch.cat(parts) for node, parts in self.recorded.items()}
        return self.values

    def _count_call(self, module: nn.Module, args: object) -> None:
        self.call_count += 1

    def _add_input_noise(self, path: str, args: tuple[object, ...]) -> tuple[object, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        t, x = len(self.values.spikes[path]), args[0]
        self.values.currents[path].append(x.clone())
        if path in self.noise.paths:  # a submodule may get the batch joined with other axes, or all steps
            noise = self.noise.paths[path]
            with _disable_current_modes():  # operations of the module are counted, and this one is the monitor's
                x = x + (noise[t] if x.numel() == noise[0].numel() else noise).reshape(x.shape)
        return (x, *args[1:])

    def _record_output(self, path: str, out: object) -> None:
        self.values.spikes[path] += [first.clone() for first in list_tensors(out)[:1]]

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        if _writes_numbers(func):
            if len(self.bits) == self.target:
                self.target_line = self.call_count, f"{op_name(func)}, {looks.find_source_line()}"
            self.bits.append([_checksum(output) for output in as_outputs(out) if isinstance(output, Tensor)])
        key = (self.paths[-1], call_name(func))
        due = self.call_sites.get((key, self.calls[key]), ())
        self.calls[key] += 1
        outputs = list(as_outputs(out)) if due else []
        for site, t in due:
            value = outputs[site.origin.part]
            assert isinstance(value, Tensor)
            self.recorded[site.node].append(site.extract_values(value, self.T, self.batch).clone())
            noise = self.noise.nodes.get(site.node)
            if noise is not None:
                current = site.pack_values(noise if site.is_all_steps else noise[t : t + 1], value, self.batch)
                outputs[site.origin.part] = value.add_(current) if value is args[0] else value + current
        return out if not due else outputs[0] if isinstance(out, Tensor) else tuple(outputs)


@cache
def _writes_numbers(func: Overload) -> bool:
    """Return whether a PyTorch operation computes numbers: it is no view, and not like torch.empty."""
    views = any(returned.alias_info and not returned.alias_info.is_write for returned in func._schema.returns)
    return not views and "empty" not in op_name(func)


def _checksum(tensor: Tensor) -> tuple[torch.Size, int]:
    """Return the shape of a tensor [...] and a checksum of its bits."""
    try:
        values = np.ascontiguousarray(tensor.cpu().numpy())
    except (TypeError, RuntimeError):  # a type or a layout that NumPy does not have
        return tensor.shape, zlib.crc32(repr(tensor.tolist()).encode()) if tensor.layout is torch.strided else 0
    if values.nbytes < LARGE or values.nbytes % 8:
        return tensor.shape, zlib.crc32(values.data)
    words = values.reshape(-1).view(np.uint64)
    return tensor.shape, hash((int(words.sum()), int(words[::7].sum())))  # as fast as memory is read


def is_close(y: Tensor, reference: Tensor) -> Tensor:
    """Compare values [...] up to the rounding error of sums in another order: bool [...]."""
    equal = y == reference
    if bool(equal.all()):
        return equal
    y, reference = y.float(), reference.float()
    size = reference.abs()  # in place, because the tensors are large
    largest = float(size.max())
    largest = largest if math.isfinite(largest) else float(size.nan_to_num().max())
    equal |= (y - reference).abs_() <= size.mul_(1e-4).add_(1e-5 * max(largest, 1.0))
    return equal | (y.isnan() & reference.isnan()) if math.isnan(float(reference.sum())) else equal


def all_close(a: list[Tensor], b: list[Tensor]) -> bool:
    """Return whether two lists of tensors [...] hold the same values, except for rounding."""
    if not a or not b:
        return False
    flat_a, flat_b = torch.stack(a).reshape(-1), torch.stack(b).reshape(-1)
    return flat_a.shape == flat_b.shape and bool(is_close(flat_a, flat_b).all())


def stack_rows(rows: list[RunValues], readout: Readout) -> RunValues:
    """Join the recorded values of runs with one sample each into those of one run with all samples as a batch."""
    axis = int(readout.reduction == "stack")
    values = {node: torch.cat([row.values[node] for row in rows], 1) for node in rows[0].values}
    return RunValues(torch.cat([row.y for row in rows], axis), values)


def run_step_program(
    program: StepProgram, readout: Readout, x: Tensor, T: int, first: int, state: NodeValues | None, noise: NoiseCurrents,
    shown: Iterable[TraceNode], inputs: Mapping[str, NeuronLayer], call_sites: CallSites, module_values: NodeValues,
) -> RunValues:  # fmt: skip
    """Run a module's step program for T steps, from number `first` on, on x [T, 1, ...] or an image [1, ...].

    state: the states before the steps; None: those after a reset. inputs: {path of a submodule that gets noise: its
    layer}. module_values: {node: its values in the module, [T, 1, ...] or of the last steps}, which replace the
    program's if they are close.
    """
    image = x if program.image else None
    constants = program.fold_constants(1, image, readout.tail, readout.reduced)
    start = program.initial_states(constants, 1)
    run, recorded = (
        RunValues(start=start, state=start if state is None else state),
        defaultdict[TraceNode, list[Tensor]](list),
    )
    outputs: list[Tensor] = []
    shown_nodes = set(shown)
    for t in range(T):
        placed = {
            node: current[t] for node, current in noise.nodes.items() if first + t >= call_sites.sites[node].since
        }
        added = {
            n: (layer.inputs[0], noise.paths[path][t])
            for path, layer in inputs.items() for n in layer.region.nodes
            if path in noise.paths and layer.inputs[0] in n.reads
        }  # fmt: skip
        overrides = {
            node: node_values[t - T] for node, node_values in module_values.items() if t >= T - len(node_values)
        }

        def replace_value(
            node: TraceNode, value: Tensor, overrides: NodeValues = overrides, placed: NodeValues = placed
        ) -> Tensor:
            if node in overrides and bool(is_close(value, overrides[node]).all()):
                value = overrides[node]
            if node in shown_nodes:
                recorded[node].append(value)
            return value + placed[node] if node in placed else value

        values = program.run_step(constants, run.state, image if image is not None else x[t], 1, added, replace_value)
        run.state = program.next_states(values)
        outputs.append(readout.compute_step_output(values, 1))
    run.values = {node: torch.stack(steps) for node, steps in recorded.items()}
    run.y, run.outputs = readout.combine_steps(outputs, constants, 1), outputs
    return run
