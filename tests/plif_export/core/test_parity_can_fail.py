"""The gate is worth something only if it fails: each test breaks an artifact in one way, and the gate must name where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.prove import prove
from plif_export.core.readers.ours import read_network
from plif_export.core.writers import FORMS
from plif_train.core.network.network import Network
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph
from tests.networks import firing

FORM_NAMES = ("step", "unrolled")
MATH_NAMES = ("exact", "folded")


def written(
    net: Network, form: str, math: str, change: Callable[[Graph], Graph] | None = None
) -> tuple[onnx.ModelProto, Card]:
    graph = read_network(net)
    if change is not None:
        graph = change(graph)
    graph = run_passes(graph, math, static=False)
    card = make_card(net, graph, form=form, T=net.T, precision="fp32", math=math, batch=None, source_sha256=None)
    proto = FORMS[form](graph, net.T, None)
    set_card(proto, card)
    return proto, card


def failure(proto: onnx.ModelProto, card: Card, net: Network) -> dict[str, Any]:
    report = prove(proto, card, net)
    assert not report.passed, "the broken artifact passed the gate"
    assert report.failed_at is not None
    return report.failed_at


def replace_initializer(proto: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))
            return
    raise AssertionError(f"no initializer {name}")


def change_attribute(graph: Graph, node: str, **attrs: Any) -> Graph:
    found = graph[node]
    return graph.replace_nodes({node: found.with_(attrs={**found.attrs, **attrs})})


@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize("math", MATH_NAMES)
def test_an_untouched_artifact_passes(form: str, math: str) -> None:
    net = firing()
    report = prove(*written(net, form, math), net)
    assert report.passed, report.sentence()
    assert report.spikes > 5_000
    assert report.untested == []
    assert report.free_running_mismatches == 0


@pytest.mark.quick
@pytest.mark.parametrize("form", FORM_NAMES)
def test_a_state_that_never_leaves_zero_is_caught(form: str) -> None:
    net = firing()
    proto, card = written(net, form, "folded")
    for node in proto.graph.node:
        if node.output[0] == "v.conv2.next":
            node.output[0] = "lost"
    zero = numpy_helper.from_array(np.float32(0), "zero")
    proto.graph.initializer.append(zero)
    proto.graph.node.append(helper.make_node("Mul", ["lost", "zero"], ["v.conv2.next"], name="frozen"))
    at = failure(proto, card, net)
    assert at["layer"] == "conv2"


@pytest.mark.parametrize("form", FORM_NAMES)
def test_two_states_swapped_are_caught(form: str) -> None:
    net = firing("{c8k3s1-BN-PLIF}*2-MPk4s4-FC30-PLIF-APk10s10")
    proto, card = written(net, form, "exact")
    other = {"v.conv1": "v.conv2", "v.conv2": "v.conv1"}
    for node in proto.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = other.get(name, name)
    assert failure(proto, card, net)["layer"] in ("conv1", "conv2")


@pytest.mark.parametrize("form", FORM_NAMES)
def test_two_states_of_different_shape_swapped_are_caught(form: str) -> None:
    net = firing()
    proto, card = written(net, form, "exact")
    for state in card["states"][:2]:
        state["output"] = {"v.conv1.next": "v.conv2.next", "v.conv2.next": "v.conv1.next"}[state["output"]]
    assert failure(proto, card, net)["layer"] in ("conv1", "conv2")


@pytest.mark.quick
@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize("math", MATH_NAMES)
def test_a_wrong_tau_is_caught(form: str, math: str) -> None:
    net = firing()

    def slower(graph: Graph) -> Graph:
        node = graph["fc1_neuron"]
        return graph.replace_nodes({node.name: node.with_(params={"alpha": node.params["alpha"] * np.float32(0.98)})})

    assert failure(*written(net, form, math, slower), net)["layer"] == "fc1"


@pytest.mark.parametrize("form", FORM_NAMES)
def test_soft_for_hard_reset_is_caught(form: str) -> None:
    net = firing()
    soft = written(net, form, "exact", lambda graph: change_attribute(graph, "conv1_neuron", v_reset=None))
    assert failure(*soft, net)["layer"] == "conv1"


@pytest.mark.parametrize("form", FORM_NAMES)
def test_hard_for_soft_reset_is_caught(form: str) -> None:
    net = firing(v_reset=None)
    hard = written(net, form, "folded", lambda graph: change_attribute(graph, "conv2_neuron", v_reset=0.0))
    assert failure(*hard, net)["layer"] == "conv2"


@pytest.mark.quick
def test_a_dropped_batch_normalisation_is_caught() -> None:
    net = firing()
    assert (
        failure(*written(net, "step", "folded", lambda graph: graph.replace_nodes({}, {"conv2_bn"})), net)["layer"]
        == "conv2"
    )


@pytest.mark.parametrize("weight", ("conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"))
@pytest.mark.parametrize("form", FORM_NAMES)
def test_one_weight_off_by_a_hundredth_is_caught(form: str, weight: str) -> None:
    net = firing()
    proto, card = written(net, form, "folded")
    used = most_used_input(net, weight)

    def nudge(values: np.ndarray) -> np.ndarray:
        values.reshape(len(values), -1)[3, used] += np.float32(0.01)
        return values

    replace_initializer(proto, weight, nudge)
    assert failure(proto, card, net)["layer"] == weight.split(".")[0]


def most_used_input(net: Network, weight: str) -> int:
    """An input that carries spikes: a weight on a silent input changes nothing, and nothing can show it."""
    import torch

    from tests.networks import frames

    layer = weight.split(".")[0]
    seen: list[torch.Tensor] = []
    hook = net.get_submodule(layer).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        net.reset()
        net(torch.from_numpy(frames(net, np.random.default_rng(0), 20)))
    hook.remove()
    x = torch.cat(seen)
    if x.dim() == 2:
        return int(x.sum(0).argmax())
    return int(x.sum((0, 2, 3)).argmax()) * 9 + 4  # the centre of that channel's kernel


def test_a_wrong_vote_is_caught() -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    replace_initializer(proto, "vote.shape", lambda shape: np.array([-1, 10, 3], np.int64)[[0, 2, 1]][:3])
    for node in proto.graph.node:
        if node.op_type == "Identity":
            node.op_type = "Neg"
    assert failure(proto, card, net)["layer"] == "output"


def test_a_wrong_threshold_is_caught() -> None:
    net = firing()
    high = written(net, "step", "exact", lambda graph: change_attribute(graph, "fc2_neuron", v_threshold=1.05))
    assert failure(*high, net)["layer"] == "fc2"


def test_weights_that_are_not_numbers_are_caught() -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    replace_initializer(proto, "conv1.bias", lambda bias: np.full_like(bias, np.nan))
    assert failure(proto, card, net)["layer"] == "conv1"


@pytest.mark.parametrize("math", MATH_NAMES)
def test_only_a_layer_that_nothing_makes_fire_is_untested(math: str) -> None:
    """fc1 and fc2 get no current at all; fc2 moreover forgets its membrane in each step, so that none makes it fire."""
    import torch

    net = firing()
    with torch.no_grad():
        for layer in ("fc1", "fc2"):
            net.get_submodule(layer).weight.mul_(0)
        net.neurons()["fc2"].w.fill_(100.0)
    report = prove(*written(net, "step", math), net)
    assert report.passed and [layer.name for layer in report.layers if layer.rate == 0] == ["fc1", "fc2"]
    assert report.untested == ["fc2"]


def test_a_flip_is_excused_only_on_the_edge_of_the_threshold() -> None:
    """One neuron's current is nudged across the threshold by less, and by more, than rounding can."""
    from plif_export.core.proof.arithmetic.bounds import LayerBound
    from plif_export.core.proof.arithmetic.interpret import LayerStep
    from plif_export.core.proof.compare import Observation, compare_layer
    from plif_export.core.proof.report import LayerReport, Report

    def flip(distance: float) -> Report:
        h = np.full((1, 4), 0.5, np.float32)
        h[0, 0] = 1.0 - distance
        s, v = h >= 1.0, np.where(h >= 1.0, 0, h)
        found_h = h.copy()
        found_h[0, 0] = 1.0
        report = Report(layers=[LayerReport("conv1")])
        found = Observation({"v": v}, found_h, (found_h >= 1.0).astype(np.float32))
        bound = np.full(h.shape, 1e-5)
        compare_layer(
            report.layers[0], report, 3, 1.0, LayerStep(h, s, {"v": v}), found, LayerBound(bound, {"v": bound})
        )
        return report

    near, far = flip(5e-6), flip(5e-5)
    assert near.passed and near.layers[0].mismatches == 1 and near.layers[0].excused == 1
    assert not far.passed and far.failed_at == {
        "layer": "conv1",
        "step": 3,
        "what": "1 of 4 spikes differ, away from the threshold",
    }


