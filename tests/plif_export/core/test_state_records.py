"""State records of a card name their variable."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from plif_export import export, verify
from plif_export.core.cards import set_card
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card, check_artifact_card, read_card
from runtime.core.model.graph import record_key
from tests.networks import firing


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
    assert [record_key(state) for state in states] == ["conv1", "conv2", "fc1", "fc2"]


def test_a_variable_that_is_no_name_is_refused_and_another_one_fails_the_gate(
    new: Path, net: Network, tmp_path: Path
) -> None:
    card = with_states(new, tmp_path / "wrong.onnx", {"variable": 3})
    with pytest.raises(PlifError, match="of the wrong kind"):
        check_artifact_card(card)
    with_states(new, tmp_path / "other.onnx", {"variable": "i"})
    with pytest.raises(PlifError, match="has no layer 'conv1'"):
        verify(tmp_path / "other.onnx", net)
