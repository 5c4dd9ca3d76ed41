"""An opened artifact: the card, the engine that runs it, and why it is that engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.model.card import Card, in_a_line, output_shape


@dataclass(frozen=True)
class EngineChoice:
    """Which engine runs an artifact, and why (runtime/core/engines/available.py).

    asked        what the caller asked for: auto, or a name
    reason       half a sentence
    measured_ms  engine -> {"active": ms a call, "silent": ms a call}; empty where nothing was measured
    key          of what it depends on; empty where nothing was measured
    """

    engine: str
    asked: str
    reason: str
    measured_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    key: str = ""

    def sentence(self) -> str:
        return f"engine {self.engine}: {self.reason}"


@dataclass(frozen=True, repr=False)
class OpenModel:
    """An artifact that an engine has opened: its card, and what follows from it. It has no state and may be shared.

    `runtime.load` gives a runtime.core.api.Model, which adds sessions and streams; code in folders below api.py needs this much
    only.

    counts_rates   whether its sessions count the spikes of each layer
    engine_choice  which engine was taken, and why
    """

    path: Path
    card: Card
    engine: Engine
    counts_rates: bool = False
    engine_choice: EngineChoice | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self.path)!r}: {in_a_line(self.card)}, engine {self.engine.name}>"

    # Computed once, since some of them are needed in every step of every stream.

    @cached_property
    def classes(self) -> list[str]:
        """Raises PlifError for a network that gives a map, about which nobody can decide."""
        shape = output_shape(self.card)
        if len(shape) != 1:
            raise PlifError(
                f"{self.path}: gives a map {shape} at every step, and only classes can be decided about; step it from Python: "
                "runtime.load(...).session().step(x)"
            )
        return list(self.card["classes"])

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W). Raises PlifError for a network that does not take images or frames of events."""
        shape = self.card["input"]["shape"]
        if len(shape) != 3:
            raise PlifError(
                f"{self.path}: takes inputs of shape {shape}, not frames [channels, height, width]; step it from Python: "
                "runtime.load(...).session().step(x)"
            )
        c, h, w = shape
        return c, h, w

    @cached_property
    def T(self) -> int:
        return int(self.card["T"])

    @cached_property
    def unrolled(self) -> bool:
        return bool(self.card["form"] == "unrolled")

    @cached_property
    def static(self) -> bool:
        return bool(self.card["input"]["kind"] == "static")

    @cached_property
    def voters(self) -> int:
        """How many spikes of one step vote for a class: y is a multiple of 1 / voters."""
        return int(self.card["output"].get("voters", 1))
