"""What the module does in PyTorch alone: a fresh instance and process for every recording."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.export.attacks.frames import LENGTHS, RECORDINGS, ROWS, frames
from tests.export.attacks.kind import Kind, find

AGAIN = 50  # frames of the second recording


def calling(mode: str) -> contextlib.AbstractContextManager[Any]:
    if mode == "plain":
        return contextlib.nullcontext()
    return torch.inference_mode() if mode == "inference" else torch.no_grad()


def tensor(out: Any, pick: int | None) -> Any:
    if isinstance(out, dict):
        out = tuple(out.values())
    if isinstance(out, (tuple, list)):
        out = out[pick or 0]
    return out


def numbers(out: Any) -> np.ndarray:
    return np.array(out.detach().float().tolist(), np.float32)


def steps(kind: Kind, net: Any, x: torch.Tensor, same: bool) -> np.ndarray:
    """The user's loop: keeps what each call returned, and reads it when the recording is over."""
    kept = []
    frame = x[0]
    for t in range(x.shape[0]):
        kept.append(tensor(net(frame), kind.pick) if same else tensor(net(x[t]), kind.pick))
    return np.stack([numbers(out) for out in kept])


def observe(kind: Kind, role: str, recording: str, rows: int, length: int | None) -> np.ndarray:
    net = getattr(kind, role)().eval()
    x = torch.from_numpy(frames(recording, kind.shape, rows)).to(getattr(torch, kind.dtype))
    with calling(kind.mode):
        if length is not None:
            return numbers(tensor(net(x[:length]), kind.pick))
        out = steps(kind, net, x, recording == "still")
        if kind.twice and recording != "still":
            if hasattr(net, "reset"):
                net.reset()
            out = np.concatenate([out, steps(kind, net, x[:AGAIN], False)])
    return out


def keys(kind: Kind) -> list[tuple[str, str, int, int | None]]:
    """Name, recording, rows and length of everything that is observed of a kind."""
    if kind.form == "loop":
        runs = [(name, rows, T) for name in RECORDINGS[:3] for rows in ROWS for T in LENGTHS]
        return [(f"{name} {rows} rows T={T}", name, rows, T) for name, rows, T in runs]
    return [(f"{name} {rows} rows", name, rows, None) for name in RECORDINGS for rows in ROWS]


def child(kind: Kind, role: str, run: tuple[str, str, int, int | None], file: Path) -> None:
    """Observe one run in a fork of this process: nothing in it has run before."""
    pid = os.fork()
    if pid:
        if os.waitpid(pid, 0)[1]:
            raise SystemExit(f"the oracle of {kind.name} ({role}) failed on {run[0]}")
        return
    status = 1
    try:
        np.save(file, observe(kind, role, *run[1:]))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def main(group: str, name: str, role: str, path: str) -> None:
    assert "plif" not in sys.modules and "plif_export" not in sys.modules
    kind = find(group, name)
    file = Path(path).with_suffix(".part.npy")
    found = {}
    for run in keys(kind):
        child(kind, role, run, file)
        found[run[0]] = np.load(file)
    file.unlink()
    np.savez(path, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
