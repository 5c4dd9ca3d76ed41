"""NIR's neurons in a network of time-steps: forward Euler with k = dt / tau (runtime/neurons/forward_euler).

IF, LIF and CubaLIF with one threshold and one reset a layer are kinds of their own (runtime/neurons). Other neurons
become programs (runtime/neurons/traced_program): neurons without spikes (I, LI, CubaLI: their output is the
membrane), a Threshold, a Delay, different thresholds in one layer, and recurrent neurons, which keep their spikes in
a state "last".

    I, IF            h = v + R dt x
    LI, LIF          h = v + k (v_leak - v + R x)
    CubaLI, CubaLIF  i = i (1 - k_syn) + k_syn w_in x      h = v + k (v_leak - v + R i)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.readers.libraries.layers import require_uniform
from runtime.core.model.graph import Shape

SPIKING_TYPES = ("IF", "LIF", "CubaLIF", "Threshold")
NEURON_TYPES = (*SPIKING_TYPES, "I", "LI", "CubaLI", "Delay")
MOST_DELAY = 32  # steps; each needs a state
Content = tuple[dict[str, object], dict[str, np.ndarray]]  # attributes and parameters of a node


class NirNode(Protocol):
    """A node of a NIR graph, as the nir package gives it, with the attributes that the node's class has.

    Arrays are [] or [*shape], one number for each neuron.
    """

    r: np.ndarray
    tau: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray
    w_in: np.ndarray
    v_leak: np.ndarray
    v_threshold: np.ndarray
    v_reset: np.ndarray
    threshold: np.ndarray
    delay: np.ndarray
    input_type: dict[str, np.ndarray]
    nodes: dict[str, NirNode]  # of a nested graph
    edges: list[tuple[str, str]]


@dataclass(frozen=True)
class NirSettings:
    """The settings of a network that a NIR file does not hold: time-step, firing rule and reset.

    dt: seconds. fire: ">" or ">=". reset: "value" or "subtract".
    """

    dt: float
    fire: str
    reset: str


def read_neuron(node: NirNode, shape: Shape, settings: NirSettings, recurrent: bool) -> Content:
    """Convert a NIR neuron to graph attributes and parameter arrays. Raises Unsupported if that is impossible.

    recurrent: whether a layer reads its spikes one step later.
    """
    kind = type(node).__name__
    require(
        kind in SPIKING_TYPES or not recurrent,
        "what it gives comes back to it, and is no spike",
        "feed spikes back only",
    )
    terms = _find_factors(kind, node, settings)
    arrays = {name: collapse_uniform(value, shape, name) for name, value in terms.items() if value is not None}
    v_leak = require_uniform(node.v_leak, "v_leak") if hasattr(node, "v_leak") else 0.0
    thresholds = {
        name: collapse_uniform(value, shape, name) for name, value in _find_thresholds(kind, node, settings).items()
    }
    one_threshold = all(value.ndim == 0 for value in thresholds.values())
    if kind in ("IF", "LIF", "CubaLIF") and one_threshold and not recurrent:
        numbers = {name: float(value) for name, value in thresholds.items()}
        leak = {} if kind == "IF" else {"v_leak": v_leak}
        return {"kind": f"NIR-{kind}", "v_reset": None, **numbers, "fire": settings.fire, **leak}, arrays
    writer = _NirProgramWriter()
    if kind == "Delay":
        writer.add_delay(_count_delay_steps(node, settings))
    else:
        writer.add_charge(kind, arrays, v_leak)
        if kind in SPIKING_TYPES:
            writer.add_firing(thresholds, settings.fire, resets=kind != "Threshold")
        if recurrent:
            writer.states["last"], writer.next["last"] = 0.0, writer.s
    return writer.make_content()


def _find_factors(kind: str, node: NirNode, settings: NirSettings) -> dict[str, np.ndarray | None]:
    """Compute the factors in a NIR neuron's equation from its parameters, float64; None for a factor of 1."""
    if kind in ("IF", "I"):
        return {"gain": _none_if_one(np.asarray(node.r, np.float64) * settings.dt)}
    if kind in ("LIF", "LI"):
        return {"k": _find_decay(node.tau, "tau", settings), "r": _none_if_one(node.r)}
    if kind in ("CubaLIF", "CubaLI"):
        k_syn = _find_decay(node.tau_syn, "tau_syn", settings)
        gain = _none_if_one(k_syn * np.asarray(node.w_in, np.float64))
        return {
            "k": _find_decay(node.tau_mem, "tau_mem", settings),
            "k_syn": k_syn,
            "r": _none_if_one(node.r),
            "gain": gain,
        }
    return {}


def _find_thresholds(kind: str, node: NirNode, settings: NirSettings) -> dict[str, np.ndarray]:
    if kind == "Threshold":
        return {"v_threshold": node.threshold}
    if kind not in SPIKING_TYPES:
        return {}
    reset = {} if settings.reset == "subtract" else {"v_reset": node.v_reset}
    return {"v_threshold": node.v_threshold, **reset}


def _count_delay_steps(node: NirNode, settings: NirSettings) -> int:
    delays = np.unique(np.rint(np.asarray(node.delay, np.float64) / settings.dt))
    require(delays.size == 1, "its delays differ", "give all its values one delay")
    steps = int(delays[0])
    rule = f"its delay is {steps} steps of dt={settings.dt:g}"
    require(
        0 < steps <= MOST_DELAY, rule, f"1 to {MOST_DELAY} are exported; say the dt of the network: --neuron dt=..."
    )
    return steps


