"""Files with float16 weights and with whole numbers, written with float32 sums: the same sums, in nothing but float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from plif_export import export
from runtime.core.model.grids import GRIDS
from runtime.core.model.readers.onnx_contents import read_model
from runtime.engines.webgpu.in_float32 import REDUCED, SCALE_LAST, rewrite_to_float32
from tests.networks import firing, frames


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("float32")
    net = firing()
    paths: dict[str, Path] = {
        p: export(net, folder / f"{p}.onnx", precision=p, verify=False).path for p in ("fp32", "fp16", *GRIDS)
    }
    return {precision: read_model(path) for precision, path in paths.items()}


def run(model: bytes) -> list[np.ndarray]:
    """All outputs of ten steps from reset, on the CPU."""
    settings = ort.SessionOptions()
    settings.add_session_config_entry(*SCALE_LAST)
    session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = {i.name: np.zeros((2, *i.shape[1:]), np.float32) for i in session.get_inputs()[1:]}
    seen = []
    for x_t in frames(firing(), np.random.default_rng(3), T=10):
        outputs = dict(zip(names, session.run(names, {"x": x_t, **states}), strict=True))
        states = {name: outputs[f"{name}.next"] for name in states}
        seen += outputs.values()
    return seen


@pytest.mark.parametrize("precision", GRIDS)
def test_whole_numbers_have_the_same_sums_to_the_last_bit(files: dict[str, bytes], precision: str) -> None:
    before, after = run(files[precision]), run(rewrite_to_float32(files[precision]))
    assert sum(y.sum() for y in before[::5]) > 1
    for expected, found in zip(before, after, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_halves_are_summed_in_float32(files: dict[str, bytes]) -> None:
    for expected, found in zip(run(files["fp16"]), run(rewrite_to_float32(files["fp16"])), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("precision", ("fp16", *GRIDS))
def test_only_weights_are_of_another_type(files: dict[str, bytes], precision: str) -> None:
    model = onnx.load_from_string(rewrite_to_float32(files[precision]))
    onnx.checker.check_model(model, full_check=True)
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type in REDUCED}
    assert weights
    for node in model.graph.node:
        assert node.op_type == "Cast" or not weights.intersection(node.input)
        assert "Integer" not in node.op_type
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert not [value.name for value in inferred.graph.value_info if value.type.tensor_type.elem_type in REDUCED]


def test_a_file_in_float32_stays_as_it_is(files: dict[str, bytes]) -> None:
    assert onnx.load_from_string(rewrite_to_float32(files["fp32"])) == onnx.load_from_string(files["fp32"])
