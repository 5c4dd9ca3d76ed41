"""Training: it learns, what it writes can be trusted, and an interruption changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from plif_train import load
from plif_train.core.data.sets import Samples, load_samples, split_per_class
from plif_train.core.loop.evaluate import decide_classes, evaluate
from plif_train.core.loop.hooks import Epoch
from plif_train.core.loop.training import train
from plif_train.core.recipe import Recipe
from runtime.core.base.errors import PlifError
from tests.plif_train.core.small import SMALL, TrainingRun, bars, network


@pytest.mark.quick
def test_a_small_task_is_learned_and_tau_with_it(tmp_path: Path) -> None:
    net = network()
    epochs: list[Epoch] = []
    recipe = Recipe(epochs=12, batch_size=8, lr=1e-2)
    record = train(net, bars(48), bars(20, seed=1), recipe, tmp_path / "model.pt", on_epoch=epochs.append)
    assert epochs[-1].loss < epochs[0].loss / 2 and record["test_accuracy"] == 1.0
    assert any(abs(tau - 2.0) > 0.01 for tau in epochs[-1].taus.values())
    assert set(epochs[-1].firing_rates) == {"conv1", "fc1", "fc2"}
    assert load(tmp_path / "model.pt").meta.training == json.loads(json.dumps(record))


def test_the_file_is_the_latest_best_epoch(tmp_path: Path) -> None:
    epochs: list[Epoch] = []
    net, test = network(), bars(20, seed=1)
    recipe = Recipe(epochs=5, batch_size=8, lr=1e-2)
    record = train(net, bars(48), test, recipe, tmp_path / "model.pt", on_epoch=epochs.append)
    best = max(epoch.test_accuracy for epoch in epochs)
    assert record["epoch"] == max(epoch.epoch for epoch in epochs if epoch.test_accuracy == best)
    assert evaluate(load(tmp_path / "model.pt"), test, recipe).accuracy == best


def test_weights_that_are_no_longer_finite_stop_the_training_although_the_loss_looks_fine(tmp_path: Path) -> None:
    def break_it(x: torch.Tensor) -> torch.Tensor:
        return x * float("nan")

    with pytest.raises(PlifError, match="not finite after epoch 1"):
        train(network(), bars(16), bars(8), Recipe(epochs=1), tmp_path / "model.pt", prepare=break_it)
    assert not (tmp_path / "model.pt").exists()


def test_bf16_training_keeps_float32_weights_and_membranes(tmp_path: Path) -> None:
    net = network()
    record = train(net, bars(32), bars(8), Recipe(epochs=3, batch_size=8, lr=1e-2, precision="bf16"), tmp_path / "m.pt")
    assert record["firing_rates"] == evaluate(load(tmp_path / "m.pt"), bars(8), Recipe(batch_size=8)).firing_rates
    assert (
        record["recipe"]["precision"] == "bf16"
        and load(tmp_path / "m.pt").get_submodule("fc1").weight.dtype == torch.float32
    )
    with pytest.raises(PlifError, match="GPU"):
        Recipe(precision="fp16", device="cpu")


def test_decisions_count_whole_votes_and_ties_go_to_the_lowest_class() -> None:
    net = network()
    y = torch.zeros(7, 2, 2)
    y[:, 0] = torch.tensor([0.1, 0.1])  # seven times 0.1 and once 0.7 are the same seven votes, whatever floats say
    y[:, 1, 1] = 0.1
    y[3, 1, 0] = 0.7
    assert float(y[:, 1].sum(0).diff()) > 0
    assert decide_classes(net, y).tolist() == [0, 0]
    y[4, 0, 1] += 0.1
    assert decide_classes(net, y).tolist() == [1, 0]


def test_the_learning_rate_is_the_cosine_of_the_paper() -> None:
    recipe = Recipe(epochs=1024, lr=1e-3, t_max=64)
    assert [recipe.lr_at(e) for e in (0, 32, 64, 96, 128)] == pytest.approx([1e-3, 5e-4, 0, 5e-4, 1e-3], abs=1e-12)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_batch_can_be_learned_by_heart(precision: str, tmp_path: Path) -> None:
    """Overfitting one batch of noise until no output is wrong: gradients reach every layer."""
    generator = torch.Generator().manual_seed(3)
    noise = Samples((torch.rand(8, 4, 1, 8, 8, generator=generator) < 0.4).to(torch.uint8), torch.arange(8) % 2)
    epochs: list[Epoch] = []
    recipe = Recipe(epochs=80, batch_size=8, lr=2e-2, precision=precision)
    train(network(dropout=0.0), noise, noise, recipe, tmp_path / "m.pt", on_epoch=epochs.append)
    assert min(epoch.loss for epoch in epochs) < 1e-3 and epochs[-1].train_accuracy == 1.0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("loss", ["rate-mse", "step-mse", "step-ce", "ce", "tet"])
def test_every_loss_learns(loss: str, tmp_path: Path) -> None:
    recipe = Recipe(epochs=10, batch_size=8, lr=1e-2, loss=loss)
    record = train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / "m.pt")
    assert record["test_accuracy"] >= 0.95


def test_a_rate_penalty_makes_a_network_fire_less(tmp_path: Path) -> None:
    rates = {}
    for penalty in (0.0, 0.5):
        recipe = Recipe(epochs=6, batch_size=8, lr=1e-2, rate_penalty=penalty)
        epochs: list[Epoch] = []
        train(network(), bars(48), bars(20, seed=1), recipe, tmp_path / f"{penalty}.pt", on_epoch=epochs.append)
        rates[penalty] = sum(epochs[-1].firing_rates.values())
    assert rates[0.5] < 0.7 * rates[0.0]


def test_a_batch_in_parts_gives_the_weights_of_the_whole_batch(tmp_path: Path) -> None:
    """With BN frozen and dropout 0, which would make the parts another training."""
    found = []
    for accumulate in (1, 3):
        net = network(dropout=0.0).double()
        recipe = Recipe(epochs=2, batch_size=8, lr=1e-2, bn="frozen", accumulate=accumulate)
        train(net, bars(24), bars(8), recipe, tmp_path / f"{accumulate}.pt", prepare=torch.Tensor.double)
        found.append(net.state_dict())
    assert all(torch.allclose(found[0][key], found[1][key], rtol=1e-6, atol=1e-8) for key in found[0])


# --- data -----------------------------------------------------------------------------------------------------------


class Images:
    """A data set of the runtime's kind, in memory."""

    name, kind, classes = "images", "static", ("a", "b")

    def __init__(self, samples: list[np.ndarray]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def label(self, i: int) -> int:
        return i % 2

    def sample(self, i: int) -> np.ndarray:
        return self.samples[i]

    def path(self, i: int) -> str:
        return f"images/{i}.png"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, 255], torch.uint8),
        ([0, 256], torch.int16),
        ([-1, 3], torch.int16),
        ([300, 40000], torch.float32),
        ([1, 0.5], torch.float32),
        ([300, 0.5, 7], torch.float32),
    ],
)
def test_samples_are_stored_in_the_smallest_type_that_is_exact(values: list[float], dtype: torch.dtype) -> None:
    samples = load_samples(Images([np.full((1, 2, 2), value, np.float32) for value in values]))
    assert samples.x.dtype == dtype
    assert samples.x[:, 0, 0, 0].float().tolist() == values
    assert samples.y.tolist() == [i % 2 for i in range(len(values))]