def _find_decay(tau: np.ndarray, name: str, settings: NirSettings) -> np.ndarray:
    k = settings.dt / np.asarray(tau, np.float64)
    fits = bool(np.all((k > 0) & (k <= 1 + 1e-6)))
    require(fits, f"{name} is below the time-step dt={settings.dt:g}", "say the dt of the network: --neuron dt=...")
    return k


@dataclass
class _NirProgramWriter:
    """A writer of a NIR neuron's program, which collects its lines, states and parameters."""

    states: dict[str, float] = field(default_factory=lambda: {"v": 0.0})
    next: dict[str, str] = field(default_factory=lambda: {"v": "h"})
    lines: list[list[str | float]] = field(default_factory=list)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    h: str = "h"
    s: str = "h"
    v_threshold: float = 0.0

    def add_line(self, name: str, op: str, *operands: str | float) -> str:
        self.lines.append([name, op, *operands])
        return name

    def add_operand(self, name: str, value: np.ndarray) -> str | float:
        """Return a value as operand of a neuron program's line; an array is added as a named parameter."""
        if value.ndim == 0:
            return float(value)
        self.params[name] = value
        return name

    def add_factor(self, name: str, factors: dict[str, np.ndarray], factor: str, value: str) -> str:
        """Add a line to a neuron's program that multiplies a value by a factor, if the neuron has that factor."""
        return (
            self.add_line(name, "Mul", self.add_operand(factor, factors[factor]), value) if factor in factors else value
        )

    def add_charge(self, kind: str, terms: dict[str, np.ndarray], v_leak: float) -> None:
        if kind == "Threshold":
            self.h, self.next["v"] = "x", "x"
            return
        current = self.add_factor("driven", terms, "gain", "x")
        if kind in ("IF", "I"):
            self.add_line("h", "Add", "v", current)
            return
        self.states["v"] = v_leak
        if kind in ("CubaLIF", "CubaLI"):
            stays = np.float32(1) - terms["k_syn"]
            self.states["i"] = 0.0
            remaining = self.add_line(
                "kept", "Mul", "i", self.add_operand("one_minus_k_syn", np.asarray(stays, np.float32))
            )
            current = self.next["i"] = self.add_line("current", "Add", remaining, current)
        pulled = self.add_line("pulled", "Sub", v_leak, "v")
        drive = self.add_line("drive", "Add", pulled, self.add_factor("weighed", terms, "r", current))
        moved = self.add_line("moved", "Mul", self.add_operand("k", terms["k"]), drive)
        self.add_line("h", "Add", "v", moved)

    def add_firing(self, thresholds: dict[str, np.ndarray], fire: str, resets: bool) -> None:
        threshold = self.add_operand("threshold", thresholds["v_threshold"])
        fires = self.add_line("fires", "Greater" if fire == ">" else "GreaterOrEqual", self.h, threshold)
        self.s = self.add_line("s", "Cast", fires)
        if isinstance(threshold, float):
            self.v_threshold = threshold
        if resets and "v_reset" in thresholds:
            self.next["v"] = self.add_line(
                "after", "Where", fires, self.add_operand("reset", thresholds["v_reset"]), self.h
            )
        elif resets:
            self.next["v"] = self.add_line("after", "Sub", self.h, self.add_line("down", "Mul", self.s, threshold))
        if not isinstance(threshold, float):  # the distance of each neuron from its own threshold
            self.h = self.add_line("above", "Sub", self.h, threshold)

    def add_delay(self, steps: int) -> None:
        """Write a delay of some time-steps into a neuron's program, as a chain of states that pass values on."""
        names = ["v", *(f"d{i}" for i in range(2, steps + 1))]
        self.states, self.next = dict.fromkeys(names, 0.0), dict(zip(names, ["x", *names], strict=False))
        self.h, self.s = "x", names[-1]

    def make_content(self) -> Content:
        common = {"kind": "Traced", "v_threshold": self.v_threshold, "v_reset": None}
        program = {"states": self.states, "program": self.lines, "h": self.h, "s": self.s, "next": self.next}
        return {**common, **program, **({} if self.s == "s" else {"spiking": False})}, self.params


def _none_if_one(value: np.ndarray) -> np.ndarray | None:
    """Return None for a factor of a neuron's equation that is 1 up to rounding; others as float64 [...]."""
    values = np.asarray(value, np.float64)
    return None if np.allclose(values, 1, rtol=1e-6, atol=0) else values


def collapse_uniform(value: np.ndarray, shape: Shape, name: str) -> np.ndarray:
    """Reduce a parameter array to float32 [] if uniform, [C] if equal in each channel, else one per neuron."""
    values = np.asarray(value, np.float64)
    if values.size and np.all(values == values.flat[0]):
        return np.array(values.flat[0], np.float32)
    if values.shape == shape and len(shape) > 1:
        flat = values.reshape(shape[0], -1)
        if np.all(flat == flat[:, :1]):
            return flat[:, 0].astype(np.float32)
    fits = values.shape in (shape, shape[:1])
    require(fits, f"its {name} has shape {list(values.shape)} for neurons {list(shape)}", "give one per neuron")
    return values.astype(np.float32)
