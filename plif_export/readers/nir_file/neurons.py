"""NIR's neurons in a network of time-steps: forward Euler with k = dt / tau (runtime/neurons/forward_euler).

IF, LIF and CubaLIF with one threshold and one reset a layer are kinds of their own (runtime/neurons). Programs
(runtime/neurons/traced_program) are those that are not: neurons without spikes (I, LI, CubaLI: they give their membrane), a
Threshold, a Delay, thresholds that differ from neuron to neuron, and neurons whose spikes come back, which keep them in a state
"last".

    I, IF            h = v + R dt x
    LI, LIF          h = v + k (v_leak - v + R x)
    CubaLI, CubaLIF  i = i (1 - k_syn) + k_syn w_in x      h = v + k (v_leak - v + R i)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from plif_export.core.readers.rules import require
from plif_export.readers.libraries.layers import one_number
from runtime.core.model.graph import Shape

SPIKING = ("IF", "LIF", "CubaLIF", "Threshold")
NEURONS = (*SPIKING, "I", "LI", "CubaLI", "Delay")
MOST_DELAY = 32  # steps; each is a state of its own
Content = tuple[dict[str, object], dict[str, np.ndarray]]  # attributes and parameters of a node


class NirNode(Protocol):
    """A node of the nir package: which of these it has, its class says. Arrays are [] or [*shape], one for each neuron."""

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
    nodes: dict[str, NirNode]  # of a graph
    edges: list[tuple[str, str]]


@dataclass(frozen=True)
class Settings:
    """What a NIR file does not say: dt in seconds, fire ">" or ">=", reset "value" or "subtract"."""

    dt: float
    fire: str
    reset: str


def neuron(node: NirNode, shape: Shape, settings: Settings, keeps: bool) -> Content:
    """The attributes, without its layer, and the parameters of a NIR neuron. Raises Unsupported.

    keeps  whether a layer reads its spikes one step later
    """
    kind = type(node).__name__
    require(kind in SPIKING or not keeps, "what it gives comes back to it, and is no spike", "feed spikes back only")
    terms = _terms(kind, node, settings)
    arrays = {name: collapsed(value, shape, name) for name, value in terms.items() if value is not None}
    v_leak = one_number(node.v_leak, "v_leak") if hasattr(node, "v_leak") else 0.0
    thresholds = {name: collapsed(value, shape, name) for name, value in _thresholds(kind, node, settings).items()}
    one_each = all(value.ndim == 0 for value in thresholds.values())
    if kind in ("IF", "LIF", "CubaLIF") and one_each and not keeps:
        numbers = {name: float(value) for name, value in thresholds.items()}
        leak = {} if kind == "IF" else {"v_leak": v_leak}
        return {"kind": f"NIR-{kind}", "v_reset": None, **numbers, "fire": settings.fire, **leak}, arrays
    made = _NeuronWriter()
    if kind == "Delay":
        made.delay(_steps(node, settings))
    else:
        made.charge(kind, arrays, v_leak)
        if kind in SPIKING:
            made.fire(thresholds, settings.fire, resets=kind != "Threshold")
        if keeps:
            made.states["last"], made.next["last"] = 0.0, made.s
    return made.content()


def _terms(kind: str, node: NirNode, settings: Settings) -> dict[str, np.ndarray | None]:
    """The factors of its equation, float64; None for a factor of 1."""
    if kind in ("IF", "I"):
        return {"gain": _unless_one(np.asarray(node.r, np.float64) * settings.dt)}
    if kind in ("LIF", "LI"):
        return {"k": _k(node.tau, "tau", settings), "r": _unless_one(node.r)}
    if kind in ("CubaLIF", "CubaLI"):
        k_syn = _k(node.tau_syn, "tau_syn", settings)
        gain = _unless_one(k_syn * np.asarray(node.w_in, np.float64))
        return {"k": _k(node.tau_mem, "tau_mem", settings), "k_syn": k_syn, "r": _unless_one(node.r), "gain": gain}
    return {}


def _thresholds(kind: str, node: NirNode, settings: Settings) -> dict[str, np.ndarray]:
    if kind == "Threshold":
        return {"v_threshold": node.threshold}
    if kind not in SPIKING:
        return {}
    reset = {} if settings.reset == "subtract" else {"v_reset": node.v_reset}
    return {"v_threshold": node.v_threshold, **reset}


def _steps(node: NirNode, settings: Settings) -> int:
    delays = np.unique(np.rint(np.asarray(node.delay, np.float64) / settings.dt))
    require(delays.size == 1, "its delays differ", "give all its values one delay")
    steps = int(delays[0])
    rule = f"its delay is {steps} steps of dt={settings.dt:g}"
    require(
        0 < steps <= MOST_DELAY, rule, f"1 to {MOST_DELAY} are exported; say the dt of the network: --neuron dt=..."
    )
    return steps


def _k(tau: np.ndarray, name: str, settings: Settings) -> np.ndarray:
    k = settings.dt / np.asarray(tau, np.float64)
    fits = bool(np.all((k > 0) & (k <= 1 + 1e-6)))
    require(fits, f"{name} is below the time-step dt={settings.dt:g}", "say the dt of the network: --neuron dt=...")
    return k


@dataclass
class _NeuronWriter:
    """The program of a neuron while it is written."""

    states: dict[str, float] = field(default_factory=lambda: {"v": 0.0})
    next: dict[str, str] = field(default_factory=lambda: {"v": "h"})
    lines: list[list[str | float]] = field(default_factory=list)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    h: str = "h"
    s: str = "h"
    v_threshold: float = 0.0

    def line(self, name: str, op: str, *operands: str | float) -> str:
        self.lines.append([name, op, *operands])
        return name

    def term(self, name: str, value: np.ndarray) -> str | float:
        """A number as it is; more of them as a parameter."""
        if value.ndim == 0:
            return float(value)
        self.params[name] = value
        return name

    def times(self, name: str, factors: dict[str, np.ndarray], factor: str, value: str) -> str:
        """factor * value, where there is a factor."""
        return self.line(name, "Mul", self.term(factor, factors[factor]), value) if factor in factors else value

    def charge(self, kind: str, terms: dict[str, np.ndarray], v_leak: float) -> None:
        if kind == "Threshold":
            self.h, self.next["v"] = "x", "x"
            return
        current = self.times("driven", terms, "gain", "x")
        if kind in ("IF", "I"):
            self.line("h", "Add", "v", current)
            return
        self.states["v"] = v_leak
        if kind in ("CubaLIF", "CubaLI"):
            stays = np.float32(1) - terms["k_syn"]
            self.states["i"] = 0.0
            kept = self.line("kept", "Mul", "i", self.term("one_minus_k_syn", np.asarray(stays, np.float32)))
            current = self.next["i"] = self.line("current", "Add", kept, current)
        pulled = self.line("pulled", "Sub", v_leak, "v")
        drive = self.line("drive", "Add", pulled, self.times("weighed", terms, "r", current))
        moved = self.line("moved", "Mul", self.term("k", terms["k"]), drive)
        self.line("h", "Add", "v", moved)

    def fire(self, thresholds: dict[str, np.ndarray], fire: str, resets: bool) -> None:
        threshold = self.term("threshold", thresholds["v_threshold"])
        fires = self.line("fires", "Greater" if fire == ">" else "GreaterOrEqual", self.h, threshold)
        self.s = self.line("s", "Cast", fires)
        if isinstance(threshold, float):
            self.v_threshold = threshold
        if resets and "v_reset" in thresholds:
            self.next["v"] = self.line("after", "Where", fires, self.term("reset", thresholds["v_reset"]), self.h)
        elif resets:
            self.next["v"] = self.line("after", "Sub", self.h, self.line("down", "Mul", self.s, threshold))
        if not isinstance(threshold, float):  # how far each is from its own threshold
            self.h = self.line("above", "Sub", self.h, threshold)

    def delay(self, steps: int) -> None:
        """Each state hands its value to the next."""
        names = ["v", *(f"d{i}" for i in range(2, steps + 1))]
        self.states, self.next = dict.fromkeys(names, 0.0), dict(zip(names, ["x", *names], strict=False))
        self.h, self.s = "x", names[-1]

    def content(self) -> Content:
        common = {"kind": "Traced", "v_threshold": self.v_threshold, "v_reset": None}
        program = {"states": self.states, "program": self.lines, "h": self.h, "s": self.s, "next": self.next}
        return {**common, **program, **({} if self.s == "s" else {"spiking": False})}, self.params


def _unless_one(value: np.ndarray) -> np.ndarray | None:
    """None for a factor of 1, up to the rounding of a quotient."""
    values = np.asarray(value, np.float64)
    return None if np.allclose(values, 1, rtol=1e-6, atol=0) else values


def collapsed(value: np.ndarray, shape: Shape, name: str) -> np.ndarray:
    """float32: [] where all values are equal, [C] where they differ by channel only, else one per neuron."""
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
