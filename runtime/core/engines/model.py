"""An opened artifact: its card, the engine that runs it, and the reason for that engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.model.card import Card, output_shape, summarize_card


@dataclass(frozen=True)
class EngineChoice:
    """The engine that runs an artifact, and the reason for it (runtime/core/engines/available.py).

    requested    the caller's choice: auto, or a name
    reason       half a sentence
    measured_ms  engine -> {"active": ms a call, "silent": ms a call}; empty without a measurement
    key          identifies everything that the choice depends on; empty without a measurement
    """

    engine: str
    requested: str
    reason: str
    measured_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    key: str = ""

    def sentence(self) -> str:
        return f"engine {self.engine}: {self.reason}"


@dataclass(frozen=True, repr=False)
class OpenModel:
    """An artifact that an engine has opened, with its card and its properties. It has no state and may be shared.

    `runtime.load` returns a runtime.core.api.Model, which adds sessions and streams; code in folders below api.py
    needs this class only.

    counts_rates   whether its sessions count the spikes of each layer
    engine_choice  the engine in use, and the reason for it
    """

    path: Path
    card: Card
    engine: Engine
    counts_rates: bool = False
    engine_choice: EngineChoice | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self.path)!r}: {summarize_card(self.card)}, engine {self.engine.name}>"

    # Computed once, since some of them are needed in every step of every stream.

    @cached_property
    def classes(self) -> list[str]:
        """The names of the network's classes.

        Raise PlifError for a network with a map as its output, about which nobody can decide.
        """
        shape = output_shape(self.card)
        if len(shape) != 1:
            raise PlifError(
                f"{self.path}: gives a map {shape} at every step, and only classes can be decided about; step it from Python: "
                "runtime.load(...).session().step(x)"
            )
        return list(self.card["classes"])

    @cached_property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the network's input; refused if it is no image and no frame of events."""
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
        """The number of spikes of one step that vote for a class: y is a multiple of 1 / voters."""
        return int(self.card["output"].get("voters", 1))
