"""The subject of the gate: an artifact that can be run call by call.

Adapters implement it:

    SlicedFile      an ONNX file, cut into its layers: shows h, spikes and states of every layer in every step
    WholeFile       an ONNX file as it is
    EngineSession   an engine's session, as users run it: shows the output of a call, and the states after it

The gate runs the same checks on all of them. A *call* is the work of one invocation: one step, or the T steps of the
unrolled form. A form with calls of several kinds is checked step by step; each other kind is a subject of its own
(`with_card`). A *case* is one call with known input and expected result.

The gate runs an engine as users run it. The file itself runs in ONNX Runtime, slice by slice (sliced_file.py). An
engine with its own kernels (the event engine) or its own form (OpenVINO, NIR) shows only the output of a call and the
states after it. Before every call its states are set to the reference's; after the call they must equal the
reference's within the same tolerance.

A neuron with h within a bound of the threshold may have decided otherwise. Then the results of deeper layers in this
call are not compared, and the neuron is counted as excused (compare.py). In an unrolled call a flip can hide in later
steps of its own layer as well, so there any neuron near the threshold, in this layer or before, excuses the rest of
the call.

Engines with float16 kernels also round the sum of a layer to float16, a relative 2^-11 that the file itself does not
have when ONNX Runtime runs it on a CPU. So bounds are wider for them (not for an engine with `sums_in_float32`).
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
from runtime.core.engines import should_flush
from runtime.core.engines.session import Session
from runtime.core.model.card import Card
from runtime.native import count_cores

States = Mapping[str, State]  # {layer: {variable: [rows, ...] float32}}


@dataclass(frozen=True)
class Case:
    """One test call of an artifact, with its input and its expected result; arrays of a step are [rows, ...].

    x         [steps of the call, rows, C, H, W]
    spikes    {layer: [one array a step]}: the spikes fed to later layers, whatever the layer itself fires; may be bool
    before    {layer: [one state {variable: v} a step]}
    expected  {layer: {step of the call: the layer's expected step}}; missing layers and steps are not compared
    y         [steps of the call, rows, classes]; empty if the output is not compared
    step      the step of the stimulus with which the call begins
    """

    x: Array
    spikes: Mapping[str, list[Array]]
    before: Mapping[str, list[State]]
    expected: Mapping[str, Mapping[int, LayerStep]]
    y: Array
    step: int = 0

    def state_at(self, k: int, layer: str, variable: str, when: str) -> Array:
        """Return a state variable [rows, ...] "before" or "after" step k of a test call, as later layers read it."""
        states = self.before[layer]
        k += when == "after"
        return states[k][variable] if k < len(states) else self.expected[layer][k - 1].after[variable]

    @property
    def start(self) -> States:
        """The states of all layers before the first step of a test call."""
        return {layer: states[0] for layer, states in self.before.items()}


def split_calls(history: History, chunk: int) -> Iterator[Case]:
    """Split the reference's recorded run of T steps into test calls of `chunk` steps each."""
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
    """The result of one call of an artifact under test: its output, and the layer values that it shows.

    y       [steps of the call, rows, classes] float32; empty if it was not requested
    layers  {layer: {step of the call: Observation}}; the last step is always there, with the states after the call
    """

    y: Array
    layers: Mapping[str, Mapping[int, Observation]]

    @property
    def after(self) -> States:
        return {layer: steps[max(steps)].after for layer, steps in self.layers.items()}


class Subject(ABC):
    """An artifact under test that the parity proof can run call by call; the base class of its adapters.

    label       the artifact's name, for messages
    engine      the name of the engine that is tested; None for the file itself. Failure messages begin with it
    threads     the most that a call of the engine takes;  flushes: whether it makes 0 of subnormal numbers
    half        a relative rounding of a layer's sums, in addition to that of float32
    shows_spikes  whether each layer shows its own spikes in each step, and accepts given spikes of the others
    tests_layers   whether one layer can be tested without the others
    forces_rows   whether `run_forced` takes cases of several rows
    rows_steps    over how many steps the rows of the step form are compared
    """

    engine: str | None = None
    threads: int | None = None
    flushes: bool | None = None
    half: float = 0.0
    shows_spikes: bool = False
    tests_layers: bool = False
    forces_rows: bool = True
    rows_steps: int = 1

    def __init__(self, card: Card, label: str) -> None:
        self.card, self.label = card, label
        self.unrolled = card["form"] == "unrolled"
        self.chunk = int(card["T"]) if self.unrolled else 1  # steps of one call
        self.static = self.unrolled and card["input"]["kind"] == "static"  # one image stands for all steps of a call
        self.batch: int | None = card["batch"]
        self.states = [(str(record["layer"]), str(record["variable"])) for record in card["states"]]
        self.signature = ""  # the beginning of a failure message

    def run_forced(self, case: Case) -> Answer:
        """Run a test call in which each layer gets the expected states and, if possible, the expected spikes.

        Raises CannotRun.
        """
        return self.run_single(case.x, case.start)

    @abstractmethod
    def run_call(self, x: Array, states: States) -> Answer:
        """Run a call of an artifact on its own spikes: x [steps, rows, C, H, W], from the given states.

        Raises CannotRun.
        """

    def with_card(self, card: Card) -> Subject:
        """Return the same artifact under test, called in the way that another metadata card states."""
        raise NotImplementedError

    @property
    def runtime(self) -> Subject:
        """The artifact under test, run by plif's runtime as a user runs it."""
        return self

    def initial(self) -> States:
        """Return the states of an artifact under test after a reset; empty if only its card has them."""
        return {}

    def accepts_rows(self, rows: int) -> bool:
        """Return whether an artifact under test accepts a batch of this many rows."""
        return self.batch in (None, rows)

    def run_single(self, x: Array, states: States) -> Answer:
        """Run a call of an artifact under test on one stream, x [steps, 1, C, H, W].

        A fixed batch gets the stream in every row, and the first row is returned.
        """
        if self.batch is None:
            return self.run_call(x, states)
        rows = {layer: {k: v.repeat(self.batch, axis=0) for k, v in state.items()} for layer, state in states.items()}
        answer = self.run_call(x.repeat(self.batch, axis=1), rows)
        first = {layer: {k: observed.row(0) for k, observed in steps.items()} for layer, steps in answer.layers.items()}
        return Answer(answer.y[:, :1], first)

    def group_states(self, values: Iterable[Array]) -> States:
        """Group an artifact's states [rows, ...], which are in the order of its card, by layer and variable."""
        states: dict[str, State] = {}
        for (layer, variable), v in zip(self.states, values, strict=True):
            states.setdefault(layer, {})[variable] = v
        return states

    def shape_input(self, x: Array) -> Array:
        """Return an input x [steps, rows, C, H, W] in the shape that the artifact under test takes.

        One step of the step form, or a static image, is [rows, C, H, W].
        """
        return x if self.unrolled and not self.static else x[0]


HALF = 2.0**-10  # twice float16's rounding of a current


class EngineSession(Subject):
    """An artifact under test that an engine runs, with one session for each batch size in use."""

    def __init__(self, model: Model, label: str = "artifact", card: Card | None = None) -> None:
        super().__init__(card or model.card, label)
        self.model = model
        self.engine = model.engine.name
        self.signature = f"engine {self.engine}: "
        self.threads = model.engine.threads or model.options.threads or count_cores()
        self.flushes = should_flush(self.card, model.options) or not model.engine.keeps_subnormals
        half = model.card["precision"] == "fp16" and not model.engine.sums_in_float32
        self.half = HALF if half else 0.0
        self._sessions: dict[int, Session] = {}

    def with_card(self, card: Card) -> EngineSession:
        return EngineSession(self.model, self.label, card)

    def run_call(self, x: Array, states: States) -> Answer:
        session = self._session(x.shape[1])
        session.restore([states[layer][variable] for layer, variable in self.states])
        y = session.run(self.shape_input(x)) if self.unrolled else session.step(self.shape_input(x))[None]
        return Answer(y, {layer: {self.chunk - 1: Observation(after)} for layer, after in self._read(session).items()})

    def accepts_rows(self, rows: int) -> bool:
        try:
            self._session(rows)
        except PlifError:  # a fixed batch, or a plan that was built for fewer
            return False
        return True

    def initial(self) -> States:
        return self._read(self._session(self.batch or 1))

    def _read(self, session: Session) -> States:
        return self.group_states(session.snapshot())

    def _session(self, rows: int) -> Session:
        if rows not in self._sessions:
            self._sessions[rows] = self.model.session(streams=rows)
        return self._sessions[rows]
