"""The demo: export, prove, evaluate and stream the model that ships with the project, then draw pictures.

The model was trained on events simulated from MNIST. The recordings here are digits that plif draws itself and
records with its simulated sensor, in a second, so that the demo needs no download.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

import runtime
from plif_export.core.pipeline import export
from plif_export.core.proof.report import Report
from plif_export.core.verification import verify
from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.data import open_dataset
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.core.measure.evaluate.judge import judge
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit

MODEL = Path(__file__).resolve().parents[3] / "models" / "nmnist-digits.pt"
SAMPLES = 200
DIGIT = 7
CAMERA, FRAMING, DECIDE = "sim:digits?seed=7&seconds=5", "events:n=550,max=40ms", "leak:120ms,margin=0.2"


def run_demo(out: Path, say: Callable[[str], None] = print, samples: int = SAMPLES) -> dict[str, object]:
    """Run the demo (export a model, evaluate and stream it) into a folder, and return its measured numbers.

    say: called with each line of progress.
    """
    if not MODEL.is_file():
        raise PlifError(f"{MODEL.name}: the shipped model is not here; run the demo from a clone of the project")
    model = make_folder(out) / MODEL.name
    with atomic_write(model) as (target,):
        shutil.copyfile(MODEL, target)

    say("1. export and prove: the same spikes as in PyTorch, or no file")
    artifact = export(model)
    unrolled = export(model, form="unrolled")
    for exported in (artifact, unrolled):
        assert exported.verify is not None, "export was asked to prove itself"
        say(f"   {exported.path.name}: {exported.bytes / 1e6:.2f} MB; {exported.verify.sentence()}")
    recorded = _verify_on_recordings(artifact.path, model)
    say(f"   on {recorded.streams} recordings: {recorded.sentence()}")

    say(f"2. evaluate on {samples} drawn digits, recorded by the simulated sensor")
    engine = runtime.load(artifact.path, rates=True)
    judged = judge(engine, f"digits:{samples}", out=out)
    evaluation = judged.evaluation
    original = evaluate(runtime.load(model), f"digits:{samples}")
    agreements = sum(a == b for a, b in zip(evaluation.predictions, original.predictions, strict=True))
    say(
        f"   accuracy {100 * evaluation.accuracy:.1f} % ({evaluation.engine}), "
        f"{100 * original.accuracy:.1f} % ({original.engine}); "
        f"the same answer on {agreements} of {samples}"
    )
    say(
        f"   {evaluation.throughput_per_s:.0f} samples/s against {original.throughput_per_s:.0f} in PyTorch, reading included"
    )

    say(f"3. stream one recording of a {DIGIT}, step by step")
    recording = out / f"digit{DIGIT}.bin"
    write_nmnist(recording, record_digit(draw_digit(DIGIT, np.random.default_rng(3)), np.random.default_rng(3)))
    streamed = runtime.load(artifact.path).stream(str(recording))
    decisions = list(streamed)
    last, summary = decisions[-1], streamed.summary()
    say(
        f"   after {last.step + 1} steps: {last.label} with {100 * last.score:.0f} % of all votes; "
        f"events {summary['events_in']} in, {summary['events_used']} used"
    )
    picture = _draw_stream(artifact.path, recording, out / "stream.png")

    numbers: dict[str, object] = {
        "export": [artifact.to_dict(), unrolled.to_dict()],
        "recordings": recorded.to_dict(),
        "evaluate": {k: v for k, v in evaluation.to_dict().items() if k != "predictions"},
        "pytorch": {
            "accuracy": original.accuracy,
            "throughput_per_s": original.throughput_per_s,
            "same_answers": agreements,
        },
        "stream": {"decisions": [d.to_dict() for d in decisions], "summary": summary},
    }
    metrics = out / "demo.json"
    with atomic_write(metrics) as (target,):
        target.write_text(json.dumps(numbers, indent=2) + "\n")
    say("wrote " + ", ".join(str(path) for path in [*judged.written, *([picture] if picture else []), metrics]))
    say("next, with your own model and recordings:")
    for line in (
        f"plif info {shlex.quote(str(artifact.path))}",
        f"plif stream {shlex.quote(str(artifact.path))} {shlex.quote(str(recording))} --speed real",
        f"plif stream {shlex.quote(str(artifact.path))} '{CAMERA}' --framing {FRAMING} --decide {DECIDE}",
        "plif train '{c32k3s1-BN-PLIF-MPk2s2}*2-DP-FC128-PLIF-DP-FC100-PLIF-APk10s10' --data nmnist:DIR --out model.pt",
        "plif export model.pt",
    ):
        say(f"   {line}")
    say(
        "more (other formats, cameras, OpenVINO, NIR): pip install -e '.[all]' in the clone; docs/install.md lists the extras"
    )
    return numbers


def _verify_on_recordings(artifact: Path, model: Path) -> Report:
    """Verify the demo's artifact once more against its model, on recordings and from the reset state."""
    card = runtime.load(artifact).card
    digits = open_dataset("digits:4", "test", framing=card["framing"], shape=tuple(card["input"]["shape"]))
    return verify(artifact, model, np.stack([digits.sample(i) for i in range(len(digits))], axis=1))


def _draw_stream(artifact: Path, recording: Path, path: Path) -> Path | None:
    """Draw the demo's recording as it streams through the network, or return None without matplotlib."""
    try:
        from plif_export.commands.demo.pictures import draw_stream
    except ImportError:
        return None
    model = runtime.load(artifact, rates=True)
    streamed = model.stream(str(recording))
    decisions, frames = [], []
    rates: dict[str, list[float]] = {}
    for decision in streamed:
        decisions.append(decision)
        assert streamed.last_frame is not None
        frames.append(streamed.last_frame.x)
        for layer, rate in streamed.session.rates.items():
            rates.setdefault(layer, []).append(rate)
    return draw_stream(frames, decisions, rates, model.classes, path)
