"""Modules: what an attack is, whether it is exported, and how often the file then differs, free-running from reset.

All weights are multiples of 1/8 and inputs whole numbers, so that nothing is rounded in a sum and what differs, differs.
"""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import plif_export
import runtime
from runtime.core.base.errors import PlifError
from tests.plif_export.core.attacks.artifacts import Finding, import_all

IN, HIDDEN, OUT = 6, 16, 4


class Lif(nn.Module):
    """v = v * decay + x; fires at v >= threshold, and goes to 0."""

    decay: Any = 0.75
    threshold: Any = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            self.v = torch.zeros_like(x)
        self.v = self.v * self.decay + x
        s = (self.v >= self.threshold).float()
        self.v = self.v * (1 - s)
        return s


class Net(nn.Module):
    """Two layers of neurons; x [B, IN] -> spikes [B, OUT]. What derives from it does something else later, or elsewhere.

    steps  how many are run to measure a difference;  rows: streams side by side;  often: mean count of an input
    grad   whether it is run with gradients
    """

    steps = 300
    rows = 1
    often = 1.0
    grad = False
    sequence: int | None = None  # T of the example, where forward takes [T, B, IN]

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, OUT)
        self.lif1, self.lif2 = Lif(), Lif()
        rng = np.random.default_rng(5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(rng.integers(-2, 5, tuple(parameter.shape)) / 8))

    def run(self, x: Tensor) -> Tensor:
        """A step of the network, as it should be."""
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)

    def forget(self) -> None:
        """Both membranes begin anew."""
        self.lif1.v = self.lif2.v = None

    @classmethod
    def frames(cls) -> np.ndarray:
        """float32 [steps, rows, IN]: whole numbers, rarely large ones, and some empty frames."""
        rng = np.random.default_rng(3)
        x = rng.poisson(cls.often, (cls.steps, cls.rows, IN))
        x[rng.random(x.shape) < 0.01] = 40
        x[50:70] = 0
        return x.astype(np.float32)

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        """Where the module and the file are run to be compared; what an attack changes there is put back."""
        yield

    @classmethod
    def tidy(cls) -> None:
        """Takes away what an attack left outside of the module."""


@dataclass(frozen=True)
class Module:
    """A module and what should happen: refused (or said in not_proved, or exported right), or exports."""

    make: type[Net]
    expected: str

    @property
    def name(self) -> str:
        return self.make.__name__


ATTACKS: dict[str, Module] = {}


def turns(make: type[Net]) -> type[Net]:
    """Enters a module that must be refused, or of which the report must say what was not proved."""
    return _enter(make, "refused")


def stays(make: type[Net]) -> type[Net]:
    """Enters a module that must be exported."""
    return _enter(make, "exports")


def _enter(make: type[Net], expected: str) -> type[Net]:
    assert make.__name__ not in ATTACKS and make.__doc__, make.__name__
    ATTACKS[make.__name__] = Module(make, expected)
    return make


def all_modules() -> list[Module]:
    import_all("turning")
    return list(ATTACKS.values())


def example(make: type[Net]) -> Tensor:
    return torch.zeros(1, IN) if make.sequence is None else torch.zeros(make.sequence, 1, IN)


@cache
def _of_an_honest_module() -> frozenset[str]:
    """What export does not prove of any module."""

    class Plain(Net):
        pass

    with TemporaryDirectory() as folder:
        done = plif_export.export(Plain().eval(), Path(folder) / "net.onnx", torch.zeros(1, IN))
    assert done.verify is not None
    return frozenset(done.verify.not_proved)


def try_module(one: Module, folder: Path) -> Finding:
    """Exports a new module of that class, and runs what comes of it beside another new one."""
    try:
        return _tried(one, folder / f"{one.name}.onnx")
    finally:
        one.make.tidy()


def _tried(one: Module, path: Path) -> Finding:
    common = _of_an_honest_module()
    _seed(0)
    try:
        done = plif_export.export(one.make().eval(), path, example(one.make))
    except PlifError as error:
        verdict = "right" if one.expected == "refused" else "LOST"
        return Finding(one.name, one.expected, "refused", str(error), verdict, kind="module")
    except Exception as error:  # whatever is no PlifError is a crash, which no user should see
        said = f"{type(error).__name__}: {error}"
        return Finding(one.name, one.expected, "crashed", said, "CRASHED", kind="module")
    assert done.verify is not None
    new = [text for text in done.verify.not_proved if text not in common]
    differ, of = difference(one.make, path)
    effect = f"{differ} of {of} outputs differ"
    found = "said" if new else "exported"
    verdict = "PASSED FALSELY" if differ and not new else "right"
    return Finding(one.name, one.expected, found, new[0] if new else done.verify.sentence(), verdict, effect, "module")


def difference(make: type[Net], path: Path) -> tuple[int, int]:
    """(outputs that differ, of how many) between a new module and an ONNX file, each from reset."""
    x = make.frames()
    make.tidy()
    _seed(1)
    net = make().eval()
    with make.elsewhere(), torch.set_grad_enabled(make.grad):
        if make.sequence is None:
            theirs = np.stack([net(torch.from_numpy(frame.copy())).detach().numpy().copy() for frame in x])
        else:
            theirs = net(torch.from_numpy(x.copy())).detach().numpy().copy()
        session = runtime.load(path, engine="onnxruntime").session(streams=make.rows)
        ours = np.stack([session.step(frame).copy() for frame in x])
    differ = (np.abs(ours - theirs.reshape(ours.shape)) > 1e-4).any(-1)
    return int(differ.sum()), differ.size


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def scripted(function: Any) -> Any:
    """A function as TorchScript, which PyTorch calls deprecated and networks still have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(function)
