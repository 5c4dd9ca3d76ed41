"""The certificate beside an ONNX file: others repeat the proof from it, with evaluators of theirs, and find what was changed."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from plif_export import export
from plif_export.core.proof.report import Report
from plif_export.observers.certificate.certificate import certify
from runtime.core.model.graph import Graph
from tests.conftest import REPOSITORY, load_script
from tests.networks import firing
from tests.programs import recurrent, written
from tests.random_networks import random_network

PAGE = REPOSITORY / "examples" / "recheck.py"
EVALUATORS = ("onnxruntime", "reference")


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return load_script(PAGE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a hard reset that is not 0, and its certificate."""
    return export(firing(v_reset=-0.25), tmp_path_factory.mktemp("small") / "m.onnx").path


def certificate_path(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + ".certificate.json")


def rechecked(page: ModuleType, path: Path, evaluator: str = "onnxruntime", of: Path | None = None) -> dict[str, str]:
    """{layer: what is wrong} of a file by its own certificate, or by that of another."""
    certificate = page.read_certificate(certificate_path(of or path))
    rows = list(page.recheck(onnx.load(path), certificate, evaluator))
    assert rows and all(size for _, _, size, _, _, wrong in rows if wrong in (None, "DIFFERS"))
    return {layer: wrong for layer, _, _, _, _, wrong in rows if wrong is not None}


def seal(path: Path, certificate: dict[str, Any]) -> None:
    """Writes a certificate with a last line that fits it."""
    head = json.dumps({key: value for key, value in certificate.items() if key != "sha256"})[:-1] + ",\n"
    path.write_text(f'{head}"sha256": "{hashlib.sha256(head.encode()).hexdigest()}"}}')


def run(*words: object) -> tuple[int, str]:
    command = [sys.executable, "-I", str(PAGE), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


# --- what is right -----------------------------------------------------------------------------------------------------


def test_the_page_is_short_and_imports_nothing_of_ours() -> None:
    text = PAGE.read_text()
    assert len(text.splitlines()) < 350
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(n, "module", None) or alias.name for n in nodes for alias in n.names}
    taken = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert taken == {"numpy", "onnx", "onnxruntime"}


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_third_party_repeats_the_proof_of_a_file(small: Path, evaluator: str) -> None:
    code, said = run(small, "--evaluator", evaluator)
    assert code == 0 and "it does what its certificate says" in said
    for layer in ("conv1", "conv2", "fc1", "fc2", "output"):
        assert f"\n{layer} " in said


def test_the_shipped_digits_network_has_a_small_certificate_in_which_every_layer_fires(
    page: ModuleType, tmp_path: Path
) -> None:
    path = export(REPOSITORY / "models" / "nmnist-digits.pt", tmp_path / "m.onnx").path
    assert certificate_path(path).stat().st_size < 20_000
    certificate = page.read_certificate(certificate_path(path))
    for evaluator in EVALUATORS:
        for _, tensor, size, fired, left_out, wrong in page.recheck(onnx.load(path), certificate, evaluator):
            assert wrong is None and left_out <= min(128, size / 8) * 1.5
            assert size / 10 < fired < size * 0.9 or not tensor.endswith(".s")


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "fp16"},
        {"precision": "int8"},
        {"math": "exact"},
        {"batch": 3},
    ],
    ids=str,
)
def test_every_precision_and_both_maths_are_certified(
    page: ModuleType, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = export(firing(v_reset=None), tmp_path / "m.onnx", **options).path
    wrong, by_reference = (rechecked(page, path, evaluator) for evaluator in EVALUATORS)
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):  # it convolves no int8, and the page says so
        wrong = {layer: why for layer, why in wrong.items() if "implementation for ConvInteger" not in why}
    assert wrong == by_reference == {}


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(2, 20))])
def test_random_networks_give_both_evaluators_the_same_hashes(page: ModuleType, tmp_path: Path, seed: int) -> None:
    for hard, tau in ((True, "channel"), (False, "layer")):
        path = export(random_network(seed, hard, tau), tmp_path / "m.onnx").path
        assert [rechecked(page, path, evaluator) for evaluator in EVALUATORS] == [{}, {}]


