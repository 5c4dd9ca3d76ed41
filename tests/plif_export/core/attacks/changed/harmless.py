"""What must not be refused: a check that refuses everything would find every attack."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import onnx

from tests.plif_export.core.attacks.artifacts import OPTIONS, attack, reseal
from tests.plif_export.core.attacks.changed.edits import Proto, model, ulps, weights

for _target in (*OPTIONS, "plif", "c", "openvino", "triton"):  # also where options were given that the card has to name

    def _untouched(path: Path) -> None:
        """a fresh export, sealed again"""
        reseal(path)

    attack(_target, "passes", f"fresh_{_target}")(_untouched)


@attack(expected="passes")
def touched(path: Path) -> None:
    """another time of change"""
    os.utime(path, (1, 1))


@attack(expected="passes")
def renamed(path: Path) -> Path:
    """another file name"""
    return path.rename(path.with_name("something else.onnx"))


@attack(expected="passes")
def read_only(path: Path) -> None:
    """another mode"""
    path.chmod(0o444)


@attack(expected="passes")
def moved_without_its_report(path: Path) -> Path:
    """a file in another folder, with a stranger beside it"""
    place = path.parent / "elsewhere"
    place.mkdir()
    (place / "weights.bin").write_bytes(b"of somebody else")
    return Path(shutil.copy(path, place))


@attack(expected="passes")
def behind_a_link(path: Path) -> Path:
    """a symbolic link to the file"""
    link = path.with_name("link.onnx")
    link.symlink_to(path)
    return link


@attack(expected="passes")
def saved_again_by_the_onnx_package(path: Path) -> None:
    """the same message, written by another program"""
    onnx.save(onnx.load(path), path)


@model("listed")
def one_weight_by_1_ulp(proto: Proto) -> None:
    """another version of PyTorch may round a fold otherwise: listed, and the gate decides"""
    weights(proto, "conv1.weight", ulps(1))


@model("listed")
def one_weight_by_2_ulp(proto: Proto) -> None:
    """the most that is listed"""
    weights(proto, "fc1.weight", ulps(2))


@model("listed")
def all_weights_of_fc2_by_1_ulp(proto: Proto) -> None:
    """a whole layer, folded on another processor"""
    weights(proto, "fc2.weight", ulps(1, "all"))


@attack("plif", "passes")
def a_plif_file_renamed(path: Path) -> Path:
    """another file name"""
    return path.rename(path.with_name("camera-7.plif"))


@attack("openvino", "passes")
def an_openvino_folder_renamed(path: Path) -> Path:
    """another folder name"""
    return path.rename(path.with_name("camera_openvino"))


@attack("triton", "passes")
def a_triton_repository_renamed(path: Path) -> Path:
    """another name of the repository; that of the model in it stays"""
    return path.rename(path.with_name("repository_triton"))


@attack("c", "passes")
def c_touched(path: Path) -> None:
    """another time of change of both files"""
    os.utime(path, (1, 1))
    os.utime(path.with_suffix(".h"), (1, 1))
