"""Graphs written with the nir package, one for each node: the node between an Affine and an IF that count votes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np

from tests.peers import Maker, Peer

N = 6
RNG = np.random.default_rng(0)

_GRAPHS = tempfile.TemporaryDirectory()  # until the tests end


def _numbers(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1.2, shape).astype(np.float32)


def _each(value: float, n: int = N) -> np.ndarray:
    return np.full(n, value, np.float32)


def _file(
    nodes: Mapping[str, Any], edges: list[tuple[str, str]], shape: tuple[int, ...], n: int = N, **options: Any
) -> Peer:
    """Written to a file: input -> nodes -> IF -> output; `edges` are those beside the chain."""
    chain = ["input", *nodes, "last", "output"]
    every = {
        "input": nir.Input({"input": np.array(shape)}),
        **nodes,
        "last": nir.IF(r=_each(1.0, n), v_threshold=_each(1.0, n)),
        "output": nir.Output({"output": np.array([n])}),
    }
    path = Path(tempfile.mkdtemp(dir=_GRAPHS.name)) / "graph.nir"
    nir.write(path, nir.NIRGraph(every, [*pairwise(chain), *edges]))
    return Peer(path, options={"neuron": {"dt": 1.0}, **options})


def _affine() -> Any:
    return nir.Affine(weight=_numbers(N, 4), bias=_numbers(N))


def _after(**node: Any) -> Maker:
    """A node of N numbers behind the Affine."""
    return lambda: _file({"affine": _affine(), **node}, [], (4,))


def _again(**node: Any) -> Maker:
    """A neuron whose spikes come back through weights."""
    (name,) = node
    back = {"back": nir.Linear(weight=0.3 * _numbers(N, N))}

    def make() -> Peer:
        chain = ["input", "affine", name, "last", "output"]
        every = {
            "input": nir.Input({"input": np.array([4])}), "affine": _affine(), **node, **back,
            "last": nir.IF(r=_each(1.0), v_threshold=_each(1.0)), "output": nir.Output({"output": np.array([N])}),
        }  # fmt: skip
        path = Path(tempfile.mkdtemp(dir=_GRAPHS.name)) / "graph.nir"
        nir.write(path, nir.NIRGraph(every, [*pairwise(chain), (name, "back"), ("back", name)]))
        return Peer(path, options={"neuron": {"dt": 1.0}})

    return make


def _image(shape: tuple[int, ...], n: int, **nodes: Any) -> Maker:
    """Layers of images, then Flatten and weights to N numbers."""

    def make() -> Peer:
        flat = nir.Flatten({"input": np.array(nodes["size"])}, start_dim=0, end_dim=-1)
        layers = {name: node for name, node in nodes.items() if name != "size"}
        return _file({**layers, "flat": flat, "fc": nir.Affine(weight=_numbers(N, n), bias=_numbers(N))}, [], shape)

    return make


def _conv() -> Any:
    return nir.Conv2d((8, 8), _numbers(3, 2, 3, 3), 1, 1, 1, 1, _numbers(3))


LIF = {"tau": _each(4.0), "r": _each(2.0), "v_leak": _each(0.0), "v_threshold": _each(0.5)}
CUBA = {"tau_mem": _each(4.0), "tau_syn": _each(2.0), "r": _each(2.0), "v_leak": _each(0.0), "v_threshold": _each(0.5)}

MAKERS: dict[str, Maker] = {
    "Affine": _after(),
    "Linear": lambda: _file({"linear": nir.Linear(weight=_numbers(N, 4))}, [], (4,)),
    "Scale": _after(scale=nir.Scale(scale=_each(1.5))),
    "Conv1d": _image((2, 9), 3 * 9, conv=nir.Conv1d(9, _numbers(3, 2, 3), 1, 1, 1, 1, _numbers(3)), size=(3, 9)),
    "Conv2d": _image((2, 8, 8), 3 * 64, conv=_conv(), size=(3, 8, 8)),
    "SumPool2d": _image(
        (2, 8, 8),
        3 * 16,
        conv=_conv(),
        size=(3, 4, 4),
        pool=nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
    ),
    "AvgPool2d": _image(
        (2, 8, 8),
        3 * 16,
        conv=_conv(),
        size=(3, 4, 4),
        pool=nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
    ),
    "Flatten": _image((2, 8, 8), 128, size=(2, 8, 8)),
    "IF": _after(neuron=nir.IF(r=_each(1.0), v_threshold=_each(1.0))),
    "LIF": _after(neuron=nir.LIF(**LIF)),
    "CubaLIF": _after(neuron=nir.CubaLIF(**CUBA)),
    "LI": _after(neuron=nir.LI(tau=_each(4.0), r=_each(2.0), v_leak=_each(0.0))),
    "CubaLI": _after(neuron=nir.CubaLI(tau_mem=_each(4.0), tau_syn=_each(2.0), r=_each(2.0), v_leak=_each(0.0))),
    "I": _after(neuron=nir.I(r=_each(1.0))),
    "Threshold": _after(neuron=nir.Threshold(threshold=_each(0.5))),
    "Delay": _after(neuron=nir.Delay(delay=_each(2.0))),
    "LIF-recurrent": _again(neuron=nir.LIF(**LIF)),
    "CubaLIF-recurrent": _again(neuron=nir.CubaLIF(**CUBA)),
}
