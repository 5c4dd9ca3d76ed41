"""int8 artifacts in the event engine: whole-number sums that no input can overflow, the same bits on every path."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import runtime
from plif_export import export, verify
from plif_export.core.cards import set_card
from runtime import native
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from runtime.core.parts import find_parts
from runtime.engines import tuner
from runtime.engines.event.engine import EventEngine
from runtime.engines.event_program import forms as event_forms
from tests.conftest import crossed
from tests.networks import firing, frames
from tests.plif_export.core.test_passes import VARIANTS
from tests.random_networks import random_network
from tests.runtime.engines.event.test_engine_event import SHAPES, outcome, same
from tests.runtime.engines.event.test_engine_event_hostile import attribute, changed, edit, node, replace, tensor

pytestmark = [
    pytest.mark.skipif(not native.is_built(), reason="the native library is not built here: it needs a C compiler"),
]

PATHS = native.cpu_paths() if native.is_built() else ()
WIDE = "c24k3s1-BN-PLIF-MPk2s2-c150k3s1-BN-PLIF-MPk2s2-c80k3s2-BN-PLIF-FC70-PLIF-FC30-PLIF-APk10s10"


def sums(model: Model) -> list[int]:
    """In what each convolution and linear layer is summed."""
    assert isinstance(model.engine, EventEngine)
    return [op.sums for op in model.engine._ops if op.kind == native.KINDS.index("CONV")]


def forms(path: str, *bytes_from: float) -> list[event_forms.Forms]:
    """All that a program of a path can be: weights as int16 or in pairs, rows multiplied as bytes from these shares on."""
    shares = bytes_from if path in ("avx512", "amx") else (event_forms.NEVER,)
    return [event_forms.Forms(pairs, share) for pairs in (False, True) for share in shares]


def use_form(monkeypatch: pytest.MonkeyPatch, form: event_forms.Forms) -> None:
    """What is opened from here on has this form: it is the usual one, and nothing is measured."""
    monkeypatch.setenv(tuner.NO_CALIBRATION, "1")
    for path in event_forms.DEFAULT_FORMS:
        monkeypatch.setitem(event_forms.DEFAULT_FORMS, path, form)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("variant", "math"), crossed(VARIANTS, ("exact", "folded")))
def test_every_kind_of_neuron_passes_the_gate(variant: dict[str, Any], math: str, tmp_path: Path) -> None:
    net = firing(**variant)
    path = export(net, tmp_path / "a.onnx", precision="int8", math=math, verify=False).path
    report = verify(path, net, engine="event")
    assert report.passed and report.engine == "event", report.sentence()
    assert sum(kind != native.SUM_FLOAT for kind in sums(runtime.load(path, "event"))) >= 2


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("notation", "shape"), [*SHAPES, (WIDE, (2, 34, 34))])
def test_every_kernel_stride_pool_and_channel_count_passes_the_gate(
    notation: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    net = firing(notation, shape=shape)
    path = export(net, tmp_path / "a.onnx", precision="int8", verify=False).path
    assert verify(path, net, frames(net, np.random.default_rng(1), T=6), engine="event").passed


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seed", range(8))
def test_random_networks_pass_the_gate(seed: int, tmp_path: Path) -> None:
    net = random_network(seed, hard=seed % 2 == 0, tau="channel" if seed % 3 else "layer")
    path = export(net, tmp_path / "a.onnx", precision="int8", verify=False).path
    report = verify(path, net, frames(net, np.random.default_rng(2), T=4), engine="event")
    assert report.passed, report.sentence()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers of 24 to 150 outputs, one of them with more inputs than int16 sums can hold."""
    folder = tmp_path_factory.mktemp("int8")
    net = firing(WIDE, shape=(2, 34, 34))
    export(net, folder / "a.onnx", precision="int8", verify=False)
    export(net, folder / "unrolled.onnx", precision="int8", form="unrolled", verify=False)
    return folder


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(WIDE, shape=(2, 34, 34)), np.random.default_rng(6), T=10, streams=5)


