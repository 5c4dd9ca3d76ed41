"""ONNX files: names, opset, documents, weights, and fields that no engine needs. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from runtime.model.artifacts import CARD_KEY
from tests.export.attacks.artifacts import attack, reseal
from tests.export.attacks.graphs import Graph, graph

Proto = onnx.ModelProto


def model(expected: str = "refused", target: str = "onnx") -> Callable[[Any], Any]:
    """Enters a function of a ModelProto, whose nodes keep their order."""

    def enter(change: Callable[[Proto], None]) -> Callable[[Proto], None]:
        def changed(path: Path) -> None:
            proto = onnx.load(path)
            change(proto)
            path.write_bytes(proto.SerializeToString())
            reseal(path)

        changed.__doc__ = change.__doc__
        attack(target, expected, change.__name__)(changed)
        return change

    return enter


def tensor(proto: Proto, name: str) -> TensorProto:
    return next(i for i in proto.graph.initializer if i.name == name)


def weights(proto: Proto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    found = tensor(proto, name)
    old = numpy_helper.to_array(found).copy()
    found.CopyFrom(numpy_helper.from_array(change(old).astype(old.dtype).reshape(old.shape), name))


def node(proto: Proto, kind: str, number: int = 0) -> onnx.NodeProto:
    return [n for n in proto.graph.node if n.op_type == kind][number]


# --- weights --------------------------------------------------------------------------------------------------------------


def _largest(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(w: np.ndarray) -> np.ndarray:
        at = np.unravel_index(np.abs(w).argmax(), w.shape)
        w[at] = w[at] * factor
        return w

    return change


def ulps(n: int, at: str = "largest") -> Callable[[np.ndarray], np.ndarray]:
    """One number, or all, n units in the last place further from 0."""

    def change(w: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(w, np.float32).view(np.int32)
        if at == "all":
            bits[w != 0] += n
        else:
            bits[np.unravel_index(np.abs(w).argmax(), w.shape)] += n
        return w

    return change


def _weight(
    name: str, of: str, change: Callable[[np.ndarray], np.ndarray], doc: str, expected: str = "refused"
) -> None:
    def changed(proto: Proto) -> None:
        weights(proto, of, change)

    changed.__name__, changed.__doc__ = name, doc
    model(expected)(changed)


_weight("fc1s_largest_weight_1_percent_more", "fc1.weight", _largest(1.01), "one weight of fc1 off by a hundredth")
_weight("fc2s_largest_weight_a_thousandth_more", "fc2.weight", _largest(1.001), "one weight of fc2 off by a thousandth")
_weight("conv1s_largest_weight_3_ulp_more", "conv1.weight", ulps(3), "more than rounding of a fold explains")
_weight("all_of_fc1_3_ulp_more", "fc1.weight", ulps(3, "all"), "all weights of a layer, in the last bits")
_weight("tau_of_fc2_a_millionth_more", "fc2_neuron.one_minus_alpha", lambda w: w * (1 + 1e-6), "another leak")
_weight("tau_of_conv1_a_thousandth_less", "conv1_neuron.one_minus_alpha", lambda w: w * 0.999, "another leak")
_weight("threshold_of_fc1_a_millionth_more", "fc1_neuron.v_threshold", lambda w: w * (1 + 1e-6), "another threshold")
_weight("threshold_of_conv2_3_ulp_more", "conv2_neuron.v_threshold", ulps(3), "another threshold")
_weight(
    "bias_of_conv1_2e_6_more", "conv1.bias", lambda w: w + np.where(np.arange(len(w)) == 0, 2e-6, 0), "another bias"
)
_weight(
    "two_hidden_neurons_change_places", "fc2.weight", lambda w: w[:, [1, 0, *range(2, w.shape[1])]],
    "two columns of fc2 exchanged",
)  # fmt: skip


@model()
def hidden_neurons_are_in_another_order(proto: Proto) -> None:
    """rows of fc1 and columns of fc2 exchanged: the same answers, other membranes in a snapshot"""
    weights(proto, "fc1.weight", lambda w: w[::-1])
    weights(proto, "fc2.weight", lambda w: w[:, ::-1])


@model()
def the_smallest_weight_of_fc2_changes_its_sign(proto: Proto) -> None:
    """a weight that hardly counts, in the other direction"""
    weights(proto, "fc2.weight", lambda w: np.where(np.abs(w) == np.abs(w).min(), -w, w))


# --- names and notes ------------------------------------------------------------------------------------------------------


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


# --- versions -------------------------------------------------------------------------------------------------------------


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


# --- parts that nothing reads ---------------------------------------------------------------------------------------------


@model()
def an_initializer_that_nothing_reads(proto: Proto) -> None:
    """freight: a megabyte of anything"""
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1 << 18, np.float32), "freight"))


@graph()
def a_dead_node(g: Graph) -> None:
    """a node whose output nothing reads"""
    g.op("Relu", "conv1")


@graph()
def an_identity_between(g: Graph) -> None:
    """a node that does nothing"""
    g.read_instead("fc1", lambda x: g.op("Identity", x))


@model()
def one_more_output(proto: Proto) -> None:
    """the hidden spikes are shown: what a camera saw can be told from them"""
    shape = ["B", tensor(proto, "fc1.weight").dims[0]]
    proto.graph.output.append(helper.make_tensor_value_info("fc1.s", TensorProto.FLOAT, shape))


@model()
def outputs_in_another_order(proto: Proto) -> None:
    """a program that takes outputs by their numbers takes a membrane for the answer"""
    outputs = list(proto.graph.output)
    del proto.graph.output[:]
    proto.graph.output.extend(reversed(outputs))


@model()
def one_more_input_with_a_default(proto: Proto) -> None:
    """an initializer that a caller may replace: whoever feeds fc2.weight chooses the answers"""
    proto.graph.input.append(
        helper.make_tensor_value_info("fc2.weight", TensorProto.FLOAT, tensor(proto, "fc2.weight").dims)
    )


@model()
def the_batch_has_another_name(proto: Proto) -> None:
    """dim_param N in place of B"""
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"


@model()
def the_batch_is_at_most_2(proto: Proto) -> None:
    """x says that it has two rows, where any number was"""
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


@model()
def a_shape_is_noted(proto: Proto) -> None:
    """value_info, which optimisers believe"""
    hidden = tensor(proto, "fc1.weight").dims[0]
    proto.graph.value_info.append(helper.make_tensor_value_info("fc1.s", TensorProto.FLOAT, ["B", hidden]))


@model()
def quantization_is_noted(proto: Proto) -> None:
    """quantization_annotation, which some compilers obey"""
    note = proto.graph.quantization_annotation.add(tensor_name="fc1.s")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="fc1_neuron.v_threshold")


@model()
def there_is_training_info(proto: Proto) -> None:
    """a graph that changes weights, for engines that train on the device"""
    proto.training_info.add().algorithm.name = "step"


@model()
def a_sparse_initializer(proto: Proto) -> None:
    """numbers in a form that few look at"""
    values = helper.make_tensor("sparse", TensorProto.FLOAT, [1], [1.0])
    at = helper.make_tensor("sparse_at", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, at, [4]))


@model()
def an_initializer_twice(proto: Proto) -> None:
    """fc2.weight twice: engines differ in which of them counts"""
    again = proto.graph.initializer.add()
    again.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor(proto, "fc2.weight")), "fc2.weight"))


# --- bodies, domains, other files -----------------------------------------------------------------------------------------


@model()
def a_node_of_microsofts_domain(proto: Proto) -> None:
    """com.microsoft has a fused matrix product"""
    proto.opset_import.add(domain="com.microsoft", version=1)
    proto.graph.node.append(
        helper.make_node("FusedMatMul", ["fc1.s", "fc1.s"], ["unread"], "unread", domain="com.microsoft", transB=1)
    )


@model()
def a_function_with_a_body(proto: Proto) -> None:
    """Identity of a domain of its own, whose body is in the file"""
    body = helper.make_node("Mul", ["a", "a"], ["b"])
    function = helper.make_function("own", "Square", ["a"], ["b"], [body], [helper.make_opsetid("", 20)])
    proto.functions.append(function)
    proto.opset_import.add(domain="own", version=1)
    proto.graph.node.append(helper.make_node("Square", ["y"], ["unread"], "square", domain="own"))


def _branch(name: str, of: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(of, ["vote"], [name])], name, [], [out])


@graph()
def an_if_with_two_bodies(g: Graph) -> None:
    """where there are more than 20000 events, another body answers"""
    many = g.op("Reshape", g.op("Greater", g.total("x", whole=True), 20000.0), g.number([], np.int64))
    g.give_instead(
        "y", lambda y: g.op("If", many, then_branch=_branch("a", "Neg"), else_branch=_branch("b", "Identity"))
    )


@graph()
def a_loop_without_an_end(g: Graph) -> None:
    """a Loop that turns as often as an input says"""
    value = helper.make_tensor_value_info
    state = value("s", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [helper.make_node("Identity", [a], [b]) for a, b in (("go", "on"), ("s", "t"))], "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), state],
        [value("on", TensorProto.BOOL, []), value("t", TensorProto.FLOAT, None)],
    )  # fmt: skip
    turns = g.op("Reshape", g.op("Cast", g.total("x", whole=True), to=TensorProto.INT64), g.number([], np.int64))
    g.give_instead("y", lambda y: g.op("Loop", turns, g.number(True, np.bool_), y, body=body))


@attack()
def weights_in_another_file(path: Path) -> None:
    """external data: the weights can be exchanged without the file"""
    proto = onnx.load(path)
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    reseal(path)


@attack()
def a_second_graph_is_appended(path: Path) -> None:
    """protobuf merges what stands twice: the appended bytes are of the same message"""
    more = onnx.ModelProto()
    more.graph.node.append(helper.make_node("Relu", ["conv1"], ["unread"], "appended"))
    path.write_bytes(path.read_bytes() + more.SerializeToString())
    reseal(path)


@attack()
def a_field_that_onnx_does_not_have(path: Path) -> None:
    """field 999 at the end: freight that readers skip"""
    reseal(path)
    path.write_bytes(path.read_bytes() + b"\xba\x3e\x04evil")


# --- attributes -----------------------------------------------------------------------------------------------------------


@model()
def gemm_has_an_alpha(proto: Proto) -> None:
    """alpha 1.0000001 of a matrix product"""
    node(proto, "Gemm").attribute.append(helper.make_attribute("alpha", 1.0000001))


@model()
def conv_says_its_default(proto: Proto) -> None:
    """auto_pad NOTSET, which is the default: the same, written otherwise"""
    node(proto, "Conv").attribute.append(helper.make_attribute("auto_pad", "NOTSET"))


@model()
def max_pool_rounds_up(proto: Proto) -> None:
    """ceil_mode 1, which an even map does not show"""
    for attribute in list(node(proto, "MaxPool", -1).attribute):
        if attribute.name == "ceil_mode":
            node(proto, "MaxPool", -1).attribute.remove(attribute)
    node(proto, "MaxPool", -1).attribute.append(helper.make_attribute("ceil_mode", 1))


@model()
def a_cast_that_does_not_saturate(proto: Proto) -> None:
    """saturate 0, which only casts to float8 look at"""
    node(proto, "Cast").attribute.append(helper.make_attribute("saturate", 0))


@model()
def an_attribute_has_a_doc_string(proto: Proto) -> None:
    """a text where nobody looks"""
    node(proto, "Conv").attribute[0].doc_string = "x" * 1000


@model(target="int8")
def int8_scales_a_thousandth_more(proto: Proto) -> None:
    """the factor of one layer's int8 weights"""
    for each in proto.graph.initializer:
        if "scale" in each.name and each.data_type == TensorProto.FLOAT:
            return weights(proto, each.name, lambda w: w * 1.001)
    raise AssertionError([i.name for i in proto.graph.initializer])


@model(target="int8")
def one_int8_weight_by_one(proto: Proto) -> None:
    """the largest weight of a layer, one step of its scale less"""
    for each in proto.graph.initializer:
        if each.data_type == TensorProto.INT8 and len(each.dims) > 1:
            return weights(proto, each.name, lambda w: np.where(w == w.max(), w - 1, w))
    raise AssertionError([(i.name, i.data_type) for i in proto.graph.initializer])
