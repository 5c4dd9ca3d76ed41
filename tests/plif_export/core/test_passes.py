"""Interpreter and passes: each pass keeps what it says it keeps; the interpreter is the judge, and PyTorch is its judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from plif_export.core.passes import drop_dropout, fold_batchnorm, fold_tau, hoist_static_input, run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.readers.ours import read_network
from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Graph, Node
from tests.networks import SMALL, firing, frames, scaled

pytestmark = pytest.mark.quick

VARIANTS: list[dict[str, Any]] = [
    {},
    {"v_reset": None},
    {"v_reset": -0.25},
    {"decay_input": False},
    {"decay_input": False, "v_reset": 0.125},
    {"tau": "channel"},
    {"tau": "channel", "v_reset": None, "decay_input": False},
    {"bias": True},
    {"v_threshold": 0.5},
    {"notation": SMALL.replace("PLIF", "LIF")},
    {"notation": SMALL.replace("PLIF", "IF")},
    {"notation": "c8k3s1-BN-MPk2s2-PLIF-c8k5s2-PLIF-APk2s2-c12k2s2-BN-PLIF-FC30-PLIF-APk10s10"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_interpreter_gives_the_spikes_of_pytorch(variant: dict[str, Any]) -> None:
    net = firing(**variant)
    x = frames(net, np.random.default_rng(3), T=12)
    with torch.no_grad():
        net.reset()
        expected = net(torch.from_numpy(x)).numpy()
    y, state = interpret.run(read_network(net), x)
    assert expected.sum() > 1
    np.testing.assert_allclose(y, expected, atol=1e-6)
    for layer, v in net.state().items():
        np.testing.assert_allclose(state[layer], v.numpy(), atol=1e-4)


@pytest.mark.parametrize("math", ("exact", "folded"))
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_passes_keep_the_membranes_up_to_rounding(variant: dict[str, Any], math: str) -> None:
    """In float64, so that a flip from rounding cannot hide a wrong formula, over one step from a random state."""
    net = firing(**variant)
    rng = np.random.default_rng(4)
    graph = read_network(net)
    folded = run_passes(graph, math, static=False)
    assert not any(node.op in ("BatchNorm", "Dropout") for node in folded)
    state = {layer: v + rng.uniform(-0.5, 0.5, v.shape) for layer, v in interpret.initial_state(graph, 2).items()}
    x = frames(net, rng, T=1)[0]
    _, _, before = interpret.step(graph, x, state, np.float64)
    _, _, after = interpret.step(folded, x, state, np.float64)
    for layer in state:
        np.testing.assert_allclose(after[layer].h, before[layer].h, atol=2e-5, err_msg=layer)


def test_fold_tau_moves_alpha_into_the_weights_only_where_the_neuron_is_the_only_reader() -> None:
    pool_between = firing("c8k3s1-BN-MPk2s2-PLIF-FC30-PLIF-APk10s10")
    graph = run_passes(read_network(pool_between), "folded", static=False)
    assert [node.name for node in graph if node.op == "Affine"] == ["conv1_charge"]
    plain = run_passes(read_network(firing()), "folded", static=False)
    assert not any(node.op == "Affine" for node in plain)
    assert all(node.attrs["charge"] == "folded" for node in plain.neurons)


def test_fold_batchnorm_turns_a_batch_normalisation_without_a_convolution_into_an_affine() -> None:
    net = firing("BN-c8k3s1-PLIF-FC30-PLIF-APk10s10")
    graph = fold_batchnorm(drop_dropout(read_network(net)))
    assert [node.op for node in graph][:2] == ["Affine", "Conv"]


def test_hoist_static_input_marks_what_precedes_the_first_neurons() -> None:
    graph = hoist_static_input(fold_tau(fold_batchnorm(read_network(firing()))))
    assert graph.hoisted == {"conv1"}


def test_a_graph_refuses_unknown_layers_missing_inputs_and_networks_without_neurons() -> None:
    neuron = {"kind": "IF", "layer": "a", "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True, "charge": "exact"}
    fires = Node("a_neuron", "Neuron", ("x",), (4,), neuron)
    with pytest.raises(PlifError, match="operation 'Sort' is not supported"):
        Node("a", "Sort", ("x",), (4,))
    with pytest.raises(PlifError, match="missing \\['weight'\\]"):
        Node("a", "Linear", ("x",), (4,))
    with pytest.raises(PlifError, match="before it is made"):
        Graph((4, 1, 1), (Node("a", "Flatten", ("b",), (4,)), fires), "a_neuron")
    with pytest.raises(PlifError, match="no spiking neuron"):
        Graph((4, 1, 1), (Node("a", "Flatten", ("x",), (4,)),), "a")


def test_presets_read_into_graphs_with_the_layers_of_the_notation() -> None:
    import plif_train

    net = scaled(plif_train.build("cifar10", channels=4, hidden=20))
    graph = read_network(net)
    assert [node.name for node in graph] == [named.name for named in net.named_layers]
    assert [node.shape for node in graph] == [named.out_shape for named in net.named_layers]