def test_it_answers_as_onnx_runtime_does(wide: Path, x: np.ndarray) -> None:
    ours, theirs = (runtime.load(wide / "a.onnx", name, threads=1).session(5) for name in ("event", "onnxruntime"))
    fired = 0
    for x_t in x:
        theirs.restore(ours.snapshot())
        np.testing.assert_array_equal(ours.step(x_t), theirs.step(x_t))
        for name, v in theirs.state.items():
            fired += int((v == 0).sum())
            np.testing.assert_allclose(ours.state[name], v, atol=1e-5, rtol=1e-5)
            np.testing.assert_array_equal(ours.state[name] == 0, v == 0)
    assert fired > 10_000


FEW_BITS = "c24k3s1-BN-PLIF-MPk2s2-c128k3s1-BN-PLIF-MPk2s2-c256k3s2-BN-PLIF-FC128-PLIF-FC30-PLIF-APk10s10"


@pytest.fixture(scope="module", params=("int4", "ternary"))
def few(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers of whole 128 outputs among others, with weights of few bits."""
    net = firing(FEW_BITS, shape=(2, 20, 20))
    return export(net, tmp_path_factory.mktemp("few") / "a.onnx", precision=request.param, verify=False).path


@pytest.mark.parametrize("path", PATHS)
def test_weights_of_four_bits_are_added_as_they_lie_and_give_the_same_bits(
    path: str, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = frames(firing(FEW_BITS, shape=(2, 20, 20)), np.random.default_rng(6), T=4, streams=2)
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    found = []
    for most in (None, 0):  # int16 sums where they hold all, and int32 sums everywhere
        if most is not None:
            monkeypatch.setattr("runtime.engines.event_program.conv.MOST_INT16", most)
        for nibbles in (False, True):
            use_form(monkeypatch, event_forms.Forms(True, nibbles=nibbles))
            model = runtime.load(few, "event", threads=1)
            assert isinstance(model.engine, EventEngine) and model.engine.path == path
            kept = [op.pairs for op in model.engine._ops if op.kind == native.KINDS.index("CONV")]
            assert kept.count(native.NIBBLES) == 3 * nibbles
            found.append(outcome(model, x))
    for other in found[1:]:
        same(other, found[0])


def test_rows_of_four_bits_that_are_no_whole_blocks_are_refused(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_form(monkeypatch, event_forms.Forms(True, nibbles=True))
    engine = runtime.load(few, "event", threads=1).engine
    assert isinstance(engine, EventEngine)
    op = next(op for op in engine._ops if op.pairs == native.NIBBLES)
    op.block, op.items = native.BLOCK, 2 * op.items
    said = native.find_objection("plif_program_check", ctypes.byref(engine._program))
    assert said is not None and "weights of 4 bits, with 128 lanes in blocks of 64" in said


@pytest.mark.parametrize("path", PATHS)
def test_every_cpu_path_dense_or_sparse_gives_the_same_bits(
    path: str, wide: Path, x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fastest = outcome(runtime.load(wide / "a.onnx", "event", threads=1), x)
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    for form in forms(path, event_forms.NEVER, 0.0, 0.15):  # never, always, some rows
        use_form(monkeypatch, form)
        model = runtime.load(wide / "a.onnx", "event", threads=1)
        assert isinstance(model.engine, EventEngine) and model.engine.path == path
        same(outcome(model, x), fastest)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_the_fastest_is_measured_once_on_this_processor(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner.choices.clear()
    monkeypatch.setenv(tuner.NO_CALIBRATION, "1")
    usual = event_forms.DEFAULT_FORMS[path]
    assert event_forms.choose_forms(path) == usual and not tuner.choices, "it may not measure"
    with monkeypatch.context() as without:
        without.delitem(find_parts("engines"), "tuner")
        assert event_forms.choose_forms(path) == usual
    monkeypatch.delenv(tuner.NO_CALIBRATION)
    found = event_forms.choose_forms(path)
    assert (found.bytes_from < event_forms.NEVER) == (path in ("avx512", "amx"))
    adding, *_ = tuner.choices.values()
    assert found.pairs == (adding.best == "pairs") and set(adding.times) == {"pairs", "int16"}
    assert next(iter(adding.times)) == ("pairs" if usual.pairs else "int16"), "the usual way must be beaten"
    assert all(ns > 0 for times in adding.times.values() for ns in times.values())
    assert event_forms.choose_forms(path) == found and next(iter(tuner.choices.values())) is adding


def test_bytes_begin_where_adding_up_takes_as_long() -> None:
    crossing, usual = event_forms.find_crossing, 0.55
    assert crossing({"sparse": 10.0, "dense": 30.0}, 50.0, usual) == pytest.approx(0.5)
    assert crossing({"sparse": 10.0, "dense": 30.0}, 60.0, usual) == pytest.approx(0.6)
    assert crossing({"sparse": 10.0, "dense": 30.0}, 1.0, usual) == event_forms.LEAST
    assert crossing({"sparse": 20.0, "dense": 20.0}, 50.0, usual) == usual


def test_any_number_of_threads_and_streams_and_both_forms_give_the_same_bits(wide: Path, x: np.ndarray) -> None:
    one = outcome(runtime.load(wide / "a.onnx", "event", threads=1), x)
    for threads in (2, 5):
        same(outcome(runtime.load(wide / "a.onnx", "event", threads=threads), x), one)
    same(outcome(runtime.load(wide / "a.onnx", "event", threads=2), x[:, 1:2])[1:], [v[1:2] for v in one[1:]])
    same(outcome(runtime.load(wide / "unrolled.onnx", "event", threads=2), x), one)


# --- sums at their limits -----------------------------------------------------------------------------------------

ONE = "c64k1s1-IF-c70k3s1-IF-FC3-IF"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("one") / "a.onnx"
    return export(firing(ONE, shape=(2, 9, 9)), path, precision="int8", verify=False).path


def saturated(one: Path, folder: Path, weight: np.ndarray) -> Path:
    """A network whose first layer always fires and whose second has these int8 weights [70, 64, 3, 3]; no bias."""

    def change(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        for name, value in (
            ("conv1.weight", np.full((64, 2, 1, 1), 2, np.float32)),
            ("conv2.weight", weight.view(np.uint8) ^ 128),
            ("conv2.scale", np.ones(70, np.float32)),
        ):
            tensor(proto, name).CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        node(card, "conv2_neuron")["attrs"]["v_threshold"] = 1e9

    return changed(one, folder, change)


@pytest.mark.parametrize(
    ("most", "kind"),
    [(56, native.SUM_INT16), (57, native.SUM_INT32), (127, native.SUM_INT32), (-127, native.SUM_INT32)],
)
@pytest.mark.parametrize("path", PATHS)
def test_the_largest_sum_there_can_be_is_right(
    path: str, most: int, kind: int, one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """576 spikes at once: 576 * 56 is the last below 2^15."""
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    weight = np.full((70, 64, 3, 3), most, np.int8)
    weight[1] = 0
    weight[69] //= 2
    artifact = saturated(one, tmp_path, weight)
    for form in forms(path, event_forms.NEVER, 0.0):
        use_form(monkeypatch, form)
        model = runtime.load(artifact, "event")
        assert sums(model)[1] == kind
        session = model.session()
        session.step(np.ones((1, 2, 9, 9), np.float32))
        v = session.state["v.conv2"][0]
        inside = 3 * np.pad(np.ones(7), 1, constant_values=2 / 3)
        for channel in (0, 1, 68, 69):
            np.testing.assert_array_equal(v[channel], np.outer(inside, inside) * 64 * weight[channel, 0, 0, 0])


def test_negative_and_positive_weights_are_bounded_apart(one: Path, tmp_path: Path) -> None:
    """Half of the weights 127 and half -127 would not fit int16 if their sizes were added up; no spikes reach that."""
    weight = np.full((70, 64, 3, 3), 110, np.int8)
    weight[:, ::2] = -110
    assert sums(runtime.load(saturated(one, tmp_path, weight), "event"))[1] == native.SUM_INT16


# --- what it refuses ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("hostile") / "a.onnx", precision="int8", verify=False).path


def onto_the_input(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    node(card, "conv1")["params"] = {**node(card, "conv1")["params"], "scale": "conv2.scale"}
    replace("conv1.weight", lambda w: w.astype(np.int8))(proto, card)


HOSTILE = [
    ("layer conv2: conv2.weight is float32; a layer with a scale has int8", replace("conv2.weight", np.float32)),
    ("layer conv2: conv2.weight is int32", replace("conv2.weight", np.int32)),
    ("layer conv2: weight is \\[8, 4, 3, 3\\]", replace("conv2.weight", lambda w: w[:, :4].copy())),
    ("fc1.weight is \\[40, 128\\]; expected \\[128, 40\\]", replace("fc1.weight", lambda w: w.T.copy())),
    ("conv2.scale is \\[7\\]; expected \\[8\\]", replace("conv2.scale", lambda s: s[:7].copy())),
    ("conv2.scale is float64", replace("conv2.scale", np.float64)),
    ("tensor conv2.scale holds nan at \\[0\\]", replace("conv2.scale", lambda s: s * np.float32(np.nan))),
    ("tensor conv2.scale holds inf at \\[0\\]", replace("conv2.scale", lambda s: s * np.float32(np.inf))),
    ("layer conv2: scale has numbers that are no scale", replace("conv2.scale", lambda s: -s)),
    ("the file has no tensor conv2.scale", lambda p, c: p.graph.initializer.remove(tensor(p, "conv2.scale"))),
    ("layer conv1: int8 weights on an input that is no count of spikes .* --engine onnxruntime", onto_the_input),
    ("layer conv2 reads counts over 1, its card says 4", attribute("conv2", area=4)),
    ("layer conv2: the file has no tensor nothing", edit("conv2", params={"weight": "nothing", "scale": "conv2.scale"})),
    ("conv2.weight is uint8; this engine computes in float32", edit("conv2", params={"weight": "conv2.weight"})),
    ("precision fp16; engine event computes in fp32, int8, int4, ternary: use", lambda p, c: c.update(precision="fp16")),
]  # fmt: skip


@pytest.mark.parametrize(("message", "change"), HOSTILE, ids=[m for m, _ in HOSTILE])
def test_what_it_cannot_run_is_refused_in_one_line(message: str, change: Any, artifact: Path, tmp_path: Path) -> None:
    path = changed(artifact, tmp_path, change)
    with pytest.raises(PlifError, match=message) as error:
        runtime.load(path, "event")
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_int8_is_taken_from_either_dialect(artifact: Path, tmp_path: Path) -> None:
    """ONNX Runtime's [in, out] and unsigned, or the compilers' [out, in] and signed, which has zero points beside it."""
    proto, card = onnx.load(artifact), read_card(artifact)
    for name in ("conv2", "fc1", "fc2"):
        kept = tensor(proto, f"{name}.weight")
        weight = numpy_helper.to_array(kept)
        weight = (weight ^ 128).view(np.int8) if name == "conv2" else weight.T
        kept.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weight), f"{name}.weight"))
        zeros = numpy_helper.from_array(np.zeros(weight.shape[0], np.int8), f"{name}.zero_points")
        proto.graph.initializer.append(zeros)
    set_card(proto, card)
    onnx.save(proto, tmp_path / "qdq.onnx")
    x = frames(firing(), np.random.default_rng(3), T=8)
    same(outcome(runtime.load(tmp_path / "qdq.onnx", "event"), x), outcome(runtime.load(artifact, "event"), x))


def test_sums_of_two_branches_of_spikes_are_counted(artifact: Path, tmp_path: Path) -> None:
    """s + s through W * scale is s through W * 2 scale, to the last bit."""

    def doubled(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        at = next(i for i, n in enumerate(card["graph"]["nodes"]) if n["name"] == "conv2")
        before = card["graph"]["nodes"][at - 1]
        twice = {**before, "name": "twice", "op": "Add", "inputs": [before["name"]] * 2, "attrs": {}, "params": {}}
        card["graph"]["nodes"].insert(at, twice)
        node(card, "conv2")["inputs"] = ["twice"]

    x = frames(firing(), np.random.default_rng(3), T=8)
    one = runtime.load(changed(artifact, tmp_path, doubled), "event")
    assert native.SUM_EXACT in sums(one)
    found = outcome(one, x)
    other = runtime.load(changed(artifact, tmp_path, replace("conv2.scale", lambda s: s * np.float32(2))), "event")
    assert native.SUM_EXACT not in sums(other)
    same(found, outcome(other, x))


def test_a_model_in_fp32_does_not_ask_the_system_for_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.PATH_VARIABLE, raising=False)
    assert native.PATHS[native.choose_cpu_path(amx=False)] != "amx"
    if "amx" in PATHS:
        assert native.PATHS[native.choose_cpu_path(amx=True)] == "amx"
