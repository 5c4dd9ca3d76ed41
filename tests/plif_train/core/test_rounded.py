"""Weights that are rounded while they are learned: what was trained is what is exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from plif_export import export
from plif_export.core.passes import run_passes
from plif_export.core.readers import read_model
from plif_export.precisions.rounded_weights.passes import quantize_array
from plif_export.precisions.rounded_weights.whole_numbers import find_grid
from plif_train import load, save
from plif_train.core.loop.training import train
from plif_train.core.network.network import Network
from plif_train.core.network.presets import build
from plif_train.core.recipe import Recipe
from plif_train.hooks.rounded.hook import find_spike_weights, round_to_grid
from runtime.core.base.errors import PlifError
from runtime.core.data.dataset import DIGITS
from runtime.core.model.grids import GRIDS, Grid
from tests.networks import firing
from tests.plif_train.core.small import TrainingRun, bars

DEEP = "c6k3s1-BN-PLIF-MPk2s2-c8k3s1-BN-PLIF-DP-FC20-PLIF-FC20-PLIF-APk10s10"


def rounded_by_export(net: Network, precision: str) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By layer: whole numbers [O, ...] and scales [O] of an export, and the weights that it would have in float32."""
    full, reduced = (run_passes(read_model(net).graph, "exact", False, one) for one in ("fp32", precision))
    weights = {node.name: node.params["weight"] for node in full if "weight" in node.params}
    return {
        node.name: (node.params["weight"], node.params["scale"], weights[node.name])
        for node in reduced
        if "scale" in node.params and node.op in ("Conv", "Linear")
    }


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_what_was_trained_is_what_is_exported_bit_for_bit(grid: Grid, tmp_path: Path) -> None:
    torch.manual_seed(7)
    recipe = Recipe(epochs=3, batch_size=8, lr=1e-2, weights=grid.name)
    record = train(build(DEEP, shape=(1, 8, 8), T=4), bars(96), bars(20, seed=1), recipe, tmp_path / "model.pt")
    assert record["test_accuracy"] == 1.0 and record["recipe"]["weights"] == grid.name
    net = load(tmp_path / "model.pt")
    found = rounded_by_export(net, grid.name)
    assert set(found) == {"conv2", "fc1", "fc2"}
    for name, (whole, scale, folded) in found.items():
        weight = net.get_parameter(f"{name}.weight").detach().numpy()
        trained = find_grid(weight, grid.bits)
        assert trained is not None
        gamma = net.get_parameter(f"{name}_bn.weight").detach() if name == "conv2" else torch.ones(len(weight))
        signs = gamma.sign().numpy().astype(np.int8).reshape(-1, *[1] * (weight.ndim - 1))
        assert np.array_equal(whole, trained[0] * signs) and np.unique(whole).size > 2
        products = whole * scale.reshape(signs.shape)
        if name == "conv2":  # whose folded weights are products of three, rounded twice
            np.testing.assert_allclose(products, folded, rtol=2.0**-22)
        else:
            assert np.array_equal(products, weight) and np.array_equal(products, folded)
    proof = export(tmp_path / "model.pt", tmp_path / "model.onnx", precision=grid.name).verify
    assert proof is not None and proof.passed
    assert proof.rounding_mismatches == proof.free_running_mismatches == proof.decisions_changed == 0


@pytest.mark.parametrize(
    "notation",
    [
        DEEP,
        "c4k3s1-PLIF-APk2s2-c8k3s1-BN-PLIF-FC20-APk10s10",  # the mean of spikes is a count
        "c4k3s1-PLIF-c4k3s1-c8k3s1-BN-PLIF-BN-FC20-PLIF-APk10s10",  # conv3 reads a current, fc1 what BN made of spikes
        "FC30-PLIF-FC20-LIF-APk10s10",
    ],
)
def test_the_layers_that_are_rounded_are_those_that_an_export_rounds(notation: str) -> None:
    net = build(notation, shape=(1, 8, 8), T=4)
    rounded = {id(weight) for weight in find_spike_weights(net)}
    names = {name.removesuffix(".weight") for name, weight in net.named_parameters() if id(weight) in rounded}
    assert names == set(rounded_by_export(net, "int4"))


def test_a_network_without_a_layer_to_round_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    net = build("FC20-PLIF-APk10s10", shape=(1, 8, 8), T=4)
    with pytest.raises(PlifError, match="weights int4: no layer of 'FC20-PLIF-APk10s10' reads spikes"):
        train(net, bars(8), bars(8), Recipe(weights="int4"), tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_training_begins_with_the_weights_that_an_export_rounds_to(grid: Grid) -> None:
    weight = torch.randn(12, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    weight[3] = 0
    whole, scale = quantize_array(weight.numpy(), "conv", grid)
    np.testing.assert_allclose(round_to_grid(weight, grid).numpy(), whole * scale.reshape(-1, 1, 1, 1), rtol=1e-6)
    weight[2, 0, 0, 0] = torch.nan
    assert round_to_grid(weight, grid).isnan().any()  # which a training refuses


def test_training_for_few_bits_goes_on_from_a_trained_network_by_a_recipe_s_file(
    plif: TrainingRun, tmp_path: Path
) -> None:
    (tmp_path / "few.toml").write_text("weights = 'ternary'\nepochs = 1\nlimit_train = 20\nlimit_test = 10\n")
    save(firing("c4k3s2-BN-PLIF-FC40-PLIF-FC20-PLIF-APk2s2", (2, 34, 34), classes=DIGITS), tmp_path / "fp32.pt")
    code, _, err = plif("train", "few.toml", "--from", "fp32.pt", "--data", "digits:40", "--out", "few.pt")
    assert code == 0, err
    before, after = load(tmp_path / "fp32.pt"), load(tmp_path / "few.pt")
    for name in ("fc1", "fc2"):
        old, new = (net.get_parameter(f"{name}.weight").detach() for net in (before, after))
        rounded = round_to_grid(old, GRIDS["ternary"])
        assert not torch.equal(rounded, new) and (rounded.sign() == new.sign()).float().mean() > 0.9
    assert find_grid(after.get_parameter("conv1.weight").detach().numpy()) is None
    code, out, _ = plif("export", "few.pt", "--precision", "ternary", "--json")
    assert code == 0 and json.loads(out)["verify"]["decisions_changed"] == 0
    code, _, err = plif("train", "few.toml", "--set", "weights=int2", "--from", "fp32.pt", "--data", "digits:40")
    assert code == 2 and "weights int2: expected int8, int4 or ternary, or none" in err
