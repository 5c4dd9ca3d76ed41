"""The paper beside one's own trainings: like stands beside like, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from plif_train import build
from plif_train.commands.paper_figures import draw_figure
from plif_train.commands.paper_figures.subject import open_subject
from plif_train.commands.paper_figures.table_s2 import format_table_s2, make_table_s2
from plif_train.commands.paper_rows.conditions import read_conditions, split_notation
from plif_train.commands.paper_rows.logs import find_nearest_run, find_run, load_authors_runs, parse_log_conditions
from plif_train.commands.paper_rows.rows import TABLE_4, TABLE_5, TABLE_S2, find_rows, list_rows
from plif_train.commands.paper_rows.standing import compare_with_authors
from plif_train.core.api import create_job
from plif_train.core.cli import _parse_settings
from plif_train.core.loop.checkpoint import make_card
from plif_train.core.network.choice import build_for_dataset
from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import KEYS, Recipe
from runtime.core.cli.main import app, list_all_commands, run
from runtime.core.data import parse_spec
from tests.plif_train.commands.paper_rows.paper_runs import FASHION, TRAINING, few_pictures, make_run

# How each condition of a training like the authors' on Fashion-MNIST can differ.
MIXED = {"data": "fashion-mnist", "share": 1.0, "vary": "thin:0.5"}
UNLIKE: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("train samples", {}, {"train_samples": 1000}),
    ("test samples", {}, {"test_samples": 100}),
    ("origin", {}, {"simulated": "drawn digits"}),
    ("protocol", {}, {"protocol": "B"}),
    ("loss", {}, {"objective": "ce"}),
    ("augment", {}, {"augmentation": "random_affine"}),
    ("t_max", {}, {"t_max": 10}),
    ("processes", {}, {"processes": 2}),
    ("start", {}, {"from": "gesture.pt"}),
    ("selection", {}, {"limit_train": 60000}),
    ("selection", {}, {"dataset_options": {"train": "some"}}),
    ("vary", {}, {"mixture": [MIXED]}),
    ("origin", {}, {"mixture": [MIXED]}),
    ("surrogate", {"surrogate": "sigmoid"}, {}),
    ("network", {"channels": 32}, {}),
    ("neuron", {"neuron": "LIF"}, {}),
    ("neuron", {"v_reset": None}, {}),
    ("tau", {"tau": "channel"}, {}),
    ("init_tau", {"init_tau": 3.0}, {}),
    ("pool", {"pool": "AP"}, {}),
    ("T", {"T": 6}, {}),
]


def test_the_published_accuracies_are_those_of_the_logs() -> None:
    assert len(load_authors_runs()) == 49
    published = [row for row in list_rows().values() if row.published is not None]
    assert len(published) == sum(len(one) for table in (TABLE_S2, TABLE_4, TABLE_5) for one in table.values())
    for row in published:
        log = load_authors_runs()[str(row.log)]
        if row.name.endswith(":B"):  # the test accuracy of the epoch with the best validation
            best = len(log.val) - 1 - int(log.val[::-1].argmax())
            found = log.test[best]
        else:
            found = log.test.max()
        assert found == pytest.approx(row.published, abs=1.5e-4), row.name


def test_a_run_is_like_the_authors_only_where_every_condition_is() -> None:
    def card(overrides: dict[str, Any], **training: Any) -> Any:
        with torch.device("meta"):
            return make_card(build("fashion-mnist", **overrides), {**TRAINING, **training})

    same = find_run(read_conditions(card({})))
    assert same is not None and same.name == FASHION
    for what, overrides, training in UNLIKE:
        conditions = read_conditions(card(overrides, **training))
        found = find_nearest_run(conditions)
        if find_run(conditions) is not None:  # the authors had a run like that one
            assert find_run(conditions) is not same
            continue
        assert found is not None and any(line.startswith(f"{what}: ") for line in found[1]), (what, found)
    assert find_nearest_run(read_conditions(card({}, dataset="folder"))) is None


def test_every_row_s_command_trains_the_network_of_its_log(tmp_path: Path) -> None:
    for row in list_rows().values():
        if row.log is None:
            continue
        params = app.get_command(None, "train").make_context("train", row.arguments(None, "runs")[1:]).params
        typed = {
            name: value for name, value in params.items() if name in KEYS and name != "data" and value not in (None, [])
        }
        how = TrainingOptions(data=params["data"], out=tmp_path / "m.pt")
        job = create_job(params["words"], how, typed | _parse_settings(params["settings"] or []), is_text=True)
        with torch.device("meta"):
            net = build_for_dataset(str(job.recipe.network), job.first, job.overrides)
        samples = parse_log_conditions(row.log)
        training = {
            "dataset": job.first.partition(":")[0], "train_samples": samples.train_samples, "recipe": job.recipe.to_dict(),
            "test_samples": samples.test_samples, "dataset_options": parse_spec(job.first)[2],
            "augmentation": job.augmentation.__name__ if job.augmentation else None,
        }  # fmt: skip
        assert read_conditions(make_card(net, training)).differences(samples) == [], row.name


def test_figures_draw_the_authors_behind_like_runs_only(tmp_path: Path) -> None:
    make_run(tmp_path, "like", [0.88, 0.90, 0.91])
    like_it = open_subject(tmp_path)
    course, tau = draw_figure("course", like_it), draw_figure("tau", like_it)
    log = load_authors_runs()[FASHION]
    assert [row["authors_test"] for row in course.rows] == log.test[:3].tolist()
    assert [row["authors"] for row in tau.rows if row["layer"] == "fc1"] == [2.0, *log.taus["fc1"][:3].tolist()]
    assert any("the authors'" in str(line.get_label()) for line in course.figure.axes[0].lines)
    make_run(tmp_path, "like", [0.88, 0.90, 0.91], train_samples=1000)
    unlike = open_subject(tmp_path)
    course, tau = draw_figure("course", unlike), draw_figure("tau", unlike)
    assert {row["authors_test"] for row in course.rows} == {""} and {row["authors"] for row in tau.rows} == {""}
    assert "train samples: 1000, not 60000" in course.caption and "train samples: 1000, not 60000" in tau.caption
    assert not any("the authors'" in str(line.get_label()) for line in course.figure.axes[0].lines)


def test_table_s2_keeps_unlike_runs_out_of_the_published_rows(tmp_path: Path) -> None:
    make_run(tmp_path, "like", [0.88, 0.90])
    make_run(tmp_path, "better", [0.88, 0.91])
    make_run(tmp_path, "few", [0.99], train_samples=1000, test_samples=100)
    make_run(tmp_path, "lif", [0.95], net=build("fashion-mnist", neuron="LIF"))
    own = build("c4k3s1-BN-PLIF-FC20-PLIF-APk10s10", shape=(1, 8, 8), classes=("a", "b"), kind="static")
    make_run(tmp_path, "mine", [0.5], net=own, dataset="folder")
    table = make_table_s2(open_subject(tmp_path).runs)
    row = next(row for row in table if (row["dataset"], row["protocol"]) == ("fashion-mnist", "A"))
    assert (row["run"], row["accuracy"], row["published"], row["epochs"]) == ("better", 0.91, 0.9438, 2)
    assert row["authors"] == load_authors_runs()[FASHION].test[:2].max()
    alone = {row["run"]: row for row in table if row["differs"]}
    assert set(alone) == {"few", "lif", "mine"} and all(
        row["published"] is row["authors"] is None for row in alone.values()
    )
    text = "\n".join(format_table_s2(table))
    assert "few; unlike the authors' in train samples: 1000, not 60000; test samples: 100, not 10000" in text


def test_an_ablation_takes_runs_that_differ_in_neuron_tau_or_pooling_alone(tmp_path: Path) -> None:
    make_run(tmp_path, "plif", [0.88, 0.90])
    make_run(tmp_path, "lif", [0.87, 0.89], taus=False, net=build("fashion-mnist", neuron="LIF", init_tau=16.0))
    make_run(tmp_path, "few", [0.99], train_samples=1000)
    for neuron in ("PLIF", "LIF"):  # two sets of one's own stand in a row of their own, and not with one another
        net = build(
            "c2k3s1-BN-PLIF-FC20-PLIF-APk10s10".replace("PLIF", neuron),
            shape=(1, 8, 8),
            classes=("a", "b"),
            kind="static",
        )
        make_run(tmp_path, f"mine-{neuron}", [0.5], net=net, dataset="folder", taus=neuron == "PLIF")
    net.meta = replace(net.meta, classes=("a", "c"))
    make_run(tmp_path, "others", [0.6], net=net, dataset="folder", taus=False)
    drawing = draw_figure("ablation", open_subject(tmp_path))
    titles = [axes.get_title() for axes in drawing.figure.axes]
    assert titles[::2] == ["fashion-mnist: here", "folder: here"]
    assert {row["run"] for row in drawing.rows if row["dataset"] == "folder"} == {"mine-PLIF", "mine-LIF"}
    drawing.rows = [row for row in drawing.rows if row["dataset"] == "fashion-mnist"]
    found = {(row["variant"], row["epoch"]): (row["accuracy"], row["authors"]) for row in drawing.rows}
    theirs = load_authors_runs()["A-FashionMNIST-LIF-tau16-max-T8"].test
    assert found[("LIF, tau_0 = 16", 2)] == (0.89, theirs[1]) and len(found) == 4
    assert "left out, as they differ in more: few, others" in drawing.caption


def test_a_standing_says_whether_a_run_is_inside_the_authors_spread(tmp_path: Path) -> None:
    log = load_authors_runs()[FASHION]
    with torch.device("meta"):
        card = make_card(build("fashion-mnist"), TRAINING)

    taus = {f"tau:{layer}": "1.4" for layer in log.taus}

    def epochs(accuracy: float) -> list[dict[str, str]]:
        return [
            {
                "epoch": "5",
                "lr": str(Recipe(t_max=64).lr_at(4)),
                "test_accuracy": str(accuracy),
                "val_accuracy": "",
                **taus,
            }
        ]

    inside, low = (compare_with_authors(card, epochs(accuracy), log) for accuracy in (log.test[4], 0.85))
    assert inside is not None and low is not None and inside.taus
    assert inside.inside is True and low.inside is False and inside.taus["fc1"] == (1.4, log.taus["fc1"][4])
    few = compare_with_authors({**card, "training": {**TRAINING, "train_samples": 10}}, epochs(0.917), log)
    assert few is not None and few.inside is None and "unlike runs" in few.lines()[0]


def test_reproduce_trains_a_row_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 32 pictures instead of 60,000, which it says."""
    monkeypatch.chdir(tmp_path)  # where no model.pt is
    data, out = few_pictures(tmp_path), tmp_path / "runs"
    command = ["paper", "table-4:lif-16", "--data", data, "--out", str(out), "--json"]
    for epochs in (1, 2):
        assert not run([*command, "--epochs", str(epochs)])
        found = json.loads(capsys.readouterr().out)
        assert found["row"] == "table-4:fashion-mnist:lif-16" and found["published"] == 0.9447
        assert found["standing"]["epoch"] == epochs and found["standing"]["inside"] is None
        assert found["standing"]["differences"] == ["train samples: 32, not 60000", "test samples: 8, not 10000"]
    assert not run(["paper", "table-4:lif-16", "--out", str(out)])
    text = capsys.readouterr().out
    assert text.count("plif train authors") == 4 and "not compared: unlike runs" in text
    assert not run(["paper", "--list", "--out", str(out)])
    assert "epoch 2" in capsys.readouterr().out
    for wrong, message in (
        (["no-row"], "is not known"),
        (["fig-s2", "--data", data], "is drawn of a trained network, found neither"),
        (["table-s2", "--data", data], "--data trains one"),
        (["table-s2:mnist:A", "--data", data], "expected mnist:DIR"),
        (["--list", "table-s2"], "stands alone"),
        (["table-s2:mnist:A", "--overwrite"], "expected --data NAME:DIR beside it"),
    ):
        assert run(["paper", *wrong]) == 2
        assert message in capsys.readouterr().err


