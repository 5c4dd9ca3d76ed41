"""--to tensorrt: what is asked of TensorRT, on a stand-in for it, and that only what passed the gate is ever built."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import plif_train
import runtime
from plif_export import export
from plif_export.core.passes import run_passes
from plif_export.core.pipeline import ParityError
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob, onnx_bytes, onnx_sha256
from plif_export.core.writers import FORMS
from plif_export.targets.tensorrt_plan.build import Streams, build_plan
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.cli.main import run as command
from runtime.core.model.card import read_card
from tests.networks import firing
from tests.standin import tensorrt as standin

pytestmark = pytest.mark.machines


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


INPUTS = {"x", "v.conv1", "v.conv2", "v.fc1", "v.fc2"}


def test_the_engine_is_built_run_and_proved(tmp_path: Path, gpu: Any) -> None:
    done = export(firing(), tmp_path / "m.engine", to="tensorrt")
    assert done.passed and done.not_run is None
    assert (
        done.verify is not None
        and done.verify.engine == "tensorrt"
        and done.verify.engine_steps == 2 * done.verify.steps
    )
    card = json.loads((tmp_path / "m.engine.report.json").read_text())["card"]
    assert card["parity"]["passed"] and card["math"] == "exact"
    assert card["engine"]["gpu"] == {"name": "Stand-in GPU", "compute_capability": "8.9"}
    assert card["engine"]["compute_capabilities"] == ["8.9"]
    assert runtime.load(done.path).engine.name == "tensorrt"


@pytest.mark.parametrize("precision", ("fp16", "int8"))
def test_lower_precisions_pass_the_gate_on_the_engine_too(tmp_path: Path, gpu: Any, precision: str) -> None:
    assert export(firing(), tmp_path / "m.engine", to="tensorrt", precision=precision).passed


def test_a_current_that_leaves_a_kernel_as_float16_is_within_the_tolerance_of_such_engines(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in computes as the ONNX standard says, float16 in and out, which ONNX Runtime on a CPU does not."""
    from onnx.reference import ReferenceEvaluator

    evaluators: dict[int, ReferenceEvaluator] = {}

    def exact(self: Any, addresses: dict[str, int]) -> None:
        engine = self.engine
        if id(engine) not in evaluators:
            evaluators[id(engine)] = ReferenceEvaluator(onnx.load_model_from_string(engine.model))
        feed = {name: standin._at(addresses[name], self.shapes[name]).copy() for name in engine.inputs}
        for name, value in zip(engine.outputs, evaluators[id(engine)].run(None, feed), strict=True):
            standin._at(addresses[name], value.shape)[...] = value

    monkeypatch.setattr(standin.IExecutionContext, "_run", exact)
    net = firing("{c8k3s1-BN-PLIF-MPk2s2}*2-FC30-PLIF-APk10s10", (2, 8, 8))
    done = export(net, tmp_path / "m.engine", to="tensorrt", precision="fp16")
    assert done.passed and done.verify is not None and 1e-5 < done.verify.max_abs_dv < 2**-9


@pytest.mark.parametrize(("version", "flags"), [("10.3.0", 2), ("10.16.1.11", 2), ("11.4.0.106", 0)])
def test_precision_is_the_graphs_own_and_tf32_is_off(
    tmp_path: Path, gpu: Any, version: str, flags: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "__version__", version)
    export(firing(), tmp_path / "m.engine", to="tensorrt")
    assert standin.Builder.last.flags == flags
    assert standin.Builder.last.config.flags == set()


