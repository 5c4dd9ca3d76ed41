"""What a changed ONNX file does otherwise, free-running: rare things that a camera can show, for hundreds of steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

from runtime.core.model.card import read_card

ROWS, STEPS = 20, 120


def frames(shape: list[int], rng: np.random.Generator) -> np.ndarray:
    """float32 [STEPS, ROWS, *shape]: events, empty frames in a row, single pixels, hot pixels, bursts."""
    x = rng.poisson(0.3, (STEPS, ROWS, *shape)).astype(np.float32)
    x[20:40] = 0  # nothing moves
    x[50:55] *= 9  # a flash
    flat = x.reshape(STEPS, ROWS, -1)
    flat[60:70] = 0
    flat[60:70, :, rng.integers(flat.shape[2])] = 1  # one pixel
    flat[80:85, :, rng.integers(flat.shape[2])] = 300  # a hot one
    x[100] = 1
    return x


def difference(fresh: Path, changed: Path) -> str:
    """How many outputs, and numbers of states, differ between two ONNX files of one step."""
    card = read_card(fresh)
    x = frames(card["input"]["shape"], np.random.default_rng(0))
    try:
        one, other = _of_fresh(fresh), _run(changed, card, x)
        outputs = int((one[0] != other[0]).any(-1).sum())
        states = sum(int((a != b).sum()) for a, b in zip(one[1], other[1], strict=True))
    except Exception as error:  # the changed file need not run at all
        return f"does not run: {str(error)[:60]}"
    return f"{outputs} of {STEPS * ROWS} outputs differ, and {states} membranes at the end"


@cache
def _of_fresh(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    card = read_card(path)
    return _run(path, card, frames(card["input"]["shape"], np.random.default_rng(0)))


def _run(path: Path, card: dict, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:  # type: ignore[type-arg]
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [(state["input"], state["output"]) for state in card["states"]]
    v = {state["input"]: np.full((ROWS, *state["shape"]), state["initial"], np.float32) for state in card["states"]}
    ys = []
    for frame in x:
        found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": frame, **v}), strict=True))
        ys.append(found["y"])
        v = {into: found[out] for into, out in names}
    return np.stack(ys), [v[into] for into, _ in names]
