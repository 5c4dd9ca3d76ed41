"""The gate on rounded weights fails where it should: one mutation each, in fp16, int4, ternary and in both dialects of int8."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from plif_export import ParityError, export
from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.prove import prove
from plif_export.core.readers.ours import read_network
from plif_export.core.writers import FORMS
from plif_train.core.network.network import Network
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from runtime.core.model.grids import GRIDS, Grid
from tests.conftest import crossed
from tests.networks import firing
from tests.plif_export.core.test_parity_can_fail import change_attribute, failure, replace_initializer

WHOLE = (*((precision, "integer") for precision in GRIDS), ("int8", "qdq"))
WAYS = (("fp16", "integer"), *WHOLE)
FORM_NAMES = ("step", "unrolled")


def written(
    net: Network, precision: str, dialect: str, form: str = "step", change: Callable[[Graph], Graph] | None = None
) -> tuple[onnx.ModelProto, Card]:
    """`change` is applied after all passes, so that the file differs from what the model gives."""
    graph = run_passes(read_network(net), "folded", False, precision)
    card = make_card(net, graph, form=form, T=net.T, precision=precision, math="folded", batch=None, source_sha256=None)
    proto = FORMS[form](graph if change is None else change(graph), net.T, None, dialect)
    set_card(proto, card)
    return proto, card


@pytest.mark.one_in(2)
@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_an_untouched_artifact_passes_and_says_how_it_differs_from_the_model(
    precision: str, dialect: str, form: str
) -> None:
    net = firing()
    report = prove(*written(net, precision, dialect, form), net, steps=20)
    assert report.passed, report.sentence()
    assert report.spikes > 10_000 and report.untested == [] and report.spike_mismatches == report.excused
    assert (
        report.rounding_mismatches
        <= report.free_running_mismatches
        < GRIDS.get(precision, GRIDS["int8"]).flips * report.spikes
    )
    assert report.free_running_mismatches > 0
    assert report.layers[0].free_running_mismatches == 0  # the first layer is float32
    assert f"against the same {precision} weights" in report.sentence()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_a_wrong_tau_is_caught(precision: str, dialect: str, form: str) -> None:
    def slower(graph: Graph) -> Graph:
        node = graph["fc1_neuron"]
        return graph.replace_nodes({node.name: node.with_(params={"alpha": node.params["alpha"] * np.float32(0.98)})})

    net = firing()
    assert failure(*written(net, precision, dialect, form, slower), net)["layer"] == "fc1"


@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_a_wrong_reset_is_caught(precision: str, dialect: str) -> None:
    net = firing()
    soft = written(net, precision, dialect, "step", lambda g: change_attribute(g, "conv2_neuron", v_reset=None))
    assert failure(*soft, net)["layer"] == "conv2"


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_two_states_swapped_are_caught(precision: str, dialect: str, form: str) -> None:
    net = firing("{c8k3s1-BN-PLIF}*3-MPk4s4-FC30-PLIF-APk10s10")
    proto, card = written(net, precision, dialect, form)
    other = {"v.conv2": "v.conv3", "v.conv3": "v.conv2"}
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = other.get(name, name)
    assert failure(proto, card, net)["layer"] in ("conv2", "conv3")


@pytest.mark.parametrize(("precision", "dialect"), WAYS)
def test_a_dropped_initial_value_is_caught(precision: str, dialect: str) -> None:
    net = firing(v_reset=-0.25)
    proto, card = written(net, precision, dialect)
    states = [{**state, "initial": 0.0} for state in card["states"]]
    at = failure(proto, {**card, "states": states}, net)
    assert at["layer"] == "card" and "states" in at["what"]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("layer", ("conv2", "fc1", "fc2"))
@pytest.mark.parametrize(("precision", "dialect"), WHOLE)
def test_one_wrong_scale_is_caught(precision: str, dialect: str, layer: str) -> None:
    net = firing()
    proto, card = written(net, precision, dialect)

    def nudge(scale: np.ndarray) -> np.ndarray:
        assert scale.ndim == 1 and scale.dtype == np.float32
        scale[3] *= np.float32(1.01)
        return scale

    replace_initializer(proto, f"{layer}.scale", nudge)
    assert failure(proto, card, net)["layer"] == layer


@pytest.mark.parametrize(("way", "layer"), crossed(WAYS, ("conv2", "fc1", "fc2")))
def test_one_weight_off_by_one_step_of_its_rounding_is_caught(way: tuple[str, str], layer: str) -> None:
    precision, dialect = way
    net = firing()
    rng = np.random.default_rng(0)
    untouched, card = written(net, precision, dialect)
    for _ in range(2):
        proto = onnx.ModelProto()
        proto.CopyFrom(untouched)

        def nudge(values: np.ndarray) -> np.ndarray:
            flat = values.reshape(-1)  # a copy of the file's own: what else is left of it
            at = rng.choice(np.flatnonzero(np.abs(flat.astype(np.float64)) > 0.02))
            if values.dtype == np.float16:
                flat[at] *= np.float16(1.05)
            else:
                flat[at] = int(flat[at]) + (-1 if flat[at] > 1 else 1)  # which every type of whole numbers holds
            return flat.reshape(values.shape)

        replace_initializer(proto, f"{layer}.weight", nudge)
        assert failure(proto, card, net)["layer"] == layer


@pytest.mark.parametrize(
    ("precision", "dialect", "tensor", "value", "layers"),
    [
        ("int8", "integer", "zero_point.uint8", np.uint8(127), ("conv2",)),
        ("int4", "integer", "zero_point.uint4", np.uint8(7), ("conv2",)),
        ("ternary", "integer", "zero_point.uint4", np.uint8(9), ("conv2",)),
        ("int8", "integer", "zero.int8", np.int8(1), ("conv2",)),
        ("int8", "qdq", "conv2.zero_points", np.ones(8, np.int8), ("conv2",)),
        ("int8", "qdq", "fc1.unit", np.float32(2), ("fc1",)),
        ("int8", "integer", "fc1.bias", np.zeros(40, np.float32), ("fc1",)),
    ],
)
def test_a_wrong_zero_point_unit_or_bias_is_caught(
    precision: str, dialect: str, tensor: str, value: Any, layers: Any
) -> None:
    net = firing(bias=True)
    proto, card = written(net, precision, dialect)
    replace_initializer(proto, tensor, lambda _: np.asarray(value))
    assert failure(proto, card, net)["layer"] in layers


def test_counts_that_are_cut_off_are_caught() -> None:
    """Average pooling makes counts of 0 to 4; a file that takes them for spikes, 0 or 1, is caught."""
    net = firing("c8k3s1-BN-PLIF-APk2s2-c8k3s1-BN-PLIF-MPk2s2-FC30-PLIF-APk10s10")
    proto, card = written(net, "int8", "integer")
    replace_initializer(proto, "conv2.area", lambda area: np.float32(1) + 0 * area)
    assert failure(proto, card, net)["layer"] == "conv2"


def test_a_pass_that_rounds_badly_is_caught_although_it_agrees_with_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["plif_export.precisions.rounded_weights.passes"]
    real = module.quantize_array

    def coarse(weight: np.ndarray, where: str, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        whole, scale = real(weight, where, grid)
        return whole, scale * np.float32(0.5)

    monkeypatch.setattr(module, "quantize_array", coarse)
    with pytest.raises(ParityError, match="too many for rounding") as error:
        export(firing(), tmp_path / "m.onnx", precision="int8")
    assert error.value.report.failed_at is not None and error.value.report.failed_at["layer"] == "conv2"
    assert list(tmp_path.iterdir()) == []


def test_the_weights_of_the_file_are_the_rounded_ones_in_every_way() -> None:
    net = firing()
    for precision, dialect in WHOLE:
        proto, card = written(net, precision, dialect)
        grid, packed = GRIDS[precision], precision != "int8"
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        exact = run_passes(read_network(net), "folded", False)
        for layer in ("conv2", "fc1", "fc2"):
            weight, scale = tensors[f"{layer}.weight"], tensors[f"{layer}.scale"]
            if dialect == "integer":
                unsigned = layer == "conv2"
                assert weight.dtype.name == f"{'u' * unsigned}int{4 if packed else 8}"
                weight = weight.astype(int) - (8 if packed else 128) if unsigned else weight.T.astype(int)
            assert np.abs(weight).max() == grid.max_level
            real = exact[layer].params["weight"]
            step = scale.reshape(-1, *(1,) * (real.ndim - 1))
            cut_off = np.abs(real) > (grid.max_level + 0.5) * step
            assert np.all(np.abs(weight * step - real)[~cut_off] <= (0.5001 * step * np.ones(real.shape))[~cut_off])
            assert cut_off.mean() < (0.25 if precision == "ternary" else 0.04)
        (record,) = (n for n in card["graph"]["nodes"] if n["name"] == "conv2")
        assert record["params"]["scale"] == "conv2.scale"
        assert record["attrs"].get("bits", 8) == grid.bits
