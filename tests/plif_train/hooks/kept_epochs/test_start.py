"""A second command loses nothing, another training is not continued, and what can be refused is refused unread."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from plif_train import build, load
from plif_train.core.data.sets import Samples
from plif_train.core.loop.evaluate import evaluate
from plif_train.core.loop.hooks import Epoch
from plif_train.core.loop.training import train
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe
from plif_train.hooks.kept_epochs.log import WEIGHTS, read_log
from plif_train.hooks.kept_epochs.resume import resume_path
from runtime.core.base.errors import PlifError
from runtime.core.data import parse_spec
from tests.plif_train.core.small import NOTATION, SMALL, Stop, TrainingRun, bars, network

ONCE = Recipe(epochs=1, batch_size=8)
DIGITS = ["--data", "digits:12", "--epochs", "1"]


def out_of_reach(out: Path) -> None:
    """Sets the accuracy of the best epoch so far to a value that no other epoch can reach."""
    kept = torch.load(resume_path(out), weights_only=True)
    progress = json.loads(kept["progress"])
    progress["best"]["accuracy"] = 1.1
    torch.save({**kept, "progress": json.dumps(progress)}, resume_path(out))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# --- a second command -----------------------------------------------------------------------------------------------


def test_the_same_command_again_keeps_what_can_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    with pytest.raises(KeyboardInterrupt):
        train(network(), bars(16), bars(8), Recipe(epochs=3, batch_size=8), out, on_epoch=Stop(2))
    before = content(tmp_path)
    with pytest.raises(PlifError, match=r"resume\.pt: holds 2 epochs: add --resume to continue, or --overwrite"):
        train(network(), bars(16), bars(8), ONCE, out)
    assert content(tmp_path) == before
    train(network(), bars(16), bars(8), ONCE, out, overwrite=True)
    assert [row["epoch"] for row in read_log(tmp_path / "model.csv")] == ["1"]
    resume_path(out).unlink()
    with pytest.raises(PlifError, match=r"model\.pt: is there already: add --overwrite"):
        train(network(), bars(16), bars(8), ONCE, out)


def test_the_command_says_the_same(plif: TrainingRun, tmp_path: Path) -> None:
    command = [*SMALL, *DIGITS]
    assert plif(*command)[0] == 0
    before = content(tmp_path)
    code, _, err = plif(*command)
    assert code == 2 and "holds 1 epoch: add --resume" in err and err.count("\n") == 1 and content(tmp_path) == before
    assert plif(*command, "--overwrite")[0] == 0
    assert content(tmp_path)["model.pt"]


@pytest.mark.parametrize("name", ["model.csv", "model.weights.csv"])
def test_a_recording_beside_the_model_is_not_written_over(name: str, plif: TrainingRun, tmp_path: Path) -> None:
    (tmp_path / name).write_text("t,x,y,p\n0,1,2,1\n")
    for extra in ([], ["--overwrite"]):
        code, _, err = plif(*SMALL, *DIGITS, *extra)
        assert code == 2 and f"{name}: not the log of a training" in err
    assert content(tmp_path) == {name: b"t,x,y,p\n0,1,2,1\n"}


def test_a_log_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.csv"
    header = "epoch,lr,loss,train_accuracy,val_accuracy,test_accuracy"
    whole = "1,1e-3,.1,.8,,.9"
    for text, message in (
        ("", "it is empty"),
        ("t,x\n1,1\n", "not the log"),
        ("epoch,lr\n1,1\n", "lacks the columns loss, train_accuracy, val_accuracy, test_accuracy"),
        (f"{header}\n", "has no rows, expected one for each epoch"),
        (f"{header}\n{whole}\n2,1\n", "row 2 has loss None; expected a number"),
        (f"{header}\n{whole},5\n", "row 1 .*expected as many cells"),
        (f"{header}\n1,1,one,1,,1\n", "row 1 has loss 'one'; expected a number"),
        (f"{header}\n{whole}\n{whole}\n", "row 2 is epoch 1 after 1; expected a later one"),
        (f"{header}\n-3,1e-3,.1,.8,,.9\n", "row 1 has epoch '-3'; expected a whole number"),
        (f"{header}\n1,,.1,.8,,.9\n", "row 1 has lr ''; expected a number"),
        (f"{header}\n1,1e-3,.1,.8,,nan\n", "row 1 has test_accuracy 'nan'; expected 0 to 1"),
        (f"{header}\n1,1e-3,.1,.8,,88.8\n", "row 1 has test_accuracy '88.8'; expected 0 to 1"),
        (f"{header},tau:fc1\n{whole},\n", "row 1 has tau:fc1 ''; expected a number"),
        (f"{header},tau:fc1\n{whole},inf\n", "row 1 has tau:fc1 'inf'; expected a number of at least 1"),
    ):
        path.write_text(text)
        with pytest.raises(PlifError, match=message):
            read_log(path)
    path.write_text(f"{header}\n1,1,1,1,,1\n")
    assert read_log(path)[0]["val_accuracy"] == ""
    with pytest.raises(PlifError, match="begins with epoch,layer"):
        read_log(path, WEIGHTS)
    path.write_text("epoch,layer,low,high,count\n0,fc1,nan,1,5\n")
    with pytest.raises(PlifError, match="row 1 has low 'nan'; expected a finite number"):
        read_log(path, WEIGHTS)


# --- another training -----------------------------------------------------------------------------------------------


def test_other_data_are_not_continued(tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    about = {"dataset": "bars", "dataset_options": {}}
    train(network(), bars(16), bars(8), ONCE, out, about=about)
    torch.manual_seed(7)
    renamed = build(NOTATION, shape=(1, 8, 8), T=4, classes=("right", "left"))
    more = Recipe(epochs=2, batch_size=8)
    cases: list[tuple[Network, Samples, Samples, dict[str, Any], str]] = [
        (renamed, bars(16), bars(8), about, r"classes \('0', '1'\), asked for \('right', 'left'\)"),
        (network(), bars(18), bars(8), about, "train_samples 16, asked for 18"),
        (network(), bars(16), bars(10), about, "test_samples 8, asked for 10"),
        (network(), bars(16), bars(8), {**about, "dataset_options": {"order": "sj"}}, "dataset_options"),
    ]
    for net, learn, test, what, message in cases:
        with pytest.raises(PlifError, match=message):
            train(net, learn, test, more, out, about=what, resume=True)
    train(network(), bars(16), bars(8), more, out, about=about, resume=True)
    assert parse_spec("dvs128-gesture:x?order=sj&train=authors-936")[2] == {"order": "sj", "train": "authors-936"}


def test_a_longer_training_keeps_its_cosine_unless_another_is_asked_for(tmp_path: Path) -> None:
    for t_max, half in ((None, 2), (4, 4)):
        out = tmp_path / f"{half}.pt"
        train(network(), bars(16), bars(8), Recipe(epochs=2, batch_size=8), out)
        train(network(), bars(16), bars(8), Recipe(epochs=4, batch_size=8, t_max=t_max), out, resume=True)
        expected = [1e-3 * (1 + math.cos(math.pi * epoch / half)) / 2 for epoch in (2, 3)]
        lrs = [float(row["lr"]) for row in read_log(tmp_path / f"{half}.csv")]
        assert lrs[2:] == pytest.approx(expected, abs=1e-12)


def test_a_training_that_went_on_in_vain_says_how_far_it_went(tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    still = {"batch_size": 8, "lr": 1e-30, "bn": "frozen"}
    train(network(), bars(16), bars(8), Recipe(epochs=1, **still), out)
    out_of_reach(out)
    record = train(network(), bars(16), bars(8), Recipe(epochs=3, **still), out, resume=True)
    assert (record["epoch"], record["epochs"]) == (1, 3)
    out.unlink()
    with pytest.raises(PlifError, match="no epochs are left"):
        train(network(), bars(16), bars(8), Recipe(epochs=3, **still), out, resume=True)


# --- protocol B -----------------------------------------------------------------------------------------------------


class Watched(Samples):
    """Counts how many samples are read."""

    seen = 0

    def pick(self, indices: torch.Tensor) -> Samples:
        Watched.seen += len(indices)
        return super().pick(indices)


def test_protocol_b_reads_the_test_set_once_by_the_epoch_that_it_keeps(tmp_path: Path) -> None:
    plain = bars(20, seed=1)
    test, out = Watched(plain.x, plain.y), tmp_path / "model.pt"
    recipe = Recipe(epochs=3, batch_size=8, lr=3e-3, protocol="B")
    epochs: list[Epoch] = []

    def after(epoch: Epoch) -> None:
        epochs.append(epoch)
        assert Watched.seen == 0 and load(out).meta.training["test_accuracy"] is None  # type: ignore[index]
        Stop(1)(epoch)
        Stop(3)(epoch)

    with pytest.raises(KeyboardInterrupt):
        train(network(), bars(41), test, recipe, out, on_epoch=after)
    out_of_reach(out)  # so the first epoch is kept, and is not the last
    first = load(out).state_dict()
    with pytest.raises(KeyboardInterrupt):  # between the last epoch and the reading
        train(network(), bars(41), test, recipe, out, on_epoch=after, resume=True)
    net = network()
    record = train(net, bars(41), test, recipe, out, resume=True)
    assert Watched.seen == 20 and {epoch.test_accuracy for epoch in epochs} == {None}
    assert {row["test_accuracy"] for row in read_log(tmp_path / "model.csv")} == {""}
    score = evaluate(load(out), plain, recipe)
    assert (record["epoch"], record["test_accuracy"], record["firing_rates"]) == (1, score.accuracy, score.firing_rates)
    assert load(out).meta.training["test_accuracy"] == score.accuracy  # type: ignore[index]
    assert all(torch.equal(tensor, first[name]) for name, tensor in load(out).state_dict().items())
    last = torch.load(resume_path(out), weights_only=True)["weights"]  # `net` itself is still the last epoch
    assert all(torch.equal(tensor, last[name]) for name, tensor in net.state_dict().items())
    assert train(network(), bars(41), test, recipe, out, resume=True) == record and Watched.seen == 20


# --- before the reading ---------------------------------------------------------------------------------------------


@pytest.fixture
def unreadable(tmp_path: Path) -> list[str]:
    """A set whose names are all there, and whose recordings would fail."""
    for half in ("Train", "Test"):
        for digit in range(10):
            (tmp_path / "set" / half / str(digit)).mkdir(parents=True)
            (tmp_path / "set" / half / str(digit) / f"{digit + 1}.bin").write_bytes(b"")
    return ["--data", f"nmnist:{tmp_path / 'set'}"]


def test_what_can_be_refused_is_refused_before_the_reading(
    unreadable: list[str], plif: TrainingRun, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.pt").mkdir()
    for extra, message in (
        (["--out", "folder"], "folder: expected a file whose name ends in .pt"),
        (["--out", "folder.pt"], "is a folder"),
        (["--out", "v1.0"], "v1.0: expected a file whose name ends in .pt"),
        (["--resume"], "nothing to resume"),
        (["--device", "cuda:99"], "device 'cuda:99' cannot be used"),
        (["--device", "gpu"], "device 'gpu' cannot be used"),
        (["--protocol", "B"], "protocol B"),
    ):
        code, _, err = plif(*SMALL, *unreadable, *extra)
        assert code == 2 and message in err and err.count("\n") == 1, err
    assert plif(*SMALL, *DIGITS)[0] == 0
    code, _, err = plif(*SMALL, *unreadable, "--resume")
    assert code == 2 and "trained with dataset digits, asked for nmnist" in err
    code, _, err = plif(*SMALL, *unreadable, "--out", "m.pt")
    assert code == 2 and "1.bin" in err  # and this is what reading says


WIDE = "c2k3s1-BN-PLIF-MPk2s2-DP-FC20-PLIF-DP-FC30-PLIF-APk10s10"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([WIDE, "--data", "foldr:g"], "did you mean 'folder'"),
        ([WIDE, "--data", "g"], "expected NAME:DIR"),
        ([WIDE, *DIGITS], "10 classes, but the network 3 outputs: end the network in DP-FC100-PLIF-APk10s10"),
        (["dvs128-gesture", *DIGITS], "give a notation string that ends in DP-FC100-PLIF-APk10s10"),
        ([WIDE.replace("FC30-PLIF-APk10s10", "FC3-LIF"), *DIGITS], "end the network in FC10-LIF"),
        ([WIDE, *DIGITS, "--set", "channels=8"], "channels belongs to presets"),
        ([WIDE, *DIGITS, "--neuron", "LIF"], "neuron belongs to presets"),
        (["nmnist", *DIGITS, "--neuron", "lif"], "neuron lif: expected PLIF, LIF or IF"),
        (["nmnist", *DIGITS, "--set", "pool=max"], "pool max: expected MP or AP"),
        (["nmnist", *DIGITS, "--set", "hidden=0"], "hidden 0: expected a whole number of at least 1"),
    ],
)
def test_a_mistake_in_the_command_is_named_as_it_was_typed(
    arguments: list[str], message: str, plif: TrainingRun, tmp_path: Path
) -> None:
    code, _, err = plif("train", *arguments)
    assert code == 2 and message in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_a_network_whose_last_layer_is_silent_gets_a_hint_once(plif: TrainingRun) -> None:
    code, _, err = plif(*SMALL, *DIGITS, "--epochs", "2", "--lr", "1e-9", "--set", "bn=frozen")
    assert code == 0
    assert err.count("note: fc2, the last layer, did not fire") == 1 and "epoch 2/2" in err
