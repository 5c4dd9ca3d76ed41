"""`plif paper`: what it prints can be typed, and what it says of the files that it finds is so."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from plif_train import build, save, scale_to_fire
from plif_train.commands.paper_rows.logs import load_authors_runs
from plif_train.commands.paper_rows.rows import list_rows
from plif_train.core.network.presets import PRESETS
from runtime.core.data import open_dataset
from tests.plif_train.commands.paper_rows.paper_runs import FASHION, few_pictures, make_run
from tests.plif_train.core.small import TrainingRun, plif_process, wait_for
from tests.runtime.core.test_data_sets import write_cifar10_dvs

LIF = "A-FashionMNIST-LIF-tau16-max-T8"
GESTURES = "other_gestures,right_arm_clockwise,air_drums"
CAPTIONS = {  # of the supplement: data set, --class, --channels, --steps; None: all
    "fig-s1": ("cifar10-dvs", None, None, None),
    "fig-s2": ("fashion-mnist", None, "45,75,76", "8"),
    "fig-s3": ("cifar10-dvs", "horse", None, "19"),
    "fig-s4": ("cifar10-dvs", "horse", "40,103", "20"),
    "fig-s5": ("dvs128-gesture", GESTURES, "59", None),
}


def test_every_log_of_the_authors_has_a_row() -> None:
    assert {row.log for row in list_rows().values() if row.log} == set(load_authors_runs())
    assert list_rows()["logs:mnist:lif-tau16-max-t8"].log == "A-MNIST-LIF-tau16-max-T8"


@pytest.mark.large
def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path) -> None:
    data = few_pictures(tmp_path)
    command = ["paper", "table-4:lif-16", "--data", data]
    process = plif_process(*command, cwd=tmp_path)
    wait_for(tmp_path / "runs" / f"{LIF}.csv", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert (
        err.endswith(f"runs/{LIF}.resume.pt holds how far it came; the same command goes on\n")
        and "--resume" not in err
    )


@pytest.mark.large
def test_a_model_without_what_its_training_goes_on_from_is_begun_again_when_asked(
    plif: TrainingRun, tmp_path: Path
) -> None:
    command = ["paper", "table-4:lif-16", "--data", few_pictures(tmp_path), "--epochs", "1"]
    make_run(tmp_path, LIF, [0.8], net=build("fashion-mnist", neuron="LIF", init_tau=16.0))
    (tmp_path / "runs").mkdir()
    (tmp_path / f"{LIF}.pt").rename(tmp_path / "runs" / f"{LIF}.pt")
    code, _, err = plif(*command)
    assert code == 2 and "is there already: add --overwrite to replace it" in err
    code, out, err = plif(*command, "--overwrite")
    assert code == 0 and "train samples: 32, not 60000" in out, err


def test_the_command_that_is_printed_runs_where_there_is_no_folder_yet(plif: TrainingRun, tmp_path: Path) -> None:
    place = tmp_path / "not yet" / "runs"
    _, out, _ = plif("paper", "table-s2:fashion-mnist:A", "--out", str(place), "--json")
    assert json.loads(out)["command"].startswith(
        f"mkdir -p {shlex.quote(str(place))} && plif train authors fashion-mnist "
    )
    place.mkdir(parents=True)
    _, out, _ = plif("paper", "table-s2:fashion-mnist:A", "--out", str(place), "--json")
    assert json.loads(out)["command"].startswith("plif train authors fashion-mnist ")


def test_a_lost_log_is_not_taken_for_a_training_that_never_was(plif: TrainingRun, tmp_path: Path) -> None:
    command = ["paper", "table-s2:fashion-mnist:A", "--out", str(tmp_path)]
    assert "not trained here yet" in plif(*command)[1]
    make_run(tmp_path, FASHION, [0.88]).with_suffix(".csv").unlink()
    out = plif(*command)[1]
    assert f"{FASHION}.pt is trained, but its log {FASHION}.csv is not beside it" in out and "not trained" not in out


def test_the_list_marks_where_runs_stand_and_a_damaged_one_hides_no_other(plif: TrainingRun, tmp_path: Path) -> None:
    run = load_authors_runs()[FASHION]
    make_run(tmp_path, FASHION, run.test[:2].tolist(), precision="bf16")
    make_run(tmp_path, LIF, [0.5], net=build("fashion-mnist", neuron="LIF", init_tau=16.0))
    average = "A-FashionMNIST-PLIF-tau2-avg-T8"
    make_run(tmp_path, average, [0.9], net=build("fashion-mnist", pool="AP"), **{"from": "x.pt"})
    damaged = tmp_path / "A-FashionMNIST-PLIF-tau16-max-T8.pt"
    damaged.write_bytes(b"PK\x03\x04 no zip")
    code, out, err = plif("paper", "--list", "--out", str(tmp_path))
    assert code == 0, err
    found = {line.split()[0]: line for line in out.splitlines()}
    for row, end in (
        ("table-s2:fashion-mnist:A", f"epoch 2: {100 * run.test[1]:.2f} % in bf16, inside"),
        ("table-4:fashion-mnist:lif-16", "epoch 1: 50.00 %, outside"),
        ("table-5:fashion-mnist:average", "epoch 1: 90.00 %, unlike"),
    ):
        assert found[row].endswith(end), found[row]
    assert f"not compared: {damaged}: " in found["table-4:fashion-mnist:plif-16"]
    listed = json.loads(plif("paper", "--list", "--out", str(tmp_path), "--json")[1])
    assert [one["row"] for one in listed if "note" in one] == ["table-4:fashion-mnist:plif-16"]


def test_wrong_words_are_said_before_anything_is_read(plif: TrainingRun, tmp_path: Path) -> None:
    code, _, err = plif("paper", "table-4:lif-16", "--precision", "fp8")
    assert code == 2 and "--precision fp8: expected fp32 or bf16 or fp16" in err
    code, _, err = plif("paper", "--data", "mnist:DIR")
    assert code == 2 and "expected a row to train before it" in err and "--list" not in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cells", ["1,1e-3,.1,.8,,88.8", "1,1e-3,.1,.8,,nan", "2,1"])
def test_a_damaged_log_is_named_with_its_row(cells: str, plif: TrainingRun, tmp_path: Path) -> None:
    log = make_run(tmp_path, FASHION, [0.88], taus=False).with_suffix(".csv")
    log.write_text(f"{log.read_text().splitlines()[0]}\n{cells}\n")
    out = plif("paper", "table-s2:fashion-mnist:A", "--out", str(tmp_path))[1]
    assert f"not compared: {log}: row 1 has " in out and "expected" in out


def test_the_log_of_another_training_or_a_part_of_it_is_not_believed(plif: TrainingRun, tmp_path: Path) -> None:
    log = make_run(tmp_path, FASHION, [0.88, 0.9, 0.91]).with_suffix(".csv")
    other = make_run(tmp_path, "other", [0.7, 0.8, 0.75]).with_suffix(".csv")
    whole = log.read_text()
    for text in (other.read_text(), "".join(whole.splitlines(keepends=True)[:3])):
        log.write_text(text)
        out = plif("paper", "table-s2:fashion-mnist:A", "--out", str(tmp_path))[1]
        assert f"not compared: {log}: no row of the model beside it (epoch 3, test_accuracy 0.91)" in out
        _, _, err = plif("paper", "figures", ".", "--only", "course", "--out", "figures")
        assert f"left out: {log.name}: no row of the model" in err, err
    log.write_text(whole)
    assert "inside" in plif("paper", "table-s2:fashion-mnist:A", "--out", str(tmp_path))[1]


def test_the_supplement_s_figures_are_listed_as_its_captions_say() -> None:
    assert [name for name in list_rows() if name.startswith("fig-s")] == list(CAPTIONS)
    for name, (data, *wanted) in CAPTIONS.items():
        row = list_rows()[name]
        words = shlex.split(row.command or "")
        options = dict(zip(words[4::2], words[5::2], strict=True))
        assert options["--only"] == name and [options.get(f"--{o}") for o in ("class", "channels", "steps")] == wanted
        assert row.dataset == data and data in row.title.lower().replace(" ", "-")
        assert options.get("--data", f"{data}:DIR") == f"{data}:DIR"


def test_a_figure_is_drawn_of_the_training_of_its_data_set(plif: TrainingRun, tmp_path: Path) -> None:
    """Where there is none, of model.pt: the large test below."""
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    meta = PRESETS["fashion-mnist"].meta
    same = {name: getattr(meta, name) for name in ("kind", "shape", "T", "classes", "normalisation")}
    net = build("c80k3s1-BN-PLIF-MPk4s4-FC100-PLIF-APk10s10", **same).eval()
    (tmp_path / "runs").mkdir()
    save(net, tmp_path / "runs" / f"{FASHION}.pt")
    (tmp_path / "model.pt").write_bytes(b"another")
    code, out, err = plif("paper", "fig-s2", "--data", few_pictures(tmp_path), "--json")
    assert code == 0 and json.loads(out)["figures"]["fig-s2"][0] == "figures/fig-s2.png", err
    drawn = tmp_path / "figures" / "fig-s2.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert {row["channel"] for row in _table(drawn.with_suffix(".csv"))} == {"45", "75", "76"}


def test_a_figure_that_cannot_be_drawn_says_what_is_missing(plif: TrainingRun) -> None:
    code, _, err = plif("paper", "fig-s3", "--data", "cifar10-dvs:/my horses")
    assert code == 2 and err.endswith(
        "found neither runs/A-CIFAR10DVS-PLIF-tau2-max-T20-n4-number.pt nor model.pt; train one: "
        "plif paper table-s2:cifar10-dvs:A --data 'cifar10-dvs:/my horses'\n"
    )
    code, _, err = plif("paper", "fig-s3", "--data", "fashion-mnist:DIR")
    assert code == 2 and "found fashion-mnist, expected cifar10-dvs:DIR" in err
    code, _, err = plif("paper", "fig-7", "--data", "fashion-mnist:DIR")
    assert code == 2 and err.endswith("is of no data; type: plif paper figures runs --only tau\n")


@pytest.mark.large
def test_the_figures_of_cifar10_dvs_are_drawn_by_the_commands_of_their_rows(plif: TrainingRun, tmp_path: Path) -> None:
    """Word for word: model.pt and the folder DIR lie where they are typed."""
    pytest.importorskip("matplotlib", reason="figures need matplotlib")
    write_cifar10_dvs(tmp_path / "DIR")
    meta = PRESETS["cifar10-dvs"].meta  # its first layer, and less behind it
    same = {name: getattr(meta, name) for name in ("kind", "shape", "T", "classes", "framing")}
    net = build("c128k3s1-BN-PLIF-MPk16s16-FC20-PLIF-FC100-PLIF-APk10s10", **same).eval()
    horse = open_dataset("cifar10-dvs:DIR", "test", framing=meta.framing).sample(7)
    x = torch.from_numpy(horse).float()[:, None]  # [T, 1, 2, 128, 128]
    scale_to_fire(net, x)
    save(net, tmp_path / "model.pt")
    seen: list[torch.Tensor] = []
    with torch.no_grad(), net.watch_spikes(lambda layer, spikes: seen.append(spikes) if layer == "conv1" else None):
        net(x)
    spikes = seen[0][:, 0].numpy()  # [T, 128, 128, 128]
    assert len(spikes) == 20 and spikes[19].any()
    for name, (data, *_) in CAPTIONS.items():
        if data == "cifar10-dvs":
            typed = ["paper", name, "--data", f"{data}:DIR"] if name == "fig-s3" else list_rows()[name].command or ""
            code, _, err = plif(*(typed if isinstance(typed, list) else shlex.split(typed)[1:]))
            assert code == 0 and (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG"), err
    table = {name: _table(tmp_path / "figures" / f"{name}.csv") for name in ("fig-s1", "fig-s3", "fig-s4")}
    assert {row["layer"] for row in table["fig-s1"]} == {"fc1", "fc2"}
    for figure, row in ((spikes[0], "fire_at_t0"), (spikes[:19].mean(0), "mean_rate")):
        assert np.allclose([float(channel[row]) for channel in table["fig-s3"]], figure.mean((1, 2)), atol=1e-6)
    at = [(t, c) for t in range(20) for c in (40, 103)]
    assert [(int(row["t"]), int(row["channel"])) for row in table["fig-s4"]] == at
    assert [int(row["spikes"]) for row in table["fig-s4"]] == [int(spikes[t, c].sum()) for t, c in at]


def _table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
