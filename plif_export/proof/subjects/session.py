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

from plif_export.proof.arithmetic.interpret import Array
from plif_export.proof.compare import Observation
from plif_export.proof.subjects.subject import Answer, Case, States, Subject
from runtime.api import Model
from runtime.engines.session import Session

HALF = 2.0**-10  # twice float16's rounding of a current


class EngineSession(Subject):
    """Sessions of an opened artifact, one for each number of rows that was asked for."""

    def __init__(self, model: Model, where: str = "artifact") -> None:
        super().__init__(model.card, where)
        self.model = model
        self.engine = model.engine.name
        self.signature = f"engine {self.engine}: "
        half = model.card["precision"] == "fp16" and not model.engine.sums_in_float32
        self.half = HALF if half else 0.0
        self._sessions: dict[int, Session] = {}

    def forced(self, case: Case) -> Answer:
        return self.alone(case.x, case.start)

    def call(self, x: Array, states: States) -> Answer:
        session = self._session(x.shape[1])
        session.restore([states[layer][variable] for layer, variable in self.states])
        y = session.run(self.inputs(x)) if self.unrolled else session.step(self.inputs(x))[None]
        return Answer(y, {layer: {self.chunk - 1: Observation(after)} for layer, after in self._read(session).items()})

    def initial(self) -> States:
        return self._read(self._session(self.batch or 1))

    def _read(self, session: Session) -> States:
        return self.by_layer(session.snapshot())

    def _session(self, rows: int) -> Session:
        if rows not in self._sessions:
            self._sessions[rows] = self.model.session(streams=rows)
        return self._sessions[rows]