def test_the_list_holds_every_table_and_figure_and_names_commands_that_exist() -> None:
    found = list_rows()
    for begin in (
        "table-1",
        "table-3",
        "table-4:",
        "table-5:",
        "table-s2:",
        "fig-6",
        "fig-7",
        *(f"fig-s{i}" for i in range(1, 6)),
    ):
        assert any(name.startswith(begin) for name in found), begin
    assert [row.name for row in find_rows("table-2")] == [f"table-s2:{name}:A" for name in TABLE_S2]
    assert [row.name for row in find_rows("table-2:mnist") + find_rows("table-s1")] == ["table-s2:mnist:A", "table-1"]
    for row in found.values():
        words = (row.command or "plif train").split()
        assert words[0] == "plif" and words[1] in list_all_commands()


def test_with_the_authors_seed_the_first_weights_are_theirs() -> None:
    """So that channel 45 here is channel 45 of their Fig. S2. PyTorch's own layers, in the order of the authors' code."""
    torch.manual_seed(2020)
    theirs = [
        torch.nn.Conv2d(1, 128, 3, padding=1, bias=False),
        torch.nn.Conv2d(128, 128, 3, padding=1, bias=False),
        torch.nn.Linear(6272, 2048, bias=False),
        torch.nn.Linear(2048, 100, bias=False),
    ]
    torch.manual_seed(2020)
    ours = [tensor for tensor in build("fashion-mnist").state_dict().values() if tensor.dim() > 1]
    assert len(ours) == 4
    for mine, layer in zip(ours, theirs, strict=True):
        assert torch.equal(mine, layer.weight.detach())


def test_a_notation_is_split_into_network_neuron_and_pooling() -> None:
    assert split_notation("{c8k3s1-BN-LIF-APk2s2}*2-FC20-LIF-APk10s10") == (
        "{c8k3s1-BN-N-Pk2s2}*2-FC20-N-APk10s10", "LIF", "AP",
    )  # fmt: skip
    assert split_notation("FC20-PLIF")[1:] == ("PLIF", None)
    authors = parse_log_conditions(FASHION)
    assert replace(authors, recipe=replace(authors.recipe, T=9)).differences(authors) == ["T: 9, not 8"]
