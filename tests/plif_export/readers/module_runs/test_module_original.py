"""A module that does something else than a copy of it is refused: what hooks, closures and arrays refer to is not copied.

The original runs for that, and is afterwards what it was."""

from __future__ import annotations

import collections
import contextlib
import functools
import optparse
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plif_export import export
from plif_export.readers.module_runs.original import Rollout, compare_with_copy
from plif_export.readers.module_runs.sides import ForwardMonitor, RunValues
from plif_export.readers.tracing.copies import share_weights
from plif_export.readers.tracing.forms import CallForm
from runtime.core.base.errors import PlifError
from tests.plif_export.core.unseen_state import Net

HELD: Any = None


class Moves(Net):
    """A gain that forward changes from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.gain: Any = None

    def forward(self, x: Tensor) -> Tensor:
        s = self.lif1(self.fc1(x))
        self.gain = (torch.ones(1) if self.gain is None else self.gain) * 0.9 + s.mean(1, keepdim=True)
        return self.lif2(self.use(self.fc2(self.seen(s))))  # type: ignore[no-any-return]

    def use(self, y: Tensor) -> Tensor:
        return y

    def scaled(self, y: Tensor) -> Tensor:
        return y if self.gain is None else y * self.gain  # type: ignore[no-any-return]


class PreHook(Moves):
    def __init__(self) -> None:
        super().__init__()
        self.fc2.register_forward_pre_hook(lambda part, inputs: (self.scaled(inputs[0]),))


class Hook(Moves):
    def __init__(self) -> None:
        super().__init__()
        self.fc2.register_forward_hook(lambda part, inputs, y: self.scaled(y))


class Lambda(Moves):
    def __init__(self) -> None:
        super().__init__()
        self.use = lambda y: y if self.gain is None else y * self.gain  # type: ignore[method-assign]


class WeakHook(Moves):
    def __init__(self) -> None:
        super().__init__()
        me = weakref.ref(self)
        self.fc2.register_forward_hook(lambda part, inputs, y: me().scaled(y))  # type: ignore[union-attr]


class Proxy(Moves):
    def __init__(self) -> None:
        super().__init__()
        self.kept = [weakref.proxy(self)]

    def use(self, y: Tensor) -> Tensor:
        return self.kept[0].scaled(y)  # type: ignore[no-any-return]


class Partial(Moves):
    """A partial function is copied, a function in a dict of its keywords is not."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = functools.partial(lambda y, scaled: scaled(y), scaled=lambda y: self.scaled(y))

    def use(self, y: Tensor) -> Tensor:
        return self.kept(y)  # type: ignore[no-any-return]


class InAGlobal(Moves):
    def __init__(self) -> None:
        super().__init__()
        global HELD
        HELD = self

    def use(self, y: Tensor) -> Tensor:
        return HELD.scaled(y)  # type: ignore[no-any-return]


class Descriptor(Moves):
    """The scale of a class that was made around the module."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = type("Scale", (), {"of": staticmethod(lambda y: self.scaled(y))})

    def use(self, y: Tensor) -> Tensor:
        return self.kept.of(y)  # type: ignore[no-any-return]


class ArrayOfATensor(Net):
    def __init__(self) -> None:
        super().__init__()
        self.n = np.ones(12, np.float32)
        self.kept = torch.from_numpy(self.n)

    def seen(self, s: Tensor) -> Tensor:
        self.n += 1
        return s * self.kept


class ArrayOfABuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(12))
        self.kept = self.gain.numpy()  # type: ignore[operator]

    def seen(self, s: Tensor) -> Tensor:
        self.kept *= 0.9
        return s * self.gain  # type: ignore[operator]


class ArrayOfAWeight(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept = self.fc2.weight.detach().numpy()

    def seen(self, s: Tensor) -> Tensor:
        self.kept *= 0.9
        return s


class CountsElsewhere(Net):
    """A hook reads a counter of the module that it was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1.register_forward_hook(lambda part, inputs, y: y * 2 if self.n > 50 else y)

    def seen(self, s: Tensor) -> Tensor:
        self.n += 1
        return s