@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
def test_the_inspector_tells_the_precision_of_each_layer_and_the_card_keeps_it(
    tmp_path: Path, gpu: Any, precision: str
) -> None:
    done = export(firing(), tmp_path / "m.engine", to="tensorrt", precision=precision)
    layers = read_card(done.path)["engine"]["layers"]
    assert len(layers) == 4 and all(layer["runs"] == layer["asked"] for layer in layers)
    assert not [note for note in done.notes if "multiply" in note]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Row major linear FP16 format", "layer conv1: TensorRT would multiply in fp16, asked was fp32"),
        ("Row major linear BFloat16", None),
    ],
)
def test_another_precision_is_refused_and_an_unknown_one_is_a_note(
    tmp_path: Path, gpu: Any, kind: str, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = standin.EngineInspector.get_engine_information
    monkeypatch.setattr(
        standin.EngineInspector,
        "get_engine_information",
        lambda self, form: tell(self, form).replace("Row major linear FP32", kind),
    )
    if said is not None:
        with pytest.raises(CheckFailed, match=said):
            export(firing(), tmp_path / "m.engine", to="tensorrt")
        return
    done = export(firing(), tmp_path / "m.engine", to="tensorrt")
    assert {layer["runs"] for layer in read_card(done.path)["engine"]["layers"]} == {None}
    assert "TensorRT does not tell in which precision these layers multiply: conv1, conv2, fc1, fc2" in done.notes


def test_x_and_every_state_are_in_the_profile(tmp_path: Path, gpu: Any) -> None:
    export(firing(), tmp_path / "m.engine", to="tensorrt", options={"streams": "1+4+8"})
    profile = standin.Builder.last.config.profile
    assert profile is not None and set(profile.shapes) == INPUTS
    assert all([shape[0] for shape in shapes] == [1, 4, 8] for shapes in profile.shapes.values())
    assert profile.shapes["v.conv1"][2] == (8, 8, 16, 16)
    export(firing(), tmp_path / "three.engine", to="tensorrt", batch=3)
    assert standin.Builder.last.config.profile is None
    with pytest.raises(PlifError, match="exported for exactly 3 streams"):
        runtime.load(tmp_path / "three.engine").session(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": "4+1+8"}, r"streams=4\+1\+8: expected MIN\+OPT\+MAX in rising order"),
        ({"streams": "0+1+2"}, "in rising order"),
        ({"streams": "3"}, r"expected MIN\+OPT\+MAX"),
        ({"raw": "yes"}, "raw=yes: expected true or false"),
        ({"sm": "86"}, "--to tensorrt has no such option"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_built(
    tmp_path: Path, gpu: Any, options: dict[str, str], message: str
) -> None:
    with pytest.raises(PlifError, match=message):
        export(firing(), tmp_path / "m.engine", to="tensorrt", options=options)
    with pytest.raises(PlifError, match="--batch 2 fixes the number"):
        export(firing(), tmp_path / "m.engine", to="tensorrt", batch=2, options={"streams": "1+1+2"})
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_tensorrt_does_not_take_is_an_error_and_not_a_number(gpu: Any) -> None:
    model = FORMS["step"](run_passes(read_model(firing()).graph, "exact", False), 5, None, "where")
    with pytest.raises(PlifError, match=r"streams=9\+1\+2: TensorRT takes no such profile"):
        build_plan(standin, onnx_bytes(model), Streams(9, 1, 2))  # type: ignore[arg-type]


def test_measured_kernels_are_kept_and_those_of_another_machine_are_not_used(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache = tmp_path / "cache" / "plif" / "tensorrt-10.3.0-Stand-in-GPU.timing"
    for expected in (b"measured", b"measuredmeasured"):
        export(firing(), tmp_path / "m.engine", to="tensorrt")
        assert cache.read_bytes() == expected
    cache.write_bytes(b"other")
    export(firing(), tmp_path / "m.engine", to="tensorrt")
    assert cache.read_bytes() == b"measured"
    export(firing(), tmp_path / "m.engine", to="tensorrt", options={"timing_cache": "none"})
    assert cache.read_bytes() == b"measured"
    export(firing(), tmp_path / "m.engine", to="tensorrt", options={"timing_cache": str(tmp_path / "my.timing")})
    assert (tmp_path / "my.timing").read_bytes() == b"measured"


def test_the_command_of_a_refusal_builds_an_engine_that_is_not_refused(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plif_train.save(firing(), tmp_path / "my model.pt")
    monkeypatch.chdir(tmp_path)
    options = [
        "--to",
        "tensorrt",
        "--precision",
        "int8",
        "--set",
        "streams=1+2+8,timing_cache=none",
        "--math",
        "folded",
    ]
    assert command(["export", "my model.pt", *options]) == 0
    path = tmp_path / "my model_int8_folded.engine"
    monkeypatch.setattr(standin, "__version__", "10.13.0")
    with pytest.raises(
        PlifError, match=r"with TensorRT 10\.3\.0, and here is TensorRT 10\.13\.0; build it here: "
    ) as error:
        runtime.load(path)
    words = shlex.split(str(error.value).partition("build it here: ")[2])
    assert words[0] == "plif" and command(words[1:]) == 0
    card = runtime.load(path).card
    assert card["engine"]["version"] == "10.13.0" and card["precision"] == "int8" and card["math"] == "folded"
    assert card["engine"]["streams"] == {"min": 1, "opt": 2, "max": 8}


def test_the_command_names_what_a_bare_state_dict_needs(tmp_path: Path, gpu: Any) -> None:
    net = firing()
    done = export(net, tmp_path / "live.engine", to="tensorrt", batch=2)
    card = runtime.load(done.path).card
    assert card["engine"]["rebuild"] == "plif export MODEL -o live.engine --batch 2 --to tensorrt"


# --- only what was proved is built -------------------------------------------------------------------------------------


def test_what_tensorrt_parses_passes_the_gate_and_its_digest_is_in_the_card(tmp_path: Path, gpu: Any) -> None:
    net = firing()
    path = export(net, tmp_path / "m.engine", to="tensorrt").path
    card = runtime.load(path).card
    parsed = path.read_bytes()[-card["engine"]["plan_bytes"] :][4:]  # the stand-in's plan is what it parsed
    assert hashlib.sha256(parsed).hexdigest() == card["engine"]["onnx_sha256"]
    assert prove(onnx.load_model_from_string(parsed), card, net).passed


@contextmanager
def nothing_is_built() -> Iterator[None]:
    before = vars(standin.Builder).get("last")
    yield
    assert vars(standin.Builder).get("last") is before


def test_a_form_that_is_not_the_one_that_passed_the_gate_is_not_built(tmp_path: Path, gpu: Any) -> None:
    graph = run_passes(read_model(firing()).graph, "exact", False)
    proved = FORMS["step"](graph, 5, None, "where")
    changed = onnx.ModelProto.FromString(proved.SerializeToString())
    _scale(changed, "conv2.weight", 1.001)
    card = read_card(export(firing(), tmp_path / "m.engine", to="tensorrt").path)
    for proto, passes in ((proved, True), (changed, False)):
        job = ExportJob(graph, proto, card, proved_sha256=onnx_sha256(proved))
        if passes:
            find_target("tensorrt").write(job, tmp_path / "proved.engine")
            continue
        with (
            nothing_is_built(),
            pytest.raises(CheckFailed, match="not the one that passed the gate; nothing was built"),
        ):
            find_target("tensorrt").write(job, tmp_path / "changed.engine")
    assert (tmp_path / "proved.engine").exists() and not (tmp_path / "changed.engine").exists()


def _scale(proto: onnx.ModelProto, name: str, factor: float) -> None:
    found = next(i for i in proto.graph.initializer if i.name == name)
    value = numpy_helper.to_array(found)
    found.CopyFrom(numpy_helper.from_array((value * value.dtype.type(factor)).astype(value.dtype), name))


def _node(proto: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if output in node.output)


def wrong_tau(proto: onnx.ModelProto) -> None:
    weights = {i.name for i in proto.graph.initializer}
    alpha = next(name for name in _node(proto, "conv2.moved").input if name in weights)
    _scale(proto, alpha, 1.02)


def wrong_reset(proto: onnx.ModelProto) -> None:
    reset = _node(proto, "v.fc1.next")
    assert reset.op_type == "Where"
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(-0.1), "elsewhere"))
    reset.input[1] = "elsewhere"


def wrong_scale(proto: onnx.ModelProto) -> None:
    _scale(proto, "conv2.scale", 1.05)


@pytest.mark.parametrize(
    ("break_it", "precision", "layer"),
    [(wrong_tau, "fp32", "conv2"), (wrong_reset, "fp32", "fc1"), (wrong_scale, "int8", "conv2")],
)
def test_a_writer_that_writes_something_else_is_caught_before_anything_is_built(
    tmp_path: Path,
    gpu: Any,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[onnx.ModelProto], None],
    precision: str,
    layer: str,
) -> None:
    write = FORMS["step"]

    def broken(*arguments: Any) -> onnx.ModelProto:
        proto = write(*arguments)
        break_it(proto)
        return proto

    monkeypatch.setitem(FORMS, "step", broken)
    with nothing_is_built(), pytest.raises(ParityError) as failure:
        export(firing(), tmp_path / "m.engine", to="tensorrt", precision=precision)
    assert failure.value.report.failed_at is not None and failure.value.report.failed_at["layer"] == layer
    assert list(tmp_path.iterdir()) == []


def test_two_states_that_changed_places_are_caught_before_anything_is_built(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FORMS["step"]

    def broken(*arguments: Any) -> onnx.ModelProto:
        proto = write(*arguments)
        one, two = _node(proto, "v.conv1.next"), _node(proto, "v.conv2.next")
        one.output[0], two.output[0] = "v.conv2.next", "v.conv1.next"
        return proto

    monkeypatch.setitem(FORMS, "step", broken)
    with nothing_is_built(), pytest.raises(ParityError):
        export(firing("{c8k3s1-BN-PLIF}*2-FC30-PLIF-APk10s10"), tmp_path / "m.engine", to="tensorrt")


def test_an_engine_that_does_something_else_than_its_onnx_form_is_not_written(
    tmp_path: Path, gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = standin.IExecutionContext._run

    def wrong(self: Any, addresses: dict[str, int]) -> None:
        real(self, addresses)
        standin._at(addresses["v.conv2.next"], self.get_tensor_shape("v.conv2.next"))[...] += 0.01

    monkeypatch.setattr(standin.IExecutionContext, "_run", wrong)
    with pytest.raises(ParityError, match=r"conv2.*engine tensorrt"):
        export(firing(), tmp_path / "m.engine", to="tensorrt")
    assert list(tmp_path.iterdir()) == []


# --- where something is missing -----------------------------------------------------------------------------------------


def test_without_a_gpu_the_line_says_where_to_build_and_how_to_do_without(
    tmp_path: Path, gpu: Any, no_gpu: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plif_train.save(firing(), tmp_path / "model.pt")
    assert command(["export", str(tmp_path / "model.pt"), "--to", "tensorrt"]) == 2
    error = capsys.readouterr().err
    assert "TensorRT builds on the GPU that will run the engine" in error and "--to tensorrt-rtx" in error
    assert error.count("\n") == 1


def test_without_tensorrt_the_line_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    if any(_installed(name) for name in ("tensorrt", "tensorrt_bindings")):
        pytest.skip("TensorRT is installed here")
    plif_train.save(firing(), tmp_path / "model.pt")
    assert command(["export", str(tmp_path / "model.pt"), "--to", "tensorrt"]) == 2
    assert "pip install --extra-index-url=https://pypi.nvidia.com 'plif[tensorrt]'" in capsys.readouterr().err


def _installed(name: str) -> bool:
    try:
        return hasattr(__import__(name), "Builder")
    except ImportError:
        return False


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ("fp32", "fp16", "int8"))
@pytest.mark.parametrize("options", ({}, {"v_reset": None}, {"v_reset": -0.25, "tau": "channel"}), ids=str)
def test_on_a_gpu_with_tensorrt_what_was_built_passes_the_gate(
    tmp_path: Path, precision: str, options: dict[str, Any]
) -> None:
    done = export(firing(**options), tmp_path / "m.engine", to="tensorrt", precision=precision)
    assert done.passed and done.not_run is None
    session = runtime.load(done.path).session(2)
    first = session.run(np.ones((5, 2, 2, 16, 16), np.float32))
    session.reset()
    np.testing.assert_array_equal(session.run(np.ones((5, 2, 2, 16, 16), np.float32)), first)
