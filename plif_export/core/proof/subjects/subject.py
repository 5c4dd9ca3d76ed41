"""What the gate asks: anything that can be stepped. An adapter makes a subject of it.

    SlicedFile      an ONNX file, cut into its layers: shows h, spikes and states of every layer in every step
    WholeFile       an ONNX file as it is
    EngineSession   an engine's session, as users run it: shows the output of a call, and the states after it

The gate asks all the same questions. A *call* is what the artifact runs at once: one step, or the T steps of the unrolled form.
A form with calls of several kinds is asked step by step; each other kind is a subject of its own (`with_card`).
A *case* is one call of which everything is known beforehand: what goes in, and what has to come out.

The gate runs an engine as users run it. The file itself runs in ONNX Runtime, slice by slice (sliced_file.py). What has kernels
of its own (the event engine) or a form of its own (OpenVINO, NIR) shows only the output of a call and the states after it.
Before every call its states are set to the reference's; after the call they must be the reference's again, within the same
tolerance.

A neuron whose h was within a bound of the threshold may have decided otherwise. Then what deeper layers did in this call says
nothing: it is left out, and the neuron is counted as excused (compare.py). In an unrolled call a flip can hide in later steps of
its own layer as well, so there any neuron on the edge, in this layer or before, excuses what follows in this call.

Engines with float16 kernels also round the sum of a layer to float16, a relative 2^-11 that the file itself does not have when
ONNX Runtime runs it on a CPU, so bounds are wider for them (not for an engine whose `sums_in_float32` is true).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from plif_export.core.proof.arithmetic.interpret import Array, LayerStep, State
from plif_export.core.proof.compare import Observation
from plif_export.core.proof.reference import History
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.engines.session import Session
from runtime.core.model.card import Card

States = Mapping[str, State]  # {layer: {variable: [rows, ...] float32}}


@dataclass(frozen=True)
class Case:
    """One call with everything around it known. Arrays of one step are [rows, ...] float32; spikes may be bool.

    x         [steps of the call, rows, C, H, W]
    spikes    {layer: [one array a step]}: what the layers behind it get, whatever it fires itself
    before    {layer: [one state {variable: v} a step]}
    expected  {layer: {step of the call: what the layer has to do}}; layers and steps that are missing are not compared
    y         [steps of the call, rows, classes]; empty when the output is not compared
    step      the step of the stimulus with which the call begins
    """

    x: Array
    spikes: Mapping[str, list[Array]]
    before: Mapping[str, list[State]]
    expected: Mapping[str, Mapping[int, LayerStep]]
    y: Array
    step: int = 0

    def held(self, k: int, layer: str, variable: str, when: str) -> Array:
        """A state variable "before" or "after" step k, as the layers behind it get it."""
        states = self.before[layer]
        k += when == "after"
        return states[k][variable] if k < len(states) else self.expected[layer][k - 1].after[variable]

    @property
    def start(self) -> States:
        """The states before the first step."""
        return {layer: states[0] for layer, states in self.before.items()}


def cases(history: History, chunk: int) -> Iterator[Case]:
    """A history of T steps as the calls of `chunk` steps that it consists of."""
    for t in range(0, len(history.x), chunk):
        steps = {name: layer.steps[t : t + chunk] for name, layer in history.layers.items()}
        yield Case(
            history.x[t : t + chunk],
            {name: [step.s for step in layer] for name, layer in steps.items()},
            {name: [layer.before(s) for s in range(t, t + chunk)] for name, layer in history.layers.items()},
            {name: dict(enumerate(layer)) for name, layer in steps.items()},
            history.y[t : t + chunk],
            t,
        )


@dataclass(frozen=True)
class Answer:
    """What came out of a call.

    y       [steps of the call, rows, classes] float32; empty when it was not asked for
    layers  {layer: {step of the call: what was seen}}; the last step is always there, with the states after the call
    """

    y: Array
    layers: Mapping[str, Mapping[int, Observation]]

    @property
    def after(self) -> States:
        return {layer: steps[max(steps)].after for layer, steps in self.layers.items()}


class Subject(ABC):
    """What both adapters share, which is what the card says.

    where       the artifact's name, for messages
    engine      the name of the engine that is asked; None for the file itself. A failure is signed with it
    half        a relative rounding of a layer's sums beside that of float32
    shows_spikes  whether each layer shows its own spikes in each step, and can be given those of the others
    asks_layers  whether that is so of one layer without the others
    forces_rows  whether `forced` takes cases of several rows
    rows_steps  over how many steps the rows of the step form are compared
    """

    engine: str | None = None
    half: float = 0.0
    shows_spikes: bool = False
    asks_layers: bool = False
    forces_rows: bool = True
    rows_steps: int = 1

    def __init__(self, card: Card, where: str) -> None:
        self.card, self.where = card, where
        self.unrolled = card["form"] == "unrolled"
        self.chunk = int(card["T"]) if self.unrolled else 1  # steps of one call
        self.static = self.unrolled and card["input"]["kind"] == "static"  # one image stands for all steps of a call
        self.batch: int | None = card["batch"]
        self.states = [(str(record["layer"]), str(record["variable"])) for record in card["states"]]
        self.signature = ""  # what a failure begins with

    def forced(self, case: Case) -> Answer:
        """A call in which each layer starts from the case's states and, where it can be given them, gets the case's spikes.
        Raises CannotRun."""
        return self.alone(case.x, case.start)

    @abstractmethod
    def call(self, x: Array, states: States) -> Answer:
        """A call on its own spikes: x [steps, rows, C, H, W] and the states before it. Raises CannotRun."""

    def with_card(self, card: Card) -> Subject:
        """The same artifact, called as another card says, of one whose form has calls of several kinds."""
        raise NotImplementedError

    @property
    def runtime(self) -> Subject:
        """The same artifact as the runtime runs it."""
        return self

    def initial(self) -> States:
        """The states after a reset; empty where only the card has them."""
        return {}

    def fits(self, rows: int) -> bool:
        """Whether it runs so many rows at once."""
        return self.batch in (None, rows)

    def alone(self, x: Array, states: States) -> Answer:
        """A call of one stream, x [steps, 1, C, H, W]; a fixed batch gets it in every row, and the first row answers."""
        if self.batch is None:
            return self.call(x, states)
        rows = {layer: {k: v.repeat(self.batch, axis=0) for k, v in state.items()} for layer, state in states.items()}
        found = self.call(x.repeat(self.batch, axis=1), rows)
        first = {layer: {k: seen.row(0) for k, seen in steps.items()} for layer, steps in found.layers.items()}
        return Answer(found.y[:, :1], first)

    def by_layer(self, values: Iterable[Array]) -> States:
        """States [rows, ...] in the order of the card, by layer and variable."""
        states: dict[str, State] = {}
        for (layer, variable), v in zip(self.states, values, strict=True):
            states.setdefault(layer, {})[variable] = v
        return states

    def inputs(self, x: Array) -> Array:
        """x [steps, rows, C, H, W] as the artifact takes it: one step of the step form or a static image is [rows, C, H, W]."""
        return x if self.unrolled and not self.static else x[0]


HALF = 2.0**-10  # twice float16's rounding of a current


class EngineSession(Subject):
    """Sessions of an opened artifact, one for each number of rows that was asked for."""

    def __init__(self, model: Model, where: str = "artifact", card: Card | None = None) -> None:
        super().__init__(card or model.card, where)
        self.model = model
        self.engine = model.engine.name
        self.signature = f"engine {self.engine}: "
        half = model.card["precision"] == "fp16" and not model.engine.sums_in_float32
        self.half = HALF if half else 0.0
        self._sessions: dict[int, Session] = {}

    def with_card(self, card: Card) -> EngineSession:
        return EngineSession(self.model, self.where, card)

    def call(self, x: Array, states: States) -> Answer:
        session = self._session(x.shape[1])
        session.restore([states[layer][variable] for layer, variable in self.states])
        y = session.run(self.inputs(x)) if self.unrolled else session.step(self.inputs(x))[None]
        return Answer(y, {layer: {self.chunk - 1: Observation(after)} for layer, after in self._read(session).items()})

    def fits(self, rows: int) -> bool:
        try:
            self._session(rows)
        except PlifError:  # a fixed batch, or a plan that was built for fewer
            return False
        return True

    def initial(self) -> States:
        return self._read(self._session(self.batch or 1))

    def _read(self, session: Session) -> States:
        return self.by_layer(session.snapshot())

    def _session(self, rows: int) -> Session:
        if rows not in self._sessions:
            self._sessions[rows] = self.model.session(streams=rows)
        return self._sessions[rows]
