"""Figures of several trainings, odd files and exported networks: like beside like, all or none, one clear line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from plif_train import build
from plif_train.commands.paper_figures import draw_figure
from plif_train.commands.paper_figures.draw import MissingData, save_drawing
from plif_train.commands.paper_figures.subject import FigureModel, open_subject
from plif_train.commands.paper_figures.subject import TrainingRun as TrainedRun
from plif_train.commands.paper_figures.table_s2 import make_table_s2
from plif_train.commands.paper_rows.logs import load_authors_runs
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.plif_train.commands.paper_rows.paper_runs import FASHION, make_run
from tests.plif_train.core.small import TrainingRun

W = "epoch,layer,low,high,count\n"


def small(**options: Any) -> Any:
    return build("fashion-mnist", channels=2, hidden=20, **options)


def test_an_exported_network_has_the_figures_that_need_no_training(plif: TrainingRun, tmp_path: Path) -> None:
    make_run(tmp_path, "m", [0.5, 0.6], net=small(T=2))  # its log lies beside m.onnx, too
    assert plif("export", "m.pt", "-o", "m.onnx", "--no-verify")[0] == 0
    code, out, err = plif("paper", "figures", "m.onnx", "--out", "figures", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert list(found["figures"]) == ["encoders"] and (tmp_path / "figures" / "report.html").is_file()
    for name in ("course", "ablation", "tau", "table-s2"):
        assert "exported, without the record of its training" in found["skipped"][name]
        assert plif("paper", "figures", "m.onnx", "--only", name)[0] == 2


def test_unlike_runs_have_panels_of_their_own_and_names_of_their_own(tmp_path: Path) -> None:
    for folder, more in (
        ("a", {}),
        ("b", {"dataset": "mnist"}),
        ("c", {"objective": "ce"}),
        ("d", {"protocol": "B"}),
        ("e", {}),
        ("f", {"test_samples": 100}),
    ):
        (tmp_path / folder).mkdir()
        make_run(tmp_path / folder, "model" if folder != "e" else "alone", [0.5, 0.6], net=small(), **more)
    subject = open_subject(tmp_path)
    assert [run.name for run in subject.runs] == ["a/model", "b/model", "c/model", "d/model", "alone", "f/model"]
    figure = draw_figure("course", subject).figure
    titles = {axes.get_title(): [str(line.get_label()) for line in axes.lines] for axes in figure.axes[::2]}
    of_10000 = "protocol A, loss rate-mse, test samples 10000"
    assert titles[f"fashion-mnist, {of_10000}"][::2] == ["a/model, test", "alone, test"]
    assert len(titles) == 5 and titles["mnist"] == ["b/model, test", "b/model, train"]
    with pytest.raises(MissingData, match="at least two trainings that differ in neuron"):
        draw_figure("ablation", subject)  # a/model and alone are the same variant


def test_variants_that_were_trained_twice_are_told_apart_in_an_ablation(tmp_path: Path) -> None:
    for name, options in (("one", {}), ("two", {}), ("lif", {"neuron": "LIF"})):
        make_run(tmp_path, name, [0.5], net=small(**options))
    found = {row["variant"] for row in draw_figure("ablation", open_subject(tmp_path)).rows}
    assert found == {"LIF, tau_0 = 2", "PLIF, tau_0 = 2 (one)", "PLIF, tau_0 = 2 (two)"}


def test_ablations_of_one_data_set_say_what_else_differs_and_names_are_no_formulas(tmp_path: Path) -> None:
    for T in (4, 8):
        for neuron in ("PLIF", "LIF"):
            net = small(neuron=neuron, T=T)
            net.meta = replace(net.meta, classes=("$\\x$", *net.classes[1:]))
            make_run(tmp_path, f"{neuron}{T}$\\y$", [0.5], net=net, dataset="folder", taus=neuron == "PLIF")
    drawing = draw_figure("ablation", open_subject(tmp_path))
    assert [axes.get_title() for axes in drawing.figure.axes] == [
        "folder, T 4: here", "the authors", "folder, T 8: here", "the authors",
    ]  # fmt: skip
    save_drawing(drawing, tmp_path / "figures", "ablation")
    make_run(tmp_path, "other", [0.5], net=small())
    save_drawing(draw_figure("course", open_subject(tmp_path)), tmp_path / "figures", "course")


def test_a_log_that_is_not_the_model_s_is_not_drawn_and_a_card_may_lack_its_epoch(tmp_path: Path) -> None:
    path = make_run(tmp_path, "m", [0.5], net=small())
    path.with_suffix(".weights.csv").write_text(f"{W}0,fc1,0,1,5\n")
    path.with_suffix(".csv").write_text(path.with_suffix(".csv").read_text().replace("0.5", "0.6"))
    for name in ("course", "tau", "fig-s1"):
        with pytest.raises(PlifError, match="no row of the model beside it"):
            draw_figure(name, FigureModel(runs=[TrainedRun(path, read_card(path))]))
    (tmp_path / "bare").mkdir()
    bare = make_run(tmp_path / "bare", "bare", [0.9], epoch=None)
    bare.with_suffix(".csv").unlink()
    row = next(row for row in make_table_s2([TrainedRun(bare, read_card(bare))]) if row["run"] == "bare")
    assert row["accuracy"] == 0.9 and row["authors"] is None


def test_the_authors_validation_is_not_drawn_where_they_augmented_it(tmp_path: Path) -> None:
    like = {"dataset": "mnist", "protocol": "B", "train_samples": 51005, "augmentation": "random_affine"}
    make_run(tmp_path, "b", [0.98, 0.99], net=build("mnist"), **like)
    drawing = draw_figure("course", open_subject(tmp_path))
    assert {row["authors_val"] for row in drawing.rows} == {""} and "not random_affine" in drawing.caption
    assert drawing.rows[0]["authors_test"] == load_authors_runs()["B-MNIST-PLIF-tau2-max-T8"].test[0]


def test_tau_is_drawn_at_the_epochs_of_the_log_with_the_authors_layer_of_the_same_name(tmp_path: Path) -> None:
    path = make_run(tmp_path, "late", [0.91, 0.92], first=5).with_suffix(".csv")
    head, *lines = path.read_text().splitlines()
    columns = head.split(",")
    order = [*range(6), 9, 8, 7, 6]  # the columns of fc2 first
    path.write_text("".join(",".join(row.split(",")[i] for i in order) + "\n" for row in (head, *lines)))
    assert columns[9] == "tau:fc2"
    drawing = draw_figure("tau", open_subject(tmp_path))
    log = load_authors_runs()[FASHION]
    for layer in ("conv1", "fc1"):
        found = [(row["epoch"], row["authors"]) for row in drawing.rows if row["layer"] == layer]
        assert found == [(0, 2.0), (5, log.taus[layer][4]), (6, log.taus[layer][5])]
    assert drawing.figure.axes[0].lines[0].get_xdata().tolist() == [0, 5, 6]
    make_run(tmp_path, "late", [0.91], **{"from": "x.pt"})
    assert {row["epoch"] for row in draw_figure("tau", open_subject(tmp_path)).rows} == {1}  # its start is not tau_0


def test_a_figure_that_cannot_be_drawn_leaves_no_other_behind(plif: TrainingRun, tmp_path: Path) -> None:
    make_run(tmp_path, "m", [0.5], net=small())
    code, out, _ = plif("paper", "figures", "m.pt", "--only", "course,ablation", "--out", "figures")
    assert code == 2 and out == "" and not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("record", "log", "weights", "figure", "message"),
    [
        ({"lr": "fast"}, None, None, "course", "m.pt: lr 'fast': expected a number above 0"),
        ({"test_accuracy": "high"}, None, None, "table-s2", "m.pt: test_accuracy in the training record is 'high'"),
        ({}, "", None, "course", "m.csv: has no rows"),
        ({}, "1,1e-3,.1,.8,,.9,1.5,,1.5,1.5\n", None, "tau", "m.csv: row 1 has tau:conv2 ''; expected a number"),
        ({}, None, "0,fc1,0,1,5\n1,fc1,0,1,5\n0,fc2,0,1,5\n", "fig-s1", "m.weights.csv: lacks fc2 in epoch 1"),
        ({}, None, "0,fc1,,1,5\n", "fig-s1", "m.weights.csv: row 1 has low ''"),
    ],
)
def test_odd_files_are_said_in_one_line(
    record: dict[str, Any],
    log: str | None,
    weights: str | None,
    figure: str,
    message: str,
    plif: TrainingRun,
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path, "m", [0.9], net=small()).with_suffix(".csv")
    if record:
        make_run(tmp_path, "m", [0.9], net=small(), **record)
    if log is not None:
        path.write_text(path.read_text().splitlines()[0] + "\n" + log)
    if weights is not None:
        path.with_suffix(".weights.csv").write_text(W + weights)
    code, _, err = plif("paper", "figures", "m.pt", "--only", figure, "--out", "figures")
    assert code == 2 and message in err and "a bug in plif" not in err and err.count("\n") == 1, err
    assert "figures" not in os.listdir(tmp_path)


def test_a_file_that_is_left_out_is_left_out_for_its_own_reason(plif: TrainingRun, tmp_path: Path) -> None:
    make_run(tmp_path, "good", [0.9], net=small())
    make_run(tmp_path, "odd", [0.9], net=small(), lr="fast")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:1000])
    code, _, err = plif("paper", "figures", ".", "--only", "course", "--out", "figures")
    lines = err.splitlines()
    assert code == 0 and [line.split(":")[0] for line in lines] == ["left out"] * 2, err
    assert "cut.pt: " in lines[0] and "odd.pt: lr 'fast'" in lines[1]


def test_channels_are_numbers(plif: TrainingRun, tmp_path: Path) -> None:
    make_run(tmp_path, "m", [0.9], net=small())
    code, _, err = plif("paper", "figures", "m.pt", "--channels", "1,²")
    assert code == 2 and "expected a whole number from 0 on" in err
