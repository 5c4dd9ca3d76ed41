"""A recipe is a file: its keys are declared once, whatever is wrong with one is said in one line, and a card holds it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from plif_train import Recipe, train
from plif_train.commands.paper_rows.rows import list_rows
from plif_train.core.recipe import KEYS, format_option, list_keys, read_recipe, replace_keys
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.model.card import read_card
from tests.conftest import REPOSITORY
from tests.plif_train.core.small import DIGITS, TrainingRun, same_weights, write

SHORT_VALUES = {  # as the table of docs/training-reference.md writes them
    "a whole number of at least 1": "≥1",
    "a whole number from 0 to 2147483647": "integer 0 to 2147483647",
    "a number above 0": ">0",
    "a number above 1": ">1",
    "a number above 0 for each --data": ">0 for each --data",
    "a number from 0 to 1": "0 to 1",
    "a number of at least 0": "≥0",
}

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


def test_the_page_s_table_is_made_from_the_keys() -> None:
    page = (REPOSITORY / "docs" / "training-reference.md").read_text().splitlines()
    begin = page.index("| key | values | default | meaning |")
    rows_of_page = page[begin + 2 : begin + 2 + len(KEYS)]
    rows_of_keys = [
        f"| `{key}` | {SHORT_VALUES.get(values, values)} | {default} | {help} |"
        for key, values, default, help in list_keys()
    ]
    assert rows_of_page == rows_of_keys
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


def test_the_shortest_text_of_a_key_is_read_as_the_value_that_it_had() -> None:
    for name, value in (("lr", 1e-3), ("lr", 0.123456789012), ("init_tau", 16.0), ("compile", True), ("t_max", None)):
        text = format_option(name, value)[-1].removeprefix(f"{name}=")
        assert getattr(replace_keys(Recipe(), {name: text}, is_text=True), name) == value
    mixed = Recipe(mix=(0.5, 0.25), vary=("thin:0.5,turn:0.1", "shift:3"))
    assert format_option("mix", mixed.mix) == ["--mix", "0.5,0.25"]
    assert format_option("vary", mixed.vary) == ["--vary", "thin:0.5,turn:0.1", "--vary", "shift:3"]


def test_a_row_of_the_paper_names_the_authors_recipe_and_what_it_has_otherwise() -> None:
    words = list_rows()["table-4:fashion-mnist:lif-16"].arguments(None, "runs")
    assert words[:3] == ["train", "authors", "fashion-mnist"] and words[5:9] == [
        "--neuron",
        "LIF",
        "--set",
        "init_tau=16",
    ]
    assert list_rows()["table-s2:fashion-mnist:A"].arguments(None, "runs")[5] == "--precision"
    with pytest.raises(PlifError, match="no such key"):
        replace_keys(Recipe(), {"recipe": "authors"})


def test_where_nothing_reads_toml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 with PyTorch, but without plif[train]."""
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"live\.toml: a recipe needs .* pip install 'plif\[train\]'"):
        read_recipe("live")
    assert read_recipe({"epochs": 3}).epochs == 3
