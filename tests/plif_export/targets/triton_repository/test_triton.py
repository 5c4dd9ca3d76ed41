"""--to triton: a repository that Triton's own messages parse, with every state where it belongs, and faults that are found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from plif_export.targets.triton_repository.config import ServingOptions, format_config
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.networks import firing

pytestmark = pytest.mark.machines

VARIANTS: list[dict[str, Any]] = [{}, {"v_reset": -0.25, "tau": "channel"}, {"v_reset": None}]


def exported(folder: Path, net: Any = None, **options: Any) -> Path:
    result = export(net or firing(), folder / "digits_triton", to="triton", **options)
    assert result.passed
    return result.path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("served"), firing(v_reset=-0.25))


def triton_reads(text: str) -> Any:
    """config.pbtxt as Triton's own message."""
    messages = pytest.importorskip("tritonclient.grpc.model_config_pb2")
    from google.protobuf import text_format

    return text_format.Parse(text, messages.ModelConfig())


@pytest.mark.parametrize("backend", ("onnxruntime", "python"))
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_tritons_own_protobuf_reads_the_config_and_finds_the_card_in_it(
    tmp_path: Path, variant: dict[str, Any], backend: str
) -> None:
    net = firing(**variant)
    path = exported(tmp_path, net, options={"backend": backend, "idle_s": "2.5", "max_batch": "4"})
    card, folder = read_card(path), path / "digits"
    found = triton_reads((folder / "config.pbtxt").read_text())
    assert (found.name, found.backend, found.max_batch_size) == ("digits", backend, 4)
    assert [(t.name, list(t.dims)) for t in found.input] == [("x", [2, 16, 16])]
    assert [(t.name, list(t.dims), t.label_filename) for t in found.output] == [("y", [3], "labels.txt")]
    assert (folder / "labels.txt").read_text().splitlines() == card["classes"]
    batching = found.sequence_batching
    assert batching.max_sequence_idle_microseconds == 2_500_000
    assert batching.oldest.max_candidate_sequences == 64
    if backend == "python":  # its backend ignores state blocks without a word
        assert not batching.state and found.instance_group[0].count == 1
        assert (folder / "1" / "model.py").is_file()
        return
    assert len(batching.state) == len(card["states"]) == 4
    for state, expected in zip(batching.state, card["states"], strict=True):
        assert (state.input_name, state.output_name) == (expected["input"], expected["output"])
        assert list(state.dims) == expected["shape"] and len(state.initial_state) == 1
        start = state.initial_state[0]
        assert list(start.dims) == expected["shape"]
        if expected["initial"] == 0:
            assert start.zero_data and not start.data_file
        else:
            values = np.fromfile(folder / "initial_state" / start.data_file, "<f4")
            np.testing.assert_array_equal(values, np.full(np.prod(expected["shape"]), expected["initial"], np.float32))


def test_a_config_for_a_tensorrt_plan_is_read_too(tmp_path: Path) -> None:
    """The plan itself is built where its GPU is; here, what is said about it."""
    card = read_card(exported(tmp_path))
    found = triton_reads(format_config(card, "digits", ServingOptions("tensorrt")))
    assert (found.backend, found.platform, len(found.sequence_batching.state)) == ("tensorrt", "tensorrt_plan", 4)


def test_the_file_inside_is_the_proved_one_and_runs_alone(tmp_path: Path) -> None:
    net = firing()
    path = exported(tmp_path, net)
    assert verify(path, net).passed
    inside = path / "digits" / "1" / "model.onnx"
    assert verify(inside, net).passed and runtime.load(inside).session(2).streams == 2
    with pytest.raises(PlifError, match="no engine runs it here; it is served: tritonserver"):
        runtime.load(path)
    assert verify(exported(tmp_path, net, precision="int8"), net).passed


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("config.pbtxt", 'output_name: "v.conv2.next"', 'output_name: "v.conv1.next"'),
        ("config.pbtxt", 'data_file: "v.conv1"', "zero_data: true"),
        ("config.pbtxt", "max_batch_size: 8", "max_batch_size: 32"),
        ("labels.txt", "a\nb", "b\na"),
    ],
    ids=("swapped", "start", "batch", "labels"),
)
def test_a_folder_that_says_something_else_is_caught_and_named(
    served: Path, tmp_path: Path, file: str, old: str, new: str
) -> None:
    path = Path(shutil.copytree(served, tmp_path / served.name))
    text = (path / "digits" / file).read_text()
    assert old in text
    (path / "digits" / file).write_text(text.replace(old, new))
    report = verify(path, firing(v_reset=-0.25))
    assert not report.passed and f"digits/{file}, line" in report.structure[0]["where"]


def test_other_starts_another_network_and_other_code_are_caught(tmp_path: Path) -> None:
    net = firing(v_reset=-0.25)
    path = exported(tmp_path, net)
    shutil.copytree(path, tmp_path / "good")

    def caught(file: str, content: bytes, from_: Path = tmp_path / "good") -> None:
        shutil.rmtree(path)
        shutil.copytree(from_, path)
        (path / "digits" / file).write_bytes(content)
        report = verify(path, net)
        assert not report.passed and report.structure[0]["where"].startswith(f"digits/{file}")

    caught("initial_state/v.conv2", np.zeros(8 * 8 * 8, "<f4").tobytes())
    other = export(firing(), tmp_path / "o.onnx").path.read_bytes()  # resets to 0
    caught("1/model.onnx", other)
    python = exported(tmp_path, net, options={"backend": "python"})
    shutil.copytree(python, tmp_path / "python")
    caught("1/model.py", b"import os\n", tmp_path / "python")


def test_the_engine_of_the_python_backend_is_chosen_at_the_export(tmp_path: Path) -> None:
    path = exported(tmp_path, firing(), options={"backend": "python", "engine": "event"})
    (parameter,) = triton_reads((path / "digits" / "config.pbtxt").read_text()).parameters.items()
    assert (parameter[0], parameter[1].string_value) == ("engine", "event")


def test_what_cannot_be_served_is_refused_before_any_work(tmp_path: Path) -> None:
    net = firing()
    for settings, message in (
        ({"batch": 4}, "--batch: Triton makes batches of its own"),
        ({"form": "unrolled"}, "--form unrolled: --to triton writes step"),
        ({"options": {"backend": "caffe"}}, "--set backend=caffe: expected onnxruntime or tensorrt or python"),
        ({"options": {"idle_s": "-1"}}, "--set idle_s=-1: expected a number from 0.001"),
        ({"options": {"max_batch": "2.5"}}, "--set max_batch=2.5: expected a whole number from 1"),
        ({"options": {"sequences": "many"}}, "--set sequences=many"),
        ({"options": {"name": "a/b"}}, "--set name=a/b: expected letters"),
        ({"options": {"backend": "tensorrt"}, "precision": "int8"}, "written by --to tensorrt --set raw=true"),
        ({"options": {"stateful": "true"}}, "--set stateful: --to triton has no such option"),
    ):
        with pytest.raises(PlifError, match=message):
            export(net, tmp_path / "m_triton", to="triton", **settings)  # type: ignore[arg-type]
    with pytest.raises(PlifError, match="labels are lines"):
        export(firing(classes=("a", "b\nc", "d")), tmp_path / "m_triton", to="triton")
    assert list(tmp_path.iterdir()) == []
    path = exported(tmp_path)
    card = json.loads((path / "card.json").read_text())
    (path / "card.json").write_text(json.dumps({**card, "triton": {"model": "../..", "backend": "python"}}))
    with pytest.raises(PlifError, match="does not say which model and backend"):
        verify(path, net)
