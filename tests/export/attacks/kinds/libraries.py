"""Neurons of libraries which do otherwise far from the usual currents."""

from __future__ import annotations

import norse.torch as norse
import snntorch
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import PIXELS, Net, linear

FAR = 150.0


class Step(nn.Module):
    """A surrogate that is a plain step."""

    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).to(x)


class Jelly(Net):
    """A layer and neurons of SpikingJelly."""

    kind, options = neuron.LIFNode, {"tau": 2.0, "decay_input": False, "v_reset": None}
    low, high = -5, 4

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = linear(PIXELS, 24, seed=21, low=self.low, high=self.high)
        self.n1 = self.kind(**self.options)
        self.n1.surrogate_function = Step()

    def reset(self) -> None:
        self.n1.reset()

    def forward(self, x: Tensor) -> Tensor:
        return self.n1(self.fc1(x.flatten(1)))


class OwnStep:
    """What a step is made of, for subclasses that change one part of it."""

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        return v + x

    def fire(self, h: Tensor) -> Tensor:
        return (h >= self.v_threshold).to(h)

    def after(self, h: Tensor, s: Tensor) -> Tensor:
        return h * (1.0 - s)

    def single_step_forward(self, x: Tensor) -> Tensor:
        v = self.v if isinstance(self.v, Tensor) else torch.full_like(x, self.v)
        h = self.charge(v, x)
        s = self.fire(h)
        self.v = self.after(h, s)
        return s


class FloorNode(OwnStep, neuron.IFNode):
    """An inhibited membrane has a floor far below."""

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        return (v + x).clamp(min=-FAR)


class Floor(Jelly):
    kind, options = FloorNode, {}


class NoFloor(Jelly):
    kind, options = neuron.IFNode, {}


class StrictNode(OwnStep, neuron.IFNode):
    """Fires above its threshold, not on it."""

    def fire(self, h: Tensor) -> Tensor:
        return (h > self.v_threshold).to(h)


class Strict(NoFloor):
    kind = StrictNode


class HalvingNode(OwnStep, neuron.LIFNode):
    """The step of a LIFNode of tau 2 without a share for the input, and a soft reset."""

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        return v * 0.5 + x

    def after(self, h: Tensor, s: Tensor) -> Tensor:
        return h - s


class FaultNode(HalvingNode):
    """A charge that is far too large is taken for a fault, and the membrane starts anew."""

    def charge(self, v: Tensor, x: Tensor) -> Tensor:
        h = v * 0.5 + x
        return torch.where(h > 100.0, 0.0, h)


class Fault(Jelly):
    kind = FaultNode


class SizedNode(HalvingNode):
    """A spike takes one away, and all that is above 64."""

    def after(self, h: Tensor, s: Tensor) -> Tensor:
        return torch.where(h > 64.0, 63.0, h - s)


class Sized(Jelly):
    kind = SizedNode


class Torchy(Net):
    """snnTorch's Leaky in the first layer."""

    def __init__(self, kind: type = snntorch.Leaky, **options: object) -> None:
        super().__init__()
        given = {"beta": 0.5, "init_hidden": True, "reset_mechanism": "subtract", **options}
        self.fc1 = linear(PIXELS, 24, seed=22, low=-4, high=4)
        self.n1 = kind(**given)

    def reset(self) -> None:
        self.n1.reset_mem()
        self.n2.reset()


class WideLeaky(snntorch.Leaky):
    """The membrane is kept within what a 9-bit register holds."""

    def _base_state_function(self, input_: Tensor) -> Tensor:
        return super()._base_state_function(input_).clamp(-256.0, 255.0)


def register() -> nn.Module:
    return Torchy(WideLeaky)


def coarse(x: Tensor) -> Tensor:
    return torch.where(x.abs() > 128.0, torch.round(x / 256.0) * 256.0, x)


def coarse_state() -> nn.Module:
    """snnTorch's own option for a quantised state, with steps that are large where it is large."""
    return Torchy(state_quant=coarse)


def clipped_beta() -> nn.Module:
    """A beta above one, which snnTorch takes for one in its forward."""
    return Torchy(beta=1.25, reset_mechanism="zero")


def whole_beta() -> nn.Module:
    return Torchy(beta=0.75, reset_mechanism="zero")


class Boxes(Net):
    """A layer and Norse's LIFBoxCell, state in the module."""

    far = True

    def __init__(self) -> None:
        super().__init__()
        number = {
            "tau_mem_inv": torch.tensor(512.0),
            "v_leak": torch.tensor(0.0),
            "v_th": torch.tensor(1.0),
        }
        self.fc1 = linear(PIXELS, 24, seed=23, low=-5, high=4)
        self.n1 = norse.LIFBoxCell(norse.LIFBoxParameters(**number), dt=1 / 1024)
        self.state = None

    def forward(self, x: Tensor) -> Tensor:
        s, self.state = self.n1(self.fc1(x.flatten(1)), self.state)
        if self.far:
            v = self.state.v
            self.state = type(self.state)(torch.where(v < -32.0, 0.0, v))
        return s


class PlainBoxes(Boxes):
    far = False


class Own(nn.Module):
    """A neuron of one's own, which register_neuron is told the equation of."""

    def __init__(self, floor: float | None = -100.0) -> None:
        super().__init__()
        self.floor, self.v = floor, None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            self.v = torch.zeros_like(x)
        h = self.v + x
        if self.floor is not None:
            h = h.clamp(min=self.floor)
        s = (h >= 1.0).float()
        self.v = h - s
        return s


class Told(nn.Module):
    floor: float | None = -100.0

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.n = linear(PIXELS, 6, seed=24, low=-5, high=4), Own(self.floor)

    def forward(self, x: Tensor) -> Tensor:
        return self.n(self.fc(x.flatten(1)))


class ToldAll(Told):
    floor = None


def tell() -> None:
    import plif_export
    from runtime.core.model.neurons import Equation

    def adds(m, n, x, state):
        h = state["v"] + x
        s = m.spikes(h >= n.v_threshold)
        return h, s, {"v": h - s}

    plif_export.register_neuron(
        Own,
        Equation("Own", adds, states=("v",), initial=lambda attrs: {"v": 0.0}),
        states={"v": "v"},
        attrs=lambda module: {"v_threshold": 1.0, "v_reset": None},
    )


KINDS = [
    Kind("jelly-floor", "an IFNode whose membrane has a floor at -150", Floor, NoFloor),
    Kind(
        "jelly-strict-threshold",
        "an IFNode that fires above, not at, its threshold",
        Strict,
        NoFloor,
    ),
    Kind("jelly-fault-reset", "a LIFNode that starts anew above 100", Fault, Jelly, form="file"),
    Kind("jelly-reset-size", "a spike takes more above 64", Sized, Jelly),
    Kind("leaky-register", "a Leaky of snnTorch within -256 and 255", register, Torchy),
    Kind("leaky-state-quant", "snnTorch's state_quant, coarse above 128", coarse_state, Torchy),
    Kind("leaky-clipped-beta", "a beta above one is one in forward", clipped_beta, whole_beta),
    Kind("box-cell-rescue", "Norse's box cell, set to zero below -32", Boxes, PlainBoxes),
    Kind("registered-equation", "no floor is registered", Told, ToldAll, prepare=tell),
]
