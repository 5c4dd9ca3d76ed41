"""A network of the notation as one torch module: `net(x[T,B,C,H,W]) -> y[T,B,classes]`, `net.step(x) -> y`.

The string and the input shape say everything about layers, names and order (runtime.core.model.notation.name_layers); `Options`
says what the string cannot. Modules are registered under these names, so the keys of the state_dict read
`conv1.weight`, `conv1_bn.running_mean`, `conv1_neuron.w`, `fc1.weight`.

A sequence goes layer by layer: layers without state see [T*B, ...] at once, only neurons walk over T. A static image
[B,C,H,W] passes the layers before the first neuron once; its current is repeated T times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_train.core.network.layers import MODES, BatchNorm, faster
from plif_train.core.network.neuron import Neuron
from plif_train.core.network.surrogate import SURROGATES
from runtime.core.base.errors import PlifError
from runtime.core.model import notation as nt


@dataclass(frozen=True)
class Options:
    """What the notation cannot say; the "options" of a model's card.

    bias          False (the authors' networks), True, or "fc" (fully connected layers only, as SpikingJelly has it)
    v_threshold   firing threshold
    v_reset       reset potential, None for soft reset
    decay_input   whether the input is multiplied by 1/tau too
    detach_reset  whether the gradient ignores the spike in the reset
    tau           "layer" or "channel": what shares one learned tau (PLIF)
    init_tau      tau at the start of training (PLIF), or for good (LIF)
    surrogate     the gradient of a spike: "atan" (the paper's), "sigmoid" or "piecewise" (plif_train.core.network.surrogate)
    dropout       the probability of every DP layer
    """

    bias: bool | str = False
    v_threshold: float = 1.0
    v_reset: float | None = 0.0
    decay_input: bool = True
    detach_reset: bool = True
    tau: str = "layer"
    init_tau: float = 2.0
    surrogate: str = "atan"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        def number(value: object) -> bool:
            return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30

        rules: list[tuple[str, bool, str]] = [
            ("bias", self.bias in (False, True, "fc"), 'false, true or "fc"'),
            ("v_threshold", number(self.v_threshold), "a number"),
            ("v_reset", self.v_reset is None or number(self.v_reset), "a number, or null for soft reset"),
            ("decay_input", isinstance(self.decay_input, bool), "true or false"),
            ("detach_reset", isinstance(self.detach_reset, bool), "true or false"),
            ("tau", self.tau in ("layer", "channel"), '"layer" or "channel"'),
            ("init_tau", number(self.init_tau) and self.init_tau > 1, "a number above 1"),
            ("surrogate", self.surrogate in SURROGATES, ", ".join(SURROGATES)),
            ("dropout", number(self.dropout) and 0 <= self.dropout < 1, "a number from 0 to below 1"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise PlifError(f"option {name}: found {getattr(self, name)!r}, expected {expected}")
        if self.v_reset is not None and self.v_reset >= self.v_threshold:
            raise PlifError(f"option v_reset: {self.v_reset} is not below v_threshold {self.v_threshold}")


@dataclass(frozen=True)
class Meta:
    """What goes with a network into its card: input, time, classes in output order, how its input is made."""

    kind: str  # "events" or "static"
    shape: tuple[int, int, int]  # (C, H, W)
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None
    training: dict[str, object] | None = field(default=None, compare=False)
    view: str | None = None  # "upright": recordings that their format stores turned must be turned
    sensor: tuple[int, int] | None = (
        None  # (width, height) of the recordings that it was trained on, if all had the same
    )
    decide: dict[str, object] | None = field(default=None, compare=False)  # the card's: how feeds are decided
    trained_on: dict[str, object] | None = field(
        default=None, compare=False
    )  # what recordings (runtime/core/events/fit.py)

    def __post_init__(self) -> None:
        if self.kind not in ("events", "static"):
            raise PlifError(f"input kind '{self.kind}' is not known, expected events or static")
        if self.T < 1:
            raise PlifError(f"T is {self.T}, expected at least one time-step")


class SequenceDropout(nn.Module):
    """One mask, drawn at the first step after reset() and kept for all time-steps; identity in eval mode."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.mask: Tensor | None = None

    def reset(self) -> None:
        self.mask = None

    def forward(self, x: Tensor) -> Tensor:
        """One time-step [B, ...] -> the same shape and type."""
        return x * self._mask_for(x) if self.training else x

    def multi(self, x_seq: Tensor) -> Tensor:
        """A sequence [T, B, ...] -> the same shape and type."""
        return x_seq * self._mask_for(x_seq[0]) if self.training else x_seq

    def _mask_for(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = F.dropout(torch.ones_like(x), self.p, training=True).detach()
        return self.mask


class Vote(nn.Module):
    """The mean of every `voters` neighbouring neurons."""

    def __init__(self, voters: int) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        """Spikes [N, classes * voters] -> [N, classes], of the same type."""
        return F.avg_pool1d(x.unsqueeze(1), self.voters, self.voters).squeeze(1)


def layer_of(neuron_name: str) -> str:
    """The layer that a neuron is reported under: conv1_neuron -> conv1 (a second one, conv1_neuron2 -> conv1_2)."""
    block, _, again = neuron_name.rpartition("_neuron")
    return f"{block}_{again}" if again else block


class Network(nn.Module):
    """A spiking network. Stateful until `reset()`; `plif_train.build` makes the usual ones.

    notation   the parsed string
    options    see Options
    meta       see Meta; `T`, `classes`, `framing`, `normalisation` read it
    named_layers  the layers in order, with names and shapes
    watch      set it to a function, and every neuron layer calls it with (layer name, spikes [T, B, ...] or [B, ...])

    Raises PlifError where layers and shapes do not fit, or the number of classes is not that of the outputs.
    """

    def __init__(self, notation: nt.Notation, options: Options, meta: Meta) -> None:
        super().__init__()
        self.notation = notation
        self.options = options
        self.meta = meta
        self.named_layers = nt.name_layers(notation, meta.shape)
        self.watch: Callable[[str, Tensor], None] | None = None
        out = self.named_layers[-1].out_shape
        if len(out) != 1:
            raise PlifError(f"network '{notation}' ends with a map {out}, expected a fully connected layer")
        if out[0] != len(meta.classes):
            raise PlifError(
                f"network '{notation}' has {out[0]} outputs for {len(meta.classes)} classes, expected as many"
            )
        for named in self.named_layers:
            self.add_module(named.name, _module(named, options))
        # neurons whose spikes a pooling takes that halves them
        self._pooled = {
            one.name
            for one, two in pairwise(self.named_layers)
            if one.op == "Neuron"
            and isinstance(two.layer, nt.Pool)
            and (two.op, two.layer.kernel, two.layer.stride) == ("MaxPool", 2, 2)
        }

    @property
    def bn(self) -> str:
        """Statistics of batch normalisation in training, "per-step", "joint" or "frozen" (plif_train.core.network.layers)."""
        return next((m.mode for m in self.children() if isinstance(m, BatchNorm)), "joint")

    @bn.setter
    def bn(self, mode: str) -> None:
        if mode not in MODES:
            raise PlifError(f"batch normalisation '{mode}' is not known, expected {' or '.join(MODES)}")
        for module in self.children():
            if isinstance(module, BatchNorm):
                module.mode = mode

    @property
    def T(self) -> int:
        return self.meta.T

    @property
    def classes(self) -> tuple[str, ...]:
        return self.meta.classes

    @property
    def framing(self) -> str | None:
        return self.meta.framing

    @property
    def normalisation(self) -> dict[str, list[float]] | None:
        return self.meta.normalisation

    def forward(self, x: Tensor, T: int | None = None) -> Tensor:
        """A sequence x [T, B, C, H, W], or static images x [B, C, H, W] shown for T steps -> y [T, B, classes]; float32.

        Starts from the present state and leaves the new one, so chunks chain; call reset() between samples.
        """
        todo: Sequence[nt.NamedLayer] = self.named_layers
        if x.dim() == 4 and self.meta.kind == "static":
            self._check(x, "B, C, H, W")
            first = next((i for i, named in enumerate(todo) if named.op == "Neuron"), len(todo))
            for named in todo[:first]:
                x = self._run(named, x)
            steps = self.T if T is None else T
            if steps < 1:
                raise PlifError(f"T is {steps}, expected at least one time-step")
            x = x.unsqueeze(0)
            todo = todo[first:]
        else:
            self._check(x, "T, B, C, H, W")
            steps = len(x)
            if T is not None and steps != T:
                raise PlifError(f"input of {steps} time-steps, but T is {T}; expected equal numbers, or no T")
        for named in todo:
            x = self._run(named, x, steps)
        return x.expand(steps, *x.shape[1:])

    def step(self, x: Tensor) -> Tensor:
        """One time-step: x [B, C, H, W] -> y [B, classes]; float32."""
        self._check(x, "B, C, H, W")
        for named in self.named_layers:
            x = self._run(named, x)
        return x

    def _run(self, named: nt.NamedLayer, x: Tensor, T: int | None = None) -> Tensor:
        """One layer on x [B, ...], or on a sequence [T, B, ...], which layers without state see as [T * B, ...]. A sequence
        [1, B, ...] is the same in all T steps. A neuron layer also pools its spikes where it can; the pooling that follows
        finds them so."""
        module = self.get_submodule(named.name)
        if T is None:
            y: Tensor = module(x)
        elif isinstance(module, Neuron):
            y = module.multi(x, T, pools=named.name in self._pooled and self.watch is None)
        elif isinstance(module, nn.MaxPool2d) and x.shape[2:] == named.out_shape:
            return x
        elif isinstance(module, (SequenceDropout, BatchNorm)):
            y = module.multi(x)
        else:
            y = module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if named.op == "Neuron" and self.watch is not None:
            self.watch(layer_of(named.name), y)
        return y

    def _check(self, x: Tensor, expected: str) -> None:
        dims = len(expected.split(", "))
        if x.dim() != dims or tuple(x.shape[-3:]) != self.meta.shape or 0 in x.shape:
            raise PlifError(f"input of shape {tuple(x.shape)}, expected [{expected}] of (C, H, W) {self.meta.shape}")

    @contextmanager
    def watched(self, watch: Callable[[str, Tensor], None] | None, training: bool = False) -> Iterator[None]:
        """A block in training or eval mode, with `watch(layer, spikes [T, B, ...] or [B, ...])` as the network's own. Resets the
        network at both ends; mode and `watch` are afterwards what they were."""
        before = self.training, self.watch
        self.train(training)
        self.reset()
        self.watch = watch
        try:
            yield
        finally:
            self.reset()
            self.train(before[0])
            self.watch = before[1]

    def neurons(self) -> dict[str, Neuron]:
        """The neuron layers in forward order, by layer name (conv1, fc1, ...)."""
        found = {}
        for named in self.named_layers:
            module = self.get_submodule(named.name)
            if isinstance(module, Neuron):
                found[layer_of(named.name)] = module
        return found

    def reset(self) -> None:
        """Forgets every membrane potential and dropout mask: the next call begins a new sample."""
        for module in self.children():
            if isinstance(module, (Neuron, SequenceDropout)):
                module.reset()

    def state(self) -> dict[str, Tensor]:
        """The membrane potentials by layer name, [B, ...], float32; empty between reset() and the first step."""
        return {name: neuron.v.detach().clone() for name, neuron in self.neurons().items() if neuron.v is not None}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restores what state() gave: potentials [B, ...] by layer name, copied. {} is a reset. Raises PlifError for other
        layers or other shapes."""
        neurons = self.neurons()
        if state and set(state) != set(neurons):
            raise PlifError(f"state of layers {sorted(state)}, expected {sorted(neurons)}")
        shapes = {layer_of(named.name): named.out_shape for named in self.named_layers if named.op == "Neuron"}
        batches = set()
        for name, v in state.items():
            if tuple(v.shape[1:]) != shapes[name]:
                raise PlifError(f"{name}: state of shape {tuple(v.shape)}, expected (B, *{shapes[name]})")
            batches.add(v.shape[0])
        if len(batches) > 1:
            raise PlifError(f"state of several batch sizes {sorted(batches)}, expected one")
        self.reset()
        for name, v in state.items():
            neurons[name].v = v.detach().clone()


def _module(named: nt.NamedLayer, options: Options) -> nn.Module:
    layer, op = named.layer, named.op
    if isinstance(layer, nt.Conv):
        channels = named.in_shape[0]
        return faster(nn.Conv2d)(
            channels, layer.channels, layer.kernel, layer.stride, layer.padding, bias=options.bias is True
        )
    if isinstance(layer, nt.FC):
        return nn.Linear(named.in_shape[0], layer.features, bias=bool(options.bias))
    if isinstance(layer, nt.BN):
        return BatchNorm(named.in_shape[0])
    if isinstance(layer, nt.Dropout):
        return SequenceDropout(options.dropout)
    if isinstance(layer, nt.Neurons):
        return Neuron(
            layer.kind,
            v_threshold=options.v_threshold,
            v_reset=options.v_reset,
            decay_input=options.decay_input,
            detach_reset=options.detach_reset,
            init_tau=options.init_tau,
            surrogate=options.surrogate,
            channels=named.in_shape[0] if options.tau == "channel" else None,
            name=named.name,
        )
    if isinstance(layer, nt.Pool):
        if op == "Vote":
            return Vote(layer.kernel)
        return faster(nn.MaxPool2d if op == "MaxPool" else nn.AvgPool2d)(layer.kernel, layer.stride)
    return nn.Flatten()
