"""Passes are identities of real numbers: for every input, every membrane and every weight, a rewritten graph does what it did.

What rounding adds is another matter: plif_export/core/proof/arithmetic/bounds.py, and test_bounds.py here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import z3

from plif_export.core.passes import run_passes
from plif_export.core.passes.folding import drop_dropout, fold_batchnorm, fold_tau, hoist_static_input
from plif_export.precisions.rounded_weights import passes as rounding
from plif_export.precisions.rounded_weights.passes import cast_half, quantize_weights
from runtime.core.model.graph import Graph, Node
from runtime.core.model.grids import GRIDS, Grid
from tests.proofs.symbols import KNOWN, ROUNDED, all_equal, each, nearest, prove, reals, run

THRESHOLD = z3.Real("threshold")
GIVEN: list[z3.BoolRef] = []


def batch_norm(name: str, source: str, shape: tuple[int, ...]) -> Node:
    params = {key: reals(f"{name} {key}", shape[0]) for key in ("weight", "bias", "mean", "var")}
    GIVEN.extend(var >= 0 for var in params["var"])
    return Node(name, "BatchNorm", (source,), shape, {"eps": 2.0**-16}, params)


def neuron(
    layer: str, source: str, shape: tuple[int, ...], kind: str = "PLIF", one: bool = False, **attrs: Any
) -> Node:
    own = {
        "layer": layer,
        "v_threshold": THRESHOLD,
        "v_reset": 0.0,
        "decay_input": True,
        "charge": "exact",
        "kind": kind,
    }
    params = {} if kind == "IF" else {"alpha": reals(f"alpha {layer}", *(() if one else shape[:1]))}
    return Node(f"{layer}_neuron", "Neuron", (source,), shape, {**own, **attrs}, params)


def linear(name: str, source: str, inputs: int, outputs: int, bias: bool = True) -> Node:
    params = {"weight": reals(f"{name} weight", outputs, inputs), "bias": reals(f"{name} bias", outputs)}
    return Node(name, "Linear", (source,), (outputs,), {}, params if bias else {"weight": params["weight"]})


def conv(name: str, source: str, shape: tuple[int, ...], bias: bool = True, **attrs: Any) -> Node:
    """Of 2 channels to shape[0], with kernels of 2 x 1."""
    params = {"weight": reals(f"{name} weight", shape[0], 2, 2, 1), "bias": reals(f"{name} bias", shape[0])}
    given = {"stride": 1, "padding": 0, "groups": 1, **attrs}
    return Node(name, "Conv", (source,), shape, given, params if bias else {"weight": params["weight"]})


def network(bias: bool = True, **attrs: Any) -> Graph:
    """A BatchNorm behind nothing, behind a Conv, behind a sum and behind a Linear; neurons behind a product and behind a sum."""
    wide = (2, 2, 1)
    nodes = (
        batch_norm("bn0", "x", (2, 3, 1)),
        conv("conv1", "bn0", wide, bias),
        batch_norm("bn1", "conv1", wide),
        neuron("a", "bn1", wide, **attrs),
        Node("drop", "Dropout", ("a_neuron",), wide, {"p": 0.5}),
        conv("conv2", "drop", (2, 1, 1), bias),
        Node("pool", "AvgPool", ("drop",), (2, 1, 1), {"kernel": [2, 1], "stride": [2, 1], "padding": 0}),
        Node("both", "Add", ("conv2", "pool"), (2, 1, 1)),
        batch_norm("bn2", "both", (2, 1, 1)),
        neuron("b", "bn2", (2, 1, 1), **attrs),
        Node("flat", "Flatten", ("b_neuron",), (2,)),
        linear("fc", "flat", 2, 2, bias),
        batch_norm("bn3", "fc", (2,)),
        neuron("c", "bn3", (2,), **attrs),
    )
    return Graph((2, 3, 1), nodes, "c_neuron")


def skipping(**attrs: Any) -> Graph:
    """A product that a neuron reads, and that is added to the spikes of this neuron."""
    nodes = (
        linear("fc", "x", 2, 2),
        neuron("a", "fc", (2,), **attrs),
        Node("skip", "Add", ("fc", "a_neuron"), (2,)),
        batch_norm("bn", "skip", (2,)),
        neuron("b", "bn", (2,), **attrs),
    )
    return Graph((2,), nodes, "b_neuron")


def started(graph: Graph) -> tuple[Any, dict[str, Any]]:
    """An input [1, ...] and membranes {layer: [1, ...]}, any."""
    x = reals("x", 1, *graph.input_shape)
    return x, {node.layer: reals(f"v {node.layer}", 1, *node.shape) for node in graph.neurons}


def check(before: Graph, after: Graph) -> None:
    """For any spikes of the layers before it, every layer of both graphs does the same: so, step by step, do the graphs."""
    x, state = started(before)
    one, other = run(before, x, state), run(after, x, state)
    for node in before.neurons:
        for what in ("h", "s", "v"):
            prove(all_equal(one[f"{what} {node.layer}"], other[f"{what} {node.layer}"]), *GIVEN)


RESETS = (
    {"v_reset": 0.0},
    {"v_reset": 0.625},
    {"v_reset": None},
)  # h and v are lines in v_reset: two values stand for all
EVERY = [{**reset, "decay_input": drives} for reset in RESETS for drives in (True, False)]


def test_what_is_given_can_be() -> None:
    """From what contradicts itself everything follows."""
    check(network(), network())
    solver = z3.Solver()
    solver.add(*KNOWN, *GIVEN)
    assert solver.check() == z3.sat


@pytest.mark.parametrize("bias", (True, False))
@pytest.mark.parametrize("attrs", EVERY, ids=str)
def test_folding_of_normalisation_and_tau_changes_no_real_number(attrs: dict[str, Any], bias: bool) -> None:
    graph = network(bias, **attrs)
    without = fold_batchnorm(drop_dropout(graph))
    folded = fold_tau(without)
    assert not {"Dropout", "BatchNorm"} & {node.op for node in folded}
    assert [n.op for n in folded if n.op == "Affine"] and {n.attrs["charge"] for n in folded.neurons} == {"folded"}
    check(graph, without)
    check(without, folded)
    check(skipping(**attrs), fold_tau(fold_batchnorm(skipping(**attrs))))


@pytest.mark.parametrize("kind", ("IF", "LIF"))
def test_kinds_without_alpha_and_with_one_tau_a_layer_are_kept_as_well(kind: str) -> None:
    graph = network(kind=kind, one=True, v_reset=0.625)
    check(graph, run_passes(graph, "folded", static=False))


def symbols_of(value: Any) -> set[str]:
    """Names of the symbols in an array of terms."""
    found, todo = set(), list(np.asarray(value).flat)
    while todo:
        term = todo.pop()
        if z3.is_expr(term):
            todo += term.children()
            found |= {str(term)} if z3.is_const(term) and term.decl().kind() == z3.Z3_OP_UNINTERPRETED else set()
    return found


def test_what_is_computed_once_for_a_still_image_depends_on_no_membrane_and_no_spike() -> None:
    for graph, once in ((network(), {"bn0", "conv1", "bn1"}), (skipping(), {"fc"})):
        hoisted = hoist_static_input(graph)
        assert hoisted.nodes == graph.nodes and hoisted.hoisted == once
        x, state = started(hoisted)
        found = run(hoisted, x, state)
        changing = {str(term) for v in state.values() for term in v.flat}
        changing |= {str(term) for node in graph.neurons for term in found[node.name].flat}
        assert {node.name for node in graph if not changing & symbols_of(found[node.name])} == once


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_rounded_network_is_the_one_whose_weights_are_whole_numbers_times_the_scale(
    grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantized(weight: Any, where: str, grid: Grid) -> tuple[Any, Any]:
        return each(lambda w: z3.ToReal(z3.Int(f"whole {w}")), weight), reals(f"{where} scale", len(weight))

    def as_real(node: Node) -> Node:
        whole, scale = node.params["weight"], node.params["scale"]
        weight = whole * scale.reshape(-1, *(1,) * (whole.ndim - 1))
        return graph[node.name].with_(params={**graph[node.name].params, "weight": weight})

    shape = (2, 2, 1)
    nodes = (
        neuron("a", "x", shape),
        conv("conv", "a_neuron", (2, 1, 1)),
        Node("pool", "AvgPool", ("a_neuron",), (2, 1, 1), {"kernel": [2, 1], "stride": [2, 1], "padding": 0}),
        Node("flat", "Flatten", ("pool",), (2,)),
        linear("fc", "flat", 2, 2),
        neuron("b", "fc", (2,)),
    )
    graph = Graph(shape, nodes, "b_neuron")
    monkeypatch.setattr(rounding, "quantize_array", quantized)
    monkeypatch.setattr(rounding, "count_bits", lambda whole: grid.bits)
    reduced = quantize_weights(graph, grid)
    real = {node.name: as_real(node) for node in reduced if "scale" in node.params}
    assert set(real) == {"conv", "fc"} and reduced["fc"].attrs["area"] == 2
    x, state = started(graph)
    ROUNDED.clear()
    one, other = run(graph.replace_nodes(real), x, state), run(reduced, x, state)
    spikes = [z3.Or(s == 0, s == 1) for s in one["a_neuron"].flat]
    for term, whole in ROUNDED:  # counts and weights are whole numbers, so that nothing is rounded
        prove(term == whole, nearest(term, whole), *spikes)
    for name in real:
        prove(all_equal(one[name], each(lambda y: z3.substitute(y, *((w, t) for t, w in ROUNDED)), other[name])))


@pytest.mark.parametrize("most", [grid.max_level for grid in GRIDS.values()])
def test_rounding_moves_a_weight_by_half_a_scale_at_most_unless_it_is_cut_off(most: int) -> None:
    weight, scale = reals("w", 1), reals("scale", 1)
    (whole,), (w,), (s,) = rounding._round_to_grid(weight, scale, most), weight, scale
    known = nearest(*ROUNDED[-1])
    prove(z3.And(whole >= -most, whole <= most, z3.IsInt(whole)), s > 0, known)
    prove(z3.And(2 * (w - whole * s) <= s, 2 * (whole * s - w) <= s), s > 0, known, w <= most * s, w >= -most * s)


def test_fp16_moves_a_weight_by_a_relative_2_to_minus_11_or_by_2_to_minus_25() -> None:
    """Where rounding goes up and where it goes down, there it is worst: the floats around all of these places."""
    halves = np.arange(0x7BFF, dtype=np.uint16).view(np.float16).astype(np.float64)
    middle = ((halves + np.append(halves[1:], 65504)) / 2).astype(np.float32)
    weight = np.concatenate([np.nextafter(middle, np.float32(way)) for way in (0, 1e9)] + [middle])[None]
    nodes = (neuron("a", "x", (weight.size,), "IF"), Node("fc", "Linear", ("a_neuron",), (1,), {}, {"weight": weight}))
    half = cast_half(Graph((weight.size,), (*nodes, neuron("b", "fc", (1,))), "b_neuron"))["fc"].params["weight"]
    assert half.dtype == np.float16
    moved = np.abs(half.astype(np.float64) - weight)
    assert np.all(moved <= np.maximum(2.0**-11 * weight, 2.0**-25)) and np.any(moved > 2.0**-11 * weight)
