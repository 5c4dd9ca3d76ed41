"""Exports a module with plif and runs the artifact over the frames of the oracle."""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.export.attacks.frames import RECORDINGS, ROWS, frames
from tests.export.attacks.kind import Kind, find
from tests.export.attacks.oracle import AGAIN, keys

JOINS = {
    "stack": lambda y: y,
    "sum": lambda y: y.sum(0),
    "mean": lambda y: y.mean(0),
    "max": lambda y: y.max(0),
    "last": lambda y: y[-1],
}


def write(folder: Path, **what: Any) -> None:
    (folder / "result.json").write_text(json.dumps(what))


def export(kind: Kind, role: str, folder: Path) -> None:
    """By the Python call. The command is run by the harness."""
    import plif

    if kind.prepare is not None:
        kind.prepare()
    net = getattr(kind, role)().eval()
    lead = (4, 1) if kind.form == "loop" else (1,)
    example = torch.zeros(*lead, *kind.shape, dtype=getattr(torch, kind.dtype))
    more = {} if kind.pick is None else {"output": kind.pick}
    try:
        done = plif.export(net, folder / "net.onnx", example, **more)
    except plif.PlifError as error:
        write(folder, refused=str(error))
        return
    words = [str(done), *map(str, done.notes), *map(str, done.verify.not_proved)]
    write(folder, words=words)


def run(kind: Kind, folder: Path) -> None:
    """Step the artifact over every recording; rows that it cannot take are listed."""
    import plif

    model = plif.load(folder / "net.onnx")
    found, cannot = {}, []
    for name in RECORDINGS:
        if kind.form == "loop" and name == "still":
            continue
        for rows in ROWS:
            x = frames(name, kind.shape, rows)
            try:
                y = walk(model, x)
                if kind.twice and name != "still":
                    y = np.concatenate([y, walk(model, x[:AGAIN])])
            except plif.PlifError as error:
                cannot.append(f"{name} {rows} rows: {error}")
                continue
            for key, recording, count, T in keys(kind):
                if (recording, count) == (name, rows):
                    found[key] = y if T is None else JOINS[kind.join](y[:T])
    np.savez(folder / "artifact.npz", **found)
    (folder / "cannot.json").write_text(json.dumps(cannot))


def walk(model: Any, x: np.ndarray) -> np.ndarray:
    session = model.session(streams=x.shape[1])
    return np.stack([np.array(session.step(frame)) for frame in x])


def main(what: str, group: str, name: str, role: str, path: str) -> None:
    kind, folder = find(group, name), Path(path)
    try:
        if what == "export":
            export(kind, role, folder)
        else:
            run(kind, folder)
    except Exception:
        write(folder, crash=traceback.format_exc())
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
