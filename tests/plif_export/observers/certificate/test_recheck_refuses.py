"""examples/recheck.py demands what a certificate has to cover, and ends in limited time. Forged certificates and files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from plif_export import export
from tests.conftest import load_script
from tests.networks import firing
from tests.plif_export.observers.certificate.test_certificate import EVALUATORS, PAGE, certificate_path, run, seal

Certificate = dict[str, Any]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("small") / "m.onnx").path


def tensors(certificate: Certificate, name: str) -> Certificate:
    """The record of a tensor that was made."""
    return next(rule for record in certificate["made"] for rule in record["tensors"] if rule["tensor"] == name)


def without_tensor(certificate: Certificate, name: str) -> None:
    for record in certificate["made"]:
        record["tensors"] = [rule for rule in record["tensors"] if rule["tensor"] != name]
    certificate["made"] = [record for record in certificate["made"] if record["tensors"]]


def without_layer(certificate: Certificate, layer: str) -> None:
    certificate["made"] = [record for record in certificate["made"] if record["layer"] != layer]


def without_given(certificate: Certificate, name: str) -> None:
    certificate["given"] = [rule for rule in certificate["given"] if rule["tensor"] != name]


def nothing_hashed(certificate: Certificate, name: str) -> None:
    """All values of a tensor are left out, and the hash is that of zeros."""
    rule = tensors(certificate, name)
    size = 3 * 40  # fc1: three samples of 40 neurons
    rule.update(left_out=[0] + [1] * (size - 1), cells=hashlib.sha256(bytes(8 * size)).hexdigest())


def cells_of(certificate: Certificate, name: str, k: int, value: int) -> None:
    """All cells of a tensor are the same."""
    tensors(certificate, name).update(
        k=k, left_out=[], cells=hashlib.sha256(np.full(120, value, "<i8").tobytes()).hexdigest()
    )


def cells_as_large_as_the_numbers(certificate: Certificate) -> None:
    """floor(h 2^-40 + u) is 0 for each h of either sign, where u is neither 0 nor near 1."""
    cells_of(certificate, "fc1.h", -40, 0)


def two_samples(certificate: Certificate) -> None:
    certificate["samples"] = 2
    for record in certificate["made"]:
        for rule in record["tensors"]:
            rule["left_out"] = []


def no_input(certificate: Certificate) -> None:
    """No spike of conv2 comes in a sample, so that no weight of fc1 counts."""
    next(rule for rule in certificate["given"] if rule["tensor"] == "conv2.s").update(one_in=65535)


def given_instead_of_made(certificate: Certificate) -> None:
    """The current of fc2 is drawn, and not computed: what comes before it in the layer is not run."""
    certificate["given"].append({"tensor": "fc2", "shape": [30], "low": 0.0, "width": 1.0})


FORGED: dict[str, tuple[str, Callable[[Certificate], object]]] = {
    "nothing at all": ("y is not checked", lambda c: c.update(given=[], made=[], weights={})),
    "a state": ("v.conv2.next is not checked", lambda c: without_tensor(c, "v.conv2.next")),
    "the output": ("y is not checked", lambda c: without_tensor(c, "y")),
    "spikes": ("fc1.s is not checked", lambda c: without_tensor(c, "fc1.s")),
    "a charge": ("fc1.h is not checked", lambda c: without_tensor(c, "fc1.h")),
    "a layer": ("v.fc1.next is not checked", lambda c: without_layer(c, "fc1")),
    "the input": ("no node makes x", lambda c: without_given(c, "x")),
    "the state before": ("no node makes v.fc1", lambda c: without_given(c, "v.fc1")),
    "the way to a layer": ("fc2 is given, and not checked", given_instead_of_made),
    "nodes": ("is in no layer", given_instead_of_made),
    "a weight of the file": (
        "fc1.weight is given, and not checked",
        lambda c: c["given"].append({"tensor": "fc1.weight", "shape": [1], "low": 0.0, "width": 1.0}),
    ),
    "all parameters": ("parameter conv1.weight has no SHA-256", lambda c: c.update(weights={})),
    "a parameter": ("parameter fc2.weight has no SHA-256", lambda c: c["weights"].pop("fc2.weight")),
    "an alpha": ("parameter fc1_neuron.alpha has no SHA-256", lambda c: c["weights"].pop("fc1_neuron.alpha")),
    "a hash": ("parameter fc2.weight has no SHA-256", lambda c: c["weights"].update({"fc2.weight": ""})),
    "values by its own words": ("a share 0.4 of the values", lambda c: c["share"].update(values=0.4)),
    "weights by its own words": ("a share 0.9 of the weights", lambda c: c["share"].update(weights=0.9)),
    "values that it names": ("of the values; the certificate says 1.0", lambda c: c["share"].update(values=1.0)),
    "weights that it names": ("of the weights; the certificate says 1.0", no_input),
    "samples": ("it has 2 samples; expected 3", two_samples),
    "values of a tensor": ("LEAVES OUT TOO MANY", lambda c: nothing_hashed(c, "fc1.h")),
    "numbers in coarse cells": ("HAS CELLS THAT SAY NOTHING", cells_as_large_as_the_numbers),
    "numbers in cells that overflow": ("HAS CELLS THAT SAY NOTHING", lambda c: cells_of(c, "fc1.h", 900, -(2**63))),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_certificate_that_leaves_something_out_is_refused(small: Path, tmp_path: Path, name: str) -> None:
    message, forge = FORGED[name]
    certificate = json.loads(certificate_path(small).read_text())
    forge(certificate)
    seal(tmp_path / "c.json", certificate)
    code, said = run(small, "--certificate", tmp_path / "c.json")
    assert code == 1 and message in said and said.endswith("it is not what its certificate says\n")


def test_an_alpha_that_the_file_holds_needs_a_hash(tmp_path: Path) -> None:
    path = export(firing(), tmp_path / "m.onnx", math="exact").path
    certificate = json.loads(certificate_path(path).read_text())
    del certificate["weights"]["fc1_neuron.alpha"]
    seal(certificate_path(path), certificate)
    code, said = run(path)
    assert code == 1 and "NOT COVERED: parameter fc1_neuron.alpha has no SHA-256\n" in said


def test_a_weight_that_the_file_lists_as_an_input_too_is_still_a_weight(small: Path, tmp_path: Path) -> None:
    proto = onnx.load(small)
    (weight,) = (tensor for tensor in proto.graph.initializer if tensor.name == "fc1.weight")
    proto.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    path = certified(small, proto, tmp_path)
    certificate = json.loads(certificate_path(path).read_text())
    FORGED["a weight of the file"][1](certificate)
    seal(certificate_path(path), certificate)
    code, said = run(path)
    assert code == 1 and "NOT COVERED: fc1.weight is given, and not checked\n" in said


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_the_same_certificate_unforged_passes(small: Path, tmp_path: Path, evaluator: str) -> None:
    seal(tmp_path / "c.json", json.loads(certificate_path(small).read_text()))
    code, said = run(small, "--certificate", tmp_path / "c.json", "--evaluator", evaluator)
    assert code == 0 and said.endswith("it does what its certificate says\n")


# --- files that do not end ---------------------------------------------------------------------------------------------


def certified(small: Path, proto: onnx.ModelProto, folder: Path) -> Path:
    """A file with the certificate of `small`, which a forger has made to name it."""
    path = folder / "m.onnx"
    onnx.save(proto, path)
    certificate = json.loads(certificate_path(small).read_text())
    certificate["file"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    seal(certificate_path(path), certificate)
    return path


def y_plus(small: Path, nodes: list[onnx.NodeProto], zero: str) -> onnx.ModelProto:
    """The network with further nodes, the result of which is added to y."""
    proto = onnx.load(small)
    (last,) = (node for node in proto.graph.node if "y" in node.output)
    last.output[0] = "y_before"
    proto.graph.node.extend([*nodes, helper.make_node("Add", ["y_before", zero], ["y"], "sum")])
    return proto


def with_a_body(kind: str, small: Path) -> onnx.ModelProto:
    """An endless Loop, or an If, both of whose branches are 0."""
    name = helper.make_tensor_value_info
    zero = helper.make_node("Constant", [], ["zero"], value=numpy_helper.from_array(np.array(0, np.float32)))
    if kind == "If":
        body = helper.make_graph([zero], "body", [], [name("zero", TensorProto.FLOAT, [])])
        node = helper.make_node("If", ["always"], ["end"], "turn", then_branch=body, else_branch=body)
    else:
        ends = [name("go", TensorProto.BOOL, []), name("sum", TensorProto.FLOAT, [])]
        steps = [helper.make_node("Identity", ["on"], ["go"]), helper.make_node("Identity", ["before"], ["sum"])]
        starts = [
            name("i", TensorProto.INT64, []),
            name("on", TensorProto.BOOL, []),
            name("before", TensorProto.FLOAT, []),
        ]
        body = helper.make_graph(steps, "body", starts, ends)
        node = helper.make_node("Loop", ["", "always", "start"], ["end"], "turn", body=body)
    proto = y_plus(small, [node], "end")
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.array(True), "always"), numpy_helper.from_array(np.array(0, np.float32), "start")]
    )
    return proto


def in_a_function(small: Path) -> onnx.ModelProto:
    proto = y_plus(small, [helper.make_node("Same", ["y_before"], ["end"], "call", domain="ours")], "end")
    body = [helper.make_node("Sub", ["a", "a"], ["b"])]
    proto.functions.append(helper.make_function("ours", "Same", ["a"], ["b"], body, list(proto.opset_import)))
    proto.opset_import.append(helper.make_opsetid("ours", 1))
    return proto


def with_numbers_elsewhere(small: Path) -> onnx.ModelProto:
    proto = onnx.load(small)
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="other.bin")
    return proto


def of_a_library(small: Path) -> onnx.ModelProto:
    return y_plus(small, [helper.make_node("Gelu", ["y_before"], ["end"], "call", domain="com.microsoft")], "end")


FOREIGN: dict[str, tuple[str, Callable[[Path], onnx.ModelProto]]] = {
    "an endless Loop": ("node turn, which is a Loop", lambda small: with_a_body("Loop", small)),
    "an If": ("node turn, which is a If", lambda small: with_a_body("If", small)),
    "a function": ("function Same", in_a_function),
    "a node of another library": ("node call, which is a Gelu com.microsoft", of_a_library),
    "numbers in another file": ("tensor conv1.weight, whose numbers are in another file", with_numbers_elsewhere),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_certified_file_has_is_not_run(small: Path, tmp_path: Path, name: str) -> None:
    message, change = FOREIGN[name]
    path = certified(small, change(small), tmp_path)
    for evaluator in EVALUATORS:
        code, said = run(path, "--evaluator", evaluator, "--seconds", 30)
        assert code == 1 and f"NOT RUN: {message}; plif writes none\n" in said


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_file_that_computes_for_minutes_is_stopped_in_one_line(small: Path, tmp_path: Path, evaluator: str) -> None:
    """Products of 2000 x 2000 numbers, each of which takes a tenth of a second."""
    chain = [helper.make_node("Expand", ["y_mean", "shape"], ["p0"])]
    chain += [helper.make_node("MatMul", [f"p{i}", f"p{i}"], [f"p{i + 1}"]) for i in range(3000)]
    chain = [helper.make_node("ReduceMean", ["y_before"], ["y_mean"], keepdims=0), *chain]
    chain += [
        helper.make_node("ReduceMax", ["p3000"], ["most"], keepdims=0),
        helper.make_node("Sub", ["most", "most"], ["end"]),
    ]
    proto = y_plus(small, chain, "end")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2000, 2000], np.int64), "shape"))
    path = certified(small, proto, tmp_path)
    began = time.monotonic()
    code, said = run(path, "--evaluator", evaluator, "--seconds", 5)
    assert 4 < time.monotonic() - began < 20
    assert code == 1 and said.endswith(f"recheck: error: {path} had not ended after 5 s (--seconds)\n")


def test_an_evaluator_that_crashes_is_one_line(
    small: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = load_script(PAGE)
    monkeypatch.setattr(page.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, -11))
    assert page.main([str(small)]) == 1
    assert capsys.readouterr().err == f"recheck: error: {small} ended the evaluator with signal 11\n"


@pytest.mark.parametrize("seconds", (0, -1, "nan", "inf"))
def test_a_limit_that_is_none_is_refused(small: Path, seconds: object) -> None:
    code, said = run(small, "--seconds", seconds)
    assert code == 2 and "expected a number from 0 to 1e6" in said
