"""Random networks as the event engine opens them: a card and its weights, without PyTorch and without a file."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.core.model.neurons import get_equation
from runtime.core.model.ops.operation import UNARY
from runtime.core.model.ops.shapes import ShapeMismatch, infer_shape
from runtime.neurons.traced_program.program import OPS
from tests.fuzz.traced import random_program

CHANNELS = (1, 2, 3, 8, 16, 17, 33, 64, 65, 80, 128, 129, 150)
KINDS: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = (  # attributes, and names of parameters
    ({"kind": "Leaky", "reset": "subtract", "reset_delay": True}, ("beta",)),
    ({"kind": "Leaky", "reset": "zero", "reset_delay": False}, ("beta",)),
    ({"kind": "LIFBox", "v_leak": 0.25}, ("k",)),
    ({"kind": "LIFCell", "v_leak": 0.0}, ("k", "k_syn")),
    ({"kind": "NIR-IF", "fire": ">"}, ("gain",)),
    ({"kind": "NIR-LIF", "fire": ">=", "v_leak": 0.5}, ("k", "r")),
    ({"kind": "NIR-CubaLIF", "fire": ">=", "v_leak": 0.0}, ("k", "k_syn", "r", "gain")),
)


class Network:
    """Draws a network of every operation that the engine has. card: what the compiler reads of one; weights: by name."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.numbers = rng, np.random.default_rng(rng.getrandbits(32))
        self.weights: dict[str, np.ndarray] = {}
        self.nodes: list[dict[str, Any]] = []
        self.states: list[dict[str, Any]] = []
        shape = [rng.choice((1, 2, 3)), rng.randint(4, 12), rng.randint(4, 12)]
        self.name, self.shape, self.spikes, self.area = "x", shape, False, 0  # area: of averages of spikes; 0: neither
        for _ in range(rng.randint(1, 3)):
            self.block()
        self.add_node("Flatten", [int(np.prod(self.shape))])
        classes = rng.choice((2, 3, 5))
        voters = rng.choice((1, 4, 10))
        if rng.random() < 0.5:
            self.linear(rng.choice(CHANNELS))
            self.neuron()
        self.linear(classes * voters)
        self.neuron()
        if voters > 1:
            self.add_node("Vote", [classes], {"voters": voters})
        self.card = {
            "input": {"shape": shape},
            "classes": [str(i) for i in range(classes)],
            "states": self.states,
            "graph": {"input": "x", "output": self.name, "nodes": self.nodes},
        }

    def add_node(self, op: str, shape: list[int], attrs: dict[str, Any] | None = None, **weights: np.ndarray) -> None:
        """A node behind the last one; `weights` under the names that an export gives them."""
        name = f"{op.lower()}{len(self.nodes)}"
        params = {key: f"{name}.{key}" for key in weights}
        self.weights |= {params[key]: value for key, value in weights.items()}
        node = {"op": op, "name": name, "inputs": [self.name], "attrs": attrs or {}, "params": params, "shape": shape}
        self.nodes.append(node)
        self.name, self.shape = name, shape

    def block(self) -> None:
        """A convolution, a neuron, and what may stand between and behind them."""
        before = self.name, list(self.shape), self.spikes, self.area
        self.conv(self.rng.choice(CHANNELS))
        if self.rng.random() < 0.2:
            self.affine()
        if self.rng.random() < 0.2:
            self.pool()
        self.neuron()
        if self.rng.random() < 0.3 and before[1][0] != 1 and before[0] != "x":  # a second branch of the same shape
            first = self.name, self.shape
            self.name = first[0]
            self.conv(self.shape[0], same=True)
            self.neuron()
            second = self.name
            self.add_node("Add", first[1])
            self.nodes[-1]["inputs"] = [first[0], second]
            self.spikes = False
        if self.rng.random() < 0.5:
            self.pool()
        while self.rng.random() < 0.3:
            self.general()

    def general(self) -> None:
        """An operation that has no kernel of its own, on a map."""
        rng, (c, h, w) = self.rng, self.shape
        size = [rng.randint(1, 2 * n) for n in (h, w)]
        norm = {"weight": self.tensor(w), "bias": self.tensor(w)}
        groups = rng.choice([g for g in (1, 2) if c % g == 0])
        place = {"stride": [1, rng.choice((1, 2))], "padding": [rng.choice((0, 2)), 1], "groups": groups}
        kernel = self.tensor(2 * groups, c // groups, min(3, h), 1)
        up = self.tensor(c, 1, 2, 3)
        turned = {"stride": 2, "padding": 1, "output_padding": 0, "groups": 1, "dilation": 1}
        drawn: list[tuple[str, list[int], dict[str, Any], dict[str, np.ndarray]]] = [
            (
                "MaxPool",
                [],
                {"kernel": min(3, h, w), "stride": 2, "padding": 1 if min(h, w) > 1 else 0, "dilation": 1},
                {},
            ),
            ("AvgPool", [], {"kernel": [min(2, h), min(3, w)], "stride": 1}, {}),
            ("Conv", [], place, {"weight": kernel, "bias": self.tensor(2 * groups)}),
            ("ConvTranspose", [], turned, {"weight": up}),
            ("AdaptiveAvgPool", [c, *size], {}, {}),
            ("GlobalAvgPool", [], {}, {}),
            ("Resize", [c, *size], {"mode": rng.choice(("nearest", "linear"))}, {}),
            ("Slice", [], {"axis": 2, "start": 0, "stop": None, "step": 2}, {}),
            ("Permute", [], {"axes": [0, 2, 1, 3]}, {}),
            ("Reshape", [w, c, h], {}, {}),
            (
                "Reduce",
                [],
                {"how": rng.choice(("sum", "mean", "max")), "axes": [rng.choice((1, 2, 3))], "keepdims": True},
                {},
            ),
            ("Softmax", [], {"axis": rng.choice((1, 2, 3))}, {}),
            ("LayerNorm", [], {"eps": 1e-5, "axes": 1}, norm),
            ("Unary", [], {"function": rng.choice(UNARY)}, {}),
            ("Affine", [], {}, {"scale": self.tensor(c, h, w), "shift": self.tensor(c, h, w)}),
        ]
        op, shape, attrs, params = rng.choice(drawn)
        about = SimpleNamespace(op=op, attrs=attrs, params=params, shape=tuple(shape or self.shape))
        try:
            shape = list(infer_shape(about, [tuple(self.shape)]))
        except ShapeMismatch:
            return
        if min(shape) < 1:
            return
        self.add_node(op, shape, attrs, **params)
        self.spikes, self.area = False, 0

    def tensor(self, *shape: int) -> np.ndarray:
        return self.numbers.normal(0.1, 1, shape).astype(np.float32)

    def quantised(self, *shape: int) -> dict[str, np.ndarray]:
        """Weights and, where they are int8, their scale: only behind spikes and averages of spikes."""
        bias = {"bias": self.tensor(shape[0])} if self.rng.random() < 0.7 else {}
        if not (self.spikes or self.area) or self.rng.random() < 0.5:
            return bias | {"weight": self.tensor(*shape)}
        most = self.rng.choice((2, 128))
        return bias | {
            "weight": self.numbers.integers(-most, most, shape).astype(np.int8),
            "scale": np.abs(self.tensor(shape[0])) / (10 * most),
        }

    def conv(self, outputs: int, same: bool = False) -> None:
        """same: one that keeps the size of its map."""
        rng, (c, h, w) = self.rng, self.shape
        k = rng.choice((1, 3) if same else (1, 2, 3, 5))
        kernel, stride, pad, dilation = [k, k], [1, 1], [k // 2] * 2, [1, 1]
        if not same:
            stride, pad = [rng.choice((1, 1, 2, 3))] * 2, [rng.choice((0, 1, 2))] * 2
            if rng.random() < 0.3:  # each axis by its own
                kernel, stride, pad = (
                    [k, rng.choice((1, 3))],
                    [rng.choice((1, 2)), stride[0]],
                    [pad[0], rng.choice((0, 1))],
                )
                dilation = [rng.choice((1, 2)), rng.choice((1, 1, 2))]
            kernel = [
                min(k, (n + 2 * p - 1) // d + 1) for k, n, p, d in zip(kernel, (h, w), pad, dilation, strict=True)
            ]
        groups = rng.choice([g for g in (1, 1, 2, 4) if c % g == 0 and outputs % g == 0])
        attrs: dict[str, Any] = {"stride": stride, "padding": pad, "groups": groups, "dilation": dilation}
        weights = self.quantised(outputs, c // groups, *kernel)
        if "scale" in weights and self.area:
            attrs["area"] = self.area
        sizes = zip((h, w), kernel, stride, pad, dilation, strict=True)
        out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes]
        self.add_node("Conv", [outputs, *out], attrs, **weights)
        self.spikes, self.area = False, 0

    def linear(self, outputs: int) -> None:
        weights = self.quantised(outputs, self.shape[0])
        attrs = {"area": self.area} if "scale" in weights and self.area else {}
        if "scale" in weights:
            weights["weight"] = np.ascontiguousarray(weights["weight"].T)
        self.add_node("Linear", [outputs], attrs, **weights)
        self.spikes, self.area = False, 0

    def affine(self) -> None:
        c = self.shape[0]
        self.add_node("Affine", self.shape, {}, scale=self.tensor(c), shift=self.tensor(c))

    def pool(self) -> None:
        c, h, w = self.shape
        k, stride = self.rng.randint(1, min(3, h, w)), self.rng.choice((1, 2, 3))
        op = self.rng.choice(("MaxPool", "AvgPool"))
        if op == "AvgPool":
            self.area = k * k if self.spikes else 0
            self.spikes = False
        shape = [c, (h - k) // stride + 1, (w - k) // stride + 1]
        self.add_node(op, shape, {"kernel": k, "stride": stride})

    def neuron(self) -> None:
        """A neuron with a kernel of its own, or a program; sometimes one that gets its last state, or whose state is read."""
        rng, layer = self.rng, f"n{len({state['layer'] for state in self.states})}"
        if rng.random() < 0.15:
            current = self.name
            self.state(layer, "before", [])
            self.add_node("Add", self.shape)
            self.nodes[-1]["inputs"].insert(0, current)
        if rng.random() < 0.5:
            self.own_kind(layer)
        else:
            self.program(layer)
        if rng.random() < 0.15:
            fired = self.name
            self.state(layer, "after", [fired])
            self.add_node("Add", self.shape)
            self.nodes[-1]["inputs"].append(fired)
            self.spikes, self.area = False, 0

    def state(self, layer: str, when: str, inputs: list[str]) -> None:
        self.add_node("State", self.shape, {"layer": layer, "variable": "v", "when": when})
        self.nodes[-1]["inputs"] = inputs

    def own_kind(self, layer: str) -> None:
        rng = self.rng
        attrs = {
            "kind": rng.choice(("LIF", "IF")),
            "layer": layer,
            "charge": rng.choice(("exact", "folded")),
            "decay_input": rng.random() < 0.5,
            "v_threshold": rng.choice((1.0, 0.5)),
            "v_reset": rng.choice((None, 0.0, -0.25)),
        }
        self.states.append({"layer": layer, "variable": "v", "name": f"v.{layer}", "shape": self.shape})
        size = rng.choice((1, self.shape[0]))
        alpha = self.numbers.uniform(0.2, 0.8, size).astype(np.float32)
        self.add_node("Neuron", self.shape, attrs, **({} if attrs["kind"] == "IF" else {"alpha": alpha}))
        self.weights[f"{self.name}.one_minus_alpha"] = alpha
        self.spikes, self.area = True, 0

    def program(self, layer: str) -> None:
        """Any other equation, or a random program, with several inputs where it can have them."""
        rng, common = self.rng, {"layer": layer, "v_threshold": 0.5, "v_reset": 0.0}
        inputs = [self.name] * rng.choice((1, 1, 2, 3))
        attrs: dict[str, Any]
        if rng.random() < 0.6:
            program, names = random_program(rng, sorted(OPS), len(inputs))
            attrs = {"kind": "Traced", **common, **program}
        else:
            attrs, names = rng.choice(KINDS)
            attrs, inputs = {**attrs, **common}, inputs[:1]
        for variable in get_equation(attrs["kind"]).initial(attrs):
            self.states.append(
                {"layer": layer, "name": f"{variable}.{layer}", "shape": self.shape, "variable": variable}
            )
        sizes = [rng.choice(((), (self.shape[0],), tuple(self.shape))) for _ in names]
        params = {
            key: self.numbers.uniform(0.2, 0.8, n).astype(np.float32) for key, n in zip(names, sizes, strict=True)
        }
        self.add_node("Neuron", self.shape, attrs, **params)
        self.nodes[-1]["inputs"] = inputs
        self.spikes, self.area = not attrs.get("graded", False), 0