@pytest.mark.parametrize("edge", (None, False, True))
def test_a_membrane_of_an_engine_is_excused_only_on_the_edge_of_the_threshold(edge: bool | None) -> None:
    """An engine shows no spikes: a flip shows in the membrane that it leaves. `edge` stands for a call of several steps."""
    from plif_export.core.proof.arithmetic.bounds import LayerBound
    from plif_export.core.proof.arithmetic.interpret import LayerStep
    from plif_export.core.proof.compare import Observation, compare_layer
    from plif_export.core.proof.report import LayerReport, Report

    def off(distance: float, rounding: float = 1e-5) -> tuple[bool, Report]:
        h = np.full((1, 4), 0.5, np.float32)
        h[0, 0] = 1.0 - distance
        v = h.copy()
        v[0, 0] = 0.0  # the engine fired, and has reset
        report, bound = Report(layers=[LayerReport("conv1")]), np.full(h.shape, rounding)
        expected, found = LayerStep(h, h >= 1, {"v": h}), Observation({"v": v})
        same = compare_layer(
            report.layers[0], report, 3, 1.0, expected, found, LayerBound(bound, {"v": bound}), edge=edge
        )
        return same, report

    for distance, excused in ((5e-6, edge is not False), (5e-5, edge is True)):
        same, report = off(distance)
        layer = report.layers[0]
        assert not same and report.passed is excused
        assert (layer.mismatches, layer.excused, layer.membranes_off) == ((1, 1, 0) if excused else (0, 0, 1))
        if not excused:
            assert report.failed_at is not None and report.failed_at["what"].startswith("1 of 4 membranes differ")
    if edge is None:  # a bound wider than the reset itself: still a flip, so deeper layers got another spike
        same, report = off(5e-6, 1.3)
        assert not same and report.passed and report.layers[0].excused == 1


