"""ONNX files with parts that nothing reads, bodies, other domains, other files. Drawn from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.plif_export.core.attacks.artifacts import attack, reseal
from tests.plif_export.core.attacks.changed.edits import (
    Graph,
    Proto,
    graph,
    model,
    tensor,
)


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


# --- bodies, domains, other files ----------------------------------------------------------------------------------------


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
