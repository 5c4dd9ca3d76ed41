"""What ten minutes of one's own gestures bring: a drawn person before a camera of 640x480 does what `plif record` asks for.

    python bench/own_gestures.py models/gesture-people.pt --work WORK
    python bench/own_gestures.py models/gesture-people.pt --work WORK --people 3 --rounds 10 --json

A person, drawn as no person of the training was (a held-out performer), makes each gesture in every round, 3 s long, in ways of
its own; the last quarter of the rounds is the test. `before` and `after` are accuracies there of the network and of the one that
goes on from its weights with these recordings and drawn performers in equal shares (docs/own-gestures.md). `drawn` is the
accuracy of both on other drawn performers: what the network forgets of everybody else.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plif
import plif_train
from plif_export import export
from runtime.commands.record.guide import Prompt, record
from runtime.core.base.text import say
from runtime.core.events import Source
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import simulate_gesture
from runtime.datasets.performers.performance import Bout, Manner, record_bouts
from runtime.datasets.performers.performer import draw_performer

SIZE, SEED, IDLE_US, RAISE_US = (640, 480), 5151, 100_000, 300_000
VARY = "mirror:0.5,stretch:0.8-1.3,shift:8,scale:0.85-1.2,turn:0.05,thin:0.3,halo:0.1,noise:0.003"


class AskedPerson(Source):
    """A drawn person before a camera of 640x480 who makes the gesture that was asked for last."""

    format, sensor = "drawn", SIZE

    def __init__(self, number: int, seconds: float) -> None:
        super().__init__(f"person {number}")
        self.number, self.seconds, self.asked = number, seconds, ""
        self.performer = draw_performer((SEED, 1, number), True, None, SIZE)

    def hear(self, prompt: Prompt) -> None:
        self.asked = prompt.take.label if prompt.phase == "go" else ""

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        self.begin(max_events)
        now_us, made = 0, 0
        while True:
            label, lasts_us = self.asked, int(1e6 * self.seconds) + IDLE_US if self.asked else IDLE_US
            bouts = []
            if label:
                made += 1
                manner = Manner(CLASSES.index(label), (SEED, self.number, made), True, wide=True)
                bouts = [Bout(manner, now_us, now_us + lasts_us + RAISE_US, RAISE_US)]
            for piece in record_bouts(
                self.performer, bouts, now_us, now_us + lasts_us, (SEED, self.number, made, now_us)
            ):
                yield piece
                if self.asked != label:
                    break
            now_us += lasts_us


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder for recordings and networks")
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    drawn = options.work / "drawn"
    simulate_gesture(drawn, train=30, test=12, seed=SEED, laws=2, view="mixed", workers=1)
    rows = []
    for number in range(options.people):
        mine, out = options.work / f"mine-{number}", options.work / f"mine-{number}.pt"
        person = AskedPerson(number, 3.0)
        record(person, tell=person.hear, out=mine, classes=CLASSES, rounds=options.rounds)
        out.unlink(missing_ok=True)
        plif_train.train(
            None, data=[f"folder:{mine}", f"dvs128-gesture:{drawn}"], like=options.model, start=options.model, out=out,
            overwrite=True, mix="0.5,0.5", vary=VARY, epochs=options.epochs, lr=3e-4, device="cpu", augment="none",
        )  # fmt: skip
        row: dict[str, object] = {"person": number}
        for name, model in (("before", options.model), ("after", out)):
            artifact = options.work / f"{name}-{number}.onnx"
            export(model, artifact, verify=False)
            for what, data in (("", f"folder:{mine}"), (" drawn", f"dvs128-gesture:{drawn}")):
                found = plif.load(artifact).evaluate(data)
                row[f"{name}{what}"] = f"{found.correct} of {found.samples}"
        rows.append(row)
        if not options.json:
            say(json.dumps(row))
    if options.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