@pytest.mark.quick
def test_a_failed_export_leaves_nothing_and_exits_with_1(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    """Through the command line: a bug in a writer must stop the file from getting its name."""
    import plif_train
    from runtime.core.cli.main import run

    model = tmp_path / "model.pt"
    plif_train.save(firing(), model)

    write = FORMS["step"]

    def buggy(graph: Graph, *how: Any) -> onnx.ModelProto:
        return write(change_attribute(graph, "conv2_neuron", v_threshold=1.1), *how)

    monkeypatch.setitem(FORMS, "step", buggy)
    assert run(["export", str(model)]) == 1
    message = capsys.readouterr().err
    assert "layer conv2, step 0" in message and message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


# --- what no stimulus shows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORM_NAMES)
def test_any_weight_that_is_off_is_caught_also_on_an_input_that_stays_silent(form: str) -> None:
    """On random spikes every input is used, so any weight will do: one of each layer, drawn at random."""
    net = firing()
    rng = np.random.default_rng(0)
    for name in ("conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"):
        proto, card = written(net, form, "folded")

        def nudge(values: np.ndarray) -> np.ndarray:
            values.reshape(-1)[rng.integers(values.size)] += np.float32(0.05)
            return values

        replace_initializer(proto, name, nudge)
        assert failure(proto, card, net)["layer"] == name.split(".")[0]


def test_the_weights_of_neurons_that_never_fire_are_proved_too() -> None:
    """fc1 silenced on every recording by a bias; what fc2 would do with its spikes is still compared."""
    import torch

    net = firing(bias=True)
    with torch.no_grad():
        net.get_submodule("fc1").bias[:20] = -100.0
    proto, card = written(net, "step", "folded")

    def blow_up(values: np.ndarray) -> np.ndarray:
        values[:, :20] = 100
        return values

    replace_initializer(proto, "fc2.weight", blow_up)
    at = failure(proto, card, net)
    assert at["layer"] == "fc2" and "on random spikes" in at["what"]


@pytest.mark.parametrize("form", FORM_NAMES)
@pytest.mark.parametrize("off", (1e-3, 1e-4, -1e-4))
def test_a_threshold_off_by_a_little_is_caught(form: str, off: float) -> None:
    net = firing()
    high = written(net, form, "exact", lambda graph: change_attribute(graph, "fc1_neuron", v_threshold=1.0 + off))
    assert failure(*high, net)["layer"] == "fc1"


def insert(proto: onnx.ModelProto, node: onnx.NodeProto, before: str) -> None:
    """Puts a node in front of all others and lets whoever read `before` read its output."""
    for other in proto.graph.node:
        for i, name in enumerate(other.input):
            if name == before:
                other.input[i] = node.output[0]
    nodes = [node, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def test_time_and_batch_exchanged_is_caught() -> None:
    net = firing()
    proto, card = written(net, "unrolled", "folded")
    insert(proto, helper.make_node("Transpose", ["x"], ["x.wrong"], perm=[1, 0, 2, 3, 4], name="wrong"), "x")
    assert not prove(proto, card, net).passed


def test_an_output_with_rows_and_steps_exchanged_is_caught() -> None:
    net = firing()
    proto, card = written(net, "unrolled", "folded")
    replace_initializer(proto, "y.shape", lambda shape: np.array([-1, 5, 3], np.int64))
    at = failure(proto, card, net)
    assert at["layer"] == "output" and "y is" in at["what"]


def test_a_membrane_of_the_first_row_given_to_all_rows_is_caught() -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "first"))
    gather = helper.make_node("Gather", ["v.fc1", "first"], ["v.fc1.first"], axis=0, name="wrong")
    insert(proto, gather, "v.fc1")
    at = failure(proto, card, net)
    assert at["layer"] == "fc1" and "beside 32 others" in at["what"]


