"""What another neuron costs in the event engine: one step of the Gesture network at batch 1, one thread, kinds take turns.

    python bench/neurons.py
    python bench/neurons.py --rounds 20 --only PLIF,Leaky --json

PLIF has a kernel, the others are programs (docs/event-engine-inside.md). Their parameters are chosen so that every kind
charges, fires and resets as the PLIF network does, so that all have its rates: the second state of LIFCell and NIR-CubaLIF
forgets in a step. Times are those of the processor in the thread, ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime
from bench import workload
from bench.artifacts import work_folder
from bench.machine import machine
from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import drop_dropout, fold_batchnorm, run_passes
from plif_export.core.readers.ours import read_network
from plif_export.core.writers import FORMS
from plif_train.core.network.network import Network
from runtime.core.model.graph import Graph, Node

WARM_UP = 3
LEAK: dict[str, Any] = {"v_leak": 0.0}


def program(threshold: float) -> dict[str, Any]:
    """PLIF as a traced neuron's program."""
    return {
        "states": {"v": 0.0},
        "program": [
            ["drive", "Sub", "x", "v"],
            ["moved", "Mul", "drive", "alpha"],
            ["h", "Add", "v", "moved"],
            ["fires", "GreaterOrEqual", "h", threshold],
            ["s", "Cast", "fires"],
            ["after", "Where", "fires", 0.0, "h"],
        ],
        "h": "h",
        "s": "s",
        "next": {"v": "after"},
    }


# kind -> (alpha of the PLIF neuron, its threshold) -> (attributes, parameters)
KINDS: dict[str, Callable[[float, float], tuple[dict[str, Any], dict[str, float]]]] = {
    "Leaky": lambda alpha, _: ({"reset": "zero", "reset_delay": True}, {"beta": 1 - alpha}),
    "LIFBox": lambda alpha, _: (LEAK, {"k": alpha}),
    "LIFCell": lambda alpha, _: (LEAK, {"k": alpha, "k_syn": 1.0}),
    "NIR-LIF": lambda alpha, _: ({**LEAK, "fire": ">="}, {"k": alpha, "r": 1.0}),
    "NIR-CubaLIF": lambda alpha, _: ({**LEAK, "fire": ">="}, {"k": alpha, "k_syn": 1.0, "r": 1.0}),
    "Traced": lambda alpha, threshold: (program(threshold), {"alpha": alpha}),
}


def of_kind(graph: Graph, kind: str) -> Graph:
    """Return the network with other neurons; Leaky's currents are not multiplied by alpha, so its weights are."""
    changed: dict[str, Node] = {}
    for node in graph.neurons:
        alpha, threshold = float(node.params["alpha"].reshape(-1)[0]), float(node.attrs["v_threshold"])
        attrs, params = KINDS[kind](alpha, threshold)
        common = {"kind": kind, "layer": node.layer, "v_threshold": threshold, "v_reset": 0.0}
        arrays = {key: np.asarray(value, np.float32) for key, value in params.items()}
        changed[node.name] = node.with_(attrs={**common, **attrs}, params=arrays)
        if kind == "Leaky":
            before = graph[node.inputs[0]]
            weights = {key: value * np.float32(alpha) for key, value in before.params.items()}
            changed[before.name] = before.with_(params=weights)
    return graph.replace_nodes(changed)


def artifact(net: Network, kind: str, precision: str, folder: Path) -> Path:
    graph, math = fold_batchnorm(drop_dropout(read_network(net))), "folded"
    graph = run_passes(graph if kind == "PLIF" else of_kind(graph, kind), math, False, precision)
    card = make_card(net, graph, form="step", T=net.T, precision=precision, math=math, batch=None, source_sha256=None)
    proto = FORMS["step"](graph, net.T, None, "integer")
    set_card(proto, card)
    onnx.save(proto, folder / f"{kind}-{precision}.onnx")
    return folder / f"{kind}-{precision}.onnx"


def measure(kinds: list[str], rounds: int, steps: int, folder: Path) -> list[dict[str, Any]]:
    work = workload.workload("gesture", steps + WARM_UP)
    rows = []
    for precision in ("fp32", "int8"):
        for kind in kinds:
            path = artifact(work.net, kind, precision, folder)
            session = runtime.load(path, "event", threads=1).session()
            rows.append((precision, kind, session, list[float]()))
    for _ in range(rounds):
        for _, _, session, times in rows:
            session.reset()
            for i, x in enumerate(work.x):
                began = time.thread_time()
                session.step(x)
                if i >= WARM_UP:
                    times.append(1e3 * (time.thread_time() - began))
    first: dict[str, float] = {}
    found = []
    for precision, kind, _, times in rows:
        p50 = float(np.median(times))
        ratio = p50 / first.setdefault(precision, p50)
        found.append({"precision": precision, "kind": kind, "p50_ms": round(p50, 3), "times": round(ratio, 2)})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default=",".join(["PLIF", *KINDS]), help="kinds, the first to compare with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    with work_folder(None) as folder:
        rows = measure(options.only.split(","), options.rounds, options.steps, folder)
    if options.json:
        print(json.dumps({"bench": "neurons", "machine": machine(), "rows": rows}))
        return
    for row in rows:
        print(f"{row['precision']:6} {row['kind']:12} {row['p50_ms']:8.3f} ms  {row['times']:.2f}")


if __name__ == "__main__":
    main()
