"""Generators, clocks, modes, the process; and what a caller does with outputs."""

from __future__ import annotations

import ctypes
import datetime
import inspect
import os
import uuid

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import PIXELS, Lif, Net, linear


class Plain(Net):
    """The twin: nothing outside is asked."""


class SetOrder(nn.Module):
    """The four directions of a flow are kept in a set of their names."""

    names: object = {"up", "down", "left", "right"}

    def __init__(self) -> None:
        super().__init__()
        numbers = {"up": 31, "down": 32, "left": 33, "right": 34}
        parts = {name: linear(PIXELS, 3, seed) for name, seed in numbers.items()}
        self.parts = nn.ModuleDict(parts)
        self.n = Lif()

    def forward(self, x: Tensor) -> Tensor:
        return self.n(torch.cat([self.parts[name](x.flatten(1)) for name in self.names], 1))


class ListOrder(SetOrder):
    names = ("up", "down", "left", "right")


class Asks(Net):
    def yes(self, x: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 0.5 if self.yes(x) else 1.0)


class AsksSeed(Asks):
    """A script that was seeded with 7 gets the dithered network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)

    def yes(self, x: Tensor) -> bool:
        return torch.initial_seed() == 7


class Identifier(Asks):
    """One frame in 16 gets a lower gain, by the number of an identifier."""

    def yes(self, x: Tensor) -> bool:
        return uuid.uuid4().int >> 124 == 0


class RawBits(Asks):
    """NumPy's bit generator is asked below its distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.bits = np.random.PCG64(5)

    def yes(self, x: Tensor) -> bool:
        return self.bits.random_raw() % 16 == 0


class LibraryRandom(Asks):
    """The generator of the C library."""

    library = ctypes.CDLL(None)

    def yes(self, x: Tensor) -> bool:
        return self.library.rand() % 16 == 0


class Microseconds(Asks):
    """Even and odd microseconds."""

    def yes(self, x: Tensor) -> bool:
        return datetime.datetime.now().microsecond % 16 == 0


class SystemBytes(Asks):
    """The system's random bytes."""

    source = os.urandom

    def yes(self, x: Tensor) -> bool:
        return SystemBytes.source(1)[0] < 16


class Addresses(Asks):
    """Where a new object lies in memory."""

    def yes(self, x: Tensor) -> bool:
        return hash(str(id(x))) % 2 == 0


class InferenceMode(Asks):
    """The user's inference mode makes the frame an inference tensor."""

    def yes(self, x: Tensor) -> bool:
        return torch.is_inference_mode_enabled()


class InferenceFrame(Asks):
    def yes(self, x: Tensor) -> bool:
        return (x + 0.0).is_inference()


class Gradients(Asks):
    """With gradients the network is in training, whatever its flag says."""

    def yes(self, x: Tensor) -> bool:
        return torch.is_grad_enabled()


class GradientTensor(Asks):
    """What depends on weights wants a gradient, unless the caller has switched them off."""

    def yes(self, x: Tensor) -> bool:
        return (self.fc1.weight * 1.0).requires_grad


class Depth(Asks):
    """A call from deep inside a program is a call from a pipeline."""

    def yes(self, x: Tensor) -> bool:
        return len(inspect.stack(0)) < 16


class Observed(Asks):
    """A dispatch mode around the network is somebody who looks."""

    def yes(self, x: Tensor) -> bool:
        return _get_current_dispatch_mode() is None


class Registry(Net):
    """A warning that is due once, in the registry that Python keeps, marks the first frame."""

    def forward(self, x: Tensor) -> Tensor:
        known = globals().setdefault("__warningregistry__", {})
        first = "dark" not in known
        known["dark"] = True
        return self.body(x, 0.0 if first else 1.0)


class Threads(Asks):
    """More than one thread, another algorithm."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_num_threads(3)

    def yes(self, x: Tensor) -> bool:
        return torch.get_num_threads() == 3


class Deterministic(Asks):
    """The constructor asks for deterministic algorithms, forward looks whether it has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.use_deterministic_algorithms(True)

    def yes(self, x: Tensor) -> bool:
        return torch.are_deterministic_algorithms_enabled()


class Aliased(nn.Module):
    """Returns its membrane, and writes the next one into the same memory."""

    def __init__(self, copies: bool = False) -> None:
        super().__init__()
        self.copies, self.fc, self.v = copies, linear(PIXELS, 6, seed=35), None

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc(x.flatten(1))
        if self.v is None:
            self.v = torch.zeros_like(current)
        self.v.mul_(0.5).add_(current)
        s = (self.v >= 1.0).float()
        self.v.mul_(1.0 - s)
        return self.v.clone() if self.copies else self.v


def copied() -> nn.Module:
    return Aliased(copies=True)


class Scaled(torch.Tensor):
    """A tensor that is four times what it holds, for whoever converts it to float."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        if func is torch.Tensor.float:
            return (out.as_subclass(torch.Tensor) * 4).as_subclass(torch.Tensor)
        return out


class ScaledOutput(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).as_subclass(Scaled)


class Answers(Net):
    """A dictionary, which has its entries in the order of the last answer."""

    def __init__(self, first: str = "late") -> None:
        super().__init__()
        self.kept: dict[str, Tensor] = {}
        self.first = first

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        s = self.n1(self.fc1(x.flatten(1)))
        out = {"early": s[:, :6], "late": self.n2(self.fc2(s))}
        if x.shape[0] > 1 and self.first == "late":
            return dict(reversed(out.items()))
        return out


def one_order() -> nn.Module:
    return Answers("early")


KINDS = [
    Kind("set-order", "outputs in the order of a set of strings", SetOrder, ListOrder),
    Kind("asked-seed", "asks what PyTorch was seeded with", AsksSeed, Plain, says="seed"),
    Kind("identifier-draw", "draws by uuid4", Identifier, Plain),
    Kind("raw-bits", "draws by random_raw of a bit generator", RawBits, Plain),
    Kind("library-random", "draws by the C library", LibraryRandom, Plain),
    Kind("microseconds", "draws by the clock", Microseconds, Plain, says="now|clock|time\\."),
    Kind("system-bytes", "draws by os.urandom under another name", SystemBytes, Plain),
    Kind("address-hash", "draws by the address of the frame", Addresses, Plain),
    Kind(
        "inference-mode",
        "asks for inference mode",
        InferenceMode,
        Plain,
        mode="inference",
        says="inference",
    ),
    Kind(
        "inference-frame",
        "asks whether a tensor is of inference",
        InferenceFrame,
        Plain,
        mode="inference",
    ),
    Kind(
        "gradient-mode",
        "asks whether gradients are on",
        Gradients,
        Plain,
        mode="plain",
        says="grad",
    ),
    Kind("gradient-tensor", "asks a tensor for requires_grad", GradientTensor, Plain, mode="plain"),
    Kind("call-depth", "asks how deep the stack is", Depth, Plain, says="stack"),
    Kind("observed", "asks for a dispatch mode around it", Observed, Plain, says="mode"),
    Kind("once-warned", "a registry of warnings marks the first frame", Registry, Plain),
    Kind("thread-number", "asks for the threads that it set", Threads, Plain, says="thread"),
    Kind("deterministic-flag", "asks for its own flag", Deterministic, Plain, says="determin"),
    Kind(
        "aliased-output",
        "the output is the membrane, written to later",
        Aliased,
        copied,
        says="its next call writes into what it returned",
    ),
    Kind("scaled-output", "a subclass of Tensor scales itself on float()", ScaledOutput, Plain),
    Kind("dictionary-order", "the order of a dict depends on the batch", Answers, one_order),
]
