"""The artifacts of a network that the benches run: one for each target and precision.

A precision that the exporter does not write, or a target whose package is not installed, is left out and the reason is printed.
With a folder (`--work DIR`) artifacts are made once and used again.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plif_train
from bench.workload import Workload, workload
from plif_export import export
from runtime.core.base.errors import PlifError

# (target, precision): which engines open it, and what the row is called
WANTED = {
    ("onnx", "fp32"): ("event", "onnxruntime"),
    ("onnx", "int8"): ("event", "onnxruntime"),
    ("onnx", "int4"): ("event",),
    ("onnx", "ternary"): ("event",),
    ("openvino", "fp32"): ("openvino",),
    ("openvino", "int8"): ("openvino",),
}


@contextmanager
def work_folder(kept: Path | None) -> Iterator[Path]:
    """Return the folder of `--work`, which is created if needed; a temporary folder without `--work`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = kept or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def prepared(name: str, steps: int, folder: Path) -> Workload:
    """Return a workload; `folder` stores its tuned network."""
    kept = folder / f"{name}.pt"
    if name != "gesture":
        return workload(name, steps)
    if not kept.exists():
        plif_train.save(workload(name, 1).net, kept)
    made = workload(str(kept), steps)
    made.weights = "random weights, tuned to fire"
    return made


def artifact(net: plif_train.Network, name: str, to: str, precision: str, folder: Path) -> Path | None:
    """Return the artifact of the network, exported if it is absent; None, with a line on stderr, if the export fails."""
    kept = folder / f"{name}_{precision}{'.onnx' if to == 'onnx' else f'_{to}'}"
    if kept.exists():
        return kept
    try:
        return Path(export(net, kept, to=to, precision=precision).path)
    except (PlifError, ImportError) as error:
        print(f"{to} {precision} is left out: {' '.join(str(error).split())}", file=sys.stderr)
        return None