def test_a_limit_is_spread_over_the_split_and_odd_samples_are_refused() -> None:
    images = Images([np.full((1, 1, 1), i, np.float32) for i in range(10)])
    assert load_samples(images, 5).x.flatten().tolist() == [0, 2, 4, 6, 8]
    assert len(load_samples(images, 50)) == 10
    with pytest.raises(PlifError, match="at least 1"):
        load_samples(images, 0)
    with pytest.raises(PlifError, match="no samples"):
        load_samples(Images([]))
    images.samples[3] = np.zeros((2, 1, 1), np.float32)
    with pytest.raises(PlifError, match=r"images/3.png\) is of shape \(2, 1, 1\)"):
        load_samples(images)


def test_protocol_b_holds_back_the_last_15_percent_of_each_class() -> None:
    y = torch.tensor([0] * 10 + [1] * 7)
    first, rest = split_per_class(y)
    assert rest.tolist() == [9, 16] and first.tolist() == [*range(9), *range(10, 16)]


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.quick
def test_plif_train_writes_a_model_whose_card_names_no_folder(plif: TrainingRun, digits: Path, tmp_path: Path) -> None:
    code, out, err = plif(*SMALL, "--data", f"nmnist:{digits}", "--epochs", "1", "--limit-test", "10", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["path"] == "model.pt" and 0 <= result["test_accuracy"] <= 1
    assert result["train_samples"] == 20 and result["test_samples"] == 10
    assert "epoch 1/1" in err and "tau conv1" in err
    net = load(tmp_path / "model.pt")
    assert net.T == 3 and net.framing == "count:T=3,resize=sum" and len(net.classes) == 10
    assert net.meta.training is not None and str(tmp_path) not in json.dumps(net.meta.training)
    assert net.meta.training["command"].startswith("plif train nmnist --data nmnist --out model.pt --T 3")


@pytest.mark.large
def test_real_nmnist_is_learned_in_seconds(plif: TrainingRun, nmnist: Path) -> None:
    """A narrow network, 1000 recordings, 3 epochs: more than 70 of the 100 test recordings are right (82 were).

    The 60 recordings that ship, 20 epochs: more than 40 (51 were)."""
    count = len(list(nmnist.glob("Train/*/*.bin")))
    epochs, right = (3, 0.7) if count == 1000 else (20, 0.4)
    small = [
        "--set",
        "channels=8",
        "--set",
        "hidden=100",
        "--T",
        "3",
        "--epochs",
        str(epochs),
        "--lr",
        "5e-3",
        "--set",
        "dropout=0",
    ]
    code, out, err = plif("train", "nmnist", "--data", f"nmnist:{nmnist}", *small, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["train_samples"] == count >= 60 and result["test_samples"] == 100
    assert result["test_accuracy"] > right, err


def test_ones_own_folder_of_recordings_is_all_that_is_needed(plif: TrainingRun, tmp_path: Path) -> None:
    """The command of docs/training.md, smaller; two formats in one set."""
    from runtime.core.events import make_events, write_nmnist

    rng = np.random.default_rng(0)
    for half, count in (("train", 8), ("test", 3)):
        for name, side in (("left", 0), ("right", 64)):
            folder = tmp_path / "mine" / half / name
            folder.mkdir(parents=True)
            for i in range(count):
                t = np.sort(rng.integers(0, 100_000, 500))
                events = make_events(
                    t, rng.integers(side, side + 64, 500), rng.integers(0, 128, 500), rng.random(500) < 0.5
                )
                if i % 2:
                    write_nmnist(folder / f"{i}.bs2", events)
                else:
                    np.savez(folder / f"{i}.npz", **{field: events[field] for field in "txyp"})
    network = "{c4k3s1-BN-PLIF-MPk2s2}*3-DP-FC40-PLIF-DP-FC20-PLIF-APk10s10"
    options = ["--T", "4", "--epochs", "6", "--batch-size", "4", "--lr", "1e-2", "--cache", "frames", "--json"]
    options += ["--set", "size=64x32"]
    code, out, err = plif("train", network, "--data", "folder:mine", *options)
    assert code == 0, err
    assert json.loads(out)["test_accuracy"] == 1.0, err
    net = load(tmp_path / "model.pt")
    assert net.classes == ("left", "right") and net.meta.shape == (2, 32, 64)


def test_frames_are_kept_and_found_again_by_the_command(plif: TrainingRun, digits: Path, tmp_path: Path) -> None:
    command = [*SMALL, "--data", f"nmnist:{digits}", "--epochs", "1", "--cache", "frames", "--json"]
    for _ in range(2):
        code, out, err = plif(*command, "--overwrite")
        assert code == 0, err
        assert "frames" not in json.loads(out)["command"]
    assert len(list((tmp_path / "frames").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "mnist", "--data", "mnist:.", "--recipe", "seed"], "--recipe: no such option"),
        (
            ["train", "mnist", "--data", "mnist:.", "--set", "loss=l1"],
            "loss l1: expected rate-mse, step-mse, step-ce, ce or tet",
        ),
        (["train", "mnist", "--data", "mnist:.", "--set", "surrogate=relu"], "surrogate"),
        (["train", "mnits", "--data", "nmnist:."], "mnits"),
        (["train", "nmnist", "--data", "nmnist:missing"], "missing"),
        (["train", "nmnist", "--data", "nmnist:.", "--devices", "0,0"], "named twice"),
        (["train", "nmnist", "--data", "nmnist:.", "--devices", "98,99"], "device 'cuda:98' cannot be used"),
        (["train", "nmnist", "--data", "nmnist:.", "--out", "no/where/model.pt"], "no/where"),
        (["train", "nmnist", "--data", "nmnist:.", "--epochs", "0"], "epochs 0"),
        (["train", "nmnist", "--data", "nmnist:.", "--set", "size=34x34"], "--data folder:DIR"),
        (
            ["train", "c4k3s1-PLIF-DP-FC20-PLIF-APk10s10", "--data", "folder:.", "--set", "size=34"],
            "expected WIDTHxHEIGHT",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str, plif: TrainingRun) -> None:
    code, _, err = plif(*arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1, err
