"""A camera that is larger than the sensor of the training: networks that know of it, events of it, and a stream of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from plif_export import export
from plif_train.core.loop import checkpoint
from runtime.sources.push import PushSource
from tests.networks import firing
from tests.recordings import some_events

SMALL, LARGE = (34, 34), (90, 70)  # of the training, and of a camera
BINARY = "duration:9ms,value=binary"


def saved(folder: Path, name: str, size: list[int] | None, text: str = BINARY) -> Path:
    """A network whose card says that it was trained on a sensor of this size."""
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", (2, 34, 34), T=8, framing=text)
    net.meta = replace(net.meta, trained_on={"samples": 9, "size": size})
    checkpoint.save(net, folder / f"{name}.pt")
    return folder / f"{name}.pt"


def written(place: Path) -> Path:
    """own.plif, of a network that learned single pixels, other.plif, of one that did not; own.pt, own.onnx."""
    for name, size in (("own", [*SMALL]), ("other", [346, 260])):
        export(saved(place, name, size), place / f"{name}.plif", to="plif", verify=False)
    export(place / "own.pt", place / "own.onnx", verify=False)
    return place


def events_of_camera() -> np.ndarray:
    """Events [6000] all over it."""
    return some_events(6000, seed=4, width=LARGE[0], height=LARGE[1])


def streamed(model: runtime.Model, events: np.ndarray, **options: Any) -> tuple[list[Any], dict[str, Any]]:
    source = PushSource(*LARGE)
    source.push(events)
    source.end()
    running = model.stream(source, decide="sum", reset="never", overload="drop:1000", **options)
    return [(d.t_us, d.step, d.label, d.score, [*map(float, d.votes)]) for d in running], {**running.summary()}
