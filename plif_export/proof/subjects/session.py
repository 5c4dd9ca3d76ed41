"""An engine's session as a subject of the gate: the gate runs the engine as users run it.

The file itself runs in ONNX Runtime, slice by slice (sliced_file.py). What has kernels of its own (the event engine) or a form
of its own (OpenVINO, NIR) shows only the output of a call and the states after it. Before every call its states are set to the
reference's; after the call they must be the reference's again, within the same tolerance.

A neuron whose h was within a bound of the threshold may have decided otherwise. Then what deeper layers did in this call says
nothing: it is left out, and the neuron is counted as excused (compare.py). In an unrolled call a flip can hide in later steps of
its own layer as well, so there any neuron on the edge, in this layer or before, excuses what follows in this call.

Engines with float16 kernels also round the sum of a layer to float16, a relative 2^-11 that the file itself does not have when
ONNX Runtime runs it on a CPU, so bounds are wider for them (not for an engine whose `sums_in_float32` is true).
"""

from __future__ import annotations

from typing import Any, Protocol

from plif_export.proof.arithmetic.interpret import Array, State
from plif_export.proof.compare import Observation
from plif_export.proof.subjects.subject import Answer, Case, States, Subject
from runtime.model.card import Card

HALF = 2.0**-10  # twice float16's rounding of a current


class OpenedModel(Protocol):
    """An artifact that is open: a runtime.Model, or what behaves like one. A failure is signed with `engine.name`."""

    @property
    def card(self) -> Card: ...
    @property
    def engine(self) -> Any: ...
    def session(self, streams: int = 1) -> Any: ...


class EngineSession(Subject):
    """Sessions of an opened artifact, one for each number of rows that was asked for."""

    def __init__(self, model: OpenedModel, where: str = "artifact") -> None:
        super().__init__(model.card, where)
        self.model = model
        self.engine = model.engine.name
        self.signature = f"engine {self.engine}: "
        half = model.card["precision"] == "fp16" and not model.engine.sums_in_float32
        self.half = HALF if half else 0.0
        self._sessions: dict[int, Any] = {}

    def forced(self, case: Case) -> Answer:
        return self.alone(case.x, case.start)

    def call(self, x: Array, states: States) -> Answer:
        session = self._session(x.shape[1])
        session.restore([states[layer][variable] for layer, variable in self.states])
        y = session.run(self.inputs(x)) if self.unrolled else session.step(self.inputs(x))[None]
        return Answer(y, {layer: {self.chunk - 1: Observation(after)} for layer, after in self._read(session).items()})

    def initial(self) -> States:
        return self._read(self._session(self.batch or 1))

    def _read(self, session: Any) -> States:
        states: dict[str, State] = {}
        for (layer, variable), v in zip(self.states, session.snapshot(), strict=True):
            states.setdefault(layer, {})[variable] = v
        return states

    def _session(self, rows: int) -> Any:
        if rows not in self._sessions:
            self._sessions[rows] = self.model.session(streams=rows)
        return self._sessions[rows]