class Sequence(PreHook):
    """One call a sequence, after which the gain is another."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.stack([Net.forward(self, x_t) for x_t in x])
        self.n += 1
        self.gain = torch.full((1,), 1.0 + self.n)
        return y


OTHERS: list[type[Net]] = [
    PreHook, Hook, Lambda, WeakHook, Proxy, Partial, InAGlobal, Descriptor, ArrayOfATensor, ArrayOfABuffer, ArrayOfAWeight,
    CountsElsewhere, Sequence,
]  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("make", OTHERS)
def test_a_module_that_does_something_else_than_its_copy_is_refused_by_line(
    tmp_path: Path, make: Callable[[], Net]
) -> None:
    net = make()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    shape = (5, 1, 6) if make is Sequence else (1, 6)
    with pytest.raises(
        PlifError, match=r"(step|call) \d+ of the module is not what a copy of it does \(.*line \d+ of "
    ) as refused:
        export(net, tmp_path / "m.onnx", torch.zeros(shape))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300 and list(tmp_path.iterdir()) == []
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_a_module_that_fails_where_its_copy_does_not_is_refused(tmp_path: Path) -> None:
    class Fails(Net):
        def __init__(self) -> None:
            super().__init__()
            self.fc1.register_forward_hook(lambda part, inputs, y: y if self.n < 20 else y[9:, 9:] @ y)

        def seen(self, s: Tensor) -> Tensor:
            self.n += 1
            return s

    with pytest.raises(PlifError, match=r"^forward \(Fails\): its own forward fails over 8 steps \("):
        export(Fails(), tmp_path / "m.onnx", torch.zeros(1, 6))


class Wrapper:
    """As the stream of a progress bar is: a copy asks itself for what it has not yet, for ever."""

    def __init__(self, inner: object) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Circle(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self(x)  # type: ignore[no-any-return]


def test_what_cannot_be_copied_or_never_ends_is_refused_and_the_process_goes_on(tmp_path: Path) -> None:
    net = Net()
    net.lif1.bar = [Wrapper("stream")]
    with pytest.raises(
        PlifError, match=r"^lif1 \(Neuron\): self\.bar \(list\) cannot be copied \(maximum recursion depth"
    ) as refused:
        export(net, tmp_path / "m.onnx", torch.zeros(1, 6))
    assert "\n" not in str(refused.value)
    with pytest.raises(PlifError, match=r"^forward \(Circle\): it fails on one time-step \(maximum recursion depth"):
        export(Circle(), tmp_path / "m.onnx", torch.zeros(1, 6))
    assert list(tmp_path.iterdir()) == []


# --- right ones ----------------------------------------------------------------------------------------------------------------


class HookOfAConstant(Net):
    """The closure reads what no step changes, and writes what no step reads."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []
        self.fc2.register_forward_pre_hook(lambda part, inputs: (inputs[0] * (0.5 + self.fc1.weight.mean()),))
        self.lif1.register_forward_hook(lambda part, inputs, y: self.rates.append(y.mean()))


