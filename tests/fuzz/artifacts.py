"""Small networks as an export writes them, of each precision and form: good inputs that the fuzz targets begin with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from plif_export import export
from runtime.core.model.graph import Graph
from runtime.engines.event_program.forms import DEFAULT_FORMS, Forms
from runtime.neurons.traced_program.program import OPS
from tests.fuzz.traced import random_program
from tests.loops import MSResNet, NorseRecurrent, StaticConv
from tests.networks import firing
from tests.plif_export.core.test_graph_layers import attention
from tests.programs import linear, plif_file_of, recurrent, traced, written

AVERAGED = "c8k3s1-BN-PLIF-APk2s2-c24k3s2-BN-PLIF-FC40-PLIF-FC30-PLIF-APk10s10"
# (notation, shape, options): with the first one's neurons, others, and rows that are wide enough to be multiplied as bytes
NETWORKS: tuple[tuple[str, tuple[int, int, int], dict[str, Any]], ...] = (
    ("c4k3s1-BN-PLIF-APk2s2-c6k3s2-BN-PLIF-FC30-PLIF-APk10s10", (2, 8, 8), {}),
    ("BN-c3k3s1-BN-IF-MPk2s2-c5k3s1-LIF-FC15-PLIF-APk5s5", (2, 6, 6), {"v_reset": None}),
    ("c3k3s1-PLIF-c4k3s1-LIF-FC3-PLIF", (2, 3, 20), {"decay_input": False, "v_reset": -0.25}),
)
# Loops over the steps in forward, as public code has them: (module, the shape of its input)
BODIES = {
    "norse": (NorseRecurrent, (3, 1, 8)),
    "resnet": (MSResNet, (3, 1, 2, 6, 6)),
    "static": (StaticConv, (1, 1, 8, 8)),
}
ONNX_PRECISIONS = ("fp32", "fp16", "int8", "int4", "ternary")
PLIF_PRECISIONS = ("fp32", "int8", "int4", "ternary")  # those that libplif computes in: an export refuses fp16


def make_program_graph() -> Graph:
    """Make neurons with random programs of every operation."""
    rng, source, nodes = random.Random(0), "x", []
    for i in range(3):
        program, names = random_program(rng, sorted(OPS))
        nodes.append(traced(f"n{i}", (source,), (6,), program, **dict.fromkeys(names, 0.5)))
        source = f"n{i}_neuron"
    return Graph((6,), (*nodes, linear("fc", source, 6, 3)), "fc")


def write_plif_files(folder: Path) -> list[Path]:
    """Write .plif files: each network in each precision, loop bodies, operations on views, and programs."""
    DEFAULT_FORMS["avx512"] = Forms(pairs=True, bytes_from=0.01)  # else no row here is as full as that
    files = [
        export(
            firing(notation, shape, **options), folder / f"{i}{precision}.plif", to="plif", verify=False,
            precision=precision, math="exact" if i == 1 else "folded",
        ).path
        for i, (notation, shape, options) in enumerate(NETWORKS)
        for precision in PLIF_PRECISIONS
    ]  # fmt: skip
    for name, (module, shape) in BODIES.items():
        body, path = module().eval(), folder / f"{name}.plif"
        files.append(export(body, path, torch.zeros(shape), to="plif", verify=False).path)
    for name, graph in (("recurrent", recurrent()), ("attention", attention()), ("programs", make_program_graph())):
        files.append(plif_file_of(graph, folder).rename(folder / f"{name}.plif"))
    return files


def write_onnx_files(folder: Path) -> list[Path]:
    """Write ONNX artifacts: each precision, the loop form, a map of one pixel, a recurrent program, and views."""
    for precision in ONNX_PRECISIONS:
        net = firing() if precision == "fp32" else firing(AVERAGED)
        export(net, folder / f"{precision}.onnx", precision=precision, verify=False)
    export(firing(), folder / "loop-form.onnx", form="loop", verify=False)
    # one output pixel: a stride says nothing about its map
    export(firing("c8k3s2-PLIF-FC30-PLIF-APk10s10", (2, 2, 2)), folder / "pixel.onnx", verify=False)
    for name, graph in (("loop", recurrent()), ("tokens", attention())):
        written(graph, folder / f"{name}.onnx")
    return sorted(folder.glob("*.onnx"))
