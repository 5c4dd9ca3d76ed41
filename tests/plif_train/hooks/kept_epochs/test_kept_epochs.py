"""A training's last epoch and its tables: an interruption changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from plif_train import load
from plif_train.core.loop.hooks import Epoch
from plif_train.core.loop.training import train
from plif_train.core.recipe import Recipe
from plif_train.hooks.kept_epochs.log import WEIGHTS, read_log
from plif_train.hooks.kept_epochs.resume import resume_path
from runtime.core.base.errors import PlifError
from tests.plif_train.core.small import SMALL, Stop, TrainingRun, bars, epochs_in, network, plif_process, wait_for


@pytest.mark.quick
@pytest.mark.parametrize(("protocol", "weights"), [("A", None), ("B", None), ("A", "int4")])
@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_and_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    after: int, protocol: str, weights: str | None, tmp_path: Path
) -> None:
    recipe = Recipe(epochs=3, batch_size=8, lr=3e-3, protocol=protocol, weights=weights)
    data, test = bars(41), bars(12, seed=1)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, parts = tmp_path / "a" / "model.pt", tmp_path / "b" / "model.pt"
    about = {"dataset": "bars", "command": "plif train"}
    expected = train(network(), data, test, recipe, whole, about=about)
    with pytest.raises(KeyboardInterrupt):
        train(network(), data, test, recipe, parts, about=about, on_epoch=Stop(after))
    record = train(network(seed=99), data, test, recipe, parts, about=about, resume=True)
    assert record == expected
    for path in (lambda p: p, resume_path):
        a, b = (torch.load(path(p), weights_only=True) for p in (whole, parts))
        assert a["card"] == b["card"] and list(a["weights"]) == list(b["weights"])
        assert all(torch.equal(a["weights"][name], b["weights"][name]) for name in a["weights"])
    for slot, moments in a["optimizer"]["state"].items():
        assert all(torch.equal(value, b["optimizer"]["state"][slot][key]) for key, value in moments.items())


def test_an_interruption_before_the_first_epoch_ends_can_be_resumed_too(tmp_path: Path) -> None:
    def interrupt(x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    recipe = Recipe(epochs=1, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        train(network(), bars(16), bars(8), recipe, tmp_path / "model.pt", prepare=interrupt)
    assert resume_path(tmp_path / "model.pt").exists() and not (tmp_path / "model.pt").exists()
    train(network(seed=5), bars(16), bars(8), recipe, tmp_path / "model.pt", resume=True)
    train(network(), bars(16), bars(8), recipe, tmp_path / "whole.pt")
    a, b = load(tmp_path / "model.pt").state_dict(), load(tmp_path / "whole.pt").state_dict()
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_finished_training_resumed_has_nothing_to_do_and_says_the_same(tmp_path: Path) -> None:
    recipe = Recipe(epochs=1, batch_size=8)
    record = train(network(), bars(16), bars(8), recipe, tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()
    assert train(network(), bars(16), bars(8), recipe, tmp_path / "model.pt", resume=True) == record
    assert (tmp_path / "model.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        (Recipe(epochs=2, batch_size=4), {}, "batch_size 8, asked for 4"),
        (Recipe(epochs=2, batch_size=8, seed=1), {}, "seed 2020, asked for 1"),
        (Recipe(epochs=2, batch_size=8), {"init_tau": 3.0}, "options"),
    ],
)
def test_resuming_another_training_is_refused(recipe: Recipe, options: dict, message: str, tmp_path: Path) -> None:
    train(network(), bars(16), bars(8), Recipe(epochs=1, batch_size=8), tmp_path / "model.pt")
    with pytest.raises(PlifError, match=message):
        train(network(**options), bars(16), bars(8), recipe, tmp_path / "model.pt", resume=True)
    with pytest.raises(PlifError, match="nothing to resume"):
        train(network(), bars(16), bars(8), recipe, tmp_path / "other.pt", resume=True)


def test_a_training_that_gets_no_better_stops_early_and_a_resumed_one_does_too(tmp_path: Path) -> None:
    """Nothing changes at this learning rate: the first epoch is the last better one, the latest of equals is kept."""
    epochs: list[Epoch] = []
    recipe = Recipe(epochs=50, batch_size=8, lr=1e-30, patience=3, bn="frozen")
    train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / "m.pt", on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    record = train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / "m.pt", resume=True)
    assert record["epoch"] == 4
    with pytest.raises(KeyboardInterrupt):
        train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / "n.pt", on_epoch=Stop(3))
    epochs.clear()
    train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / "n.pt", on_epoch=epochs.append, resume=True)
    assert [epoch.epoch for epoch in epochs] == [4]


def test_the_course_of_a_training_lies_beside_the_model_and_is_continued(tmp_path: Path) -> None:
    recipe = Recipe(epochs=3, batch_size=8, lr=1e-2)
    whole, parts = tmp_path / "whole.pt", tmp_path / "parts.pt"
    epochs: list[Epoch] = []
    train(network(), bars(24), bars(8), recipe, whole, on_epoch=epochs.append)
    with pytest.raises(KeyboardInterrupt):
        train(network(), bars(24), bars(8), recipe, parts, on_epoch=Stop(2))
    assert [row["epoch"] for row in read_log(tmp_path / "parts.csv")] == ["1", "2"]
    train(network(), bars(24), bars(8), recipe, parts, resume=True)
    rows = read_log(tmp_path / "whole.csv")
    assert [float(row["test_accuracy"]) for row in rows] == [epoch.test_accuracy for epoch in epochs]
    assert [float(row["tau:fc1"]) for row in rows] == [epoch.taus["fc1"] for epoch in epochs]
    assert float(rows[2]["rate:conv1"]) == epochs[2].firing_rates["conv1"]
    same = [{**row, "seconds": ""} for row in rows]
    assert [{**row, "seconds": ""} for row in read_log(tmp_path / "parts.csv")] == same
    weights = read_log(tmp_path / "whole.weights.csv", WEIGHTS)
    assert weights == read_log(tmp_path / "parts.weights.csv", WEIGHTS)
    assert {row["epoch"] for row in weights} == {"0", "1", "2", "3"} and {row["layer"] for row in weights} == {
        "fc1",
        "fc2",
    }
    first = [row for row in weights if row["epoch"] == "0" and row["layer"] == "fc2"]
    assert sum(int(row["count"]) for row in first) == 400
    limit = 20**-0.5 / 2  # the default initialisation of 20 inputs, divided by tau 2
    assert -limit <= float(first[0]["low"]) < -0.9 * limit and 0.9 * limit < float(first[-1]["high"]) <= limit


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    epochs: list[Epoch] = []
    recipe = Recipe(epochs=2, batch_size=8)
    train(network(), bars(16), bars(8), recipe, tmp_path / "m.pt", on_epoch=epochs.append, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "m.tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([epoch.loss for epoch in epochs])
    assert len(events.Scalars("tau/fc1")) == 2


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", (signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.large)))
def test_ctrl_c_and_sigterm_leave_a_resumable_checkpoint(
    how: signal.Signals, plif: TrainingRun, digits: Path, tmp_path: Path
) -> None:
    command = [*SMALL, "--data", f"nmnist:{digits}", "--epochs"]
    process = plif_process(*command, "10000", cwd=tmp_path)
    wait_for(tmp_path / "model.resume.pt", process)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + how, err
    assert err.splitlines()[-1].startswith("plif: interrupted: ") and "--resume" in err and "Traceback" not in err
    assert not list(tmp_path.glob(".*.part"))
    last = epochs_in(tmp_path / "model.resume.pt") + 1
    code, _, err = plif(*command, str(last), "--resume")
    assert code == 0 and f"epoch {last}/{last}" in err, err
