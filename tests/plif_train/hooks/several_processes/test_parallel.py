"""Two processes train as one: gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plif_train import build, load
from plif_train.core.loop.devices import World, parse_devices
from plif_train.core.loop.training import count_samples
from plif_train.core.recipe import Recipe
from runtime.core.base.errors import PlifError
from tests.plif_train.core.small import SMALL, TrainingRun, epochs_in, plif_process, wait_for


@pytest.mark.large
def test_two_processes_are_one_where_bn_is_frozen_and_dropout_0(plif: TrainingRun, tmp_path: Path) -> None:
    """Batches of 5: the ranks' shares, 3 and 2, differ in size and still weigh by sample. All layers fire and learn."""
    network = "c2k3s1-BN-PLIF-MPk2s2-DP-FC20-PLIF-DP-FC100-PLIF-APk10s10"
    options = ["--T", "3", "--batch-size", "5", "--lr", "1e-2", "--set", "init_tau=1.02", "--epochs", "5", "--json"]
    command = ["train", network, "--data", "digits:24", "--set", "bn=frozen", "--set", "dropout=0", *options]
    process = plif_process(*command, "--devices", "cpu:2", "--out", "two.pt", cwd=tmp_path)
    found = []
    alone = plif(*command, "--devices", "cpu", "--out", "one.pt")
    said = process.communicate(timeout=120)
    for (code, out, err), file in ((alone, "one.pt"), ((process.returncode, *said), "two.pt")):
        assert code == 0, err
        assert err.count("epoch 5/5") == 1  # rank 0 alone speaks
        found.append((json.loads(out), load(tmp_path / file).state_dict()))
    (one, weights), (two, shared) = found
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
    assert one["test_accuracy"] == two["test_accuracy"]
    assert one["firing_rates"] == pytest.approx(two["firing_rates"], rel=1e-5)
    torch.manual_seed(Recipe.seed)
    before = build(network, shape=(2, 34, 34), T=3, init_tau=1.02).state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(shared[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.equal(tensor, before[name]) or "running" in name or "num_batches" in name, name
    assert one["firing_rates"]["fc2"] > 0
    assert (one["processes"], two["processes"]) == (1, 2)
    code, out, err = plif(*command, "--devices", "cpu", "--out", "two.pt", "--epochs", "6", "--resume")
    assert code == 0 and json.loads(out)["processes"] == 2, err  # the most that trained it


@pytest.mark.large
def test_ctrl_c_on_two_processes_ends_both_and_the_training_can_be_resumed(tmp_path: Path) -> None:
    command = [*SMALL, "--data", "digits:24", "--lr", "1e-2", "--devices", "cpu:2", "--epochs"]
    process = plif_process(*command, "10000", cwd=tmp_path)
    wait_for(tmp_path / "model.csv", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err, err
    last = epochs_in(tmp_path / "model.resume.pt") + 1
    process = plif_process(*command, str(last), "--resume", cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and f"epoch {last}/{last}" in err, err


def test_devices_are_read_as_they_are_meant() -> None:
    assert parse_devices("cpu") == ["cpu"] and parse_devices("cpu:3") == ["cpu"] * 3
    assert parse_devices("1") == parse_devices("cuda:1") == ["cuda:1"]
    assert parse_devices("0,2") == parse_devices("cuda:0,2") == ["cuda:0", "cuda:2"]
    for wrong in ("0,0", "cpu:0", "cpu,cuda"):
        with pytest.raises(PlifError, match="devices"):
            parse_devices(wrong)


def test_a_batch_that_is_too_small_for_the_processes_is_said_before_they_wait_for_each_other() -> None:
    labels = torch.arange(20) % 2
    assert count_samples(Recipe(batch_size=2), labels, 5, World(0, 2)) == {
        "train_samples": 20, "val_samples": 0, "test_samples": 5,
    }  # fmt: skip
    for recipe, few in (
        (Recipe(batch_size=1), labels), (Recipe(batch_size=8), labels[:1]), (Recipe(batch_size=2, accumulate=2), labels),
    ):  # fmt: skip
        with pytest.raises(PlifError, match="no part for each of 2 processes"):
            count_samples(recipe, few, 5, World(0, 2))


RANK = """
import os, sys
from plif_train.core.loop.devices import join_ranks
from runtime.core.base.errors import PlifError
def train(fail):
    with join_ranks(["cpu", "cpu"]) as (world, _):
        world.sum_numbers([1.0])
        if world.rank:
            os._exit(0)
        fail(world)
def out_of_memory(world):
    raise RuntimeError("no memory")
def wait_for_the_other(world):
    world.sum_numbers([1.0])
try:
    train({"own": out_of_memory, "lost": wait_for_the_other}[sys.argv[1]])
except (PlifError, RuntimeError) as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("what", "says"), [("own", "RuntimeError: no memory"), ("lost", "PlifError: rank 0 of 2 lost the others")]
)
def test_what_goes_wrong_in_a_process_is_not_blamed_on_the_others(what: str, says: str) -> None:
    repository = Path(__file__).resolve().parents[4]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, what], env={**os.environ, **place, "RANK": str(rank)}, cwd=repository,
            stdout=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in ranks]
    assert said[0].startswith(says), said
