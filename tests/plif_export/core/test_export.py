"""What `plif_export.export` promises about the files it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import plif_train
import runtime
from plif_export import export, verify
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.conftest import crossed
from tests.networks import SMALL, firing, frames, scaled

VARIANTS: list[dict[str, Any]] = [
    {},
    {"v_reset": None},
    {"v_reset": -0.25, "tau": "channel"},
    {"decay_input": False, "bias": True},
    {"notation": SMALL.replace("PLIF", "IF")},
    {"notation": "c8k3s1-BN-MPk2s2-LIF-c8k5s2-PLIF-APk2s2-c12k2s2-BN-IF-FC3-PLIF"},
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("variant", "form", "math"), crossed(VARIANTS, ("step", "unrolled"), ("exact", "folded")))
def test_every_kind_of_neuron_exports_in_both_forms_and_both_maths(
    tmp_path: Path, variant: dict[str, Any], form: str, math: str
) -> None:
    result = export(firing(**variant), tmp_path / "m.onnx", form=form, math=math)
    assert result.passed
    assert result.verify is not None and result.verify.untested == [] and result.verify.spikes > 1_000


@pytest.mark.parametrize(
    "preset",
    [
        "fashion-mnist",
        "nmnist",
        "dvs128-gesture",
        *(pytest.param(preset, marks=pytest.mark.large) for preset in ("mnist", "cifar10", "cifar10-dvs")),
    ],
)
def test_every_preset_exports_with_few_channels(tmp_path: Path, preset: str) -> None:
    net = scaled(plif_train.build(preset, channels=4, hidden=40))
    for form in ("step", "unrolled"):
        result = export(net, tmp_path / f"{form}.onnx", form=form)
        assert result.passed
        assert result.verify is not None and result.verify.untested == []


@pytest.mark.large
@pytest.mark.parametrize("preset", ("mnist", "fashion-mnist", "cifar10", "nmnist", "cifar10-dvs", "dvs128-gesture"))
def test_every_preset_exports_at_full_size(tmp_path: Path, preset: str) -> None:
    net = scaled(plif_train.build(preset))
    for form in ("step", "unrolled"):
        for math in ("exact", "folded"):
            result = export(net, tmp_path / "m.onnx", form=form, math=math)
            assert result.passed
            assert result.verify is not None and result.verify.untested == []


def test_the_gesture_network_at_full_size_is_a_file_of_six_and_a_half_megabytes(tmp_path: Path) -> None:
    """The size depends on the layers alone. The gate passes it with few channels above, at full size among the large."""
    result = export(plif_train.build("dvs128-gesture"), tmp_path / "m.onnx", verify=False)
    assert 6.4 * 2**20 < result.bytes < 6.6 * 2**20


@pytest.mark.quick
def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    plif_train.save(firing(), tmp_path / "model.pt")
    for form in ("step", "unrolled"):
        first = export(tmp_path / "model.pt", tmp_path / "a.onnx", form=form)
        second = export(tmp_path / "model.pt", tmp_path / "b.onnx", form=form)
        assert first.sha256 == second.sha256
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_files_get_their_usual_names_and_a_report_beside_them(tmp_path: Path) -> None:
    plif_train.save(firing(), tmp_path / "model.pt")
    names = {
        export(tmp_path / "model.pt", form=f, math=m).path.name
        for f in ("step", "unrolled")
        for m in ("exact", "folded")
    }
    assert names == {"model.onnx", "model_exact.onnx", "model_T5.onnx", "model_T5_exact.onnx"}
    report = json.loads((tmp_path / "model_T5.onnx.report.json").read_text())
    assert report["verify"]["passed"] is True
    assert report["path"] == "model_T5.onnx"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [
            "model.pt",
            *names,
            *(f"{name}.report.json" for name in names),
            *(f"{name}.certificate.json" for name in names if "_T5" not in name),
        ]
    )


def test_the_file_is_plain_onnx_with_readable_names_and_no_trace_of_the_machine(tmp_path: Path) -> None:
    plif_train.save(firing(), tmp_path / "model.pt")
    path = export(tmp_path / "model.pt", math="exact").path
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (20, 10)
    assert [i.name for i in model.graph.input] == ["x", "v.conv1", "v.conv2", "v.fc1", "v.fc2"]
    assert [o.name for o in model.graph.output] == ["y", *(f"v.{n}.next" for n in ("conv1", "conv2", "fc1", "fc2"))]
    assert not {node.op_type for node in model.graph.node} & {
        "Sigmoid",
        "BatchNormalization",
        "Dropout",
        "Loop",
        "Scan",
        "If",
    }
    names = {tensor.name for tensor in model.graph.initializer}
    assert not any(name.endswith(".w") for name in names) and "conv1_neuron.alpha" in names
    assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.quick
def test_the_card_says_what_the_contract_promises(tmp_path: Path) -> None:
    net = firing(v_reset=-0.25)
    plif_train.save(net, tmp_path / "model.pt")
    card = read_card(export(tmp_path / "model.pt").path)
    assert card["states"][0] == {
        "name": "v.conv1",
        "input": "v.conv1",
        "output": "v.conv1.next",
        "shape": [8, 16, 16],
        "dtype": "float32",
        "initial": -0.25,
        "layer": "conv1",
        "variable": "v",
    }
    assert card["notation"] == SMALL and card["T"] == 5 and card["classes"] == ["a", "b", "c"]
    assert card["taus"] == pytest.approx({layer: neuron.tau() for layer, neuron in net.neurons().items()})
    assert (card["v_threshold"], card["v_reset"], card["form"], card["math"]) == (1.0, -0.25, "step", "folded")
    assert card["output"] == {"kind": "votes", "voters": 10}
    assert card["parity"]["passed"] is True and len(card["source_sha256"]) == 64


@pytest.mark.one_in(2)
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_step_and_unrolled_agree_in_every_spike_and_chunks_chain(tmp_path: Path, variant: dict[str, Any]) -> None:
    net = firing(**variant)
    export(net, tmp_path / "s.onnx")
    export(net, tmp_path / "u.onnx", form="unrolled", T=4)
    x = frames(net, np.random.default_rng(5), T=12, streams=3)
    step = runtime.load(tmp_path / "s.onnx").session(streams=3)
    unrolled = runtime.load(tmp_path / "u.onnx").session(streams=3)
    y = step.run(x)
    np.testing.assert_array_equal(y, unrolled.run(x))  # three chunks of T = 4
    for name, v in step.state.items():
        np.testing.assert_array_equal(v, unrolled.state[name], err_msg=name)
    assert y.sum() > 1


def test_a_static_image_is_convolved_once_in_the_unrolled_form(tmp_path: Path) -> None:
    net = scaled(plif_train.build("mnist", channels=4, hidden=40))
    export(net, tmp_path / "s.onnx")
    path = export(net, tmp_path / "u.onnx", form="unrolled").path
    first = next(node for node in onnx.load(path).graph.node if node.op_type == "Conv")
    assert first.input[0] == "x"  # [B, 1, 28, 28], not [T * B, ...]
    image = frames(net, np.random.default_rng(6), T=1, streams=3)[0]
    y = runtime.load(path).session(streams=3).run(image)
    np.testing.assert_array_equal(y, runtime.load(tmp_path / "s.onnx").session(streams=3).run(image))
    with torch.no_grad():
        net.reset()
        expected = net(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.quick
def test_verify_takes_recordings_and_says_the_same_as_the_gate(tmp_path: Path) -> None:
    net = firing()
    export(net, tmp_path / "m.onnx")
    report = verify(tmp_path / "m.onnx", net, frames(net, np.random.default_rng(7), T=9, streams=2))
    assert report.passed and report.steps == 9 and report.streams == 2
    assert {
        "passed",
        "steps",
        "spikes",
        "spike_mismatches",
        "excused",
        "max_abs_dv",
        "decisions",
        "decisions_changed",
        "first_divergence",
        "untested",
        "layers",
    } <= set(report.to_dict())


@pytest.mark.quick
def test_verify_against_another_model_fails(tmp_path: Path) -> None:
    export(firing(seed=0), tmp_path / "m.onnx")
    report = verify(tmp_path / "m.onnx", firing(seed=1))
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "conv1"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"form": "both"}, "--form both: --to onnx writes step, unrolled, loop"),
        ({"T": 4}, "--T belongs to --form unrolled"),
        ({"math": "fast"}, "--math fast"),
        ({"precision": "int3"}, "--precision int3: --to onnx writes fp32, fp16, int8, int4, ternary"),
        ({"to": "tensorrt"}, "--to tensorrt"),
        ({"form": "unrolled", "T": 0}, "expected 1 to 4096"),
        ({"batch": -1}, "expected 1 to 65536"),
        ({"example_input": np.zeros((1, 2, 8, 8))}, "expected one step"),
    ],
)
def test_arguments_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, arguments: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PlifError, match=problem.replace("[", "\\[")) as error:
        export(firing(), tmp_path / "m.onnx", **arguments)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_without_proof_the_card_says_not_run(tmp_path: Path) -> None:
    result = export(firing(), tmp_path / "m.onnx", verify=False)
    assert result.verify is None and read_card(result.path)["parity"] == "not run"
