"""What the gate found, as a record: `plif verify --json` prints all of it, and an artifact's card keeps a summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TypedDict

from runtime.core.base.errors import Gate
from runtime.core.base.text import printable
from runtime.core.model.digest import sentence
from runtime.core.model.records import PARITY

MOST_LINES = 10  # of what differs, for people; JSON has all


class Divergence(TypedDict):
    """Where something differs first."""

    layer: str
    step: int


class Failure(Divergence):
    """The first that failed, and what it was."""

    what: str


class Digest(TypedDict):
    """Of a file that existed.

    changed  names of the parts that are not as they were exported
    """

    sha256: str | None
    changed: list[str]


class StructureRecord(TypedDict):
    """A place where an artifact is not what the exporter writes of the model."""

    where: str
    expected: str
    found: str


Shown = TypedDict("Shown", {"what": str, "for": str, "how": str})


class Thorough(TypedDict):
    """Of a thorough proof.

    steps, parted      of the long run, and how often it parted
    restarts, nearest  of the search, and how near to its bound a difference came there (MEMBRANE bounds are too many)
    """

    steps: int
    parted: int
    restarts: int
    nearest: float


@dataclass
class LayerReport:
    """One layer in the gate: spikes that differ, how many of them are excused, the worst membrane error.

    rate                     spikes per neuron and step of the reference, 0..1
    max_scaled_dv            the worst |dv| in bounds (bounds.py), which the gate judges: 10 are too many
    free_running_mismatches  against the model, the whole artifact on its own spikes
    rounding_mismatches      against the model, one step on the model's spikes and membranes; rounded weights only
    """

    name: str
    rate: float = 0.0
    mismatches: int = 0
    excused: int = 0
    membranes_off: int = 0
    max_abs_dv: float = 0.0
    max_scaled_dv: float = 0.0
    free_running_mismatches: int = 0
    rounding_mismatches: int = 0


@dataclass
class Report:
    """What the gate found; `to_dict` is the JSON of `plif verify --json`, which also has `shown`.

    precision     of the weights;  rounding: whether the report says what their rounding changed
    rounded_spikes  of the model, that rounded weights had a part in;  rounded_fire: whether a layer that has them fires on the
                  input from reset
    probed        neuron-steps that were compared on random spikes;  rows: streams that ran side by side
    loops         of a loop form: the numbers of steps that were compared in one call
    engine        the engine that was compared;  engine_steps: how many of its steps were compared to the end
    digest        None where the card has none
    structure     empty when equal
    thorough      None where nobody asked for one
    seed          of what was drawn;  inputs: the least and the largest number that went in
    failed_at     the first failure
    first_divergence  layer and step with which the first difference begins, on the stimulus; where there is none, of what failed
    untested      layers that no input, spikes or membranes made fire (or rest), so that nothing was shown about their thresholds
    not_proved    what the card says and nobody but the artifact said: some of classes, framing, kind
    module        what a live module itself was run on when it was read; "" of a file
    layers        the numbers of each layer, as the ONNX file tells them; an engine adds to the totals only
    """

    passed: bool = True
    precision: str = "fp32"
    rounding: bool = False
    steps: int = 0
    streams: int = 0
    spikes: int = 0
    spike_mismatches: int = 0
    excused: int = 0
    membranes_off: int = 0
    max_abs_dv: float = 0.0
    max_scaled_dv: float = 0.0
    outputs_off: int = 0
    probed: int = 0
    rows: int = 0
    loops: list[int] = field(default_factory=list)
    engine: str | None = None
    engine_steps: int = 0
    thorough: Thorough | None = None
    seed: int = 0
    inputs: list[float] = field(default_factory=list)
    digest: Digest | None = None
    structure: list[StructureRecord] = field(default_factory=list)
    failed_at: Failure | None = None
    free_running_mismatches: int = 0
    rounding_mismatches: int = 0
    rounded_spikes: int = 0
    rounded_fire: bool = False
    first_divergence: Divergence | None = None
    decisions: int = 0
    decisions_changed: int = 0
    untested: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)
    module: str = ""
    layers: list[LayerReport] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Report: {printable(self.sentence())}>"

    def to_dict(self) -> dict[str, object]:
        return {**asdict(self), "shown": self.shown()}

    def sentence(self) -> str:
        """The result in one line."""
        if self.failed_at is not None:
            at = self.failed_at
            return f"parity failed: layer {at['layer']}, step {at['step']}: {at['what']}"
        untested = f"; untested: {', '.join(self.untested)}" if self.untested else ""
        untested += f"; not proved: {', '.join(self.not_proved)}" if self.not_proved else ""
        gate = (
            f"parity passed: {self.spikes} spikes over {self.steps} steps, {self.spike_mismatches} differ "
            f"({self.excused} excused), max |dv| {self.max_abs_dv:.1e}, "
        )
        decided = f"{self.decisions_changed} of {self.decisions} decisions changed"
        decisions = (decided if self.decisions else "maps, about which nothing is decided") + untested + self._tried()
        if not self.rounding:
            return gate + (f"against the same {self.precision} weights, " * (self.precision != "fp32")) + decisions
        silent = "" if self.rounded_fire else "; no layer with such weights fires on this input from reset"
        return (
            f"{gate}against the same {self.precision} weights; against the model: {self.free_running_mismatches} spikes differ "
            f"({self.rounding_mismatches} in one step from equal states), and {self.precision} weights had a part in "
            f"{self.rounded_spikes}{silent}; {decisions}"
        )

    def structure_lines(self) -> list[str]:
        """Whether the file is what the exporter writes of the model, and the first places where it is not."""
        if "structure" in self.not_proved:
            return ["structure: not compared"]
        more = (
            [f"structure: and {len(self.structure) - MOST_LINES} places more"]
            if len(self.structure) > MOST_LINES
            else []
        )
        shown = [f"structure: {d['where']} is {d['found']}; the model gives {d['expected']}" for d in self.structure]
        return [*shown[:MOST_LINES], *more]

    def shown(self) -> list[Shown]:
        """What holds for all inputs, for all steps, and what was sampled: {what, for, how} (docs/numerics.md has the table)."""
        numbers = ("numbers", "sampled", f"{self.steps} steps of {self.streams} streams")
        found = [numbers, (f"engine {self.engine}", "sampled", f"{self.engine_steps} steps")][: 1 + bool(self.engine)]
        if self.loops:
            found.append(("loop", "sampled", f"calls of {', '.join(map(str, self.loops))} steps"))
        if self.module:
            found.append(("reading the module", "sampled", self.module))
        if self.passed and not self.structure and not any(what.startswith("structure") for what in self.not_proved):
            rounded = "" if self.precision == "fp32" else f", weights rounded to {self.precision}"
            model = "what was read of the module" if self.module else "the model"
            how = f"as this version writes {model}, by identities of real numbers{rounded}"
            alone = ", as far as reading the module shows, which was sampled" if self.module else ""
            states = ("state", "all steps", f"a step reads its input and its states alone{alone}")
            found = [("structure", "all inputs", how), states, *found]
        return [{"what": what, "for": extent, "how": how} for what, extent, how in found]

    def shown_sentence(self) -> str:
        """What was shown, in one line."""
        return "; ".join(f"{one['for']}: {one['what']} ({one['how']})" for one in self.shown())

    def _tried(self) -> str:
        if self.thorough is None:
            return ""
        steps, parted = self.thorough["steps"], self.thorough["parted"]
        about = f"about {steps // parted}" if parted else f"all {steps}"
        return (
            f"; free runs stay equal for {about} steps; {self.thorough['restarts']} restarts beside the thresholds found "
            f"no input on which they part"
        )

    def digest_sentence(self) -> str:
        """Whether the file is as it was exported, in one line."""
        if self.digest is None:
            return "no digest in the card: nobody can say whether the file was changed since its export"
        if self.digest["changed"]:
            return sentence(self.digest["changed"])
        return f"digest {self.digest['sha256']}: card, weights and graph are as they were exported"

    def gates(self) -> list[Gate]:
        """Each layer, the structure and the digest, and what else failed."""
        found = {layer.name: Gate(layer.name) for layer in self.layers}
        found |= {name: Gate(name, skipped="nothing made it fire, so nothing was shown") for name in self.untested}
        compared = not any(what.startswith("structure") for what in self.not_proved)
        structure = None if self.passed or not self.structure else self.structure_lines()[0]
        found["structure"] = Gate("structure", structure, None if compared else "not compared")
        changed = self.digest_sentence() if self.digest is None or self.digest["changed"] else None
        found["digest"] = Gate("digest", *((None, changed) if self.digest is None else (changed, None)))
        if self.failed_at is not None:
            found[self.failed_at["layer"]] = Gate(self.failed_at["layer"], self.sentence())
        return [*found.values()]

    def fail(self, layer: str, step: int, what: str) -> None:
        """Fails the gate at a layer and a step. Only the first failure is reported: later ones are often its consequence."""
        self.passed = False
        if self.first_divergence is None:
            self.diverged(layer, step)
        if self.failed_at is None:
            self.failed_at = {"layer": layer, "step": step, "what": what}

    def diverged(self, layer: str, step: int) -> None:
        """Something differs there."""
        if self.first_divergence is None or step < self.first_divergence["step"]:
            self.first_divergence = {"layer": layer, "step": step}

    def add(self, layer: LayerReport, counts: bool = True) -> None:
        """Adds a layer's numbers to the totals; without `counts` its membrane errors alone."""
        self.max_abs_dv = max(self.max_abs_dv, layer.max_abs_dv)
        self.max_scaled_dv = max(self.max_scaled_dv, layer.max_scaled_dv)
        if counts:
            self.spike_mismatches += layer.mismatches
            self.excused += layer.excused
            self.membranes_off += layer.membranes_off
            self.free_running_mismatches += layer.free_running_mismatches
            self.rounding_mismatches += layer.rounding_mismatches

    def summary(self) -> dict[str, object]:
        """What the card of an artifact keeps of the report."""
        found: dict[str, object] = {key: getattr(self, key) for key in PARITY}
        if self.rounding:  # the gate was against the same rounded weights; this is against the model
            found["rounding_mismatches"] = self.rounding_mismatches
            found |= {"rounded_spikes": self.rounded_spikes, "rounded_fire": self.rounded_fire}
            found["flips"] = {layer.name: layer.free_running_mismatches for layer in self.layers}
        return found
