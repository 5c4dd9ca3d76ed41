"""`plif check` and `plif export` share their rules: on random networks and modules one never says what the other does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import plif_train
from plif_export import check, export
from plif_export.core.targets import find_target
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from tests.random_networks import structure

TARGETS: list[tuple[str, dict[str, str]]] = [
    ("onnx", {}),
    ("nir", {}),
    ("nir", {"votes": "fold"}),
    ("openvino", {}),
    ("openvino", {"stateful": "true"}),
    ("triton", {}),
    ("c", {}),
]


def agree(model: nn.Module, to: str, options: Mapping[str, str], folder: Path, example: Any = None) -> bool:
    """Asserts that check and export say the same, in the same words; whether it can be exported."""
    report = check(model, example, to=to, options=options)
    path = folder / f"m{find_target(to).suffix}"
    try:
        export(model, path, example, to=to, options=options, verify=False)
    except PlifError as refused:
        assert not report.supported, f"export alone refuses: {refused}"
        assert str(refused).startswith(report.problems[0]), report.problems
        assert not path.exists()
        return False
    assert report.supported, f"check alone refuses: {report.problems}"
    return True


def drawn_network(rng: np.random.Generator) -> Network:
    """One of tests/random_networks.py, whether it fires or not, with hard or soft reset."""
    while True:
        notation, options = structure(rng)
        options["v_reset"] = options["v_reset"] if rng.integers(2) else None
        try:
            return plif_train.build(notation, T=3, tau=str(rng.choice(("layer", "channel"))), **options).eval()
        except PlifError:  # a map pooled away
            continue


def networks_agree(seeds: range, folder: Path) -> None:
    exported: dict[bool, int] = {True: 0, False: 0}
    for seed in seeds:
        net = drawn_network(np.random.default_rng(seed))
        for number, (to, options) in enumerate(TARGETS):
            if find_spec(to) is not None or to in ("onnx", "triton", "c"):
                (place := folder / f"{seed}-{number}").mkdir()
                exported[agree(net, to, options, place)] += 1
    assert exported[True] and exported[False]  # else nothing was shown


def test_check_and_export_agree_on_random_networks(tmp_path: Path) -> None:
    networks_agree(range(4), tmp_path)


@pytest.mark.large
def test_check_and_export_agree_on_many_random_networks(tmp_path: Path) -> None:
    networks_agree(range(4, 150), tmp_path)


def layers() -> list[Callable[[], nn.Module]]:
    """Layers on [B, 4, 6, 6] that keep its shape: some of them are supported, some are not, some in one setting only."""
    import norse.torch as norse
    import snntorch as snn
    from spikingjelly.activation_based import layer, neuron

    return [
        lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
        lambda: nn.Conv2d(4, 4, 3, padding="same"),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        lambda: layer.Conv2d(4, 4, 5, padding=2, bias=False),
        lambda: nn.ConvTranspose2d(4, 4, 3, padding=1),
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4, track_running_stats=False),
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.MaxPool2d(3, 1, 1),
        lambda: nn.MaxPool2d(3, 1, 1, ceil_mode=True),
        lambda: nn.AvgPool2d(3, 1, 1),
        lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        lambda: nn.Dropout(0.3),
        lambda: nn.Identity(),
        lambda: nn.ReLU(),
        lambda: nn.Sigmoid(),
        lambda: nn.PReLU(),
        lambda: nn.Linear(6, 6),
        lambda: neuron.IFNode(),
        lambda: neuron.LIFNode(tau=2.0, v_reset=None),
        lambda: neuron.LIFNode(tau=3.0, decay_input=False),
        lambda: neuron.ParametricLIFNode(),
        lambda: neuron.QIFNode(),
        lambda: neuron.EIFNode(),
        lambda: snn.Leaky(beta=0.9, init_hidden=True),
        lambda: snn.Leaky(beta=0.9, init_hidden=True, reset_mechanism="zero"),
        lambda: snn.Synaptic(alpha=0.9, beta=0.8, init_hidden=True),
        lambda: norse.LIFBoxCell(),
    ]


def modules_agree(seeds: range, folder: Path) -> None:
    exported: dict[bool, int] = {True: 0, False: 0}
    known, good = layers(), (0, 3, 5, 8, 10, 13, 18, 19, 21)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        # mostly of what is surely supported, so that a single other layer decides
        chosen = [known[rng.choice(good) if rng.random() < 0.8 else rng.integers(len(known))]() for _ in range(4)]
        net = nn.Sequential(*chosen, known[18](), nn.Flatten(), nn.Linear(144, 3), known[21]()).eval()
        to, options = TARGETS[seed % 2]
        (place := folder / str(seed)).mkdir()
        exported[agree(net, to, options, place, torch.zeros(1, 4, 6, 6))] += 1
    assert exported[True] and exported[False]


@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore::DeprecationWarning")
def test_check_and_export_agree_on_random_modules(tmp_path: Path) -> None:
    modules_agree(range(8), tmp_path)


@pytest.mark.large
@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore::DeprecationWarning")
def test_check_and_export_agree_on_many_random_modules(tmp_path: Path) -> None:
    modules_agree(range(8, 400), tmp_path)


def test_what_only_nir_itself_refuses_is_refused_by_check_too(tmp_path: Path) -> None:
    """A convolution in groups: NIR takes the channels of a group for those of the input."""
    pytest.importorskip("nir")
    known = layers()
    net = nn.Sequential(known[18](), known[0](), known[18](), nn.Flatten(), nn.Linear(144, 3), known[18]()).eval()
    assert not agree(net, "nir", {}, tmp_path, torch.zeros(1, 4, 6, 6))