def test_layers_that_read_the_states_of_others_are_certified(page: ModuleType, tmp_path: Path) -> None:
    path, graph, report = tmp_path / "m.onnx", recurrent(), Report()
    proto, card = written(graph, path)
    of = {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    certificate_path(path).write_text(certify(proto, card, graph, graph, report, 0, **of))
    assert report.passed
    assert [rechecked(page, path, evaluator) for evaluator in EVALUATORS] == [{}, {}]


def test_the_generator_is_the_one_that_the_certificate_describes(page: ModuleType, small: Path) -> None:
    """Its words, number by number, in whole numbers of Python; and it stays what it is."""
    certificate = json.loads(certificate_path(small).read_text())
    for rule in certificate["given"]:
        size = int(np.prod(rule["shape"]))
        found = page.given(rule, certificate["seed"], certificate["samples"]).reshape(certificate["samples"], size)
        for i, n in [(0, 0), (0, size - 1), (1, size // 2), (2, size // 3)]:
            name = rule["tensor"] + (f"/{i}" if "low" in rule else "")
            data = hashlib.shake_128(f"{certificate['seed']}/{name}".encode()).digest(2 * size)
            u = data[2 * n] + 256 * data[2 * n + 1]
            if "low" in rule:
                wanted = np.float32(rule["low"] + rule["width"] * u / 65536)
            else:
                wanted = 1 + sum(level <= u for level in rule["levels"]) if u % rule["one_in"] == i else 0
            assert found[i, n] == wanted
    x = page.given(next(rule for rule in certificate["given"] if rule["tensor"] == "x"), 0, 3)
    assert [int(frame.sum()) for frame in x] == [513, 502, 0] and x.max() > 8  # the last frame is empty


def test_each_parameter_of_the_model_is_hashed_as_it_is_in_the_model(small: Path) -> None:
    weights = json.loads(certificate_path(small).read_text())["weights"]
    conv1 = firing(v_reset=-0.25).state_dict()["conv1.weight"].numpy()
    assert weights["conv1.weight"] == hashlib.sha256(conv1.astype("<f4").tobytes()).hexdigest()


# --- what is wrong -----------------------------------------------------------------------------------------------------


def tensor(name: str, change: Callable[[np.ndarray], None]) -> Callable[[onnx.ModelProto], None]:
    """A change of the numbers of one initializer."""

    def changed(proto: onnx.ModelProto) -> None:
        (one,) = (t for t in proto.graph.initializer if t.name == name)
        values = numpy_helper.to_array(one).copy()
        change(values.reshape(-1))
        one.CopyFrom(numpy_helper.from_array(values, name))

    return changed


def one_weight(values: np.ndarray) -> None:
    values[np.abs(values).argmax()] *= 1.25


def scaled_by(factor: float) -> Callable[[np.ndarray], None]:
    return lambda values: np.multiply(values, np.float32(factor), out=values)


def rewired(proto: onnx.ModelProto) -> None:
    """conv2's membrane is frozen."""
    (node,) = (n for n in proto.graph.node if "v.conv2.next" in n.output)
    node.CopyFrom(onnx.helper.make_node("Identity", ["v.conv2"], ["v.conv2.next"]))


def clipped(proto: onnx.ModelProto) -> None:
    """Counts above 8 are lost."""
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(8), "most"))
    for node in proto.graph.node:
        node.input[:] = ["clipped" if name == "x" else name for name in node.input]
    proto.graph.node.insert(0, onnx.helper.make_node("Min", ["x", "most"], ["clipped"]))


CHANGES: dict[str, tuple[str, Callable[[onnx.ModelProto], None]]] = {
    "a weight of conv1": ("conv1", tensor("conv1.weight", one_weight)),
    "a weight of conv2": ("conv2", tensor("conv2.weight", one_weight)),
    "a weight of fc1": ("fc1", tensor("fc1.weight", one_weight)),
    "a weight of fc2": ("fc2", tensor("fc2.weight", one_weight)),
    "a bias": ("conv1", tensor("conv1.bias", one_weight)),
    "the threshold of conv1": ("conv1", tensor("conv1_neuron.v_threshold", scaled_by(1.02))),
    "the threshold of fc2": ("fc2", tensor("fc2_neuron.v_threshold", scaled_by(1.5))),
    "tau of conv2": ("conv2", tensor("conv2_neuron.one_minus_alpha", scaled_by(1.01))),
    "tau of fc1": ("fc1", tensor("fc1_neuron.one_minus_alpha", scaled_by(1.01))),
    "the reset of conv2": ("conv2", tensor("conv2_neuron.v_reset", scaled_by(1.01))),
    "the reset of fc2": ("fc2", tensor("fc2_neuron.v_reset", scaled_by(1.01))),
    "a membrane that stays": ("conv2", rewired),
    "a clipped input": ("conv1", clipped),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_file_is_found_in_its_layer_and_in_no_other(
    page: ModuleType, small: Path, tmp_path: Path, change: str
) -> None:
    layer, make = CHANGES[change]
    proto = onnx.load(small)
    make(proto)
    onnx.save(proto, tmp_path / "m.onnx")
    for evaluator in EVALUATORS:
        assert rechecked(page, tmp_path / "m.onnx", evaluator, of=small) == {layer: "DIFFERS"}


def test_a_file_that_computes_the_same_with_other_bytes_is_not_the_one_that_was_certified(
    small: Path, tmp_path: Path
) -> None:
    proto = onnx.load(small)
    proto.doc_string = "another"
    onnx.save(proto, tmp_path / "m.onnx")
    shutil.copy(certificate_path(small), tmp_path)
    code, said = run(tmp_path / "m.onnx")
    assert code == 1 and "NOT THE FILE" in said and "DIFFERS" not in said


def test_the_certificate_of_another_model_is_found(tmp_path: Path, small: Path) -> None:
    other = export(firing(v_reset=-0.25, seed=1), tmp_path / "other.onnx").path
    code, said = run(small, "--certificate", certificate_path(other))
    assert code == 1 and "NOT THE FILE" in said
    assert said.count("DIFFERS") >= 8
    deeper = export(firing("c4k3s1-PLIF-FC3-PLIF"), tmp_path / "deeper.onnx").path
    code, said = run(deeper, "--certificate", certificate_path(small))
    assert code == 1 and "CANNOT RUN: no node makes" in said


def edits(certificate: dict[str, Any]) -> dict[str, Callable[[dict[str, Any]], object]]:
    def first(c: dict[str, Any], i: int = 0) -> dict[str, Any]:
        return dict.__getitem__(c["made"][0], "tensors")[i]

    return {
        "seed": lambda c: c.update(seed=1),
        "samples": lambda c: c.update(samples=4),
        "cells": lambda c: first(c).update(cells="0" * 64),
        "k": lambda c: first(c, 1).update(k=first(c, 1)["k"] - 1),
        "a place more": lambda c: first(c, 1)["left_out"].append(1),
        "a place less": lambda c: first(c, 1)["left_out"].pop(),
        "low": lambda c: c["given"][1].update(low=-0.4),
        "levels": lambda c: c["given"][0]["levels"].pop(),
        "one in": lambda c: c["given"][0].update(one_in=5),
        "of which file": lambda c: c["file"].update(sha256="0" * 64),
    }


@pytest.mark.parametrize("edit", edits({}))
def test_an_edit_of_the_certificate_is_found_with_its_last_line_and_without(
    page: ModuleType, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    certificate = json.loads(certificate_path(small).read_text())
    edits(certificate)[edit](certificate)
    shutil.copy(small, tmp_path)
    path = tmp_path / certificate_path(small).name
    path.write_text(json.dumps(certificate))
    words = ["--inside", str(tmp_path / "m.onnx")]
    assert page.main(words) == 2 and "was edited" in capsys.readouterr().err
    seal(path, certificate)
    assert page.main(words) == 1


HOSTILE = {
    "no file": None,
    "empty": b"",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "an older format": b'{"format": "plif certificate 1"}',
    "nothing in it": b'{"format": "plif certificate 2"}',
    "no text": bytes(range(256)),
}


@pytest.mark.parametrize("content", HOSTILE)
def test_a_bad_certificate_is_one_line_and_exit_code_2(small: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.json"
    if (data := HOSTILE[content]) is not None:
        path.write_bytes(data)
    code, said = run(small, "--certificate", path)
    assert code == 2 and said.startswith("recheck: error: ") and said.count("\n") == 1


def test_what_is_no_onnx_file_is_one_line_and_exit_code_2(small: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x00" * 100)
    shutil.copy(certificate_path(small), tmp_path)
    code, said = run(tmp_path / "m.onnx")
    assert code == 2 and said.endswith("is no ONNX file\n")


# --- when there is one -------------------------------------------------------------------------------------------------


def test_an_old_certificate_does_not_stay_beside_a_new_file(tmp_path: Path) -> None:
    net = firing()
    for other in ({"verify": False}, {"form": "unrolled"}):
        path = export(net, tmp_path / "m.onnx").path
        assert certificate_path(path).is_file()
        export(net, path, **other)
        assert not certificate_path(path).exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.onnx", "m.onnx.report.json"]


def test_a_file_that_does_not_do_what_is_written_down_gets_no_name(tmp_path: Path) -> None:
    """The certificate is made from the model, and the file is asked the same: another judge is noticed."""
    from plif_export.core.pipeline import ParityError
    from plif_export.observers.certificate import certificate

    net = firing()

    def wrong(proto: onnx.ModelProto, card: Any, graph: Graph, *rest: Any, **file: str) -> str:
        tensor("conv2.weight", one_weight)(proto)
        return certify(proto, card, graph, *rest, **file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "certify", wrong)
        with pytest.raises(ParityError, match=r"layer conv2, .* are not those of a certificate"):
            export(net, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
