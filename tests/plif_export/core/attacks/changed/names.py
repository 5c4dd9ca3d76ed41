"""ONNX files with other names, notes, metadata and versions. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from runtime.core.model.artifacts import CARD_KEY
from tests.plif_export.core.attacks.artifacts import attack, reseal
from tests.plif_export.core.attacks.changed.edits import (
    Proto,
    model,
    node,
    tensor,
)


@model()
def a_node_has_another_name(proto: Proto) -> None:
    """a profile, and a server that fuses by name, see it"""
    proto.graph.node[3].name = "conv1.spikes"


@model()
def two_nodes_exchange_their_names(proto: Proto) -> None:
    """every name is still there"""
    a, b = proto.graph.node[0], proto.graph.node[1]
    a.name, b.name = b.name, a.name


@model()
def an_initializer_has_another_name(proto: Proto) -> None:
    """an initializer renamed wherever it is read"""
    tensor(proto, "fc1.weight").name = "fc1.kernel"
    node(proto, "Gemm").input[1] = "fc1.kernel"


@model()
def a_tensor_inside_has_another_name(proto: Proto) -> None:
    """an intermediate value renamed wherever it is read"""
    for each in proto.graph.node:
        each.input[:] = ["conv2.spikes" if name == "conv2.s" else name for name in each.input]
        each.output[:] = ["conv2.spikes" if name == "conv2.s" else name for name in each.output]


@model("named")
def the_graph_has_another_name(proto: Proto) -> None:
    """the name that tools show"""
    proto.graph.name = "resnet50"


@model("named")
def the_producer_is_another(proto: Proto) -> None:
    """a file that says pytorch wrote it"""
    proto.producer_name, proto.producer_version = "pytorch", "2.9"


@model("named")
def the_model_has_a_doc_string(proto: Proto) -> None:
    """a text for people"""
    proto.doc_string = "Certified for medical use."


@model("named")
def a_node_has_a_doc_string(proto: Proto) -> None:
    """a text for people"""
    proto.graph.node[0].doc_string = "threshold: 0.5"


@model("named")
def the_metadata_have_one_more_key(proto: Proto) -> None:
    """ONNX Runtime's own options can stand in the metadata"""
    proto.metadata_props.add(key="session.disable_prepacking", value="1")


@model("named")
def an_ort_config_in_the_metadata(proto: Proto) -> None:
    """a key that ONNX Runtime reads its session options from"""
    proto.metadata_props.add(key="ort_config", value='{"session_options": {"intra_op_num_threads": 64}}')


@model("named")
def the_model_version_is_7(proto: Proto) -> None:
    """model_version is what servers show"""
    proto.model_version = 7


@model("named")
def the_domain_of_the_model_is_another(proto: Proto) -> None:
    """reverse DNS of whoever made it"""
    proto.domain = "org.example"


@model()
def plif_initial_is_a_half(proto: Proto) -> None:
    """programs that read plif.initial begin with other membranes"""
    for entry in proto.metadata_props:
        if entry.key == "plif.initial":
            entry.value = " ".join(["0.5"] * len(entry.value.split()))


@model()
def plif_initial_is_gone(proto: Proto) -> None:
    """a program that reads plif.initial has nothing to begin with"""
    kept = [entry for entry in proto.metadata_props if entry.key != "plif.initial"]
    del proto.metadata_props[:]
    proto.metadata_props.extend(kept)


def _two_cards(last: bool) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        def other(card: Any) -> None:
            card["classes"] = card["classes"][::-1]

        proto = onnx.load(path)
        reseal(path, other)
        wrong = next(entry for entry in onnx.load(path).metadata_props if entry.key == CARD_KEY)
        entries = [*proto.metadata_props, wrong] if last else [wrong, *proto.metadata_props]
        del proto.metadata_props[:]
        proto.metadata_props.extend(entries)
        path.write_bytes(proto.SerializeToString())

    change.__doc__ = "the key plif.card twice: some readers take the first, some the last"
    return change


attack(name="a_second_card_behind_the_first")(_two_cards(True))
attack(name="a_second_card_before_the_first")(_two_cards(False))


# --- versions ------------------------------------------------------------------------------------------------------------


def _opset(name: str, change: Callable[[int], int]) -> None:
    def changed(proto: Proto) -> None:
        proto.opset_import[0].version = change(proto.opset_import[0].version)

    changed.__name__, changed.__doc__ = name, "operations of another version of ONNX"
    model()(changed)


_opset("opset_one_less", lambda version: version - 1)
_opset("opset_one_more", lambda version: version + 1)


@model()
def ir_version_one_less(proto: Proto) -> None:
    """another version of the file format"""
    proto.ir_version -= 1


@model()
def one_more_opset_is_imported(proto: Proto) -> None:
    """com.microsoft, of which no node is"""
    proto.opset_import.add(domain="com.microsoft", version=1)
