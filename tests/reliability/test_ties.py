"""A membrane that is exactly at its threshold fires, and one that is one float below it does not: on every engine.

The numbers are powers of two, so that float32 rounds nothing: PLIF with alpha = 1/2 and threshold 1, weights of 1 and 2, no
normalisation. A spike of the first layer brings the second one exactly to its threshold, too.

    h = v + (x - v) / 2,  s = (h >= 1),  v' = 0 where s, else h

A tie also resets: the first course would fire again if its membrane kept h, and the membranes at the end are compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import plif_train
from plif_train.core.network.network import Network
from runtime import native
from runtime.core.engines.session import Session
from tests.reliability.opened import ENGINES, opened

BELOW_2, BELOW_1_5 = np.nextafter(np.float32([2, 1.5]), np.float32(0))
# neuron by neuron: x in two steps, and whether it fires in each. The last four arrive with a membrane that is not zero.
COURSES = np.float32(
    [
        (2, 1.5),
        (BELOW_2, 0),
        (0, 2),
        (0, BELOW_2),
        (1, 1.5),
        (1, BELOW_1_5),
        (-2, 3),
        (-2, np.nextafter(np.float32(3), 0)),
    ]
)
FIRES = [(1, 0), (0, 0), (0, 1), (0, 0), (0, 1), (0, 0), (0, 1), (0, 0)]
PATHS = native.cpu_paths() if native.is_built() else ()


def network() -> Network:
    net = plif_train.build("c1k1s1-PLIF-FC8-PLIF", shape=(1, 1, 8), T=2, classes=tuple("abcdefgh"), bias=False)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(1 if name.startswith("conv1.") else 2 * torch.eye(8) if name.startswith("fc1.") else 0)
    assert set(net.neurons()) == {"conv1", "fc1"} and all(neuron.tau() == 2 for neuron in net.neurons().values())
    return net.eval()


def check(session: Session) -> None:
    np.testing.assert_array_equal(session.run(COURSES.T.reshape(2, 1, 1, 1, 8))[:, 0].T, FIRES)
    first, second = np.float32([[0] * 8] * 2)
    for x, s in zip(COURSES.T, np.transpose(FIRES), strict=True):
        first = np.where(s, 0, first + (x - first) / 2)
        second = np.where(s, 0, second / 2)  # which gets 2 where the first one fires: another tie
    found = session.state
    np.testing.assert_array_equal(found["v.conv1"][0].ravel(), first)
    np.testing.assert_array_equal(found["v.fc1"][0].ravel(), second)


def test_the_network_itself_fires_at_the_threshold() -> None:
    net, x = network(), torch.from_numpy(COURSES.T.reshape(2, 1, 1, 1, 8).copy())
    with torch.no_grad():
        y = torch.stack([net.step(x_t) for x_t in x])
    np.testing.assert_array_equal(y[:, 0].T, FIRES)


@pytest.mark.parametrize("math", ("exact", "folded"))
@pytest.mark.parametrize("form", ("step", "unrolled"))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_fires_and_resets_at_the_threshold(engine: str, form: str, math: str, tmp_path: Path) -> None:
    check(opened(engine, network(), tmp_path, form, math).session())


@pytest.mark.parametrize("path", PATHS)
def test_every_cpu_path_fires_and_resets_at_the_threshold(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.PATH_VARIABLE, path)
    check(opened("event", network(), tmp_path).session())
