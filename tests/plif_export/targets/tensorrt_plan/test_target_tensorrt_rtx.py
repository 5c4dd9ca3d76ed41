"""--to tensorrt-rtx: real builds, ahead of time, without a GPU; and what their lists of kernels say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import plif_train
import runtime
from plif_export import export
from plif_export.core.passes import run_passes
from plif_export.core.readers import read_model
from plif_export.core.targets.target import onnx_bytes
from plif_export.core.writers import FORMS
from plif_export.targets.tensorrt_plan.build import (
    BuiltPlan,
    Kernel,
    Streams,
    build_plan,
    find_neuron_kernels,
    find_neuron_nodes,
    find_product_types,
    read_layers,
)
from plif_train.core.network.network import Network
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.cli.main import run as command
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, spikes_name, state_output
from runtime.engines.tensorrt_plan.module import import_tensorrt
from tests.networks import firing

pytestmark = pytest.mark.machines

POOLS = "{c32k3s1-BN-PLIF}*2-MPk2s2-c32k3s1-BN-PLIF-APk2s2-c32k3s1-BN-PLIF-MPk2s2-FC40-PLIF-FC30-PLIF-APk10s10"
TYPES = {"fp32": "Float", "fp16": "Half", "int8": "Int8"}


@pytest.fixture(scope="module")
def rtx() -> Any:
    try:
        return import_tensorrt("tensorrt-rtx")
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def net() -> Network:
    return firing(POOLS, (2, 32, 32))


def built(
    rtx: Any,
    net: Network,
    precision: str = "fp32",
    sm: tuple[str, ...] = ("89",),
    math: str = "exact",
    form: str = "step",
) -> tuple[Graph, Any, BuiltPlan]:
    graph = run_passes(read_model(net).graph, math, False, precision)
    proto = FORMS[form](graph, 4, None, "where")
    return graph, proto, build_plan(rtx, onnx_bytes(proto), Streams(1, 2, 8), sm=sm)


def of_neurons(graph: Graph, proto: Any, kernels: list[Kernel]) -> dict[str, list[Kernel]]:
    found = {}
    for node in graph.neurons:
        outputs = [spikes_name(node.layer), *(state_output(node.layer, variable) for variable in node.initial)]
        found[node.layer] = find_neuron_kernels(kernels, find_neuron_nodes(proto, node.inputs[0], outputs))
    return found


@pytest.mark.parametrize("sm", ("80", "86", "89", "120"))
@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
def test_every_product_runs_in_the_precision_asked_for_and_each_layer_of_neurons_is_one_kernel(
    rtx: Any, net: Network, precision: str, sm: str
) -> None:
    graph, proto, made = built(rtx, net, precision, (sm,))
    assert made.plan[:4] == b"vtrt" and made.layers is not None
    kernels = read_layers(made.layers)
    types = find_product_types(kernels)
    assert len(types) == 6
    for node, kind in types.items():
        # the first layer reads counts of events, which have no bound, so it stays in float32
        assert kind == ("Float" if node == "conv1/Conv" else TYPES[precision]), node
    for layer, found in of_neurons(graph, proto, kernels).items():
        assert len(found) == 1, (layer, [kernel.name for kernel in found])
        assert found[0].outputs.count("Float") >= 1  # the membrane is float32 at every precision
    if precision == "int8":
        neurons = of_neurons(graph, proto, kernels)
        assert "Int8" in neurons["conv1"][0].outputs  # spikes leave it as int8, without a kernel of their own


@pytest.mark.parametrize(
    ("options", "math", "most"),
    [
        ({"v_reset": None}, "exact", 1),
        ({"tau": "channel"}, "exact", 1),
        ({}, "folded", 2),
        ({"v_reset": -0.25}, "exact", 2),
        ({"decay_input": False}, "exact", 2),
    ],
    ids=str,
)
def test_other_neurons_take_at_most_one_kernel_more_for_their_leak(
    rtx: Any, options: dict[str, Any], math: str, most: int
) -> None:
    graph, proto, made = built(rtx, firing(POOLS, (2, 32, 32), **options), math=math)
    kernels = read_layers(made.layers or "")
    counts = {layer: len(found) for layer, found in of_neurons(graph, proto, kernels).items()}
    assert set(counts.values()) <= set(range(1, most + 1)), counts
    assert set(find_product_types(kernels).values()) == {"Float"}


def test_a_scale_with_an_axis_would_run_in_float32_and_the_export_says_so(
    rtx: Any, no_gpu: None, net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the writer does right (_add_scalar of onnx_form.py) broken on purpose: the list of kernels shows it."""
    write = FORMS["step"]

    def broken(*arguments: Any) -> onnx.ModelProto:
        proto = write(*arguments)
        for tensor in proto.graph.initializer:
            if tensor.name == "zero.int8" or tensor.name.endswith(".unit"):
                tensor.dims.append(1)
        return proto

    monkeypatch.setitem(FORMS, "step", broken)
    done = export(net, tmp_path / "m.rtx.engine", to="tensorrt-rtx", precision="int8", options={"sm": "89"})
    assert "layer conv2 multiplies in fp32, asked was int8: right, but slower than it could be" in done.notes
    layers = read_card(done.path)["engine"]["layers"]
    assert {"name": "conv2", "asked": "int8", "runs": "fp32"} in layers


