"""Networks of OpenVINO. Drawn from outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.core.model.artifacts import CARD_FILE
from tests.plif_export.core.attacks.artifacts import attack, reseal
from tests.plif_export.core.attacks.changed.triton import folder


def openvino(expected: str = "refused") -> Callable[[Any], Any]:
    """Enters a function of (folder, the same)."""
    return folder("openvino", expected, lambda path: path)


def _xml(name: str, change: Callable[[str], str], doc: str, expected: str = "refused") -> None:
    def changed(path: Path, same: Path) -> None:
        xml = path / "model.xml"
        old = xml.read_text()
        assert change(old) != old, name
        xml.write_text(change(old))

    changed.__name__, changed.__doc__ = name, doc
    openvino(expected)(changed)


_xml("openvino_comment", lambda xml: xml + "<!-- edited -->\n", "a comment at the end")
_xml(
    "openvino_layer_renamed",
    lambda xml: re.sub('name="[^"]*" type="Convolution"', 'name="edited" type="Convolution"', xml, count=1),
    "a layer that tools call otherwise",
)
_xml("openvino_net_renamed", lambda xml: xml.replace('name="plif_step"', 'name="resnet50"'), "the name of the network")
_xml(
    "openvino_runtime_hint",
    lambda xml: xml.replace("</net>", '<rt_info><INFERENCE_PRECISION_HINT value="f16" /></rt_info></net>'),
    "rt_info, where some versions keep options",
)
_xml("openvino_greater", lambda xml: xml.replace('type="GreaterEqual"', 'type="Greater"'), "> for >=")
_xml("openvino_spaces", lambda xml: xml.replace("\t", "    "), "other white space")
_xml(
    "openvino_entity",
    lambda xml: xml.replace('<?xml version="1.0"?>', '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY n "plif_step">]>'),
    "a document type: readers of XML differ in what they do with it",
)


@openvino()
def openvino_weight_a_thousandth(path: Path, same: Path) -> None:
    """the largest number of model.bin, a thousandth more"""
    data = np.frombuffer((path / "model.bin").read_bytes(), np.float32).copy()
    data[np.nanargmax(np.where(np.abs(data) < 10, np.abs(data), 0))] *= 1.001
    (path / "model.bin").write_bytes(data.tobytes())


@openvino()
def openvino_bytes_behind_the_weights(path: Path, same: Path) -> None:
    """freight at the end of model.bin"""
    with (path / "model.bin").open("ab") as file:
        file.write(bytes(64))


@openvino()
def openvino_of_a_clipped_network(path: Path, same: Path) -> None:
    """a network that clips its input at 8, written by OpenVINO itself"""
    read_otherwise(path, lambda ops, x: ops.minimum(x, ops.constant(np.float32(8))))


@openvino()
def openvino_of_a_network_that_takes_off_fractions(path: Path, same: Path) -> None:
    """a network that rounds its input down, written by OpenVINO itself"""
    read_otherwise(path, lambda ops, x: ops.floor(x))


def read_otherwise(path: Path, change: Callable[[Any, Any], Any]) -> None:
    """model.xml and model.bin of a network whose readers of x read change(opset, x)."""
    import openvino as ov
    from openvino import opset13 as ops

    found = ov.Core().read_model(path / "model.xml")
    x = next(p for p in found.inputs if "x" in p.names)
    readers = list(x.get_target_inputs())
    new = change(ops, x)
    for reader in readers:
        reader.replace_source_output(new.output(0))
    ov.save_model(found, path / "again.xml", compress_to_fp16=False)
    del found
    for suffix in ("xml", "bin"):
        (path / f"again.{suffix}").replace(path / f"model.{suffix}")


@openvino()
def openvino_extra_file(path: Path, same: Path) -> None:
    """another network beside the network"""
    shutil.copy(path / "model.xml", path / "model_fp16.xml")


@openvino()
def openvino_extra_folder(path: Path, same: Path) -> None:
    """a cache of compiled networks, which OpenVINO loads in place of the network"""
    (path / "model_cache").mkdir()
    (path / "model_cache" / "1.blob").write_bytes(b"compiled")


@openvino()
def openvino_weights_behind_a_link(path: Path, same: Path) -> None:
    """model.bin is a link to a file outside, which can change after the proof"""
    (path / "model.bin").rename(path.parent / "outside.bin")
    (path / "model.bin").symlink_to(path.parent / "outside.bin")


@attack("openvino")
def openvino_card_with_a_second_digest(path: Path) -> None:
    """the key digest twice in card.json: readers of JSON differ in which counts"""
    reseal(path)
    card = path / CARD_FILE
    card.write_text(card.read_text()[:-1] + ',"classes":["b","a"]}')


@attack("openvino")
def openvino_of_a_clipped_network_by_a_newer_version(path: Path) -> None:
    """a network that clips its input at 200, whose card says that another version of OpenVINO wrote it"""
    read_otherwise(path, lambda ops, x: ops.minimum(x, ops.constant(np.float32(200))))
    reseal(path, lambda card: card["versions"].update(openvino="2027.0.0"))
