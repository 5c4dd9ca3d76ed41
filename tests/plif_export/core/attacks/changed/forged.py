"""Several changes at once, each of which explains the other: another version, another digest, numbers that look like rounding.
Drawn from outside."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from runtime.core.model.artifacts import CARD_KEY
from runtime.core.model.card import Card, encode_card, read_card
from tests.plif_export.core.attacks.artifacts import attack, reseal
from tests.plif_export.core.attacks.changed.edits import Graph, Proto, model, node, tensor, ulps, weights


def _clip(path: Path, most: float = 8.0) -> None:
    proto = onnx.load(path)
    g = Graph(proto)
    g.read_instead("x", lambda x: g.op("Min", x, most))
    g.sort()
    path.write_bytes(proto.SerializeToString())


@attack()
def clipped_by_an_older_version(path: Path) -> None:
    """a file that says an older plif wrote it, which explains why it is another"""
    _clip(path)
    reseal(path, lambda card: card["versions"].update(plif="0.0.1", torch="2.6.0", onnx="1.21.0"))


@attack()
def clipped_by_a_newer_version(path: Path) -> None:
    """a file that says a newer plif wrote it"""
    _clip(path, 255.0)
    reseal(path, lambda card: card["versions"].update(plif="9.0.0"))


@attack("c")
def c_of_a_newer_version(path: Path) -> None:
    """C with another line, that says a newer plif printed it"""
    path.write_text(path.read_text().replace("= 0;", "= (0);", 1))
    reseal(path, lambda card: card["versions"].update(plif="9.0.0"))


@attack("c")
def c_of_an_older_version(path: Path) -> None:
    """C with another comment, that says an older plif printed it"""
    path.write_text(path.read_text().replace("Letters:", "Letters :", 1))
    reseal(path, lambda card: card["versions"].update(plif="0.0.1"))


# --- digests --------------------------------------------------------------------------------------------------------------


def _with_text(path: Path, card: Card) -> None:
    """Writes a card as it is, without a new digest."""
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == CARD_KEY:
            entry.value = encode_card(card)
    path.write_bytes(proto.SerializeToString())


def _sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(encode_card(value).encode()).hexdigest()


@attack(expected="named")
def no_digest(path: Path) -> None:
    """a card without a digest: as of another exporter"""
    card = read_card(path)
    del card["digest"]
    _with_text(path, card)


@attack()
def no_digest_and_a_clipped_input(path: Path) -> None:
    """another network in a file without a digest"""
    _clip(path)
    no_digest(path)


@attack(expected="named")
def a_digest_with_one_more_part(path: Path) -> None:
    """a part that is nowhere in the file"""
    reseal(path)
    card = read_card(path)
    card["digest"]["parts"]["certificate"] = "0" * 64
    card["digest"]["sha256"] = _sha256(card["digest"]["parts"])
    _with_text(path, card)


@attack(expected="named")
def a_digest_with_one_more_key(path: Path) -> None:
    """a note in the digest itself, which no part binds"""
    reseal(path)
    card = read_card(path)
    card["digest"]["signed_by"] = "the Ministry"
    _with_text(path, card)


# --- what looks like rounding ---------------------------------------------------------------------------------------------


@model()
def whole_numbers_by_one(proto: Proto) -> None:
    """the constants of a Reshape, [0, -1] -> [-1, n]: as bits they differ by little"""
    name = node(proto, "Reshape").input[1]
    old = numpy_helper.to_array(tensor(proto, name))
    size = next(i for i in proto.graph.initializer if i.name == "fc1.weight").dims[1]
    new = np.array([-1, size], old.dtype) if old[0] == 0 else np.array([0, -1], old.dtype)
    weights(proto, name, lambda w: new)


@model()
def one_weight_by_5_ulp_and_the_others_by_one(proto: Proto) -> None:
    """one of many numbers is further off than rounding"""

    def change(w: np.ndarray) -> np.ndarray:
        return ulps(4)(ulps(1, "all")(w))

    weights(proto, "fc1.weight", change)


@model("listed")
def all_weights_of_all_layers_by_1_ulp(proto: Proto) -> None:
    """another processor folds everything otherwise: listed, and the gate decides"""
    for each in proto.graph.initializer:
        if each.name.endswith(".weight"):
            weights(proto, each.name, ulps(1, "all"))


@model()
def weights_in_another_shape(proto: Proto) -> None:
    """the threshold as a scalar in place of [1]: the same after broadcasting"""
    found = tensor(proto, "fc1_neuron.v_threshold")
    del found.dims[:]


@model()
def weights_of_float64(proto: Proto) -> None:
    """a threshold of float64 and a Cast: the same number"""
    found = tensor(proto, "fc1_neuron.v_threshold")
    values = numpy_helper.to_array(found).astype(np.float64)
    found.CopyFrom(numpy_helper.from_array(values, "fc1_neuron.v_threshold"))
    cast = onnx.helper.make_node("Cast", ["fc1_neuron.v_threshold"], ["fc1.threshold32"], "cast", to=1)
    proto.graph.node.insert(0, cast)
    for each in list(proto.graph.node)[1:]:
        each.input[:] = ["fc1.threshold32" if name == "fc1_neuron.v_threshold" else name for name in each.input]


@model(target="fp16")
def fp16_one_weight_by_3_ulp(proto: Proto) -> None:
    """three units in the last of eleven bits"""
    for each in proto.graph.initializer:
        if each.data_type == onnx.TensorProto.FLOAT16 and len(each.dims) > 1:

            def change(w: np.ndarray) -> np.ndarray:
                bits = w.view(np.int16)
                bits.reshape(-1)[np.abs(w).argmax()] += 3
                return w

            return weights(proto, each.name, change)
    raise AssertionError([(i.name, i.data_type) for i in proto.graph.initializer])


@attack("unrolled, T 3")
def a_file_of_3_steps_says_4(path: Path) -> None:
    """the card of an unrolled file claims another number of steps"""
    reseal(path, lambda card: card.update(T=4))


@attack("batch 4")
def a_file_of_4_rows_says_any(path: Path) -> None:
    """the card says that any number of rows may come"""
    reseal(path, lambda card: card.update(batch=None))


@attack("exact")
def exact_math_says_folded(path: Path) -> None:
    """the card says folded of a file that computes exactly"""
    reseal(path, lambda card: card.update(math="folded"))


@attack("int8")
def an_int8_file_says_fp32(path: Path) -> None:
    """the card says fp32 of a file of rounded weights"""
    reseal(path, lambda card: card.update(precision="fp32"))


@attack("fp16", "refused")
def an_fp16_file_says_fp32(path: Path) -> None:
    """the card says fp32 of a file of rounded weights"""
    reseal(path, lambda card: card.update(precision="fp32"))


@attack("not verified", "named")
def an_unproved_file_says_it_was_proved(path: Path) -> None:
    """parity in the card of a file that was exported without a proof"""
    parity = {"passed": True, "steps": 20, "streams": 2, "spikes": 43742, "spike_mismatches": 0, "excused": 0}
    reseal(path, lambda card: card.update(parity=parity))