def test_unrolled_networks_build_too(rtx: Any) -> None:
    _, _, made = built(rtx, firing(), form="unrolled")
    assert made.layers is not None and len(read_layers(made.layers)) > 10


def test_the_file_carries_its_card_and_says_that_it_was_not_run(
    rtx: Any, no_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plif_train.save(firing(), tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    assert command(["export", "model.pt", "--to", "tensorrt-rtx", "--precision", "fp16", "--set", "sm=80+8.6"]) == 0
    out, error = capsys.readouterr()
    assert "ONNX form: parity passed" in out
    assert "model_fp16.rtx.engine: parity: not run, since there is no NVIDIA GPU here" in error
    assert command(["info", "model_fp16.rtx.engine", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    engine = card["engine"]
    assert card["parity"] == "not run" and engine["onnx_parity"]["passed"]
    assert engine["compute_capabilities"] == ["8.0", "8.6"] and engine["gpu"] is None
    assert {layer["runs"] for layer in engine["layers"]} == {"fp32", "fp16"}
    assert set(engine["neuron_kernels"].values()) == {1}
    assert engine["rebuild"] == "plif export model.pt --precision fp16 --to tensorrt-rtx --set sm=80+8.6"
    report = json.loads(Path("model_fp16.rtx.engine.report.json").read_text())
    assert report["card"] == card and report["not_run"] == "there is no NVIDIA GPU here"
    assert command(["eval", "model_fp16.rtx.engine", "--data", "digits"]) == 2
    assert "no NVIDIA driver" in capsys.readouterr().err


def test_one_plan_for_all_generations_without_sm_and_a_bare_one_with_raw(
    rtx: Any, no_gpu: None, tmp_path: Path
) -> None:
    done = export(firing(), tmp_path / "m.rtx.engine", to="tensorrt-rtx")
    assert read_card(done.path)["engine"]["compute_capabilities"] == ["8.0", "8.6", "8.9", "12.0+"]
    with pytest.raises(PlifError, match=r"open it with --engine tensorrt-rtx"):
        runtime.load(done.path, "tensorrt")
    raw = export(firing(), tmp_path / "raw.rtx.engine", to="tensorrt-rtx", options={"raw": "true"})
    assert raw.path.read_bytes()[:4] == b"vtrt"
    with pytest.raises(PlifError, match="bare plan"):
        read_card(raw.path)


@pytest.mark.parametrize("sm", ("90", "86+86", "8", "all"))
def test_generations_that_it_does_not_build_for_are_refused(rtx: Any, tmp_path: Path, sm: str) -> None:
    with pytest.raises(PlifError, match="expected some of 75, 80, 86, 89, 120, 121"):
        export(firing(), tmp_path / "m.rtx.engine", to="tensorrt-rtx", options={"sm": sm})


def test_what_the_parser_finds_is_one_line_with_the_node(rtx: Any) -> None:
    from onnx import TensorProto, helper

    bits = helper.make_node("BitwiseNot", ["x"], ["y"], name="inverted")
    info = [helper.make_tensor_value_info(name, TensorProto.INT32, [1, 4]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([bits], "g", info[:1], info[1:]), opset_imports=[helper.make_opsetid("", 20)]
    )
    with pytest.raises(PlifError, match=r"cannot read the ONNX form: .*(BitwiseNot|inverted)") as error:
        build_plan(rtx, model.SerializeToString(), Streams(1, 1, 1))
    assert "\n" not in str(error.value)
    with pytest.raises(PlifError, match="cannot read the ONNX form"):
        build_plan(rtx, b"no onnx at all", Streams(1, 1, 1))


def test_a_build_that_fails_gives_tensorrts_own_reason(rtx: Any) -> None:
    proto = FORMS["step"](run_passes(read_model(firing()).graph, "exact", False), 4, None, "where")
    with pytest.raises(PlifError, match=r"streams=8\+2\+4: TensorRT takes no such profile"):
        build_plan(rtx, onnx_bytes(proto), Streams(8, 2, 4))


def test_plans_that_share_nothing_but_their_network_have_cards_of_their_own(
    rtx: Any, no_gpu: None, tmp_path: Path
) -> None:
    """Builds are not equal byte for byte, so nothing may be keyed by a plan's hash; the network's is the same."""
    cards = [
        read_card(export(firing(), tmp_path / f"{i}.rtx.engine", to="tensorrt-rtx", options={"sm": "89"}).path)
        for i in range(2)
    ]
    assert cards[0]["engine"]["onnx_sha256"] == cards[1]["engine"]["onnx_sha256"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
def test_on_a_gpu_what_was_built_passes_the_gate(rtx: Any, tmp_path: Path, precision: str) -> None:
    done = export(firing(), tmp_path / "m.rtx.engine", to="tensorrt-rtx", precision=precision)
    assert done.passed and done.not_run is None
    y = runtime.load(done.path).session(2).run(np.ones((5, 2, 2, 16, 16), np.float32))
    assert np.isfinite(y).all()
