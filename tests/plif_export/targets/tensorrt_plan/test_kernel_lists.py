"""What TensorRT tells of a plan's kernels, in the words of each version: a precision that is known, or none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plif_export.targets.tensorrt_plan.build import find_product_types, read_layers

FORMATS = {  # as TensorRT 10 writes them
    "Row major linear FP32": "Float",
    "Float": "Float",
    "Row major linear FP16 format": "Half",
    "Channel major FP16 format where channel % 8 == 0": "Half",
    "Two wide channel vectorized row major FP16 format": "Half",
    "Thirty-two wide channel vectorized row major Int8 format.": "Int8",
    "Row major Int8 format": "Int8",
    "Row major linear BFloat16": None,
    "FP8": None,
    "Int32": None,
    "N/A due to dynamic shapes": None,
    "": None,
}


def kernel(form: str, kind: str = "CaskConvolution", weights: str | None = None) -> dict[str, Any]:
    """A convolution and the ReLU that became one kernel with it, as the inspector of version 10 tells it."""
    told = {
        "Name": "conv1/Conv + relu",
        "LayerType": kind,
        "Inputs": [{"Name": "x", "Location": "Device", "Dimensions": [1, 2, 34, 34], "Format/Datatype": form}],
        "Outputs": [{"Name": "s", "Location": "Device", "Dimensions": [1, 8, 34, 34], "Format/Datatype": form}],
        "ParameterType": "Convolution",
        "Kernel": [3, 3],
        "Bias": {"Type": "Float", "Count": 8},
        "TacticName": "sm80_xmma_fprop_implicit_gemm_f32f32_tf32f32",
        "StreamId": 0,
        "Metadata": "[ONNX Layer: conv1/Conv]\x1e[ONNX Layer: conv1.s/Relu]",
    }
    return told if weights is None else told | {"Weights": {"Type": weights, "Count": 144}}


def as_json(told: dict[str, Any]) -> str:
    return json.dumps({"Layers": ["a name alone", told], "Bindings": ["x", "s"]})


def as_line(told: dict[str, Any]) -> str:
    """The same as a build at full verbosity logs it."""

    def text(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            inside = ", ".join(f"{key}: {text(each)}" for key, each in value[0].items())
            return f"[ {{ {inside} }}]"
        return (
            json.dumps(value).replace(" ", "")
            if isinstance(value, list)
            else (json.dumps(value) if isinstance(value, dict) else str(value))
        )

    return "Layers:\n" + ", ".join(f"{key}: {text(value)}" for key, value in told.items()) + "\n\nBindings:\nx\ns"


@pytest.mark.parametrize("write", (as_json, as_line))
@pytest.mark.parametrize("form", FORMATS)
def test_a_type_of_version_10_is_the_precision_that_it_names_or_none(form: str, write: Any) -> None:
    (read,) = read_layers(write(kernel(form)))
    assert read.multiplies and read.onnx == ("conv1/Conv", "conv1.s/Relu")
    assert find_product_types([read]) == {"conv1/Conv": FORMATS[form]}
    assert read.outputs == read.inputs and read.name == "conv1/Conv + relu"


@pytest.mark.parametrize("write", (as_json, as_line))
def test_weights_of_another_type_are_seen_and_unknown_ones_are_none(write: Any) -> None:
    for weights, found in (("Float", "Float"), ("Half", "FloatxHalf"), ("BFloat16", None)):
        assert find_product_types(read_layers(write(kernel("Row major linear FP32", weights=weights)))) == {
            "conv1/Conv": found
        }


def test_words_of_version_11_and_of_rtx_are_read_as_before() -> None:
    tensor = "{ Name: x, Dimensions: [-1,2,16,16], Strides: [512,1,32,2], Datatype: Half, Format: (NHWC) Channel major format }"
    line = (
        f"Layers:\nName: conv1/Conv_myl0_2, LayerType: correlation, Inputs: [ {tensor}], Constants: [ {tensor}, "
        f"{tensor.replace('Half', 'Float')}], Outputs: [ {tensor}], TacticName: , StreamId: 0, Metadata: [ONNX Layer: conv1/Conv]"
    )
    (read,) = read_layers(line)
    assert (read.inputs, read.constants, read.outputs) == (("Half",), ("Half", "Float"), ("Half",))
    assert find_product_types([read]) == {"conv1/Conv": "Half"}
    split = {"Inputs": [{"Name": "x", "Format": "Row major linear format (kLINEAR)", "Datatype": "Int8"}]}
    assert find_product_types(read_layers(as_json(kernel("") | split))) == {"conv1/Conv": "Int8"}


@pytest.mark.parametrize("kind", ("CaskPooling", "Reformat", "kgen", "PointWiseV2", "NoOp"))
def test_a_kernel_without_weights_is_no_product(kind: str) -> None:
    assert find_product_types(read_layers(as_json(kernel("Float", kind)))) == {}


@pytest.mark.parametrize("text", ("", "{", "[]", '{"Layers": 3}', '{"Layers": ["conv1", "fc1"]}', "null"))
def test_what_is_no_list_of_kernels_tells_nothing(text: str) -> None:
    assert read_layers(text) == []
