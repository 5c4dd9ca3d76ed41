"""The results of `plif bench` and `plif predict`, for one artifact and one engine."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from runtime.core.measure.evaluate.census import LostEvents, no_losses
from runtime.core.measure.evaluate.predictions import Prediction, PredictionRow, to_json_row
from runtime.core.measure.metrics import ArtifactIdentity


@dataclass
class Measurement:
    """The benchmark result of one artifact on one engine.

    Times are of one step of all streams; spike_mismatches is that of the proof in its card.

    bytes     of the artifact
    weights   {layer: "4 bits a channel"} of the quantized weights
    accuracy, samples, decisions_changed, mcnemar_p, synops   on a data set, where one was named (table.py):
                                      changed against the first row; synops: effective synaptic operations per
                                      sample
    """

    artifact: str
    engine: str
    precision: str
    streams: int
    threads: int | None
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    steps_per_s: float = 0.0  # of all streams together
    after_silence_p50_ms: float = 0.0
    spike_mismatches: int | None = None
    rss_mb: float = 0.0
    firing_rates: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    weights: dict[str, str] = field(default_factory=dict)
    accuracy: float | None = None
    samples: int | None = None
    decisions_changed: int | None = None
    mcnemar_p: float | None = None
    synops: float | None = None
    adapter: str | None = None  # the GPU that it ran on, by name and driver, where the engine can tell
    engine_reason: str | None = None  # why `auto` took this engine; None where it was asked for

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class TimedPredictionRow(PredictionRow):
    """The prediction of a recording, as JSON, with the time that the engine took for it.

    milliseconds  of the engine: the calls of its batch, divided by the rows in it
    """

    milliseconds: float | None


@dataclass
class Predicted:
    """The result of `plif predict`, as `--json` prints it.

    recordings   how many there are;  unreadable: how many of them could not be read
    answers      {class: recordings with this label};  unanswered: recordings without a label, for the reason in
                 `why`
    lost         recordings that lost events (runtime/core/measure/evaluate/census.py)
    fit          how the recordings match the training of the network (runtime/core/events/fit.py)
    predictions  in the order of the recordings; empty if they were written to `out`
    """

    recordings: int
    unreadable: int
    answers: dict[str, int]
    classes: list[str]
    engine: str
    batch: int
    workers: int
    seconds: float
    throughput_per_s: float
    artifact: ArtifactIdentity
    out: str | None = None
    predictions: list[Prediction] = field(repr=False, default_factory=list)
    first_unreadable: str | None = None
    unanswered: int = 0
    lost: LostEvents = field(default_factory=no_losses)
    fit: dict[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        rows: list[TimedPredictionRow] = [
            {**to_json_row(prediction, self.classes), "milliseconds": prediction.milliseconds}
            for prediction in self.predictions
        ]
        return asdict(replace(self, predictions=[])) | {"predictions": rows}
