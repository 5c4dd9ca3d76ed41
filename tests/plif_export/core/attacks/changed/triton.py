"""Repositories of Triton. Drawn from outside."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from runtime.core.model.card import Card
from tests.plif_export.core.attacks.artifacts import attack, reseal
from tests.plif_export.core.attacks.changed.edits import Graph, ulps, weights


def triton(expected: str = "refused") -> Callable[[Any], Any]:
    """Enters a function of (repository, folder of the model in it)."""
    return folder("triton", expected, lambda path: next(path.glob("*/config.pbtxt")).parent)


def folder(target: str, expected: str, inside: Callable[[Path], Path]) -> Callable[[Any], Any]:
    def enter(change: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        def changed(path: Path) -> None:
            change(path, inside(path))
            reseal(path)

        changed.__doc__ = change.__doc__
        attack(target, expected, change.__name__)(changed)
        return change

    return enter


def other_network(path: Path) -> None:
    """An ONNX file of the same form that answers otherwise."""
    proto = onnx.load(path)
    weights(proto, "fc2.weight", lambda w: -w)
    path.write_bytes(proto.SerializeToString())


def _config(name: str, change: Callable[[str], str], doc: str) -> None:
    def changed(path: Path, model: Path) -> None:
        config = model / "config.pbtxt"
        old = config.read_text()
        assert change(old) != old, name
        config.write_text(change(old))

    changed.__name__, changed.__doc__ = name, doc
    triton()(changed)


def _more(text: str) -> Callable[[str], str]:
    return lambda config: f"{config.rstrip()}\n{text}\n"


@triton()
def a_version_2_with_another_network(path: Path, model: Path) -> None:
    """Triton serves the newest version"""
    shutil.copytree(model / "1", model / "2")
    other_network(model / "2" / "model.onnx")


@triton()
def a_version_10_that_is_the_same(path: Path, model: Path) -> None:
    """the same network again, today"""
    shutil.copytree(model / "1", model / "10")


@triton()
def an_empty_version_2(path: Path, model: Path) -> None:
    """a folder that makes the server fail when it loads"""
    (model / "2").mkdir()


@triton()
def version_1_is_renamed_to_3(path: Path, model: Path) -> None:
    """a client that asks for version 1 gets an error"""
    (model / "1").rename(model / "3")


@triton()
def another_file_beside_the_model(path: Path, model: Path) -> None:
    """model.plan or another network in the folder of the version, for default_model_filename"""
    shutil.copy(model / "1" / "model.onnx", model / "1" / "other.onnx")
    other_network(model / "1" / "other.onnx")


@triton()
def another_model_in_the_repository(path: Path, model: Path) -> None:
    """a second model that the server loads as well"""
    shutil.copytree(model, path / "other")


@triton()
def a_python_model_in_the_repository(path: Path, model: Path) -> None:
    """model.py of the Python backend: the server runs it when it starts"""
    (path / "warmup" / "1").mkdir(parents=True)
    (path / "warmup" / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    (path / "warmup" / "config.pbtxt").write_text('name: "warmup"\nbackend: "python"\n')


@triton()
def a_python_file_beside_the_model(path: Path, model: Path) -> None:
    """model.py beside model.onnx"""
    (model / "1" / "model.py").write_text("import os\n")


@triton()
def a_hidden_file(path: Path, model: Path) -> None:
    """a file that ls does not show"""
    (model / "1" / ".model.onnx.swp").write_bytes(b"freight")


@triton()
def the_model_is_a_link(path: Path, model: Path) -> None:
    """model.onnx is a link to a file outside, which can change after the proof"""
    outside = path.parent / "outside.onnx"
    (model / "1" / "model.onnx").rename(outside)
    (model / "1" / "model.onnx").symlink_to(outside)


@triton()
def a_version_2_that_is_a_link(path: Path, model: Path) -> None:
    """version 2 is a link to a folder outside"""
    outside = path.parent / "outside"
    shutil.copytree(model / "1", outside)
    other_network(outside / "model.onnx")
    (model / "2").symlink_to(outside)


@triton()
def the_model_clips_at_8(path: Path, model: Path) -> None:
    """the network inside is another one for rare input"""
    file = model / "1" / "model.onnx"
    proto = onnx.load(file)
    g = Graph(proto)
    g.read_instead("x", lambda x: g.op("Min", x, 8.0))
    g.sort()
    file.write_bytes(proto.SerializeToString())


@triton()
def the_model_inside_has_a_card_of_its_own(path: Path, model: Path) -> None:
    """metadata in the ONNX file inside"""
    file = model / "1" / "model.onnx"
    proto = onnx.load(file)
    proto.metadata_props.add(key="plif.card", value='{"classes": ["x"]}')
    file.write_bytes(proto.SerializeToString())


@triton()
def labels_are_exchanged(path: Path, model: Path) -> None:
    """labels.txt in another order: clients print the wrong class"""
    labels = model / "labels.txt"
    labels.write_text("\n".join(labels.read_text().split("\n")[::-1]).strip() + "\n")


@triton()
def labels_have_a_comment(path: Path, model: Path) -> None:
    """one line more at the end"""
    with (model / "labels.txt").open("a") as file:
        file.write("nothing\n")


@triton()
def labels_are_gone(path: Path, model: Path) -> None:
    """the file that config.pbtxt names is missing"""
    (model / "labels.txt").unlink()


@triton()
def initial_states_of_ones(path: Path, model: Path) -> None:
    """initial_state from a file: each sequence begins with other membranes"""
    (model / "initial_state").mkdir()
    (model / "initial_state" / "ones").write_bytes(np.ones(1 << 16, np.float32).tobytes())
    config = model / "config.pbtxt"
    config.write_text(config.read_text().replace("zero_data: true", 'data_file: "ones"', 1))


_config("version_policy_all", _more("version_policy { all { } }"), "every version is served")
_config("version_policy_specific", _more("version_policy { specific { versions: [2] } }"), "another version is served")
_config("another_default_model_filename", _more('default_model_filename: "other.onnx"'), "another file is loaded")
_config(
    "cc_model_filenames", _more('cc_model_filenames { key: "8.6" value: "other.onnx" }'), "another file on some GPUs"
)
_config(
    "tensorrt_optimisation",
    _more('optimization { execution_accelerators { gpu_execution_accelerator: [{ name: "tensorrt" }] } }'),
    "TensorRT rounds otherwise, with parameters of its own to half precision",
)
_config("instances_on_cpu", _more("instance_group [{ kind: KIND_CPU count: 8 }]"), "eight instances of the model")
_config("parameters_of_the_backend", _more('parameters { key: "enable_mem_arena" value { string_value: "0" } }'), "")
_config("model_warmup", _more('model_warmup { name: "w" batch_size: 1 }'), "requests that nobody sent")
_config("response_cache", _more("response_cache { enable: true }"), "answers from a cache")
_config("another_backend", lambda text: text.replace('"onnxruntime"', '"python"'), "another program runs the model")
_config("larger_batches", lambda text: text.replace("max_batch_size: 8", "max_batch_size: 64"), "larger batches")
_config("no_batches", lambda text: text.replace("max_batch_size: 8", "max_batch_size: 1"), "one stream at a time")
_config("a_comment_in_the_config", lambda text: f"# edited\n{text}", "a comment")
_config(
    "sequences_idle_for_a_microsecond",
    lambda text: re.sub("max_sequence_idle_microseconds: .*", "max_sequence_idle_microseconds: 1", text),
    "membranes are lost between two steps",
)
_config(
    "a_membrane_is_fed_from_the_input_of_another_name",
    lambda text: text.replace('output_name: "v.fc1.next"', 'output_name: "v.fc1"'),
    "a state that does not move",
)
_config("sequences_by_slot", lambda text: text.replace("oldest {", "direct {", 1), "another scheduling of sequences")
_config("dims_of_the_input", lambda text: text.replace("dims: [2,", "dims: [-1,", 1), "any number of channels")
_config(
    "ensemble_step", _more('ensemble_scheduling { step [{ model_name: "other" model_version: -1 }] }'), "another model"
)


@triton()
def a_config_of_another_name(path: Path, model: Path) -> None:
    """configs/NAME.pbtxt, which tritonserver --model-config-name takes"""
    (model / "configs").mkdir()
    text = (model / "config.pbtxt").read_text()
    (model / "configs" / "gpu.pbtxt").write_text(text.replace("oldest {", "direct {", 1))


@triton()
def the_config_is_a_link(path: Path, model: Path) -> None:
    """config.pbtxt is a link to a file outside, which can change after the proof"""
    outside = path.parent / "config.pbtxt"
    (model / "config.pbtxt").rename(outside)
    (model / "config.pbtxt").symlink_to(outside)


@triton()
def triton_one_weight_by_5_ulp(path: Path, model: Path) -> None:
    """a weight of the network inside, in its last bits"""
    file = model / "1" / "model.onnx"
    proto = onnx.load(file)
    weights(proto, "conv1.weight", ulps(5))
    file.write_bytes(proto.SerializeToString())


@attack("triton")
def another_network_whose_card_says_it_is_a_plan(path: Path) -> None:
    """the card says backend=tensorrt, whose plan nobody can build again, of a folder with an ONNX file"""
    other_network(next(path.glob("*/1/model.onnx")))

    def says_a_plan(card: Card) -> None:
        card["triton"]["backend"] = "tensorrt"
        card["options"] = {**card.get("options", {}), "backend": "tensorrt"}

    reseal(path, says_a_plan)