@pytest.mark.quick
def test_streams_that_mix_are_caught() -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "rows"))
    mean = helper.make_node("ReduceMean", ["x", "rows"], ["x.mean"], keepdims=1, name="wrong")
    insert(proto, mean, "x")
    assert "beside 32 others" in failure(proto, card, net)["what"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["c", "b", "a"]),
        ("output", {"kind": "votes", "voters": 3}),
        ("framing", "count:T=5,polarity=swapped"),
        ("T", 3),
        ("v_threshold", 7.0),
        ("v_reset", None),
        ("taus", {"conv1": 99.0}),
        ("notation", "FC3-PLIF"),
        ("normalisation", {"mean": [0.0, 0.0], "std": [1.0, 1.0]}),
    ],
)
def test_a_card_that_says_something_else_than_the_model_is_caught(key: str, value: Any) -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    at = failure(proto, {**card, key: value}, net)
    assert at["layer"] == "card" and f"card {key} " in at["what"]


def test_a_card_with_other_initial_membranes_or_another_graph_is_caught() -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    states = [{**state, "initial": 0.9} for state in card["states"]]
    assert failure(proto, {**card, "states": states}, net)["layer"] == "card"
    graph = {**card["graph"], "nodes": card["graph"]["nodes"][:-1]}
    assert failure(proto, {**card, "graph": graph}, net)["layer"] == "card"


def test_nothing_shown_is_not_passed() -> None:
    import torch

    from plif_export.core.proof.gate import run_gate
    from plif_export.core.proof.reference import NetworkReference
    from plif_export.core.proof.subjects.sliced_file import SlicedFile
    from runtime.core.base.errors import PlifError

    net = firing()
    proto, card = written(net, "step", "folded")
    reference = NetworkReference(net)
    for shape in ((10, 0, 2, 16, 16), (0, 1, 2, 16, 16)):
        with pytest.raises(PlifError, match="no step of no stream"):
            run_gate(
                SlicedFile(proto, card, reference.layers),
                reference,
                np.zeros(shape, np.float32),
                graph=read_network(net),
            )
    with torch.no_grad():
        for name in ("conv1_bn", "conv2_bn"):
            net.get_submodule(name).bias.fill_(-100.0)
    subject = SlicedFile(*written(net, "step", "folded"), reference.layers)
    silent = np.zeros((5, 1, 2, 16, 16), np.float32)
    report = run_gate(subject, NetworkReference(net), silent, graph=read_network(net))
    assert not report.passed and report.failed_at is not None and "nothing was shown" in report.failed_at["what"]
