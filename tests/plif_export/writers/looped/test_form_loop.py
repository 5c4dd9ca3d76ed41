"""The loop form: any number of steps in one call of one file, which is the step form and a Scan around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from spikingjelly.activation_based import layer, neuron
from torch import nn

import runtime
from plif_export import check, export, verify
from plif_export.core.proof.structure import find_differences, find_layer, normalize_onnx
from plif_export.core.prove import prove
from plif_export.core.readers import read_model as read_network_model
from plif_export.core.targets import list_targets
from plif_train.core.network.network import Network
from runtime import native
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.engines.onnxruntime import OnnxRuntimeEngine
from runtime.core.measure.evaluate.batches import run_batch
from runtime.core.model.artifacts import CARD_KEY
from runtime.core.model.card import read_card
from runtime.core.model.readers.onnx_contents import read_initializers, read_model, read_step_form
from runtime.core.model.readers.onnx_wire import GRAPH_NODE, MODEL_GRAPH, NODE_OP, encode_field
from runtime.engines.tuner.calibrate import measure
from runtime.forms.looped.onnx_loop import to_loop_form, to_step_form
from runtime.observers.early_exit import EarlyExit
from tests.conftest import crossed
from tests.networks import firing, frames
from tests.plif_export.core.exact_networks import written
from tests.plif_export.core.mutations import trials
from tests.runtime.core.conftest import add_engines

ALIKE = "{c8k3s1-BN-PLIF}*2-MPk4s4-FC30-PLIF-APk10s10"  # two layers whose states are of one shape
ENGINES = ["onnxruntime", *(["event"] if native.is_built() else [])]


@pytest.fixture(scope="module")
def net() -> Network:
    return firing(ALIKE, (2, 8, 8))


@pytest.fixture(scope="module")
def files(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    for precision in ("fp32", "int8"):
        export(net, folder / f"step_{precision}.onnx", precision=precision, verify=False)
        report = export(net, folder / f"loop_{precision}.onnx", form="loop", precision=precision).verify
        assert report is not None and report.passed and report.loops == [1, 3, 7]
    return folder


@pytest.fixture(scope="module")
def x(net: Network) -> np.ndarray:
    return frames(net, np.random.default_rng(3), T=23, streams=3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_file_is_the_step_form_and_less_than_a_kilobyte(files: Path, precision: str) -> None:
    step, loop = (files / f"{form}_{precision}.onnx" for form in ("step", "loop"))
    assert 0 < loop.stat().st_size - step.stat().st_size < 1000
    bare = [
        onnx.load_model_from_string(read_step_form(path)).graph.SerializeToString(deterministic=True)
        for path in (step, loop)
    ]
    assert bare[0] == bare[1]
    names = ["conv1.weight", "fc1.weight", "absent"]
    for name, weight in read_initializers(step, names).items():
        np.testing.assert_array_equal(weight, read_initializers(loop, names)[name])


@pytest.mark.parametrize(("precision", "engine", "rates"), crossed(("fp32", "int8"), ENGINES, (False, True), one_in=1))
def test_any_number_of_steps_gives_the_bits_that_single_steps_give(
    files: Path, x: np.ndarray, precision: str, engine: str, rates: bool
) -> None:
    step, loop = (
        runtime.load(files / f"{form}_{precision}.onnx", engine, rates=rates).session(3) for form in ("step", "loop")
    )
    at = 0
    for T in (1, 5, 5, 10, 2):
        y = loop.run(x[at : at + T])
        expected, counted = [], []
        for t in range(at, at + T):
            expected.append(step.step(x[t]))
            counted.append(step.call_rates)
        np.testing.assert_array_equal(y, expected)
        for one, other in zip(step.snapshot(), loop.snapshot(), strict=True):
            np.testing.assert_array_equal(one, other)
        for name, values in loop.call_rates.items() if rates else ():
            np.testing.assert_array_equal(values, np.concatenate([each[name] for each in counted]))
        at += T
    assert np.abs(expected).sum() > 0 and list(loop.steps) == [at] * 3
    for both in (step, loop):  # a loop file streams, too
        both.step(x[0, [0, 2]], rows=[0, 2])
        both.reset(rows=[1])
    np.testing.assert_array_equal(loop.run(x[3:6, 1:2], rows=[1]), step.run(x[3:6, 1:2], rows=[1]))


@pytest.mark.parametrize("engine", ENGINES)
def test_recordings_of_any_lengths_are_evaluated_in_few_calls_with_the_same_votes(
    files: Path, x: np.ndarray, engine: str
) -> None:
    samples = [x[:n, i] for i, n in enumerate((23, 4, 9))]
    found = {}
    for form in ("step", "loop"):
        session = runtime.load(files / f"{form}_fp32.onnx", engine).session(3)
        calls: list[int] = []
        run = session.run
        session.run = lambda x, rows=None, run=run, calls=calls, **more: (calls.append(len(x)), run(x, rows, **more))[1]  # type: ignore[method-assign,misc,assignment]
        found[form] = run_batch(session, samples)
        assert calls == ([1] * 23 if form == "step" else [4, 5, 14])
    np.testing.assert_array_equal(found["step"].votes, found["loop"].votes)
    assert len(found["loop"].call_ms) == 23
    early = [
        run_batch(runtime.load(files / f"{form}_fp32.onnx", engine).session(3), samples, EarlyExit(0.01))
        for form in found
    ]
    assert early[0].steps == early[1].steps


def test_an_engine_for_a_loop_is_chosen_by_whole_sequences(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = set()

    class Watched(OnnxRuntimeEngine):
        name = "watched"

        def bind(self, x: np.ndarray, *arrays: Any) -> Callable[[], None]:
            run = super().bind(x, *arrays)

            def call() -> None:
                steps.add(x.shape)
                run()

            return call

    add_engines(monkeypatch, Watched)
    measure(files / "loop_fp32.onnx", ["watched"], EngineOptions())
    assert steps == {(5, 1, 2, 8, 8)}  # a call of the card's T


@pytest.mark.parametrize("options", [{"kind": "static", "framing": None}, {"v_reset": None, "bias": True}])
def test_images_and_other_neurons_pass_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    net = firing(ALIKE, (2, 8, 8), **options)
    report = export(net, tmp_path / "m.onnx", form="loop", batch=2).verify
    assert report is not None and report.passed and report.loops == [1, 3, 7]
    session = runtime.load(tmp_path / "m.onnx", "onnxruntime").session(2)
    x = frames(net, np.random.default_rng(0), T=5)
    np.testing.assert_array_equal(session.run(x[0] if "kind" in options else x), _steps(tmp_path / "m.onnx", x))


def _steps(path: Path, x: np.ndarray) -> np.ndarray:
    session = runtime.load(path, "onnxruntime").session(x.shape[1])
    return np.stack([session.step(frame) for frame in x])


def test_verify_proves_the_loop_of_a_file_and_of_an_engine_that_runs_it(files: Path, net: Network) -> None:
    report = verify(files / "loop_fp32.onnx", net, engine=ENGINES[-1], seed=0)
    assert report.passed and report.structure == [] and report.loops == [1, 3, 7], report.sentence()
    assert {"what": "loop", "for": "sampled", "how": "calls of 1, 3, 7 steps"} in report.evidence()


@pytest.mark.parametrize(
    "mutation",
    ["another kind of reset", "a state that stays 0", "two states exchanged", "the state of the first row for all"],
)
def test_what_is_wrong_with_a_step_is_noticed_in_a_loop(mutation: str, tmp_path: Path) -> None:
    found = list(trials("ordinary", "loop", [mutation], 1, tmp_path))
    assert found and {one.became for one in found} == {"caught"}


def exchanged(scan: onnx.NodeProto) -> None:
    """Two states that change places from step to step: one step alone is right."""
    for names in (scan.output, scan.attribute[0].g.output):
        one, other = names[0], names[1]
        if isinstance(one, str):
            names[0], names[1] = other, one
        else:
            copies = [type(one).FromString(value.SerializeToString()) for value in (other, one)]
            one.CopyFrom(copies[0])
            other.CopyFrom(copies[1])


def forgotten(scan: onnx.NodeProto) -> None:
    """A state that is read from outside in every step, as it was before the first."""
    for node in scan.attribute[0].g.node:
        node.input[:] = [scan.input[1] if name == scan.attribute[0].g.input[1].name else name for name in node.input]


def backwards(scan: onnx.NodeProto) -> None:
    scan.attribute.append(helper.make_attribute("scan_input_directions", [1]))


def answers_backwards(scan: onnx.NodeProto) -> None:
    scan.attribute.append(helper.make_attribute("scan_output_directions", [1]))


@pytest.mark.parametrize("change", [exchanged, forgotten, backwards, answers_backwards])
def test_what_is_wrong_with_a_loop_alone_is_noticed(change: Callable[[onnx.NodeProto], None], net: Network) -> None:
    source = read_network_model(net)
    proto, card = written(source, "loop", "folded")
    step = to_step_form(proto.SerializeToString())
    change(proto.graph.node[0])
    report = prove(proto, card, source, steps=8)
    assert not report.passed and "a call of 3 steps gives other" in report.sentence()
    assert change is exchanged or to_step_form(proto.SerializeToString()) == step  # nothing else could have seen it


def test_only_a_scan_around_plain_nodes_is_opened(files: Path, tmp_path: Path) -> None:
    """A body may hide what the whole file may not have, and no loop may turn for ever."""

    def refused(change: Callable[[onnx.GraphProto], None]) -> str:
        proto = onnx.load(files / "loop_fp32.onnx")
        change(proto.graph)
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(PlifError) as problem:
            read_model(tmp_path / "m.onnx")
        assert "\n" not in str(problem.value)
        return str(problem.value)

    def inside(graph: onnx.GraphProto) -> onnx.GraphProto:
        return graph.node[0].attribute[0].g

    def again(graph: onnx.GraphProto) -> None:
        inside(graph).node.append(graph.node[0])

    def elsewhere(graph: onnx.GraphProto) -> None:
        tensor = inside(graph).initializer.add(name="far", data_type=1, dims=[1], data_location=1)
        tensor.external_data.add(key="location", value="/etc/passwd")

    def of_others(graph: onnx.GraphProto) -> None:
        graph.node[0].domain = "com.microsoft"

    assert "which plif does not write" in refused(again)
    assert "which plif does not write" in refused(lambda graph: setattr(graph.node[0], "op_type", "Loop"))
    assert "keeps its data in another file" in refused(elsewhere)
    assert "a node of another domain" in refused(of_others)
    whole = onnx.load(files / "loop_fp32.onnx")
    node, graph = whole.graph.node[0].SerializeToString(), whole.graph
    del graph.node[:]
    rest = graph.SerializeToString()
    whole.ClearField("graph")
    two_ops = encode_field(GRAPH_NODE, node + encode_field(NODE_OP, b"Loop")) + rest
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString() + encode_field(MODEL_GRAPH, two_ops))
    with pytest.raises(PlifError, match="which plif does not write"):  # of two ops other readers take the last
        read_model(tmp_path / "m.onnx")


@pytest.mark.parametrize("form", ["step", "loop"])
def test_a_file_that_onnx_runtime_opens_and_cannot_run_is_one_line_and_leaves_the_states(
    form: str, files: Path, x: np.ndarray, tmp_path: Path
) -> None:
    """Its digest was left out, and its votes are of seven rows."""
    proto = onnx.load(files / f"{form}_fp32.onnx")
    graph = proto.graph.node[0].attribute[0].g if form == "loop" else proto.graph
    tensor = next(tensor for tensor in graph.initializer if tensor.name == "vote.shape")
    tensor.CopyFrom(numpy_helper.from_array(np.array([7, 3, 10]), tensor.name))
    card = {key: value for key, value in read_card(files / f"{form}_fp32.onnx").items() if key != "digest"}
    next(entry for entry in proto.metadata_props if entry.key == CARD_KEY).value = json.dumps(card)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.warns(PlifWarning, match="no digest"):
        session = runtime.load(tmp_path / "m.onnx", "onnxruntime").session(3)
    before = session.snapshot()
    for run in (lambda: session.run(x[:5]), lambda: session.step(x[0])):
        with pytest.raises(PlifError, match=r"ONNX Runtime cannot run it.*expected shapes as in its card") as error:
            run()
        assert "\n" not in str(error.value)
    assert all((one == other).all() for one, other in zip(before, session.snapshot(), strict=True))


def test_a_weight_inside_may_be_rounded_otherwise_and_no_more(files: Path) -> None:
    found = []
    for ulp in (1, 3):
        proto = onnx.load(files / "loop_fp32.onnx")
        tensor = next(t for t in proto.graph.node[0].attribute[0].g.initializer if t.name == "fc1.weight")
        bits = np.frombuffer(tensor.raw_data, np.int32).copy()
        bits[0] += ulp
        tensor.raw_data = bits.tobytes()
        found.append(list(find_differences(normalize_onnx(proto), normalize_onnx(onnx.load(files / "loop_fp32.onnx")))))
    assert [[one.rounding for one in each] for each in found] == [[True], [False]]
    assert (
        "fc1.weight" in found[1][0].path and find_layer(found[1][0].path, read_card(files / "loop_fp32.onnx")) == "fc1"
    )


def test_a_changed_weight_inside_is_named(files: Path, net: Network, tmp_path: Path) -> None:
    proto = onnx.load(files / "loop_fp32.onnx")
    tensor = next(t for t in proto.graph.node[0].attribute[0].g.initializer if t.name == "fc1.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(PlifError, match=r"tensor fc1\.weight"):
        runtime.load(tmp_path / "m.onnx")
    report = verify(tmp_path / "m.onnx", net, seed=0)
    assert report.failed_at is not None and report.failed_at["layer"] == "fc1"


def test_a_loop_is_for_onnx_and_takes_no_T(net: Network, tmp_path: Path) -> None:
    for to in list_targets():
        if to != "onnx":
            with pytest.raises(PlifError, match=f"--form loop: --to {to} writes step"):
                export(net, tmp_path / "m", form="loop", to=to)
    with pytest.raises(PlifError, match="--T belongs to --form unrolled; the loop form runs for any number of steps"):
        export(net, tmp_path / "m.onnx", form="loop", T=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["step", "unrolled", "loop"])
@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda: neuron.GatedLIFNode(T=4), "each of its T steps has a weight of its own"),
        (lambda: neuron.MaskedPSN(k=2, T=4), "each of its T steps has weights of its own"),
        (
            lambda: layer.TemporalWiseAttention(4, 2),
            "the weight of a step is made of all T steps, later ones too; train attention among",
        ),
    ],
    ids=("GLIF", "MaskedPSN", "attention over T"),
)
def test_what_reads_whole_sequences_is_refused_in_every_form(
    part: Callable[[], nn.Module], reason: str, form: str, tmp_path: Path
) -> None:
    net = nn.Sequential(layer.Linear(4, 4), part(), neuron.IFNode(step_mode="m"))
    with pytest.raises(PlifError, match=reason) as refused:
        export(net, tmp_path / "m.onnx", torch.zeros(4, 1, 4), form=form)
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
    assert check(net, torch.zeros(4, 1, 4)).problems


def test_a_step_within_a_loop_and_around_it_are_the_same_bytes(files: Path) -> None:
    card = read_card(files / "loop_fp32.onnx")
    data = read_model(files / "loop_fp32.onnx")
    states = {state["input"]: state["output"] for state in card["states"]}
    assert to_loop_form(to_step_form(data), card["graph"]["input"], states) == data
