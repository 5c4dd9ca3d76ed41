"""The two sides of a comparison: the module's own forward, and the program of a step that was read of it, with the same noise.

Noise is random current on top of a network's own. It is added to the value that a layer of neurons reads, where the module makes
that (places.py); where no place is known, to what reaches the submodule, and to what its operations read of it.
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

from plif_export.readers.module.body import StepProgram, Values
from plif_export.readers.module.neuron_program import NeuronLayer
from plif_export.readers.module.readout import Readout
from plif_export.readers.module.runs.places import CallPlace, CallPlaces, Key
from plif_export.readers.tracing.copies import Calls
from plif_export.readers.tracing.forms import Form, tensors_in
from plif_export.readers.tracing.nodes import Argument, Overload, TraceNode, op_name
from plif_export.readers.tracing.record import parts_of
from plif_export.readers.unseen_state import looks


@dataclass
class Added:
    """{the node to whose value it is added: [T, rows, ...]}, and {path of the submodule that alone gets it: [T, 1, ...]}."""

    nodes: Values = field(default_factory=dict)
    paths: dict[str, Tensor] = field(default_factory=dict)

    def row(self, r: int) -> Added:
        return Added({node: more[:, r : r + 1] for node, more in self.nodes.items()})


@dataclass
class Ran:
    """Some steps. y: the output; values: of nodes, [T, B, ...], or of the last steps only.

    currents, spikes  of the module: what reached submodules and left them, by path
    start, state      of what was read: the states after a reset, and after the steps
    """

    y: Tensor = field(default_factory=lambda: torch.zeros(0))
    values: Values = field(default_factory=dict)
    currents: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    spikes: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    start: Values = field(default_factory=dict)
    state: Values = field(default_factory=dict)

    def rows(self, rows: Sequence[int], readout: Readout) -> Ran:
        """Some rows of a batch."""
        of = torch.tensor(rows)
        return Ran(
            self.y.index_select(int(readout.how == "stack"), of),
            {node: value.index_select(1, of) for node, value in self.values.items()},
        )


Bits: TypeAlias = "list[tuple[torch.Size, int]]"  # of the tensors that an operation made: shapes, checksums
LARGE = 4096  # bytes


class Watched(TorchDispatchMode):
    """Runs a module, a copy unless it is given, notes what its layers of neurons do, and adds noise.

    calls   how many there were of each kind
    bits    of what each operation made that is no view
    wanted  the number of such an operation, whose call of the module and line are noted: `seen`
    """

    def __init__(
        self, form: Form, submodules: Iterable[str] = (), module: nn.Module | None = None, wanted: int | None = None
    ) -> None:
        TorchDispatchMode.__init__(self)
        self.form, self.module, self.passed = form, module or form.copy(), list[object]()
        self.submodules, self.wanted, self.begun, self.seen = tuple(submodules), wanted, 0, (0, "at its end")
        self.bits: list[Bits] = []
        self.ran, self.noise, self.T, self.batch, self.first = Ran(), Added(), 0, 1, 0
        self.paths = Calls(self.module).paths
        self.calls: Counter[Key] = Counter()
        self.due: dict[tuple[Key, int], list[tuple[CallPlace, int]]] = {}
        self.parts: dict[TraceNode, list[Tensor]] = {}
        self.module.register_forward_pre_hook(self._begin)
        for path in self.submodules:
            part = self.module.get_submodule(path)
            part.register_forward_pre_hook(lambda m, a, p=path: self._before(p, a))
            part.register_forward_hook(lambda m, a, o, p=path: self._after(p, o), always_call=True)

    def run(
        self,
        x: Tensor,
        T: int,
        places: CallPlaces,
        shown: Iterable[TraceNode],
        noise: Added,
        readout: Readout,
        output: int,
    ) -> Ran:
        """T more steps, on x [T, B, ...] or an image [B, ...]. shown: nodes whose values are noted, where places are known."""
        self.ran, self.noise, self.T = Ran(), noise, T
        self.batch = x.shape[0 if self.form.kind == "static" else 1]
        self.due, self.parts = defaultdict(list), defaultdict(list)
        for place in (places.of[node] for node in dict.fromkeys(shown) if node in places.of):
            for t in [0] if place.whole else range(max(place.since - self.first, 0), T):
                self.due[place.key, place.index(self.first + t, T)].append((place, t))
        with self.form.during(T), torch.inference_mode(), self:
            out = self.form.forward(T, self.passed)(self.module, self.form.arranged(x))
        if self.form.kind == "step":
            self.first += T
        y = tensors_in(out)[output]
        self.ran.y = y.movedim(readout.axis, 0)[readout.lead :] if readout.how == "stack" else y
        self.ran.values = {node: torch.cat(parts) for node, parts in self.parts.items()}
        return self.ran

    def _begin(self, module: nn.Module, args: object) -> None:
        self.begun += 1

    def _before(self, path: str, args: tuple[object, ...]) -> tuple[object, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        t, x = len(self.ran.spikes[path]), args[0]
        self.ran.currents[path].append(x.clone())
        if path in self.noise.paths:  # a submodule may join the batch with other axes, or get all steps
            noise = self.noise.paths[path]
            with _disable_current_modes():  # what the module makes is counted, and this is ours
                x = x + (noise[t] if x.numel() == noise[0].numel() else noise).reshape(x.shape)
        return (x, *args[1:])

    def _after(self, path: str, out: object) -> None:
        self.ran.spikes[path] += [first.clone() for first in tensors_in(out)[:1]]

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[Argument] = (), kwargs: Mapping[str, Argument] | None = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        if _writes(func):
            if len(self.bits) == self.wanted:
                self.seen = self.begun, f"{op_name(func)}, {looks.place()}"
            self.bits.append([_bits(each) for each in parts_of(out) if isinstance(each, Tensor)])
        key = (self.paths[-1], op_name(func))
        due = self.due.get((key, self.calls[key]), ())
        self.calls[key] += 1
        made = list(parts_of(out)) if due else []
        for place, t in due:
            value = made[place.birth.part]
            assert isinstance(value, Tensor)
            self.parts[place.node].append(place.taken(value, self.T, self.batch).clone())
            noise = self.noise.nodes.get(place.node)
            if noise is not None:
                more = place.given(noise if place.whole else noise[t : t + 1], value, self.batch)
                made[place.birth.part] = value.add_(more) if value is args[0] else value + more
        return out if not due else made[0] if isinstance(out, Tensor) else tuple(made)


@cache
def _writes(func: Overload) -> bool:
    """Whether an operation writes numbers: it is no view, and makes no empty memory."""
    views = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
    return not views and "empty" not in op_name(func)


def _bits(tensor: Tensor) -> tuple[torch.Size, int]:
    """The shape of a tensor [...], and a checksum of its bits."""
    try:
        values = np.ascontiguousarray(tensor.cpu().numpy())
    except (TypeError, RuntimeError):  # a type or a layout that NumPy has not
        return tensor.shape, zlib.crc32(repr(tensor.tolist()).encode()) if tensor.layout is torch.strided else 0
    if values.nbytes < LARGE or values.nbytes % 8:
        return tensor.shape, zlib.crc32(values.data)
    words = values.reshape(-1).view(np.uint64)
    return tensor.shape, hash((int(words.sum()), int(words[::7].sum())))  # as fast as memory is read


def near(y: Tensor, found: Tensor) -> Tensor:
    """Whether values [...] differ by no more than sums in another order do: [...] of bool."""
    same = y == found
    if bool(same.all()):
        return same
    y, found = y.float(), found.float()
    size = found.abs()  # these are large, and each operation on them is seen: in place
    largest = float(size.max())
    largest = largest if math.isfinite(largest) else float(size.nan_to_num().max())
    same |= (y - found).abs_() <= size.mul_(1e-4).add_(1e-5 * max(largest, 1.0))
    return same | (y.isnan() & found.isnan()) if math.isnan(float(found.sum())) else same


def read_side(
    program: StepProgram, readout: Readout, x: Tensor, T: int, first: int, state: Values | None, noise: Added,
    shown: Iterable[TraceNode], inputs: Mapping[str, NeuronLayer], places: CallPlaces, theirs: Values,
) -> Ran:  # fmt: skip
    """What was read, over T steps from the step `first` on, on x [T, 1, ...] or an image [1, ...].

    state   the states before them; None: those after a reset
    inputs  {path of a submodule that gets noise: its layer}
    theirs  {node: its values in the module, [T, 1, ...] or of the last steps}, which count where they are near
    """
    image = x if program.image else None
    known = program.static(1, image, readout.tail, readout.reduced)
    start = program.start(known, 1)
    ran, kept = Ran(start=start, state=start if state is None else state), defaultdict[TraceNode, list[Tensor]](list)
    outputs: list[Tensor] = []
    wanted = set(shown)
    for t in range(T):
        placed = {node: more[t] for node, more in noise.nodes.items() if first + t >= places.of[node].since}
        added = {
            n: (layer.inputs[0], noise.paths[path][t])
            for path, layer in inputs.items() for n in layer.region.nodes
            if path in noise.paths and layer.inputs[0] in n.reads
        }  # fmt: skip
        given = {node: own[t - T] for node, own in theirs.items() if t >= T - len(own)}

        def seen(node: TraceNode, value: Tensor, given: Values = given, placed: Values = placed) -> Tensor:
            if node in given and bool(near(value, given[node]).all()):
                value = given[node]
            if node in wanted:
                kept[node].append(value)
            return value + placed[node] if node in placed else value

        values = program.advance(known, ran.state, image if image is not None else x[t], 1, added, seen)
        ran.state = program.next(values)
        outputs.append(readout.of_step(values, 1))
    ran.values = {node: torch.stack(each) for node, each in kept.items()}
    ran.y = readout.join(outputs, known, 1)
    return ran
