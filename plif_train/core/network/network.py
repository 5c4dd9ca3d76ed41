"""A spiking network as one torch module: `net(x[T,B,C,H,W]) -> y[T,B,classes]`, `net.step(x) -> y`.

The string and the input shape determine layers, names and order (runtime.core.model.notation.name_layers); `Options`
adds the settings that the string cannot express. Modules are registered under these names, so the keys of the
state_dict read `conv1.weight`, `conv1_bn.running_mean`, `conv1_neuron.w`, `fc1.weight`.

A sequence goes layer by layer: layers without state see [T*B, ...] at once, only neurons walk over T. A static image
[B,C,H,W] passes the layers before the first neuron once; its current is repeated T times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor, nn

from plif_train.core.network.layers import MODES, BatchNorm, SequenceDropout, Vote, faster_layer
from plif_train.core.network.neuron import Neuron
from plif_train.core.network.surrogate import SURROGATES
from runtime.core.base.errors import PlifError
from runtime.core.model import notation as nt


@dataclass(frozen=True)
class Options:
    """Options of a network that its architecture string cannot express; the "options" of a model's card.

    bias            False (the authors' networks), True, or "fc" (fully connected layers only, as in SpikingJelly)
    v_threshold     firing threshold
    v_reset         reset potential, None for soft reset
    decay_input     whether the input is multiplied by 1/tau too
    detach_reset    whether the gradient ignores the spike in the reset
    tau             "layer" or "channel": the neurons that share one learned tau (PLIF)
    init_tau        tau at the start of training (PLIF), or for good (LIF)
    surrogate       the gradient of a spike: "atan" (the paper's), "sigmoid" or "piecewise"
                    (plif_train.core.network.surrogate)
    dropout         the probability of every DP layer
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
        def is_number(value: object) -> bool:
            return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e30

        rules: list[tuple[str, bool, str]] = [
            ("bias", self.bias in (False, True, "fc"), 'false, true or "fc"'),
            ("v_threshold", is_number(self.v_threshold), "a number"),
            ("v_reset", self.v_reset is None or is_number(self.v_reset), "a number, or null for soft reset"),
            ("decay_input", isinstance(self.decay_input, bool), "true or false"),
            ("detach_reset", isinstance(self.detach_reset, bool), "true or false"),
            ("tau", self.tau in ("layer", "channel"), '"layer" or "channel"'),
            ("init_tau", is_number(self.init_tau) and self.init_tau > 1, "a number above 1"),
            ("surrogate", self.surrogate in SURROGATES, ", ".join(SURROGATES)),
            ("dropout", is_number(self.dropout) and 0 <= self.dropout < 1, "a number from 0 to below 1"),
        ]
        for name, is_valid, expected in rules:
            if not is_valid:
                raise PlifError(f"option {name}: found {getattr(self, name)!r}, expected {expected}")
        if self.v_reset is not None and self.v_reset >= self.v_threshold:
            raise PlifError(f"option v_reset: {self.v_reset} is not below v_threshold {self.v_threshold}")


@dataclass(frozen=True)
class Meta:
    """Facts about a network for its metadata card: input kind and shape, T, class names in output order, framing."""

    kind: str  # "events" or "static"
    shape: tuple[int, int, int]  # (C, H, W)
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None
    training: dict[str, object] | None = field(default=None, compare=False)
    view: str | None = None  # "upright": recordings that their format stores rotated are rotated back
    sensor: tuple[int, int] | None = None  # (width, height) of the training recordings, if equal for all
    rules: dict[str, dict[str, object]] = field(
        default_factory=dict, compare=False
    )  # the card's rules for decisions about a stream
    # statistics of the training recordings (runtime/core/events/fit.py)
    trained_on: dict[str, object] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in ("events", "static"):
            raise PlifError(f"input kind '{self.kind}' is not known, expected events or static")
        if self.T < 1:
            raise PlifError(f"T is {self.T}, expected at least one time-step")


def layer_of_neuron(neuron_name: str) -> str:
    """Return the layer name under which a neuron module's results are reported: conv1_neuron -> conv1.

    A second neuron of a layer keeps its number: conv1_neuron2 -> conv1_2.
    """
    block, _, number = neuron_name.rpartition("_neuron")
    return f"{block}_{number}" if number else block


class Network(nn.Module):
    """A spiking network as a torch module; its membranes keep their state from one `reset()` to the next.

    `plif_train.build` makes the usual ones.

    notation        the parsed string
    options         see Options
    meta            see Meta; `T`, `classes`, `framing`, `normalisation` read it
    named_layers    the layers in order, with names and shapes
    watch           a function that every neuron layer calls with (layer name, spikes [T, B, ...] or [B, ...])

    Raises PlifError if layers and shapes do not fit, or the number of outputs is not that of the classes.
    """

    def __init__(self, notation: nt.Notation, options: Options, meta: Meta) -> None:
        super().__init__()
        self.notation = notation
        self.options = options
        self.meta = meta
        self.named_layers = nt.name_layers(notation, meta.shape)
        self.watch: Callable[[str, Tensor], None] | None = None
        out_shape = self.named_layers[-1].out_shape
        if len(out_shape) != 1:
            raise PlifError(f"network '{notation}' ends with a map {out_shape}, expected a fully connected layer")
        if out_shape[0] != len(meta.classes):
            raise PlifError(
                f"network '{notation}' has {out_shape[0]} outputs for {len(meta.classes)} classes, expected as many"
            )
        for named in self.named_layers:
            self.add_module(named.name, _make_module(named, options))
        # neurons that are followed by max pooling with kernel 2 and stride 2
        self._pooled = {
            first.name
            for first, second in pairwise(self.named_layers)
            if first.op == "Neuron"
            and isinstance(second.layer, nt.Pool)
            and (second.op, second.layer.kernel, second.layer.stride) == ("MaxPool", 2, 2)
        }

    @property
    def bn(self) -> str:
        """The kind of batch normalisation statistics in training: "per-step", "joint" or "frozen".

        plif_train.core.network.layers explains them.
        """
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
        """Run a network on a sequence x [T, B, C, H, W], or on images [B, C, H, W] for T steps -> y [T, B, classes].

        All are float32. The call starts from the present state and leaves the new one, so chunks chain; call reset()
        between samples.
        """
        layers: Sequence[nt.NamedLayer] = self.named_layers
        if x.dim() == 4 and self.meta.kind == "static":
            self._check(x, "B, C, H, W")
            first = next((i for i, named in enumerate(layers) if named.op == "Neuron"), len(layers))
            for named in layers[:first]:
                x = self._run_layer(named, x)
            steps = self.T if T is None else T
            if steps < 1:
                raise PlifError(f"T is {steps}, expected at least one time-step")
            x = x.unsqueeze(0)
            layers = layers[first:]
        else:
            self._check(x, "T, B, C, H, W")
            steps = len(x)
            if T is not None and steps != T:
                raise PlifError(f"input of {steps} time-steps, but T is {T}; expected equal numbers, or no T")
        for named in layers:
            x = self._run_layer(named, x, steps)
        return x.expand(steps, *x.shape[1:])

    def step(self, x: Tensor) -> Tensor:
        """Run one time-step of a network: x [B, C, H, W] -> outputs y [B, classes]; float32."""
        self._check(x, "B, C, H, W")
        for named in self.named_layers:
            x = self._run_layer(named, x)
        return x

    def _run_layer(self, named: nt.NamedLayer, x: Tensor, T: int | None = None) -> Tensor:
        """Run one layer of the network on x [B, ...], or on a sequence [T, B, ...].

        Layers without state see a sequence as [T * B, ...]. A sequence [1, B, ...] is the same in all T steps. A
        neuron layer also pools its spikes if its kernel can; then the pooling layer that follows passes them on
        unchanged.
        """
        module = self.get_submodule(named.name)
        if T is None:
            y: Tensor = module(x)
        elif isinstance(module, Neuron):
            y = module.forward_sequence(x, T, pools=named.name in self._pooled and self.watch is None)
        elif isinstance(module, nn.MaxPool2d) and x.shape[2:] == named.out_shape:
            return x
        elif isinstance(module, (SequenceDropout, BatchNorm)):
            y = module.forward_sequence(x)
        else:
            y = module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if named.op == "Neuron" and self.watch is not None:
            self.watch(layer_of_neuron(named.name), y)
        return y

    def _check(self, x: Tensor, expected: str) -> None:
        dims = len(expected.split(", "))
        if x.dim() != dims or tuple(x.shape[-3:]) != self.meta.shape or 0 in x.shape:
            raise PlifError(f"input of shape {tuple(x.shape)}, expected [{expected}] of (C, H, W) {self.meta.shape}")

    @contextmanager
    def watch_spikes(self, watch: Callable[[str, Tensor], None] | None, training: bool = False) -> Iterator[None]:
        """Call `watch(layer, spikes)` with the spikes of every layer of a network while a block runs.

        Spikes are [T, B, ...] or [B, ...]. The network is reset at both ends; afterwards mode and `watch` are what
        they were.
        """
        saved = self.training, self.watch
        self.train(training)
        self.reset()
        self.watch = watch
        try:
            yield
        finally:
            self.reset()
            self.train(saved[0])
            self.watch = saved[1]

    def neurons(self) -> dict[str, Neuron]:
        """Return the neuron layers of a network in forward order, by layer name (conv1, fc1, ...)."""
        by_name = {}
        for named in self.named_layers:
            module = self.get_submodule(named.name)
            if isinstance(module, Neuron):
                by_name[layer_of_neuron(named.name)] = module
        return by_name

    def reset(self) -> None:
        """Clear every membrane potential and dropout mask of a network, so that a new sample begins."""
        for module in self.children():
            if isinstance(module, (Neuron, SequenceDropout)):
                module.reset()

    def state(self) -> dict[str, Tensor]:
        """Return the membrane potentials [B, ...] of a network by layer name, float32.

        The dict is empty between reset() and the first step.
        """
        return {name: neuron.v.detach().clone() for name, neuron in self.neurons().items() if neuron.v is not None}

    def set_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore a network's membrane potentials [B, ...] by layer name, as state() returned them; {} is a reset.

        The potentials are copied. Raises PlifError for other layers or other shapes.
        """
        neurons = self.neurons()
        if state and set(state) != set(neurons):
            raise PlifError(f"state of layers {sorted(state)}, expected {sorted(neurons)}")
        shapes = {layer_of_neuron(named.name): named.out_shape for named in self.named_layers if named.op == "Neuron"}
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


def _make_module(named: nt.NamedLayer, options: Options) -> nn.Module:
    layer, op = named.layer, named.op
    if isinstance(layer, nt.Conv):
        channels = named.in_shape[0]
        return faster_layer(nn.Conv2d)(
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
        return faster_layer(nn.MaxPool2d if op == "MaxPool" else nn.AvgPool2d)(layer.kernel, layer.stride)
    return nn.Flatten()
