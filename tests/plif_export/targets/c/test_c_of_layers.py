"""--to c of every operation of a graph: the compiled program gives what the golden model gives, in front of neurons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from plif_export.core.cards import make_card
from plif_export.core.passes import run_passes
from plif_export.core.prove import prove
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import GRIDS
from tests.plif_export.core.test_graph_layers import CASES, PLIF_1, attention
from tests.plif_export.targets.c.test_target_c import compiled, sanitized
from tests.programs import linear, traced, trained
from tests.sanitizers import needs_sanitizers

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")
SAMPLE = (
    "ConvTranspose",
    "AdaptiveAvgPool",
    "Resize bilinear",
    "Slice to the end",
    "LayerNorm",
    "Softmax",
    "Reduce max",
)


def between(op: Node, shape: tuple[int, ...]) -> Graph:
    """Spikes -> the operation -> a linear layer -> spikes."""
    first = traced("first", ("x",), shape, PLIF_1, 1.0, alpha=0.5)
    size = int(np.prod(op.shape))
    nodes = (
        first,
        op.with_(inputs=("first_neuron",)),
        Node("flat", "Flatten", ("op",), (size,)),
        linear("fc", "flat", size, 4, 1, 6.0),
        traced("last", ("fc",), (4,), PLIF_1, 1.0, alpha=0.7),
    )
    return Graph(shape, nodes, "last_neuron")


def passes(
    graph: Graph, folder: Path, precision: str = "fp32", make: Callable[..., CompiledProgram] = compiled
) -> bool:
    made = run_passes(graph, "exact", False, precision)
    kept: dict[str, Any] = {"form": "step", "precision": precision, "math": "exact", "batch": None}
    card = make_card(trained(graph).facts, made, T=4, source_sha256=None, **kept)
    target, path = find_target("c"), folder / "net.c"
    target.check(made, card, {})
    target.write(ExportJob(made, onnx.ModelProto(), card, name=path.name), path)
    program = make(path, ("-O0", "-Wall", "-Wextra", "-Werror"))
    report = prove(None, read_card(path), trained(graph), opened=program)
    assert report.passed, report.sentence()
    return report.spikes > 0


@pytest.mark.parametrize(
    "case", [case if case in SAMPLE else pytest.param(case, marks=pytest.mark.large) for case in CASES]
)
def test_a_layer_in_c_is_the_golden_model_s(tmp_path: Path, case: str) -> None:
    op, shape, _ = CASES[case]
    assert passes(between(op, shape), tmp_path)


@pytest.mark.large
@needs_sanitizers
@pytest.mark.parametrize("case", CASES)
def test_sanitizers_find_nothing_in_any_layer(tmp_path: Path, case: str) -> None:
    op, shape, _ = CASES[case]
    assert passes(between(op, shape), tmp_path, make=sanitized)


@pytest.mark.parametrize("precision", ("fp32", *GRIDS))
def test_a_spiking_transformer_is_written_as_c(tmp_path: Path, precision: str) -> None:
    assert passes(attention(), tmp_path, precision)
