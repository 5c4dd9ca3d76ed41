"""Figures: every one is drawn from what a training leaves, with the numbers it shows beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="figures need matplotlib")

from plif_train import build, scale_to_fire
from plif_train.commands.paper_figures import FIGURES, draw_figure
from plif_train.commands.paper_figures.activity import FirstLayerSpikes, choose_channels, record_spikes
from plif_train.commands.paper_figures.all_channels import tile_maps
from plif_train.commands.paper_figures.draw import MissingData, write_report
from plif_train.commands.paper_figures.subject import FigureModel, open_subject, read_figure_samples
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.events import make_events
from runtime.core.model.card import read_card
from tests.recordings import aedat2_bytes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of a small network on drawn digits: model.pt and its logs."""
    folder = tmp_path_factory.mktemp("runs")
    code = run(
        ["train", "nmnist", "--data", "digits:20", "--set", "channels=4", "--set", "hidden=20", "--T", "4", "--epochs", "2",
         "--out", str(folder / "model.pt")]
    )  # fmt: skip
    assert not code
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_all_figures_of_a_training_are_drawn_with_their_data_and_a_report(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures"
    command = [
        "paper",
        "figures",
        str(trained / "model.pt"),
        "--data",
        "digits:10",
        "--out",
        str(out),
        "--samples",
        "4",
        "--json",
    ]
    assert not run(command)
    found = json.loads(capsys.readouterr().out)
    alone = set(FIGURES) - {"ablation"}  # which needs several trainings
    assert set(found["figures"]) == alone and set(found["skipped"]) == {"ablation"}
    for name in alone:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (out / f"{name}.svg").read_text() and rows(out / f"{name}.csv")
    tau = rows(out / "tau.csv")
    assert [row["tau"] for row in tau if row["epoch"] == "0"] == ["2.0"] * 4 and len(tau) == 4 * 3
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(alone) and 'src="http' not in page


def test_the_numbers_of_a_figure_are_those_of_the_network(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures"
    only = ["--only", "fig-s2,fig-s4", "--channels", "3,1", "--samples", "3", "--steps", "3"]
    assert not run(["paper", "figures", str(trained / "model.pt"), "--data", "digits:10", "--out", str(out), *only])
    from plif_train import load

    net = load(trained / "model.pt")
    seen: list[torch.Tensor] = []
    net.watch = lambda layer, spikes: seen.append(spikes) if layer == "conv1" else None
    data = open_dataset("digits:10", "test", framing=net.framing, shape=net.meta.shape)
    with torch.no_grad():
        net(torch.from_numpy(np.stack([data.sample(i) for i in range(3)], 1)))
    spikes = seen[0][:3].numpy()  # [T_s, N, C, H, W]
    for row in rows(out / "fig-s2.csv"):
        expected = spikes[:, int(row["sample"]), int(row["channel"])].mean()
        assert float(row["mean_rate"]) == pytest.approx(float(expected), abs=1e-7)
    for row in rows(out / "fig-s4.csv"):
        assert int(row["spikes"]) == spikes[int(row["t"]), 0, int(row["channel"])].sum()
    assert {row["channel"] for row in rows(out / "fig-s2.csv")} == {"3", "1"}


def test_a_recording_alone_can_be_looked_at(trained: Path, tmp_path: Path) -> None:
    from runtime.core.events import write_nmnist

    data = open_dataset("digits:3", "test", framing="count:T=4")
    write_nmnist(tmp_path / "mine.bin", data.recording(2)[0])  # type: ignore[attr-defined]
    card = read_card(trained / "model.pt")
    x, names = read_figure_samples(card, str(tmp_path / "mine.bin"), 10, None)
    assert names == ["mine"] and np.array_equal(x[0], data.sample(2))


def test_an_upright_network_is_drawn_with_an_upright_view(trained: Path, tmp_path: Path) -> None:
    """AEDAT 2.0 is stored turned by 180 degrees."""
    at = np.arange(500)
    (tmp_path / "a.aedat").write_bytes(aedat2_bytes(make_events(100 * at, at % 60, at % 20, at % 2 == 0)))
    card = {**read_card(trained / "model.pt"), "input": {"kind": "events", "shape": [2, 128, 128]}}
    stored, _ = read_figure_samples(card, str(tmp_path / "a.aedat"), 1, None)
    upright, _ = read_figure_samples({**card, "view": "upright"}, str(tmp_path / "a.aedat"), 1, None)
    assert stored.any() and np.array_equal(upright, stored[..., ::-1, ::-1])


def test_samples_are_of_each_class_in_turn_or_of_one_class(trained: Path) -> None:
    card = read_card(trained / "model.pt")
    assert read_figure_samples(card, "digits:40", 12, None)[1] == [*"0123456789", "0", "1"]
    assert read_figure_samples(card, "digits:40", 3, "7")[1] == ["7"] * 3
    with pytest.raises(PlifError, match="class 'horse'"):
        read_figure_samples(card, "digits:40", 3, "horse")


def test_edge_like_and_selective_channels_are_found() -> None:
    """Channel 2 fires on the outline of a square, 5 everywhere but only for one sample, the others at random."""
    rng = np.random.default_rng(0)
    x = np.zeros((4, 3, 1, 24, 24), np.float32)
    x[..., 6:18, 6:18] = 1
    spikes = (rng.random((4, 3, 8, 24, 24)) < 0.3).astype(np.float32)
    outline = np.zeros((24, 24), bool)
    outline[5:19, 5:19] = True
    outline[7:17, 7:17] = False
    spikes[:, :, 2] = outline
    spikes[:, 0, 5], spikes[:, 1:, 5] = 1, 0
    chosen = choose_channels(FirstLayerSpikes(x, spikes, ["a", "b", "c"], "conv1"))
    assert chosen[0] == 2 and chosen[2] == 5 and len(set(chosen)) == 3


def test_static_images_are_shown_for_all_steps_and_silent_layers_are_said() -> None:
    net = build("fashion-mnist", channels=3, hidden=20, T=4)
    x = torch.rand(5, 1, 28, 28)
    scale_to_fire(net, x)
    activity = record_spikes(net, x.numpy(), list("abcde"), steps=3)
    assert activity.x.shape == (3, 5, 1, 28, 28) and activity.spikes.shape == (3, 5, 3, 28, 28)
    with torch.no_grad():
        net.get_submodule("conv1_bn").bias.fill_(-100)
    with pytest.raises(MissingData, match="conv1 does not fire"):
        record_spikes(net, x.numpy(), list("abcde"))
    with pytest.raises(MissingData, match="no maps"):
        record_spikes(build("FC20-PLIF", shape=(1, 4, 4)), np.ones((1, 2, 1, 4, 4), np.float32), ["a"])


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("T", "shown"), [(1, 1), (21, 11), (37, 19)])
def test_long_sequences_show_every_kth_step_and_the_table_has_all(T: int, shown: int) -> None:
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    x, spikes = (rng.integers(0, 2, (T, 2, c, 8, 8)).astype(np.float32) for c in (2, 3))
    subject = SimpleNamespace(
        activity=FirstLayerSpikes(x, spikes, ["a", "b"], "conv1"), shown_channels=[2, 0, 1], caption_end=""
    )
    for name, down, rows_a_step in (("fig-s4", 6, 2), ("fig-s5", 4, 2)):
        drawing = draw_figure(name, subject)  # type: ignore[arg-type]
        assert len(drawing.figure.axes) == down * shown and len(drawing.rows) == rows_a_step * T
        plt.close(drawing.figure)


def test_a_mosaic_shows_every_map_once() -> None:
    maps = np.arange(5.0)[:, None, None] * np.ones((1, 16, 16))
    image = tile_maps(maps)
    assert image.shape == (16 + 1 + 16, 16 + 1 + 16 + 1 + 16)
    assert [int((image == c).sum()) for c in range(5)] == [256] * 5


def test_what_cannot_be_drawn_is_left_out_or_said_when_asked_for(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes((trained / "model.pt").read_bytes())
    assert not run(["paper", "figures", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert "course: left out" in err and "tau of each layer as it is" in out and "it is; the log of the training" in out
    assert len(rows(tmp_path / "out" / "tau.csv")) == 4 and {
        row["epoch"] for row in rows(tmp_path / "out" / "fig-s1.csv")
    } == {"2"}
    assert (
        run(["paper", "figures", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out"), "--only", "course"]) == 2
    )
    assert "written while training" in capsys.readouterr().err
    assert run(["paper", "figures", str(tmp_path / "model.pt"), "--only", "fig-9"]) == 2
    assert "expected some of course" in capsys.readouterr().err
    subject = FigureModel(runs=open_subject(tmp_path / "model.pt").runs, data="digits:4", channels=(4,))
    with pytest.raises(PlifError, match="channels 0 to 3"):
        _ = subject.shown_channels
    assert read_card(tmp_path / "model.pt")["T"] == 4


def test_several_classes_are_shown_in_the_order_asked_for(trained: Path) -> None:
    card = read_card(trained / "model.pt")
    assert read_figure_samples(card, "digits:40", 5, "7, 2,9")[1] == ["7", "2", "9", "7", "2"]
    with pytest.raises(PlifError, match="class 'horse'"):
        read_figure_samples(card, "digits:40", 3, "7,horse")


def test_wrong_samples_are_said_before_anything_is_drawn(trained: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["paper", "figures", str(trained / "model.pt"), "--out", str(tmp_path / "out")]
    for extra, message in (
        (["--data", "nmnist:nowhere"], "nowhere"),
        (["--data", "digits:10", "--class", "horse"], "class 'horse'"),
        (["--data", "digits:10", "--channels", "1,99"], "channel 99: layer conv1 has channels 0 to 3"),
    ):
        assert run([*command, *extra]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.large
def test_a_folder_of_runs_may_hold_other_files_and_captions_name_the_run(
    trained: Path, tmp_path: Path, capsys: Any
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.pt").write_bytes((trained / "model.pt").read_bytes())
    (tmp_path / "two.weights.csv").write_bytes((trained / "model.weights.csv").read_bytes())
    torch.save({"notes": torch.zeros(2)}, tmp_path / "notes.pt")
    only = ["--only", "table-s2,fig-s1,fig-s2,fig-s3,fig-s4,fig-s5", "--samples", "3"]
    assert not run(["paper", "figures", str(tmp_path), "--data", "digits:10", "--out", str(tmp_path / "out"), *only])
    out, err = capsys.readouterr()
    assert "left out: " in err and "notes.pt: a PyTorch file without a plif card" in err and "ONNX" not in err
    assert out.count(", of one\n") == 4 and out.count(", of two\n") == 1  # fig-s1 is of the run that has a log
    (tmp_path / "notes.pt").rename(tmp_path / "out" / "alone.pt")
    with pytest.raises(PlifError, match="no model in it"):
        open_subject(tmp_path / "out")


def test_the_course_of_protocol_b_has_one_test_accuracy(tmp_path: Path) -> None:
    from plif_train.core.loop.training import train
    from plif_train.core.recipe import Recipe
    from tests.plif_train.core.small import bars, network

    record = train(network(), bars(41), bars(8), Recipe(epochs=2, batch_size=8, protocol="B"), tmp_path / "b.pt")
    figure = draw_figure("course", open_subject(tmp_path / "b.pt")).figure
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert lines["test"] == [[record["epoch"], record["test_accuracy"]]] and len(lines["validation"]) == 2


def test_a_place_that_cannot_be_written_is_said(trained: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "report.html").mkdir()
    assert run(["paper", "figures", str(trained / "model.pt"), "--out", str(tmp_path)]) == 2
    assert "report.html: is a folder; expected a place for a file" in capsys.readouterr().err
    (tmp_path / "course.csv").unlink()
    (tmp_path / "course.csv").mkdir()
    before = (tmp_path / "course.png").stat().st_mtime_ns
    assert run(["paper", "figures", str(trained / "model.pt"), "--out", str(tmp_path), "--only", "course"]) == 2
    assert (tmp_path / "course.png").stat().st_mtime_ns == before


@pytest.mark.large
def test_an_exported_network_shows_the_same_spikes_as_its_model(trained: Path, tmp_path: Path, capsys: Any) -> None:
    assert not run(["export", str(trained / "model.pt"), "-o", str(tmp_path / "model.onnx"), "--no-verify"])
    common = ["--data", "digits:10", "--samples", "4", "--channels", "2,0", "--only", "fig-s2,fig-s4"]
    for name in (trained / "model.pt", tmp_path / "model.onnx"):
        assert not run(["paper", "figures", str(name), *common, "--out", str(tmp_path / name.suffix[1:])])
    for figure in ("fig-s2", "fig-s4"):
        mine = (tmp_path / "pt" / f"{figure}.csv").read_text()
        assert mine.count("\n") > 4 and mine == (tmp_path / "onnx" / f"{figure}.csv").read_text()
    capsys.readouterr()
    assert run(["paper", "figures", str(tmp_path / "model.onnx"), "--only", "tau", "--out", str(tmp_path)]) == 2
    assert "exported, without the record of its training; draw it of its model.pt" in capsys.readouterr().err


def test_a_page_without_a_table_has_no_empty_box(tmp_path: Path) -> None:
    for text, boxes in (("tau", 1), ("", 0)):
        write_report(tmp_path / "report.html", "figures", [], text)
        assert (tmp_path / "report.html").read_text().count("<pre>") == boxes
