"""The recipe of a model.pt, to train it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from plif_train import build, save
from plif_train.core.recipe import read_recipe, replace_keys
from plif_train.hooks.kept_epochs.recorded import read_model_recipe, resolve_recipe
from runtime.core.model.card import read_card
from tests.conftest import REPOSITORY
from tests.plif_train.core.small import DIGITS, GESTURES, TrainingRun, same_weights, write


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["own.toml", "--set", "lr"], "--set lr: expected KEY=VALUE"),
        (["own.toml", "--set", "lr=1", "--set", "lr=2"], "--set lr=2: expected KEY=VALUE, each key once"),
        (["own.toml", "--lr", "1", "--set", "lr=2"], "lr is given twice"),
        (["own.toml", "--set", "dropout=much"], "dropout much: expected a number from 0 to 1, or none"),
        (["own.toml", "--set", "clip_nrom=1"], "the nearest is clip_norm"),
        (["own.toml", "--clip-nrom", "1"], "--clip-nrom: no such option"),
        (["own.toml", "--no-detach-reset"], "--no-detach-reset: no such option; type --set detach_reset=VALUE"),
        (["own.toml", "live"], "a second recipe, live"),
        (["mnist", "nmnist"], "a second network, nmnist"),
        (["none.toml"], "none.toml: no such file; expected a recipe, or one that ships: authors, "),
        (["live"], "expected a network, or --from model.pt"),
        (["nmnist", "--like", "m.pt"], "--like m.pt: has its network and recipe; leave nmnist out"),
    ],
)
def test_what_is_wrong_in_a_command_is_one_line(
    words: list[str], message: str, plif: TrainingRun, tmp_path: Path
) -> None:
    write(tmp_path)
    code, _, err = plif("train", *words, *DIGITS)
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


# --- the card -------------------------------------------------------------------------------------------------------


def test_the_recipe_in_a_card_trains_the_same_network_again(plif: TrainingRun, tmp_path: Path) -> None:
    assert plif("train", write(tmp_path, "dropout = 0.2\n"), *DIGITS, "--seed", "7", "--out", "first.pt")[0] == 0
    code, out, err = plif("train", "--like", "first.pt", *DIGITS, "--out", "second.pt", "--json")
    assert code == 0 and json.loads(out)["recipe"]["seed"] == 7, err
    assert same_weights(tmp_path / "first.pt", tmp_path / "second.pt")
    shown = plif("info", "first.pt")[1]
    assert "recipe        T 3, " in shown and "network nmnist" in shown and shown.count("rate-mse") == 1
    code, _, err = plif("train", "--like", "first.pt", "--data", "nmnist:.", "--out", "third.pt")
    assert code == 2 and "--data nmnist: the recipe trains on digits" in err
    assert plif("train", "--like", "first.pt", *DIGITS, "--set", "seed=8", "--out", "third.pt")[0] == 0
    assert not same_weights(tmp_path / "first.pt", tmp_path / "third.pt")
    assert plif("train", "--from", "first.pt", "--set", "epochs=1", *DIGITS, "--out", "more.pt")[0] == 0
    code, _, err = plif("train", "--like", "more.pt", *DIGITS, "--out", "again.pt")
    assert code == 2 and "went on from the weights of first.pt; add --from first.pt" in err
    assert plif("train", "--like", "more.pt", "--from", "first.pt", *DIGITS, "--out", "again.pt")[0] == 0
    assert same_weights(tmp_path / "more.pt", tmp_path / "again.pt")


def test_cards_of_before_recipes_still_hold_one() -> None:
    """models/gesture.pt is the second of two trainings by the recipe that ships; models/nmnist-digits.pt is of `digits`."""
    found = read_model_recipe(GESTURES, Path("gesture-1.pt"))
    second = {"seed": 101, "epochs": 30, "t_max": 30, "device": "auto"}
    assert replace_keys(read_recipe("gesture"), second) == found
    digits = read_model_recipe(REPOSITORY / "models" / "nmnist-digits.pt", None)
    learnt = {name: value for name, value in read_recipe("digits").to_dict().items() if name != "augment"}
    assert {name: digits.to_dict()[name] for name in learnt} == learnt


def test_a_training_like_an_old_card_begins_as_that_one_did(plif: TrainingRun, tmp_path: Path) -> None:
    """A card as earlier versions wrote it: flat, and with a preset's network written out."""
    torch.manual_seed(0)
    flat = {"dataset": "digits", "lr": 1e-3, "batch_size": 5, "epochs": 1, "t_max": 1, "seed": 3, "objective": "ce",
            "bn": "joint", "recipe": "paper", "augmentation": None, "protocol": "A"}  # fmt: skip
    net = build("nmnist", channels=2, hidden=20, T=3, neuron="LIF", v_threshold=0.5)
    save(net, tmp_path / "old.pt", training=flat)
    assert plif("train", "--like", "old.pt", *DIGITS, "--out", "new.pt")[0] == 0
    card = read_card(tmp_path / "new.pt")
    assert (card["notation"], card["T"], card["options"]) == (
        str(net.notation),
        3,
        read_card(tmp_path / "old.pt")["options"],
    )
    again = resolve_recipe(card)
    assert (again.loss, again.bn, again.seed, again.neuron) == ("ce", "joint", 3, "PLIF,v_threshold=0.5")
