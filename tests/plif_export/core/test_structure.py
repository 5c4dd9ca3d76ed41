"""`plif verify` writes an artifact once more and compares everything: what no stimulus shows is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import plif_train
import runtime
from plif_export import export, verify
from plif_export.core.cards import set_card
from plif_train.core.network.network import Network
from runtime.artifacts.c.source import card_comment
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.artifacts import CARD_KEY, detect_kind
from runtime.core.model.card import encode_card, read_card
from runtime.core.model.digest import write_digest
from tests.networks import firing

SMALL = "{c8k3s1-BN-PLIF-MPk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10"
Change = Callable[[onnx.ModelProto, dict[str, Any]], None]


@pytest.fixture(scope="module")
def net() -> Network:
    return firing(SMALL)


@pytest.fixture(scope="module")
def model(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("structure") / "net.pt"
    plif_train.save(net, path)
    return path


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    return export(model, model.with_suffix(".onnx"), verify=False).path


def forged(path: Path, target: Path, change: Change) -> Path:
    """A changed artifact with the digest that fits, as anybody with this tool can make it."""
    proto, card = onnx.load(path), read_card(path)
    change(proto, card)
    initial = next((entry.value for entry in proto.metadata_props if entry.key == "plif.initial"), "")
    others = [entry for entry in proto.metadata_props if entry.key not in ("plif.initial", CARD_KEY)]
    set_card(proto, card)
    proto.metadata_props.extend(others)
    proto.metadata_props[0].value = initial
    target.write_bytes(proto.SerializeToString())
    write_digest(card, detect_kind(target).read_contents(target))
    next(entry for entry in proto.metadata_props if entry.key == CARD_KEY).value = encode_card(card)
    target.write_bytes(proto.SerializeToString())
    runtime.load(target, "onnxruntime")  # the digest does not give it away
    return target


def node_of(proto: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if output in node.output)


def before(proto: onnx.ModelProto, tensor: str, *nodes: tuple[str, list[str], str], **weights: Any) -> None:
    """Puts nodes (op, inputs, output) in front of all; who read `tensor` now reads the last one's output."""
    made = [helper.make_node(op, inputs, [output], output) for op, inputs, output in nodes]
    for node in proto.graph.node:
        node.input[:] = [made[-1].output[0] if name == tensor else name for name in node.input]
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*made, *rest])
    proto.graph.initializer.extend(numpy_helper.from_array(np.array(v), name) for name, v in weights.items())


