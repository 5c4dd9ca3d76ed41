"""A recipe is a file: its keys are declared once, whatever is wrong with one is said in one line, and a card holds it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from plif_train import Recipe, build, load, save, train
from plif_train.commands.paper_rows.rows import rows
from plif_train.hooks.augmentations.augment import AUGMENTATIONS
from plif_train.hooks.kept_epochs.recorded import like_recipe, resolved
from plif_train.hooks.mixed_windows.windows import parse_variation
from plif_train.loop.hooks import augmentation_of
from plif_train.loop.training import PRECISIONS
from plif_train.network.layers import MODES
from plif_train.network.losses import LOSSES
from plif_train.network.network import Options
from plif_train.network.surrogate import SURROGATES
from plif_train.recipe import KEYS, NETWORK, changed, option_of, read_recipe, shipped, table
from runtime.base.errors import MissingExtra, PlifError
from runtime.model.card import read_card
from runtime.model.grids import GRIDS
from tests.conftest import REPOSITORY
from tests.train.small import TrainingRun

SMALL = 'network = "nmnist"\nchannels = 2\nhidden = 20\nT = 3\nbatch_size = 5\nepochs = 1\n'
DIGITS = ["--data", "digits:12"]
GESTURES = REPOSITORY / "models" / "gesture.pt"


def write(folder: Path, text: str = "") -> str:
    (folder / "own.toml").write_text(SMALL + text)
    return "own.toml"


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = load(one).state_dict(), load(other).state_dict()
    return list(mine) == list(theirs) and all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


# --- one declaration ------------------------------------------------------------------------------------------------


def test_a_file_options_set_and_python_train_the_same_network(plif: TrainingRun, tmp_path: Path) -> None:
    recipe = write(tmp_path, "clip_norm = 1\n")
    options = ["--set", "channels=2", "--set", "hidden=20", "--T", "3", "--batch-size", "5", "--epochs", "1"]
    for out, command in (("file", [recipe]), ("options", ["nmnist", *options, "--set", "clip_norm=1.0"])):
        code, _, err = plif("train", *command, *DIGITS, "--out", f"{out}.pt")
        assert code == 0, err
    train(recipe, "digits:12", "path.pt", clip_norm=1, on_epoch=lambda _: None)
    train("nmnist", "digits:12", "record.pt", Recipe(channels=2, hidden=20, T=3, batch_size=5, epochs=1, clip_norm=1.0))
    content = {"channels": 2, "hidden": 20, "T": 3, "batch_size": 5, "epochs": 1, "clip_norm": 1}
    train({"network": "nmnist", **content}, "digits:12", "dict.pt")
    for name in ("options", "path", "record", "dict"):
        assert same_weights(tmp_path / "file.pt", tmp_path / f"{name}.pt"), name
        kept = [read_card(tmp_path / f"{one}.pt")["training"]["recipe"] for one in ("file", name)]
        assert kept[0] == kept[1] and kept[0]["clip_norm"] == 1.0


def test_what_a_key_may_be_is_what_the_training_has() -> None:
    for key, known in (
        ("loss", LOSSES),
        ("bn", MODES),
        ("surrogate", SURROGATES),
        ("precision", PRECISIONS),
        ("weights", GRIDS),
    ):
        assert set(KEYS[key].metadata["choices"]) == set(known), key
    names = {name for name, key in KEYS.items() if key.metadata["group"] == NETWORK}
    assert {"bias", "init_tau", "tau", "surrogate", "detach_reset", "dropout"} == names & set(
        Options.__dataclass_fields__
    )
    assert {part.partition(":")[2] for part in Recipe().augment.split(",")} <= set(AUGMENTATIONS)


def test_the_page_s_table_is_made_from_the_keys() -> None:
    page = (REPOSITORY / "docs" / "training.md").read_text().splitlines()
    begin = page.index("| key | may be | default | |")
    rows_of_page = page[begin + 2 : begin + 2 + len(KEYS)]
    assert rows_of_page == [f"| `{key}` | {may} | {default} | {help} |" for key, may, default, help in table()]
    assert not page[begin + 2 + len(KEYS)].startswith("|")


def test_the_help_fits_on_a_screen_and_says_where_the_keys_are(
    plif: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = plif("train", "--help")
    assert code == 0 and len(out.splitlines()) <= 45 and "--help-recipe" in out and "--set KEY=VALUE" in out
    for name in ("data", "out", "T", "epochs", "batch-size", "lr", "protocol", "seed", "resume", "from", "mix", "neuron",
                 "precision", "devices", "limit-train", "limit-test", "like"):  # fmt: skip
        assert f"--{name}" in out, name
    code, out, _ = plif("train", "--help-recipe")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[::2]] == list(KEYS)


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_nrom = 1", "own.toml: clip_nrom: no such key of a recipe; the nearest is clip_norm"),
        ("zzz = 1", "own.toml: zzz: no such key of a recipe; `plif train --help-recipe` lists them"),
        ("lr = 'fast'", "own.toml: lr 'fast': expected a number above 0"),
        ("lr = nan", "own.toml: lr nan: expected a number above 0"),
        ("t_max = 1.5", "own.toml: t_max 1.5: expected a whole number of at least 1, or none"),
        ("seed = -1", "own.toml: seed -1: expected a whole number from 0 to 2147483647"),
        ("bn = 'batch'", "own.toml: bn 'batch': expected per-step, joint or frozen"),
        ("compile = 1", "own.toml: compile 1: expected true or false"),
        ("mix = [0.5, 0]", "own.toml: mix [0.5, 0]: expected a number above 0"),
        ("vary = 'thin:0.5'", "own.toml: vary 'thin:0.5': expected texts"),
        ("accumulate = 9", "own.toml: accumulate 9: expected 1 to the batch size, 5"),
        ("lr = 1\nlr = 2", "own.toml: not a recipe"),
        ("[lr]\nx = 1", "own.toml: lr {'x': 1}: expected a number above 0"),
        ("augment = 'turn'", "augment turn: expected none, random_affine, random_crop_flip, random_shift_drop"),
        ("data = ['nmnist']", "--data digits: the recipe trains on nmnist; give these, in this order"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_its_key(
    text: str, message: str, plif: TrainingRun, tmp_path: Path
) -> None:
    code, _, err = plif("train", write(tmp_path, text), *DIGITS)
    assert code == 2 and err.startswith(f"plif: error: {message}") and err.count("\n") == 1, err
    assert [path.name for path in tmp_path.iterdir()] == ["own.toml"]


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
    found = like_recipe(GESTURES, Path("gesture-1.pt"))
    second = {"seed": 101, "epochs": 30, "t_max": 30, "device": "auto"}
    assert changed(read_recipe("gesture"), second) == found
    digits = like_recipe(REPOSITORY / "models" / "nmnist-digits.pt", None)
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
    again = resolved(card)
    assert (again.loss, again.bn, again.seed, again.neuron) == ("ce", "joint", 3, "PLIF,v_threshold=0.5")


# --- what ships -----------------------------------------------------------------------------------------------------


def test_every_recipe_that_ships_is_read_and_can_be_trained() -> None:
    assert set(shipped()) == {"authors", "paper", "live", "gesture", "digits"}
    for name in shipped():
        recipe = read_recipe(name)
        for data in (*(recipe.data or ("mnist",)), "cifar10", "folder"):
            augmentation_of(recipe.augment, data)
        assert all(parse_variation(text) for text in recipe.vary) and len(recipe.vary) == len(recipe.mix)


def test_the_shortest_text_of_a_key_is_read_as_the_value_that_it_had() -> None:
    for name, value in (("lr", 1e-3), ("lr", 0.123456789012), ("init_tau", 16.0), ("compile", True), ("t_max", None)):
        text = option_of(name, value)[-1].removeprefix(f"{name}=")
        assert getattr(changed(Recipe(), {name: text}, text=True), name) == value
    mixed = Recipe(mix=(0.5, 0.25), vary=("thin:0.5,turn:0.1", "shift:3"))
    assert option_of("mix", mixed.mix) == ["--mix", "0.5,0.25"]
    assert option_of("vary", mixed.vary) == ["--vary", "thin:0.5,turn:0.1", "--vary", "shift:3"]


def test_a_row_of_the_paper_names_the_authors_recipe_and_what_it_has_otherwise() -> None:
    words = rows()["table-4:fashion-mnist:lif-16"].arguments(None, "runs")
    assert words[:3] == ["train", "authors", "fashion-mnist"] and words[5:9] == [
        "--neuron",
        "LIF",
        "--set",
        "init_tau=16",
    ]
    assert rows()["table-s2:fashion-mnist:A"].arguments(None, "runs")[5] == "--precision"
    with pytest.raises(PlifError, match="no such key"):
        changed(Recipe(), {"recipe": "authors"})


def test_where_nothing_reads_toml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 with PyTorch, but without plif[train]."""
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"live\.toml: a recipe needs .* pip install 'plif\[train\]'"):
        read_recipe("live")
    assert read_recipe({"epochs": 3}).epochs == 3
