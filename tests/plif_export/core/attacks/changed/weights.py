"""ONNX files with other weights or attributes. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper

from tests.plif_export.core.attacks.changed.edits import (
    Proto,
    model,
    node,
    ulps,
    weights,
)


def _largest(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(w: np.ndarray) -> np.ndarray:
        at = np.unravel_index(np.abs(w).argmax(), w.shape)
        w[at] = w[at] * factor
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


# --- attributes ----------------------------------------------------------------------------------------------------------


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