def clip(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    before(proto, "x", ("Min", ["x", "most"], "x.clipped"), most=np.float32(8))


def bound(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    before(proto, "v.conv1", ("Max", ["v.conv1", "least"], "v.bounded"), least=np.float32(-10))


def rows(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    steps = [
        ("Shape", ["x"], "x.shape"),
        ("Gather", ["x.shape", "first"], "rows"),
        ("Range", ["zero", "rows", "one"], "row"),
    ]
    steps += [
        ("Less", ["row", "two"], "kept"),
        ("Cast", ["kept"], "kept.f"),
        ("Reshape", ["kept.f", "wide"], "kept.wide"),
    ]
    numbers = {"first": np.int64(0), "zero": np.int64(0), "one": np.int64(1), "two": np.int64(2)}
    before(proto, "x", *steps, ("Mul", ["x", "kept.wide"], "x.kept"), **numbers, wide=np.array([-1, 1, 1, 1], np.int64))
    node_of(proto, "kept.f").attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
    for node in proto.graph.node[:7]:
        node.input[:] = [name if name != "x.kept" else "x" for name in node.input]


def scaled_output(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    last = node_of(proto, "y")
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(1.000001), "factor"))
    last.op_type, last.input[:] = "Mul", [last.input[0], "factor"]


def dead(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    proto.graph.node.append(helper.make_node("Identity", ["x"], ["unused"], "unused"))


def older_opset(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    proto.opset_import[0].version -= 1


def initial(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    entry = next(entry for entry in proto.metadata_props if entry.key == "plif.initial")
    entry.value = entry.value.replace("0.0", "0.5", 1)


def weight(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def apply(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        found = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found)).astype(np.float32), name))

    return apply


def key(**changed: Any) -> Change:
    return lambda proto, card: card.update(changed)


REFUSED: dict[str, tuple[Change, str]] = {
    "rows from the third on get no input": (rows, "x.kept"),
    "counts are clipped": (clip, "x.clipped"),
    "membranes are bounded below": (bound, "v.bounded"),
    "threshold x (1 + 1e-6)": (
        weight("fc1_neuron.v_threshold", lambda v: v * np.float32(1 + 1e-6)),
        "fc1_neuron.v_threshold",
    ),
    "y x 1.000001": (scaled_output, "y"),
    "a dead node": (dead, "unused"),
    "an older opset": (older_opset, "opset_import"),
    "the metadata of the start": (initial, "plif.initial"),
    "a weight of fc2 a little": (weight("fc2.weight", lambda v: v * np.float32(1.0001)), "fc2.weight"),
    "the leak of fc2 a little": (weight("fc2_neuron.one_minus_alpha", lambda v: v * np.float32(1.0001)), "fc2_neuron"),
    "a note in a node": (lambda proto, card: setattr(proto.graph.node[3], "doc_string", "safe"), "doc_string"),
    "another producer": (lambda proto, card: setattr(proto, "producer_name", "plof"), "producer_name"),
    "view": (key(view="upright"), "card view"),
    "sensor": (key(sensor=[640, 480]), "card sensor"),
    "a key that no model has": (key(gain=3), "card gain"),
    "classes the other way round": (key(classes=["c", "b", "a"]), "card classes 0"),
    "another model": (key(source_sha256="0" * 64), "card source_sha256"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_stimulus_shows_is_refused_and_named(name: str, exported: Path, model: Path, tmp_path: Path) -> None:
    change, where = REFUSED[name]
    report = verify(forged(exported, tmp_path / "m.onnx", change), model, steps=2)
    assert not report.passed and report.failed_at is not None
    assert any(where in difference["where"] for difference in report.structure), report.structure
    assert "export it again with this version" in report.sentence()
    assert report.first_divergence is not None


def test_a_number_that_was_rounded_otherwise_is_listed_and_the_gate_decides(
    exported: Path, model: Path, tmp_path: Path
) -> None:
    def by_ulp(n: int) -> Change:
        def moved(v: np.ndarray) -> np.ndarray:
            v = v.copy()
            v.view(np.int32).flat[7] += n
            return v

        return weight("fc1.weight", moved)

    report = verify(forged(exported, tmp_path / "m.onnx", by_ulp(2)), model, steps=2)
    (difference,) = report.structure
    assert report.passed and difference["where"].endswith("fc1.weight numbers") and "2 ulp" in difference["found"]
    assert not verify(forged(exported, tmp_path / "m.onnx", by_ulp(3)), model, steps=2).passed


def test_an_equal_artifact_has_no_difference_under_any_name(
    exported: Path, model: Path, net: Network, tmp_path: Path
) -> None:
    report = verify(shutil.copy(exported, tmp_path / "renamed.onnx"), model, steps=2)
    assert report.passed and report.structure == [] and report.not_proved == []
    assert verify(exported, net, steps=2).not_proved == ["source_sha256"]  # of a live network nobody knows the file


def test_where_the_structure_is_ignored_numbers_alone_judge_and_the_report_says_so(
    exported: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = forged(exported, tmp_path / "m.onnx", dead)
    command = ["verify", str(path), "--against", str(model), "--steps", "2", "--json"]
    assert run([*command, "--structure", "ignored"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] and found["not_proved"][0] == "structure" and found["structure"] == []
    assert run(command) == 1
    caught = capsys.readouterr()
    assert json.loads(caught.out)["structure"][0]["where"].endswith("unused")
    assert caught.err.count("\n") == 1 and "unused" in caught.err


def test_what_a_later_command_wrote_into_the_card_is_not_proved(exported: Path, model: Path, tmp_path: Path) -> None:
    report = verify(forged(exported, tmp_path / "m.onnx", key(exit={"margin": 1e-9})), model, steps=2)
    assert report.passed and report.not_proved == ['exit {"margin":1e-09}']


def test_the_makers_claims_are_in_the_digest_and_shown_as_claims(
    exported: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = {
        **read_card(exported),
        "parity": {"passed": True, "spike_mismatches": 0, "spikes": 10**9, "steps": 1, "excused": 0},
    }
    proto = onnx.load(exported)
    next(entry for entry in proto.metadata_props if entry.key == CARD_KEY).value = encode_card(card)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(PlifError, match="card was changed since the export"):
        runtime.load(tmp_path / "m.onnx")
    path = forged(exported, tmp_path / "n.onnx", lambda proto, found: found.update(card))
    assert run(["info", str(path)]) == 0
    assert "its maker says: passed" in capsys.readouterr().out


@pytest.mark.parametrize("options", [3, ["a"], {"a": 3}, {"fire": "gt"}], ids=str)
def test_options_in_a_card_that_its_target_has_not_are_refused(
    options: object, exported: Path, model: Path, tmp_path: Path
) -> None:
    path = forged(exported, tmp_path / "m.onnx", key(options=options))
    with pytest.raises(
        PlifError, match=r"its card's options are no texts|--set (a|fire): --to onnx has no such option"
    ):
        verify(path, model, steps=2)


def test_a_key_that_stands_twice_in_a_card_is_refused(exported: Path, tmp_path: Path) -> None:
    proto, text = onnx.load(exported), encode_card(read_card(exported))
    entry = next(entry for entry in proto.metadata_props if entry.key == CARD_KEY)
    entry.value = text.replace('"T":5', '"T":5,"T":6', 1)
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(PlifError, match="its card says 'T' twice"):
        read_card(tmp_path / "m.onnx")


# --- folders and other forms ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(model: Path) -> Path:
    return export(model, model.with_name("net_triton"), to="triton", verify=False).path


def newer_version(path: Path) -> None:
    shutil.copytree(path / "net" / "1", path / "net" / "2")


def in_config(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "net" / "config.pbtxt"
        file.write_text(file.read_text() + text)

    return change


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a newer version": (newer_version, "net/2"),
    "version_policy": (in_config("version_policy { all { } }\n"), "config.pbtxt"),
    "another file": (in_config('default_model_filename: "other.onnx"\n'), "config.pbtxt"),
    "an optimization": (in_config("optimization { graph { level: 1 } }\n"), "config.pbtxt"),
    "labels": (lambda path: (path / "net" / "labels.txt").write_text("b\na\nc\n") and None, "labels.txt"),
    "a link": (lambda path: (path / "net" / "notes").symlink_to("/etc/hostname"), "net/notes"),
    "an empty folder": (lambda path: (path / "net" / "9").mkdir(), "net/9"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_of_a_folder_is_compared(name: str, served: Path, model: Path, tmp_path: Path) -> None:
    change, where = FOLDERS[name]
    path = Path(shutil.copytree(served, tmp_path / served.name))
    assert verify(path, model, steps=2).structure == []
    change(path)
    report = verify(path, model, steps=2)
    assert not report.passed and where in report.structure[0]["where"]


@pytest.mark.parametrize("content", (b"no network", b"\x08\xff"), ids=("text", "cut"))
def test_a_version_in_a_folder_that_is_no_onnx_is_one_line(
    content: bytes, served: Path, model: Path, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(served, tmp_path / served.name))
    (path / "net" / "2").mkdir()
    (path / "net" / "2" / "model.onnx").write_bytes(content)
    with pytest.raises(PlifError, match=r"net/2/model\.onnx: is not an ONNX file") as error:
        verify(path, model, steps=2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("to", "suffix"), [("plif", ".plif"), ("web", ".html"), ("openvino", "_openvino"), ("c", ".c")]
)
def test_other_forms_are_written_again_and_compared(to: str, suffix: str, model: Path, tmp_path: Path) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    if to == "c" and shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    path = export(model, tmp_path / f"net{suffix}", to=to, verify=False).path
    report = verify(path, model, steps=2)
    assert report.passed and report.structure == [] and report.not_proved == []
    if to == "web":
        path.write_bytes(path.read_bytes().replace(b"</body>", b"<script>1</script></body>"))
        assert "page" in verify(path, model, steps=2).structure[0]["where"]
    if to == "openvino":
        (path / "notes.txt").write_text("safe")
        assert verify(path, model, steps=2).structure[0]["where"] == "notes.txt"


def test_nir_is_compared_data_set_by_data_set(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("nir")
    net = firing("c8k3s1-BN-PLIF-APk2s2-FC3-PLIF")
    path = export(net, tmp_path / "net.nir", to="nir", verify=False).path
    assert verify(path, net, steps=2).structure == []
    with h5py.File(path, "r+") as file:
        file["node"].attrs["by"] = "somebody"
    report = verify(path, net, steps=2)
    assert not report.passed and "by" in report.structure[0]["where"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_c_that_is_not_what_is_written_runs_only_where_the_user_says_so(model: Path, tmp_path: Path) -> None:
    path = export(model, tmp_path / "net.c", to="c", verify=False).path
    text = path.read_text()
    code, _, _ = text.rpartition("\n/* plif.card\n")
    trap = "__attribute__((constructor)) static void ran(void) { _Exit(7); }"
    evil = f"/* plif: */ #include <stdlib.h>\n{trap}\n".replace("*/ ", "*/\n") + code
    card = read_card(path)
    path.write_text(evil)
    write_digest(card, detect_kind(path).read_contents(path))
    path.write_text(evil + card_comment(encode_card(card), card["digest"]["sha256"]))
    report = verify(path, model, steps=2)
    assert not report.passed
    assert "net.c, line" in report.sentence() and "--run" in report.sentence()
    assert not verify(path, model, steps=2, structure="ignored").passed
    report = verify(path, model, steps=2, run=True)
    assert report.failed_at is not None and "ended with 7" in report.failed_at["what"]
