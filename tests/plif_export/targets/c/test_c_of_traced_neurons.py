"""--to c of neurons that carry their step as a program: random ones, each operation, and those of other libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from plif_export import export
from plif_export.core.cards import make_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from runtime.core.model.graph import Graph, Node
from tests.plif_export.readers.module.test_read_loops import LOOPS, lively
from tests.plif_export.targets.c.test_target_c import compiled, sanitized
from tests.programs import linear, random_program, traced, trained
from tests.sanitizers import find_sanitizers

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")

STRICT = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
ATTENTION = ("spikformer",)  # which C has no code for


def compiled_strictly(path: Path) -> None:
    """As it ships, without the probe around it."""
    command = [find_compiler() or "", *STRICT, "-c", str(path), "-o", str(path.with_suffix(".o"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def as_c(graph: Graph, folder: Path, name: str = "net") -> CompiledProgram:
    """The generated program of a graph, compiled."""
    made = run_passes(graph, "folded", False, "fp32")
    card = make_card(
        trained(graph).facts, made, form="step", T=4, precision="fp32", math="folded", batch=None, source_sha256=None
    )
    target, path = find_target("c"), folder / f"{name}.c"
    target.check(made, card, {})
    target.write(ExportJob(made, onnx.ModelProto(), card, name=path.name), path)
    compiled_strictly(path)
    return sanitized(path, STRICT) if find_sanitizers() else compiled(path, STRICT)


def random_graph(seed: int) -> Graph:
    """A layer that reads the frame, with a parameter of each extent, one that takes the sums of a Linear, and one of two inputs.
    The sums are of whole numbers, so that their order does not matter."""
    rng = np.random.default_rng(seed)
    map_ = (2, 3, 2)
    params = {
        "one": np.float32(0.3),
        "each_channel": rng.normal(size=2).astype(np.float32),
        "each_neuron": rng.normal(size=map_).astype(np.float32),
        "unread": rng.normal(size=2).astype(np.float32),
    }
    fc = linear("fc", "flat", 12, 6)
    whole = np.round(fc.params["weight"] * 16) / 8
    nodes = (
        traced("first", ("x",), map_, random_program(seed, states=("i", "i_2"), params=tuple(params)[:3]), **params),
        Node("flat", "Flatten", ("first_neuron",), (12,)),
        fc.with_(params={"weight": whole.astype(np.float32)}),
        traced("state", ("fc",), (6,), random_program(seed + 100, states=("spikes",), graded=True)),
        traced("last", ("state_neuron", "fc"), (6,), random_program(seed + 200, 2, ("i", "I"), graded=True)),
    )
    return Graph(map_, nodes, "last_neuron")


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_compile_without_a_warning_and_give_the_bits_of_the_golden_model(
    seed: int, tmp_path: Path
) -> None:
    graph = random_graph(seed)
    program = as_c(graph, tmp_path)
    state = interpret.initial_state(graph, 1)
    states = program.initial()
    for x in np.random.default_rng(seed).poisson(0.8, (6, 1, *graph.input_shape)).astype(np.float32):
        y, state, layers = interpret.step(graph, x, state)
        answer = program.run_call(x[None], states)
        states = answer.after
        np.testing.assert_array_equal(answer.y[0], y)
        for layer, expected in layers.items():
            found = answer.layers[layer][0]
            np.testing.assert_array_equal(found.s, expected.s, err_msg=layer)
            np.testing.assert_array_equal(found.h, expected.h, err_msg=layer)
            for variable, value in expected.after.items():
                np.testing.assert_array_equal(found.after[variable], value, err_msg=f"{layer}.{variable}")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("case", [case for case in LOOPS if case not in ATTENTION])
def test_networks_of_other_libraries_are_written_in_c_and_proved(case: str, tmp_path: Path) -> None:
    make, shape, said, _, _ = LOOPS[case]
    made = export(lively(make()), tmp_path / "net.c", torch.zeros(shape), to="c", **said)
    assert made.passed and made.verify is not None and made.verify.engine == "c"
    compiled_strictly(made.path)