class OwnMethods(Moves):
    """What is bound to self is copied with it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.n = self.scaled, functools.partial(Moves.scaled, self)

    def use(self, y: Tensor) -> Tensor:
        return self.n(self.kept(y))  # type: ignore[no-any-return]


class FillsMemory(Net):
    """Memory that nothing was written to yet is never the same."""

    def seen(self, s: Tensor) -> Tensor:
        made = torch.empty_like(s)
        made.copy_(s)
        return made


class ClampsItsWeight(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.fc1.weight.data.clamp_(-1.0, 1.0)
        return s


@pytest.mark.parametrize("make", [HookOfAConstant, OwnMethods, FillsMemory, ClampsItsWeight])
def test_closures_and_bound_methods_that_change_nothing_are_exported(tmp_path: Path, make: Callable[[], Net]) -> None:
    assert export(make(), tmp_path / "m.onnx", torch.zeros(1, 6)).passed


# --- the original is what it was -----------------------------------------------------------------------------------------------


class Touches(Net):
    """It changes everything that it has, in every way."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.many = [torch.zeros(2) for _ in range(100)]
        self.names, self.last = collections.Counter("abc"), collections.deque([1.0], maxlen=3)
        self.order = collections.OrderedDict(a=1, b=2)
        self.options, self.inner = optparse.Values({"n": 0}), {"deep": [{"n": [0]}]}
        self.array, self.raw = np.zeros(3), bytearray(b"abc")
        self.register_buffer("held", torch.arange(200.0))
        self.other, self.fails_at = torch.ones(200), fails_at
        self.me = weakref.ref(self)
        self.kept = self.held.numpy()  # type: ignore[operator]

    def seen(self, s: Tensor) -> Tensor:
        with torch.no_grad():
            self.many[80].add_(1)
            self.names["a"] += 2
            self.last.append(2.0)
            self.order["c"] = self.order.pop("a", 3)
            self.options.n += 1
            self.inner["deep"][0]["n"].append(1)
            self.array += 1
            self.kept += 1
            self.raw[0] = ord("x")
            self.held.data = self.other  # type: ignore[union-attr]
            self.fc1.weight.data.fill_(0.25)
            self.fc2.weight.data = self.fc2.weight * 0.5
            self.new = 1
            self.fc1.extra = nn.Identity()
            self.fc2.bias.requires_grad_(False)
            self.n += 1
        if self.fails_at is not None and self.me() is self and self.n > self.fails_at:
            raise KeyboardInterrupt
        return s


def contents(net: Touches) -> dict[str, Any]:
    """All that it holds, by value; the objects by which it is held, by identity."""
    parts = {path: {k: id(v) for k, v in vars(part).items()} for path, part in net.named_modules()}
    return {
        "parts": parts,
        "weights": {name: (id(value), value.tolist()) for name, value in net.state_dict(keep_vars=True).items()},
        "addresses": [value.data_ptr() for value in net.state_dict().values()],
        "many": [(id(each), each.tolist()) for each in net.many],
        "held": (dict(net.names), list(net.last), list(net.order.items()), vars(net.options).copy(), repr(net.inner)),
        "arrays": (net.array.tolist(), net.kept.tolist(), bytes(net.raw), net.other.tolist()),
        "modes": [(part.training, len(part._forward_hooks)) for part in net.modules()],
        "grad": [(value.requires_grad, value.is_inference()) for value in net.state_dict(keep_vars=True).values()],
    }


@pytest.mark.parametrize("fails_at", (None, 40))
def test_the_original_is_afterwards_what_it_was_also_after_ctrl_c(fails_at: int | None) -> None:
    net = Touches(fails_at)
    before = contents(net)
    form = CallForm(share_weights(net), "step", (6,))
    rollout = Rollout(ForwardMonitor(form))

    def play(watched: ForwardMonitor) -> RunValues:
        with torch.inference_mode(), watched:
            form.make_call(64)(watched.module, form.arrange_input(form.make_input(64, 1)))
        return RunValues()

    rollout.play(play)
    with pytest.raises(KeyboardInterrupt) if fails_at else contextlib.nullcontext():
        compare_with_copy(net, form, [rollout])
    assert contents(net) == before
    net.lif1(net.fc1(torch.ones(1, 6))).sum().backward()  # it can be trained


class Interrupted(Net):
    """The user types Ctrl-C while the original runs."""

    def __init__(self) -> None:
        super().__init__()
        self.me, self.kept = weakref.ref(self), []

    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        self.kept.append(x)
        if self.me() is self and self.n == 40:
            raise KeyboardInterrupt
        return x


def test_ctrl_c_in_an_export_leaves_the_original_as_it_was(tmp_path: Path) -> None:
    net = Interrupted()
    before = {path: vars(part).copy() for path, part in net.named_modules()}
    with pytest.raises(KeyboardInterrupt):
        export(net, tmp_path / "m.onnx", torch.zeros(1, 6))
    assert {path: vars(part) for path, part in net.named_modules()} == before
    assert net.n == 0 and net.kept == [] and net.training and list(tmp_path.iterdir()) == []
