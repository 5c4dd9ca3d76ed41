"""A folder for OpenVINO that names another version: its nodes are compared all the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plif_export import export, verify
from plif_export.core import verification
from plif_export.core.proof.structure import Difference
from plif_export.targets.openvino_ir.target import OpenVinoTarget
from runtime.core.model.card import Card, read_card
from tests.networks import firing
from tests.plif_export.core.attacks.artifacts import reseal
from tests.plif_export.core.attacks.changed.openvino import read_otherwise

pytest.importorskip("openvino")

THEIRS = "2027.0.0"
Change = Callable[[str], str]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("plain") / "m_openvino", to="openvino", verify=False).path


def of_their_version(xml: str) -> str:
    """The text as another version writes it."""
    changed = re.sub('(name="OpenVINO Runtime" value=")[^"]*', rf"\g<1>{THEIRS}-1-abc-releases/2027/0", xml)
    assert changed != xml
    return changed


def other_order(xml: str) -> str:
    """The text with the layers the other way round, with other ids."""
    head, first, rest = xml.partition("\t\t<layer ")
    layers, end, tail = (first + rest).partition("\t</layers>")
    parts = layers.split("\t\t<layer ")[1:]
    assert len(parts) > 50
    numbered = re.sub(r'((?:layer id|from-layer|to-layer)=")(\d+)', lambda m: f"{m[1]}{1000 - int(m[2])}", tail)
    blocks = [re.sub(r'^id="(\d+)"', lambda m: f'id="{1000 - int(m[1])}"', part) for part in reversed(parts)]
    return head + "".join(f"\t\t<layer {block}" for block in blocks) + end + numbered


def forged(plain: Path, folder: Path, change: Change = str) -> Path:
    """A copy with another model.xml that names their version, with a digest that fits it."""
    path = Path(shutil.copytree(plain, folder / plain.name))
    xml = path / "model.xml"
    xml.write_text(of_their_version(change(xml.read_text())))
    reseal(path, name_their_version)
    return path


def name_their_version(card: Card) -> None:
    card["versions"]["openvino"] = THEIRS


def differences(path: Path, plain: Path) -> list[Difference]:
    """The differences of a folder from the fresh one, by their cards."""
    return list(OpenVinoTarget().compare_contents((path, read_card(path)), (plain, read_card(plain))))


# --- what passes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", (str, other_order))
def test_the_same_nodes_of_another_version_pass(plain: Path, tmp_path: Path, change: Change) -> None:
    report = verify(forged(plain, tmp_path, change), firing(), steps=2)
    assert report.passed and report.structure == [] and report.not_proved == ["versions"]


def test_rt_info_without_a_version_passes_as_openvino_2025_writes_it(plain: Path, tmp_path: Path) -> None:
    path = forged(plain, tmp_path)
    xml = path / "model.xml"
    xml.write_text(re.sub("<rt_info>.*</rt_info>", "<rt_info />", xml.read_text(), flags=re.S))
    assert differences(path, plain) == []


def test_the_same_version_has_the_same_order_and_text(plain: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(plain, tmp_path / plain.name))
    xml = path / "model.xml"
    xml.write_text(other_order(xml.read_text()))
    assert {difference.path.partition(",")[0] for difference in differences(path, plain)} == {"model.xml as text"}


def test_a_weight_by_one_ulp_is_rounding_and_listed(plain: Path, tmp_path: Path) -> None:
    path = forged(plain, tmp_path)
    change_weight(path, lambda weights: np.nextafter(weights, np.float32(9), dtype=np.float32))
    (difference,) = differences(path, plain)
    assert difference.rounding and difference.path == "model.xml layer conv1.weight numbers"


# --- what is found --------------------------------------------------------------------------------------------------------


def change_weight(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Changes the first number of conv1's weight in model.bin."""
    pattern = r'name="conv1.weight" type="Const" version="opset1">\s*<data [^>]*offset="(\d+)"'
    found = re.search(pattern, (path / "model.xml").read_text())
    assert found is not None
    numbers = np.frombuffer((path / "model.bin").read_bytes(), "<f4").copy()
    place = slice(int(found[1]) // 4, int(found[1]) // 4 + 1)
    numbers[place] = change(numbers[place])
    (path / "model.bin").write_bytes(numbers.tobytes())


@pytest.mark.parametrize("structure", ("compared", "ignored"))
def test_a_network_that_clips_its_input_is_found_whatever_version_it_names(
    plain: Path, tmp_path: Path, structure: str
) -> None:
    path = Path(shutil.copytree(plain, tmp_path / plain.name))
    read_otherwise(path, lambda ops, x: ops.minimum(x, ops.constant(np.float32(200))))
    xml = path / "model.xml"
    xml.write_text(of_their_version(xml.read_text()))
    reseal(path, name_their_version)
    report = verify(path, firing(), steps=2, structure=structure)
    if structure == "ignored":  # the input of a proof has no such counts: only its structure shows it
        assert report.passed and report.not_proved == ["structure", "versions"]
    else:
        assert not report.passed and report.structure[0]["where"].startswith("model.xml layer")


def sub(pattern: str, new: str) -> Change:
    def change(xml: str) -> str:
        changed = re.sub(pattern, new, xml, count=1)
        assert changed != xml
        return changed

    return change


CHANGES: dict[str, tuple[str, Change]] = {
    "an operation": ("layer", sub('type="GreaterEqual"', 'type="Greater"')),
    "an operation of another set": ("layer", sub('type="Convolution" version="opset1"', 'type="Convolution" version="o2"')),
    "an attribute": ("layer", sub('pads_begin="1, 1"', 'pads_begin="2, 2"')),
    "an attribute more": ("layer", sub('pads_begin="1, 1"', 'pads_begin="1, 1" text=""')),
    "a name": ("layer", sub('name="[^"]*" type="Convolution"', 'name="edited" type="Convolution"')),
    "a tensor's name": ("layer", sub('names="v.conv1"', 'names="v.conv3"')),
    "a shape": ("layer", sub("<dim>40</dim>", "<dim>41</dim>")),
    "a constant's type": ("layer", sub('element_type="f32" shape="1"', 'element_type="i32" shape="1"')),
    "a constant's shape": ("layer", sub('element_type="f32" shape="1"', 'element_type="f32" shape=""')),
    "where a constant lies": ("layer", sub('offset="4" size="4"', 'offset="0" size="4"')),
    "an edge": ("edges", sub(r'(from-layer=")\d+(" from-port="0" to-layer="6")', r"\g<1>5\2")),
    "the network's name": ("net", sub('name="plif_step"', 'name="resnet50"')),
    "options in rt_info": ("others", sub("</rt_info>", '<INFERENCE_PRECISION_HINT value="f16" /></rt_info>')),
    "options beside the version": ("others", sub("</rt_info>", '<info name="hint" value="f16" /></rt_info>')),
    "inside the version": ("others", sub(r"(<info [^>]*) />", r"\1>f16</info>")),
    "an element inside the version": ("others", sub(r"(<info [^>]*) />", r"\1><f16 /></info>")),
    "text": ("net", sub("<edges>", "<edges>text")),
    "one more part": ("others", sub("</edges>", "</edges><meta_data />")),
    "a comment": ("", sub("<edges>", "<!-- edited --><edges>")),
    "a document type": ("", lambda xml: xml.replace("\n", '\n<!DOCTYPE net [<!ENTITY n "plif_step">]>', 1)),
    "another encoding": ("declaration", sub('version="1.0"', 'version="1.0" encoding="cp1252"')),
    "two of one name": ("", sub('name="conv1.weight"', 'name="conv2.weight"')),
    "two of one id": ("", sub('layer id="3"', 'layer id="2"')),
    "an id in other digits": ("", lambda xml: re.sub('((?:layer id|from-layer|to-layer)=)"2"', r'\1"03"', xml)),
    "layers in layers": ("", lambda xml: xml.replace("</edges>", "</edges>" + "<a>" * 2000 + "</a>" * 2000)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_of_the_nodes_is_found_and_named(plain: Path, tmp_path: Path, name: str) -> None:
    part, change = CHANGES[name]
    first = differences(forged(plain, tmp_path, change), plain)[0]
    assert not first.rounding and first.path.startswith(f"model.xml {part}".strip())
    assert part or first.actual.startswith("not to be compared: ")


@pytest.mark.parametrize("change", ("a weight", "bytes at the end", "bytes gone"))
def test_each_change_of_the_weights_is_found(plain: Path, tmp_path: Path, change: str) -> None:
    path = forged(plain, tmp_path)
    binary = path / "model.bin"
    if change == "a weight":
        change_weight(path, lambda weights: weights * np.float32(1.001))
    else:
        data = binary.read_bytes()
        binary.write_bytes(data + bytes(4) if change == "bytes at the end" else data[:-4])
    found = differences(path, plain)
    assert found and not found[0].rounding


def test_a_rounding_of_many_numbers_hides_no_other_difference(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MOST_DIFFERENCES", 1)
    path = forged(plain, tmp_path, lambda xml: xml.replace('type="GreaterEqual"', 'type="Greater"'))
    change_weight(path, lambda weights: np.nextafter(weights, np.float32(9), dtype=np.float32))
    reseal(path)
    assert differences(path, plain)[0].rounding
    report = verify(path, firing(), steps=2)
    assert not report.passed and len(report.structure) == 2
