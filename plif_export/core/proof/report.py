"""The record of a proof: `plif verify --json` prints all of it, and an artifact's card stores a summary."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TypedDict

from runtime.core.base.errors import Gate
from runtime.core.base.text import printable
from runtime.core.model.digest import describe_changes
from runtime.core.model.records import PARITY

MOST_LINES = 10  # differences in the text output; JSON has all


class Divergence(TypedDict):
    """The layer and the step of the first difference between an artifact and its model."""

    layer: str
    step: int


class Failure(Divergence):
    """The layer, step and description of the first failure of a proof."""

    what: str


class FileDigestRecord(TypedDict):
    """The SHA-256 digest of an existing artifact, and the names of its contents that changed since export.

    changed  names of the parts that are not as they were exported
    """

    sha256: str | None
    changed: list[str]


class StructureRecord(TypedDict):
    """The record of a place in an artifact that differs from what the exporter would write there."""

    where: str
    expected: str
    found: str


Evidence = TypedDict("Evidence", {"what": str, "for": str, "how": str})


class ProvedEngine(TypedDict):
    """The record of an engine that was compared with the model, opened as `runtime.load` opens it.

    threads  the most that a call takes
    flush_denormals  whether it makes 0 of numbers below 2^-126
    steps    the number of steps that were compared to the end
    """

    name: str
    threads: int | None
    flush_denormals: bool | None
    steps: int


class ProvedWith(TypedDict):
    """The record of what was run for a proof: the model itself, and the engines.

    torch    the version of PyTorch;  device, mode, threads: how the model was run
    not_run  engines that open such a file and were not run, with the reason in brackets if they were tried
    """

    torch: str
    device: str
    mode: str
    threads: int
    engines: list[ProvedEngine]
    not_run: list[str]


class ThoroughRecord(TypedDict):
    """The record of a thorough proof (option --thorough): its number of steps, and the differences found.

    steps, parted      length of the long run, and how often engine and reference diverged in it
    restarts, nearest  restarts of the search, and the largest difference in it, in bounds (MEMBRANE bounds fail)
    """

    steps: int
    parted: int
    restarts: int
    nearest: float


@dataclass
class LayerReport:
    """The proof's result for one layer: spikes that differ, those excused by rounding, the largest membrane error.

    rate                     spikes per neuron and step of the reference, 0..1
    max_scaled_dv            the largest |dv| in bounds (bounds.py), which the gate judges: 10 fail
    free_running_mismatches  spikes that differ from the model, with the whole artifact on its own spikes
    rounding_mismatches      spikes that differ from the model in one step on the model's spikes and membranes;
                             rounded weights only
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
    """The result of an artifact's parity proof; `to_dict` gives the JSON of `plif verify --json`.

    precision     of the weights;  rounding: whether the report counts the effect of their rounding
    rounded_spikes  spikes of the model that depend on rounded weights;  rounded_fire: whether a layer with such
                    weights fires on the input from reset
    probed        neuron-steps that were compared on random spikes;  rows: streams that ran in one batch
    loops         of a loop form: the numbers of steps that were compared in one call
    engine        the engines that were compared, by comma;  engine_steps: the number of steps that were compared to the
                  end, in each
    proved_with   None if nothing was run
    sha256        of the file or folder that was judged, as `plif export` gives it and `plif stream` accepts it
    digest        None if the card has none
    structure     empty when equal
    thorough      None unless a thorough proof was requested
    remarks       of parts, about further checks
    seed          of the random input;  inputs: its least and its largest number
    failed_at     the first failure
    first_divergence  layer and step of the first difference on the stimulus, or else of the failure
    untested      layers that no input, spikes or membranes made fire (or stay silent), so that their thresholds were
                  not tested
    not_proved    statements of the card that only the artifact makes: some of classes, framing, kind
    module        the inputs on which a live module was run when it was read; "" for a file
    layers        the numbers of each layer, from the ONNX file; an engine adds to the totals only
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
    proved_with: ProvedWith | None = None
    sha256: str | None = None
    thorough: ThoroughRecord | None = None
    remarks: list[str] = field(default_factory=list)
    seed: int = 0
    inputs: list[float] = field(default_factory=list)
    digest: FileDigestRecord | None = None
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
        return {**asdict(self), "shown": self.evidence()}

    def sentence(self) -> str:
        """Return the result of an artifact's parity proof as one sentence."""
        if self.failed_at is not None:
            failure = self.failed_at
            return f"parity failed: layer {failure['layer']}, step {failure['step']}: {failure['what']}"
        untested = f"; untested: {', '.join(self.untested)}" if self.untested else ""
        untested += f"; not proved: {', '.join(self.not_proved)}" if self.not_proved else ""
        gate = (
            f"parity passed: {self.spikes} spikes over {self.steps} steps, {self.spike_mismatches} differ "
            f"({self.excused} excused), max |dv| {self.max_abs_dv:.1e}, "
        )
        decided = f"{self.decisions_changed} of {self.decisions} decisions changed"
        decisions = (decided if self.decisions else "maps, about which nothing is decided") + untested
        remarks = [*([f"read on {self.module}"] if self.module else []), *self.remarks]
        decisions += "".join(f"; {remark}" for remark in remarks)
        if not self.rounding:
            return gate + (f"against the same {self.precision} weights, " * (self.precision != "fp32")) + decisions
        silent = "" if self.rounded_fire else "; no layer with such weights fires on this input from reset"
        return (
            f"{gate}against the same {self.precision} weights; against the model: {self.free_running_mismatches} spikes differ "
            f"({self.rounding_mismatches} if each step starts from the same states), {self.precision} weights contributed to "
            f"{self.rounded_spikes}{silent}; {decisions}"
        )

    def structure_lines(self) -> list[str]:
        """Return lines that list the first places where an artifact differs from what the exporter would write."""
        if "structure" in self.not_proved:
            return ["structure: not compared"]
        more = len(self.structure) - MOST_LINES
        overflow = [f"structure: and {more} places more"] if more > 0 else []
        lines = [f"structure: {d['where']} is {d['found']}; the model gives {d['expected']}" for d in self.structure]
        return [*lines[:MOST_LINES], *overflow]

    def evidence(self) -> list[Evidence]:
        """Return the evidence of a parity proof: what holds for all inputs, for all steps, and what was sampled.

        Each entry is {what, for, how}; docs/numerics.md has the table.
        """
        numbers = ("numbers", "sampled", f"{self.steps} steps of {self.streams} streams")
        entries = [numbers, (f"engine {self.engine}", "sampled", f"{self.engine_steps} steps")][: 1 + bool(self.engine)]
        if self.loops:
            entries.append(("loop", "sampled", f"calls of {', '.join(map(str, self.loops))} steps"))
        if self.module:
            entries.append(("reading the module", "sampled", self.module))
        compared = not any(text.startswith("structure") for text in self.not_proved)
        if self.passed and compared and not self.structure:
            rounded = "" if self.precision == "fp32" else f", weights rounded to {self.precision}"
            model = "what was read of the module" if self.module else "the model"
            method = f"as this version writes {model}, by identities of real numbers{rounded}"
            alone = ", as far as reading the module shows, which was sampled" if self.module else ""
            states = ("state", "all steps", f"a step reads its input and its states alone{alone}")
            entries = [("structure", "all inputs", method), states, *entries]
        return [{"what": subject, "for": extent, "how": method} for subject, extent, method in entries]

    def evidence_sentence(self) -> str:
        """Return the evidence of an artifact's parity proof in one line."""
        return "; ".join(f"{entry['for']}: {entry['what']} ({entry['how']})" for entry in self.evidence())

    def digest_sentence(self) -> str:
        """Return one line that states whether an artifact is unchanged since its export, by its digest."""
        if self.digest is None:
            return "no digest in the card: nobody can say whether the file was changed since its export"
        if self.digest["changed"]:
            return describe_changes(self.digest["changed"])
        return f"digest {self.digest['sha256']}: card, weights and graph are as they were exported"

    def gates(self) -> list[Gate]:
        """Return the pass or fail of each check of a proof: each layer, the structure, the digest, other failures."""
        by_name = {layer.name: Gate(layer.name) for layer in self.layers}
        by_name |= {name: Gate(name, skipped="nothing made it fire, so nothing was shown") for name in self.untested}
        compared = not any(text.startswith("structure") for text in self.not_proved)
        structure = None if self.passed or not self.structure else self.structure_lines()[0]
        by_name["structure"] = Gate("structure", structure, None if compared else "not compared")
        changed = self.digest_sentence() if self.digest is None or self.digest["changed"] else None
        by_name["digest"] = Gate("digest", *((None, changed) if self.digest is None else (changed, None)))
        if self.failed_at is not None:
            by_name[self.failed_at["layer"]] = Gate(self.failed_at["layer"], self.sentence())
        return [*by_name.values()]

    def fail(self, layer: str, step: int, problem: str) -> None:
        """Mark a proof's report as failed at a layer and a step.

        Only the first failure is reported: later ones are often its consequence.
        """
        self.passed = False
        if self.first_divergence is None:
            self.record_divergence(layer, step)
        if self.failed_at is None:
            self.failed_at = {"layer": layer, "step": step, "what": problem}

    def record_divergence(self, layer: str, step: int) -> None:
        """Record a difference at a layer and step in a proof's report, if it is the earliest so far."""
        if self.first_divergence is None or step < self.first_divergence["step"]:
            self.first_divergence = {"layer": layer, "step": step}

    def add_engine(self, name: str, threads: int | None, flush_denormals: bool | None, steps: int) -> None:
        """Add an engine, and the number of its steps that were compared to the end, to a proof's report."""
        assert self.proved_with is not None
        engines = self.proved_with["engines"]
        engines.append({"name": name, "threads": threads, "flush_denormals": flush_denormals, "steps": steps})
        self.engine = ", ".join(engine["name"] for engine in engines)
        self.engine_steps = min(engine["steps"] for engine in engines)

    def set_not_run(self, names: list[str]) -> None:
        """Record the engines that open such a file and were not run in a proof."""
        if self.proved_with is not None:
            self.proved_with["not_run"] = names

    def add_layer(self, layer: LayerReport, counts: bool = True) -> None:
        """Add a layer's counts of spikes and differences to the totals of a proof's report."""
        self.max_abs_dv = max(self.max_abs_dv, layer.max_abs_dv)
        self.max_scaled_dv = max(self.max_scaled_dv, layer.max_scaled_dv)
        if counts:
            self.spike_mismatches += layer.mismatches
            self.excused += layer.excused
            self.membranes_off += layer.membranes_off
            self.free_running_mismatches += layer.free_running_mismatches
            self.rounding_mismatches += layer.rounding_mismatches

    def summary(self) -> dict[str, object]:
        """Return the part of a proof's report that is stored in the artifact's metadata card."""
        record: dict[str, object] = {key: getattr(self, key) for key in PARITY}
        if self.rounding:  # the gate was against the same rounded weights; this is against the model
            record["rounding_mismatches"] = self.rounding_mismatches
            record |= {"rounded_spikes": self.rounded_spikes, "rounded_fire": self.rounded_fire}
            record["flips"] = {layer.name: layer.free_running_mismatches for layer in self.layers}
        return record
