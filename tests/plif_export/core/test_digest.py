"""The digest binds card, weights and graph: what was changed since the export is refused, by name, or does the same."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import plif_train
import runtime
from plif_export import export, verify
from plif_export.core.cards import set_card
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import CARD_KEY, read_card
from runtime.core.model.digest import find_changed_parts, write_digest
from runtime.core.model.readers.onnx_contents import read_contents
from runtime.native import is_built
from tests.networks import digits_network, firing, frames

ENGINES = ("event", "onnxruntime") if is_built() else ("onnxruntime",)


def put(path: Path, proto: onnx.ModelProto, card: dict[str, Any]) -> Path:
    """Writes the file with this card as it is: its digest is not made again."""
    del proto.metadata_props[1:]  # the first one says where states start
    proto.metadata_props.add(key=CARD_KEY, value=json.dumps(card))
    path.write_bytes(proto.SerializeToString())
    return path


def edited(path: Path, target: Path, **changed: Any) -> Path:
    """A copy of an ONNX artifact with other keys in its card."""
    return put(target, onnx.load(path), {**read_card(path), **changed})


def with_tensor(
    path: Path, target: Path, name: str, change: Callable[[np.ndarray], object], reseal: bool = False
) -> Path:
    """A copy of an ONNX artifact with another initializer; reseal: and with the digest that fits."""
    proto, card = onnx.load(path), read_card(path)
    found = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(found).copy()
    change(values)
    found.CopyFrom(numpy_helper.from_array(values, name))
    if reseal:
        set_card(proto, card)
    return put(target, proto, card)


def put_one(at: tuple[int, ...], value: float) -> Callable[[np.ndarray], object]:
    return lambda values: values.__setitem__(at, value)


# --- what load refuses ------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_refused_or_the_answers_are_the_same(digits_onnx: Path, tmp_path: Path) -> None:
    whole, path = digits_onnx.read_bytes(), tmp_path / "m.onnx"
    x = frames(digits_network(), np.random.default_rng(0), T=3)
    expected = {name: runtime.load(digits_onnx, name).session(2).run(x) for name in ENGINES}
    rng, weights, opened = np.random.default_rng(1), len(whole) // 8, 0
    for i in range(250):  # half of them anywhere in the file, half where there are no weights
        place = int(rng.integers(len(whole))) if i % 2 else int(rng.integers(weights))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            with warnings.catch_warnings(record=True):
                models = [runtime.load(path, name) for name in ENGINES]
        except PlifError as error:
            assert "\n" not in str(error)
            continue
        opened += 1
        for model in models:
            np.testing.assert_array_equal(model.session(2).run(x), expected[model.engine.name], str(place))
    assert opened < 25  # names of producers, the card's notes


@pytest.mark.parametrize(
    "changed",
    [
        {"v_threshold": 0.5},
        {"classes": list("9876543210")},
        {"framing": "count:N=100"},
        {"normalisation": {"mean": [0.0, 0.0], "std": [1.0, 1.0]}},
        {"output": {"kind": "votes", "voters": 5}},
        {"exit": {"margin": 3}},  # a key of whoever comes later
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_an_edited_card_is_refused_and_named(digits_onnx: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    path = edited(digits_onnx, tmp_path / "m.onnx", **changed)
    for name in ENGINES:
        with pytest.raises(PlifError, match=r"m\.onnx: card was changed since the export"):
            runtime.load(path, name)


def test_a_state_or_a_layer_of_the_card_that_was_edited_is_refused(digits_onnx: Path, tmp_path: Path) -> None:
    card = read_card(digits_onnx)
    card["states"][0]["initial"] = 0.25
    with pytest.raises(PlifError, match="card was changed"):
        runtime.load(edited(digits_onnx, tmp_path / "m.onnx", states=card["states"]))
    neuron = next(node for node in card["graph"]["nodes"] if node["op"] == "Neuron")
    neuron["attrs"]["v_threshold"] = 0.9
    with pytest.raises(PlifError, match="card was changed"):
        runtime.load(edited(digits_onnx, tmp_path / "m.onnx", graph=card["graph"]))


def test_the_tensor_and_the_graph_that_were_changed_are_named(digits_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(PlifError, match=r": tensor conv1\.weight was changed since the export"):
        runtime.load(with_tensor(digits_onnx, path, "conv1.weight", put_one((0, 0, 0, 0), 0.5)))
    proto = onnx.load(digits_onnx)
    next(node for node in proto.graph.node if node.op_type == "MaxPool").attribute[0].ints[0] += 1
    with pytest.raises(PlifError, match=": graph was changed since the export"):
        runtime.load(put(path, proto, read_card(digits_onnx)))
    proto = onnx.load(digits_onnx)
    proto.metadata_props[0].value += " 0"
    with pytest.raises(PlifError, match=r": plif\.initial was changed since the export"):
        runtime.load(put(path, proto, read_card(digits_onnx)))
    digest = read_card(digits_onnx)["digest"]
    for other in ({**digest, "sha256": "0" * 64}, {**digest, "parts": {}}, {"parts": 3}, "no", [], 7):
        with pytest.raises(PlifError, match=r": digest was changed since the export"):
            runtime.load(edited(digits_onnx, path, digest=other))


def test_weights_of_one_artifact_and_the_card_of_another_do_not_open(digits_onnx: Path, tmp_path: Path) -> None:
    other = export(firing(seed=1), tmp_path / "other.onnx", verify=False).path
    with pytest.raises(PlifError, match="were changed since the export"):
        runtime.load(put(tmp_path / "m.onnx", onnx.load(other), read_card(digits_onnx)))


@pytest.mark.parametrize("file", ("model.xml", "model.bin"))
def test_a_folder_for_openvino_with_a_flipped_bit_is_refused(tmp_path: Path, file: str) -> None:
    pytest.importorskip("openvino")
    path = export(firing(), tmp_path / "m_openvino", to="openvino", verify=False).path
    data = bytearray((path / file).read_bytes())
    data[len(data) // 2] ^= 1
    (path / file).write_bytes(data)
    with pytest.raises(PlifError, match=f": {file} was changed since the export"):
        runtime.load(path)


def test_an_artifact_without_a_digest_opens_with_a_note(
    digits_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = edited(digits_onnx, tmp_path / "m.onnx", digest=None)
    with pytest.warns(PlifWarning, match=r"m\.onnx: its card has no digest"):
        model = runtime.load(path, "onnxruntime")
    x = frames(digits_network(), np.random.default_rng(0), T=3)
    np.testing.assert_array_equal(model.session(2).run(x), runtime.load(digits_onnx, "onnxruntime").session(2).run(x))
    assert run(["info", str(path)]) == 0 and "\ndigest        -\n" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("error", PlifWarning)
        runtime.load(digits_onnx, ENGINES[0])


# --- numbers that are not finite --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", (np.nan, np.inf, -np.inf), ids=str)
@pytest.mark.parametrize(
    ("tensor", "at", "where"),
    [
        ("conv1.weight", (1, 0, 2, 2), r" at \[1, 0, 2, 2\]"),
        ("conv2_neuron.v_threshold", (), ""),
        ("conv1.bias", (3,), ""),
    ],
)
def test_every_engine_refuses_numbers_that_are_not_finite(
    digits_onnx: Path, tmp_path: Path, tensor: str, at: tuple[int, ...], where: str, value: float
) -> None:
    path = with_tensor(digits_onnx, tmp_path / "m.onnx", tensor, put_one(at, value), reseal=True)
    for name in ENGINES:
        with pytest.raises(PlifError, match=rf"m\.onnx: tensor {tensor} holds -?(nan|inf){where}"):
            runtime.load(path, name)


def test_openvino_refuses_numbers_that_are_not_finite_too(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = export(firing(), tmp_path / "m_openvino", to="openvino", verify=False).path
    weight = numpy_helper.to_array(onnx.load(export(firing(), tmp_path / "m.onnx").path).graph.initializer[0])
    data = (path / "model.bin").read_bytes()
    at = data.index(weight.tobytes())  # where the weights of the first layer are
    (path / "model.bin").write_bytes(data[:at] + np.float32(np.nan).tobytes() + data[at + 4 :])
    card = read_card(path)
    write_digest(card, detect_kind(path).read_contents(path))
    (path / "card.json").write_text(json.dumps(card))
    with pytest.raises(PlifError, match=r"tensor conv1\.weight holds nan at \[0, 0, 0, 0\]"):
        runtime.load(path)


def test_numbers_of_a_card_that_no_engine_holds_are_refused(digits_onnx: Path, tmp_path: Path) -> None:
    proto, text = onnx.load(digits_onnx), json.dumps(read_card(digits_onnx))
    for number in ("1e999", "-1e39", "1" + "0" * 39):
        proto.metadata_props[1].value = text.replace('"initial": 0.0', f'"initial": {number}', 1)
        (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
        with pytest.raises(PlifError, match=f"its card has the number {number}"):
            read_card(tmp_path / "m.onnx")


@pytest.mark.parametrize("verify", (True, False))
def test_a_model_with_such_numbers_is_not_exported_nor_run(tmp_path: Path, verify: bool) -> None:
    net = firing()
    with torch.no_grad():
        net.get_submodule("conv2").weight[3, 0, 1, 1] = np.nan  # type: ignore[index, operator]
    with pytest.raises(PlifError, match=r"layer conv2: its weight holds nan at \[3, 0, 1, 1\]"):
        export(net, tmp_path / "m.onnx", verify=verify)
    assert list(tmp_path.iterdir()) == []
    plif_train.save(net, tmp_path / "m.pt")
    with pytest.raises(PlifError, match=r"conv2\.weight has 1 of 576 numbers NaN"):
        runtime.load(tmp_path / "m.pt")


# --- what the digest is of --------------------------------------------------------------------------------------------


def test_writing_a_file_again_or_its_notes_does_not_change_the_digest(digits_onnx: Path, tmp_path: Path) -> None:
    expected = read_contents(digits_onnx)
    proto = onnx.load(digits_onnx)
    proto.producer_name, proto.doc_string, proto.graph.doc_string = "another", "a note", "another note"
    proto.metadata_props.add(key="made by", value="somebody")
    proto.metadata_props.reverse()
    for node in proto.graph.node:
        node.doc_string = "a note"
    for tensor in proto.graph.initializer:  # numbers in fields of their own, as older writers put them
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.ClearField("raw_data")
            tensor.float_data.extend(values.ravel().tolist())
    initializers = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(reversed(initializers))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    assert read_contents(tmp_path / "m.onnx").parts == expected.parts
    assert find_changed_parts(read_card(tmp_path / "m.onnx"), read_contents(tmp_path / "m.onnx")) == []


def test_the_digest_binds_all_of_a_card_also_what_its_maker_says(digits_onnx: Path, tmp_path: Path) -> None:
    card = read_card(digits_onnx)
    assert set(card["digest"]) == {"sha256", "parts"} and len(card["digest"]["sha256"]) == 64
    tensors = {f"tensor {tensor.name}" for tensor in onnx.load(digits_onnx).graph.initializer}
    assert set(card["digest"]["parts"]) == {"card", "graph", "plif.initial", *tensors}
    for claim in ({"parity": "not run"}, {"versions": {"plif": "9"}}, {"provenance": {"by": "somebody"}}):
        with pytest.raises(PlifError, match="card was changed"):
            runtime.load(edited(digits_onnx, tmp_path / "m.onnx", **claim), ENGINES[0])


def test_any_node_attribute_or_initializer_that_changes_changes_its_part(digits_onnx: Path, tmp_path: Path) -> None:
    expected, path = read_contents(digits_onnx).parts, tmp_path / "m.onnx"

    def differing(change: Callable[[Any], object]) -> list[str]:
        proto = onnx.load(digits_onnx)
        change(proto)
        path.write_bytes(proto.SerializeToString())
        found = read_contents(path).parts
        return [name for name in {**expected, **found} if expected.get(name) != found.get(name)]

    for i in range(len(onnx.load(digits_onnx).graph.node)):
        assert differing(lambda p, i=i: p.graph.node.pop(i)) == ["graph"]
        assert differing(lambda p, i=i: setattr(p.graph.node[i], "op_type", "Abs")) == ["graph"]
        for j in range(len(onnx.load(digits_onnx).graph.node[i].attribute)):
            assert differing(lambda p, i=i, j=j: p.graph.node[i].attribute.pop(j)) == ["graph"]
    for i, tensor in enumerate(onnx.load(digits_onnx).graph.initializer):
        assert differing(lambda p, i=i: p.graph.initializer.pop(i)) == [f"tensor {tensor.name}"]
    assert differing(lambda p: p.graph.node.insert(0, p.graph.node.pop(1))) == ["graph"]
    assert differing(lambda p: setattr(p.opset_import[0], "version", 9)) == ["graph"]
    dims = differing(lambda p: p.graph.initializer[0].dims.reverse())
    assert dims == [f"tensor {onnx.load(digits_onnx).graph.initializer[0].name}"]


SETTINGS: dict[str, dict[str, Any]] = {
    "m.onnx": {},
    "m_T5.onnx": {"form": "unrolled"},
    "m_int8.onnx": {"precision": "int8"},
    "m_openvino": {"to": "openvino"},
    "m_triton": {"to": "triton"},
    "m.nir": {"to": "nir", "math": "exact", "options": {"votes": "fold"}},
}
POOLED = "{c8k3s1-BN-PLIF-APk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10"  # NIR has no max-pooling
NEEDS = {"openvino": "openvino", "nir": "nir"}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", SETTINGS)
def test_two_exports_are_equal_bytes_and_carry_a_digest_that_holds(tmp_path: Path, name: str) -> None:
    settings = SETTINGS[name]
    pytest.importorskip(NEEDS.get(settings.get("to", ""), "onnx"))
    net = firing(POOLED)
    trees = []
    for i in range(2):
        folder = tmp_path / str(i)
        folder.mkdir()
        path = export(net, folder / name, **settings).path
        tree = {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        report = json.loads(tree.pop(Path(f"{name}.report.json")))
        trees.append((tree, {**report, "seconds": None}))  # the one thing that differs
        card = read_card(path)
        assert find_changed_parts(card, detect_kind(path).read_contents(path)) == []
        card["T"] += 1
        assert find_changed_parts(card, detect_kind(path).read_contents(path)) == ["card"]
    assert trees[0] == trees[1]


# --- verify -----------------------------------------------------------------------------------------------------------


def test_verify_reports_the_digest(digits_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plif_train.save(digits_network(), tmp_path / "m.pt")
    assert run(["verify", str(digits_onnx), "--against", str(tmp_path / "m.pt"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["failed_at"] is None
    assert found["digest"] == {"sha256": read_card(digits_onnx)["digest"]["sha256"], "changed": []}
    older = edited(digits_onnx, tmp_path / "older.onnx", digest=None)
    report = verify(older, digits_network())
    assert report.passed and report.digest is None and "no digest" in report.digest_sentence()


@pytest.mark.parametrize("reseal", (False, True))
def test_verify_runs_the_gate_on_what_was_changed_and_names_layer_and_step(
    digits_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], reseal: bool
) -> None:
    """With a digest that was made again, too: what the weights do, only the gate can say."""
    plif_train.save(digits_network(), tmp_path / "m.pt")
    change = put_one((1, 0, 1, 1), 0.5)
    path = with_tensor(digits_onnx, tmp_path / "m.onnx", "conv2.weight", change, reseal)
    assert run(["verify", str(path), "--against", str(tmp_path / "m.pt"), "--json"]) == 1
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert not found["passed"] and found["failed_at"]["layer"] == "conv2"
    assert found["first_divergence"]["layer"] == "conv2" and found["first_divergence"]["step"] < 20
    assert "spikes differ" in found["failed_at"]["what"] or "membrane" in found["failed_at"]["what"]
    assert found["digest"]["changed"] == ([] if reseal else ["tensor conv2.weight"])
    assert "layer conv2, step " in output.err and "Traceback" not in output.err


def test_verify_fails_what_was_changed_and_does_the_same(digits_onnx: Path, tmp_path: Path) -> None:
    def last_bit(values: np.ndarray) -> None:
        values.view(np.int32)[0, 0] ^= 1

    report = verify(with_tensor(digits_onnx, tmp_path / "m.onnx", "fc1.weight", last_bit), digits_network())
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == "fc1" and report.spikes > 1000
    assert report.digest is not None and report.digest["changed"] == ["tensor fc1.weight"]


def test_verify_fails_what_was_changed_so_that_nothing_runs_it(digits_onnx: Path, tmp_path: Path) -> None:
    proto = onnx.load(digits_onnx)
    proto.graph.node[0].op_type = "Conw"
    report = verify(put(tmp_path / "m.onnx", proto, read_card(digits_onnx)), digits_network())
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "graph"
    assert "now it cannot be run" in report.failed_at["what"]


@pytest.mark.parametrize("file", ("model.xml", "model.bin"))
def test_verify_judges_a_folder_for_openvino_that_was_changed(tmp_path: Path, file: str) -> None:
    pytest.importorskip("openvino")
    path = export(firing(), tmp_path / "m_openvino", to="openvino", verify=False).path
    data = (path / file).read_bytes()
    if file == "model.xml":
        changed = data.replace(b'strides="1, 1"', b'strides="2, 2"', 1)
    else:
        weight = numpy_helper.to_array(onnx.load(export(firing(), tmp_path / "m.onnx").path).graph.initializer[0])
        at = data.index(weight.tobytes())
        changed = data[:at] + np.float32(7).tobytes() + data[at + 4 :]
    assert changed != data
    (path / file).write_bytes(changed)
    report = verify(path, firing())
    assert not report.passed and report.failed_at is not None
    assert report.digest is not None and report.digest["changed"] == [file]
    assert file == "model.xml" or report.failed_at["layer"] == "conv1"


def test_verify_sees_a_changed_network_in_a_folder_for_triton(tmp_path: Path) -> None:
    path = export(firing(), tmp_path / "m_triton", to="triton").path
    inner = next(path.glob("*/1/model.onnx"))
    with_tensor(inner, tmp_path / "other.onnx", "conv2.bias", put_one((0,), 0.5))
    shutil.copy(tmp_path / "other.onnx", inner)
    report = verify(path, firing())
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "conv2"
    assert report.digest is not None and report.digest["changed"] == ["tensor conv2.bias"]
