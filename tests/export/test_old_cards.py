"""Artifacts whose card was written before its state records named their variable: they open, run and are proved as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import runtime
from plif_export import export, verify
from plif_export.cards import set_card
from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.model.card import Card, check_artifact_card, read_card
from runtime.model.graph import key_of, variable_of
from tests.networks import firing, frames

ENGINE = "onnxruntime"


def with_states(path: Path, target: Path, change: dict[str, object | None]) -> Card:
    """A copy of the artifact with keys of its state records changed, or dropped where they are None."""
    card = read_card(path)
    for state in card["states"]:
        state.update(change)
        for key in [key for key, value in change.items() if value is None]:
            del state[key]
    proto = onnx.load(path)
    set_card(proto, card)
    target.write_bytes(proto.SerializeToString())
    return card


@pytest.fixture(scope="module")
def net() -> Network:
    return firing()


@pytest.fixture(scope="module")
def new(net: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(net, tmp_path_factory.mktemp("cards") / "new.onnx").path


def test_a_state_record_names_its_variable(new: Path) -> None:
    states = read_card(new)["states"]
    assert [state["variable"] for state in states] == ["v"] * 4
    assert [key_of(state) for state in states] == ["conv1", "conv2", "fc1", "fc2"]


def test_without_the_key_the_name_says_it() -> None:
    assert variable_of({"name": "i.conv1", "layer": "conv1"}) == "i"
    assert key_of({"name": "v.block.1", "layer": "block.1"}) == "block.1"
    assert key_of({"name": "i.block.1", "layer": "block.1"}) == "i.block.1"
    assert key_of({"name": "whatever", "layer": "conv1", "variable": "v"}) == "conv1"


def test_an_artifact_with_an_old_card_opens_runs_and_is_proved_by_its_numbers(
    new: Path, net: Network, tmp_path: Path
) -> None:
    old = tmp_path / "old.onnx"
    card = with_states(new, old, {"variable": None})
    assert all("variable" not in state for state in card["states"])
    x = frames(net, np.random.default_rng(0))
    sessions = [runtime.load(path, engine=ENGINE).session(2) for path in (new, old)]
    np.testing.assert_array_equal(*(session.run(x) for session in sessions))
    assert not verify(old, net).passed  # an export of today has the key
    report = verify(old, net, engine=ENGINE, structure="ignored")
    assert report.passed and report.engine == ENGINE and report.spikes > 5_000, report.sentence()


def test_a_variable_that_is_no_name_is_refused_and_another_one_fails_the_gate(
    new: Path, net: Network, tmp_path: Path
) -> None:
    card = with_states(new, tmp_path / "wrong.onnx", {"variable": 3})
    with pytest.raises(PlifError, match="of the wrong kind"):
        check_artifact_card(card)
    with_states(new, tmp_path / "other.onnx", {"variable": "i"})
    with pytest.raises(PlifError, match="has no layer 'conv1'"):
        verify(tmp_path / "other.onnx", net)
