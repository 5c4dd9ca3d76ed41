"""`plif train --from model.pt`, several --data, bias_limit: weights go on, and a silent scene stays silent."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from plif_train import load, scale_to_fire
from plif_train.core.loop import checkpoint
from plif_train.core.network.layers import BatchNorm
from plif_train.core.network.network import Network
from plif_train.core.network.presets import build
from plif_train.hooks.begin_from.start_from import start_from, widen
from plif_train.hooks.bias_limit.hook import check_bias_limit, limit_biases
from plif_train.hooks.slow.hook import init_slow_tau
from runtime.core.base.errors import PlifError
from runtime.core.events import make_events
from runtime.core.events.formats.nmnist import write_nmnist
from tests.plif_train.core.small import TrainingRun
from tests.recordings import aedat2_bytes

CLASSES = ("left_wave", "other", "right_wave")
NOTATION = "c4k5s4-BN-PLIF-MPk2s2-DP-FC16-PLIF-FC30-PLIF-APk10s10"


def record(path: Path, towards: int, seed: int) -> None:
    """A bar that moves to one side for 0.4 s."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 400_000, 3000))
    x = np.clip(16 + towards * (t / 400_000 * 10) + rng.uniform(0, 2, len(t)), 0, 31)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, t=t, x=x.astype(np.uint16), y=rng.integers(0, 32, len(t)).astype(np.uint16), p=rng.random(len(t)) < 0.5
    )


def folder(root: Path, names: tuple[str, ...]) -> Path:
    for split in ("train", "test"):
        for k, name in enumerate(names):
            for n in range(2):
                record(root / split / name / f"{n}.npz", k - 1, 10 * k + n)
    (root / "sensor.txt").write_text("32x32")
    return root


def model(path: Path, framing: str = "duration:40ms,value=binary") -> Path:
    torch.manual_seed(1)
    net = build(NOTATION, shape=(2, 32, 32), T=5, classes=CLASSES, framing=framing)
    checkpoint.save(net, path)
    return path


def test_the_same_classes_keep_every_weight_and_some_of_them_keep_the_classes(tmp_path: Path) -> None:
    start = model(tmp_path / "a.pt")
    net, notes = start_from(start, f"folder:{folder(tmp_path / 'd', CLASSES[:2])}", {"T": 6, "dropout": 0.1})
    before = load(start).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.classes == CLASSES and net.T == 6 and net.options.dropout == 0.1 and notes == []


def test_other_classes_begin_with_a_new_readout(tmp_path: Path) -> None:
    start = model(tmp_path / "a.pt")
    names = ("down", "left_wave", "other", "up")
    net, notes = start_from(start, f"folder:{folder(tmp_path / 'd', names)}", {})
    before = load(start).state_dict()
    assert net.classes == names and "FC40" in str(net.notation)
    assert "fc2 begins anew; all other layers are kept" in notes[0]
    kept = [name for name in before if not name.startswith("fc2.")]
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in kept)


def test_shorter_steps_forget_as_much_in_the_same_time(tmp_path: Path) -> None:
    start = model(tmp_path / "a.pt")
    data = f"folder:{folder(tmp_path / 'd', CLASSES)}"
    net, notes = start_from(start, data, {"framing": "duration:40ms,every=20ms,value=binary"})
    for name, neuron in load(start).neurons().items():
        slow, fast = neuron.alpha(), net.neurons()[name].alpha()
        assert slow is not None and fast is not None
        assert torch.allclose((1 - fast) ** 2, 1 - slow, atol=1e-6)
    assert "steps are 0.5 times as long" in notes[0]


def test_a_lif_s_fixed_tau_is_converted_too(tmp_path: Path) -> None:
    torch.manual_seed(1)
    lif = build(
        NOTATION.replace("PLIF", "LIF"), shape=(2, 32, 32), T=5, classes=CLASSES, framing="duration:40ms", init_tau=3.0
    )
    checkpoint.save(lif, tmp_path / "a.pt")
    net, _ = start_from(tmp_path / "a.pt", f"folder:{folder(tmp_path / 'd', CLASSES)}", {"framing": "duration:20ms"})
    for neuron in net.neurons().values():
        alpha = neuron.alpha()
        assert alpha is not None and (1 - float(alpha)) ** 2 == pytest.approx(2 / 3, abs=1e-6)


def test_the_notation_of_the_file_is_not_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="init_tau is that of the file"):
        start_from(model(tmp_path / "a.pt"), f"folder:{folder(tmp_path / 'd', CLASSES)}", {"init_tau": 2.0})


def test_one_tau_a_channel_begins_as_that_of_the_layer_and_does_not_go_back(tmp_path: Path) -> None:
    start, data = model(tmp_path / "a.pt"), f"folder:{folder(tmp_path / 'd', CLASSES)}"
    x = (torch.rand(5, 4, 2, 32, 32) < 0.2).float()
    narrow = load(start)
    scale_to_fire(narrow, x)
    checkpoint.save(narrow, start)
    channels, _ = start_from(start, data, {"tau": "channel"})
    with torch.no_grad():
        outputs = []
        for net in (load(start), channels):
            net.eval()
            net.reset()
            outputs.append(net(x))
    assert outputs[0].any() and torch.equal(*outputs) and len(channels.neurons()["fc1"].tau()) == 16
    checkpoint.save(channels, tmp_path / "b.pt")
    with pytest.raises(PlifError, match="conv1 has one tau a channel, which cannot become one a layer"):
        start_from(tmp_path / "b.pt", data, {"tau": "layer"})


def slow_taus_ms(net: Network, share: float = 0.25) -> list[float]:
    found = []
    for neuron in [*net.neurons().values()][:-1]:
        tau = neuron.tau()
        assert isinstance(tau, list)
        found += [20 * one for one in tau[len(tau) - round(share * len(tau)) :]]
    return found


def test_slow_neurons_remember_for_as_long_as_is_said_however_they_are_trained(
    plif: TrainingRun, tmp_path: Path
) -> None:
    start, data = model(tmp_path / "a.pt", "duration:20ms,value=binary"), folder(tmp_path / "d", CLASSES)
    net, _ = start_from(start, f"folder:{data}", {"tau": "channel"})
    init_slow_tau(net, 0.25)
    began = slow_taus_ms(net)
    assert len(began) == 1 + 4 and min(began) == pytest.approx(300) and max(began) == pytest.approx(600, rel=1e-3)
    fast = net.neurons()["fc1"].tau()[:12]
    assert fast == pytest.approx([net.neurons()["conv1"].tau()[0]] * 12)
    with torch.no_grad():
        for neuron in net.neurons().values():
            neuron.w.add_(1.0)  # as a training that shortens every tau
    init_slow_tau(net, 0.25)
    assert min(slow_taus_ms(net)) > 199
    command = [
        "train", "live", "--from", "a.pt", "--data", f"folder:{data}", "--set", "tau=channel", "--set", "slow=0.25",
        "--epochs", "2", "--batch-size", "2", "--lr", "1", "--T", "20", "--set", "bn=frozen", "--device", "cpu",
    ]  # fmt: skip
    code, _, err = plif(*command, "--out", "slow.pt")
    assert code == 0, err
    trained = load(tmp_path / "slow.pt")
    assert min(slow_taus_ms(trained)) >= 200 * (1 - 1e-6)


def test_fixed_layers_stay_as_they_are_and_the_others_learn(plif: TrainingRun, tmp_path: Path) -> None:
    start, data = model(tmp_path / "a.pt"), folder(tmp_path / "d", CLASSES)
    net = load(start)
    scale_to_fire(net, (torch.rand(5, 4, 2, 32, 32) < 0.2).float())
    checkpoint.save(net, start)
    command = [
        "train", "live", "--from", "a.pt", "--data", f"folder:{data}", "--epochs", "2", "--batch-size", "2", "--lr", "0.1",
        "--T", "10", "--set", "bn=frozen", "--device", "cpu", "--overwrite", "--out", "fixed.pt", "--set",
    ]  # fmt: skip
    code, _, err = plif(*command, "fixed=conv1, fc1")
    assert code == 0, err
    before, after = load(start).state_dict(), load(tmp_path / "fixed.pt").state_dict()
    learnt = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert learnt == {"fc2.weight", "fc2_neuron.w"}
    for names, message in (
        ("conv2", "fixed: no layer conv2 has weights, expected some of conv1, fc1, fc2"),
        ("conv1,fc1,fc2", "fixed: conv1,fc1,fc2 are all layers; expected one at least that is trained"),
    ):
        code, _, err = plif(*command, f"fixed={names}")
        assert code == 2 and message in err


WIDER = "c12k5s4-BN-PLIF-MPk2s2-DP-FC40-PLIF-FC30-PLIF-APk10s10"


def test_a_wider_network_begins_as_the_one_of_the_file(tmp_path: Path) -> None:
    start, data = model(tmp_path / "a.pt"), f"folder:{folder(tmp_path / 'd', CLASSES)}"
    torch.manual_seed(2)
    x = (torch.rand(5, 4, 2, 32, 32) < 0.2).float()
    narrow = load(start)
    scale_to_fire(narrow, x)
    wide = build(WIDER, shape=(2, 32, 32), T=5, classes=CLASSES, framing=narrow.framing)
    widen(narrow, wide, noise=0)
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for net in (narrow.eval(), wide.eval()):
            net.reset()
            with net.watch_spikes(lambda layer, spikes, net=net: seen.update({f"{layer} {net is wide}": spikes})):
                net(x)
    for layer, n in (("conv1", 4), ("fc1", 16), ("fc2", 30)):
        before, now = seen[f"{layer} False"], seen[f"{layer} True"]
        assert before.any() and torch.equal(now, before[:, :, torch.arange(now.shape[2]) % n])
    net, notes = start_from(start, data, {"network": WIDER})
    assert "wider, and begins as the network of the file" in notes[0]
    assert start_from(start, data, {"network": str(narrow.notation)})[1] == [], "the network of the file itself"
    same, copy = net.state_dict()["conv1.weight"][:4], net.state_dict()["conv1.weight"][4:8]
    assert torch.equal(
        same, load(start).state_dict()["conv1.weight"]
    )  # the channels that were there, and a copy that can part
    assert not torch.equal(copy, same) and torch.allclose(copy, same, atol=0.1)
    for wrong, why in ((WIDER.replace("c12", "c3"), "conv1 is (3, 8, 8), and (4, 8, 8) in the file"),
                       (WIDER.replace("-FC40-PLIF", ""), "other layers"),
                       (WIDER.replace("k5s4", "k4s4"), "another kernel"),
                       (WIDER.replace("FC30-PLIF-APk10s10", "FC60-PLIF-APk20s20"), "fc2 is the readout"),
                       (WIDER.replace("MPk2s2", "APk2s2"), "conv1_pool is APk2s2, and MPk2s2 in the file")):  # fmt: skip
        with pytest.raises(PlifError, match=re.escape(why)):
            start_from(start, data, {"network": wrong})


def test_limited_biases_never_fire_in_silence(tmp_path: Path) -> None:
    net = build("c4k3s1-BN-PLIF-MPk2s2-FC30-PLIF-APk10s10", shape=(2, 8, 8), T=4)
    for module in net.modules():
        if isinstance(module, BatchNorm):
            with torch.no_grad():
                module.bias.fill_(1.5)
                module.running_mean.fill_(-0.5)
                module.weight.fill_(-2.0)
    rates: list[float] = []
    silence = torch.zeros(20, 1, 2, 8, 8)
    with torch.no_grad(), net.watch_spikes(lambda _, spikes: rates.append(float(spikes.mean()))):
        net(silence)
    assert rates[0] == 0  # it charges to 1.5 - 2 * 0.5 = 0.5 only
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.fill_(0.0)  # and now to 1.5
    rates.clear()
    with torch.no_grad(), net.watch_spikes(lambda _, spikes: rates.append(float(spikes.mean()))):
        net(silence)
    assert rates[0] > 0
    limit_biases(net, 0.95)
    with pytest.raises(PlifError, match="without decay of the input"):
        check_bias_limit(build("FC10-PLIF", shape=(2, 8, 8), T=4, decay_input=False), 0.95)
    rates.clear()
    with torch.no_grad(), net.watch_spikes(lambda _, spikes: rates.append(float(spikes.mean()))):
        net(silence)
    assert rates == [0.0, 0.0]


def test_a_training_on_a_mixture_goes_on_and_resumes_bit_for_bit(plif: TrainingRun, tmp_path: Path) -> None:
    model(tmp_path / "a.pt")
    one, two = folder(tmp_path / "one", CLASSES), folder(tmp_path / "two", ("other",))
    command = [
        "train", "live", "--from", "a.pt", "--data", f"folder:{one}", "--data", f"folder:{two}", "--mix", "0.7,0.3",
        "--vary", "mirror:0.5,stretch:0.8-1.2,thin:0.5,splice:0.2,shuffle:0.1", "--vary", "quarter:0.5,active:1",
        "--protocol", "C", "--set", "bn=frozen", "--set", "bias_limit=0.95", "--set", "clip_norm=1",
        "--batch-size", "4",
        "--device", "cpu",
    ]  # fmt: skip
    code, _, err = plif(*command, "--epochs", "2", "--set", "t_max=2", "--out", "whole.pt")
    assert code == 0, err
    plif(*command, "--epochs", "1", "--set", "t_max=2", "--out", "parts.pt")
    code, _, err = plif(*command, "--epochs", "2", "--out", "parts.pt", "--resume")
    assert code == 0, err
    whole, parts = load(tmp_path / "whole.pt"), load(tmp_path / "parts.pt")
    assert all(torch.equal(tensor, parts.state_dict()[name]) for name, tensor in whole.state_dict().items())
    record_of = whole.meta.training or {}
    assert record_of["from"] == "a.pt" and record_of["recipe"]["data"] == ["folder", "folder"]
    assert record_of["recipe"]["mix"] == [0.7, 0.3] and record_of["recipe"]["vary"][1] == "quarter:0.5,active:1"
    assert record_of["epoch"] == 2
    assert record_of["from_sha256"] == hashlib.sha256((tmp_path / "a.pt").read_bytes()).hexdigest()
    code, _, err = plif(*command, "--epochs", "1", "--out", "a.pt", "--overwrite")
    assert code == 2 and "--out a.pt: is the file that --from begins with" in err


@pytest.mark.parametrize("options", [[], ["--vary", "thin:0.5"]], ids=["frames", "windows"])
def test_what_goes_on_from_an_upright_network_learns_upright(
    plif: TrainingRun, tmp_path: Path, options: list[str]
) -> None:
    """The same scene as AEDAT 2.0, which is stored turned, and as .bs2, which is not, gives the same weights."""
    torch.manual_seed(1)
    net = build(NOTATION, shape=(2, 32, 32), T=5, classes=CLASSES, framing="duration:40ms,value=binary", view="upright")
    checkpoint.save(net, tmp_path / "a.pt")
    rng = np.random.default_rng(3)
    for k, name in enumerate(CLASSES):
        t, x, y = np.arange(0, 200_000, 100), rng.integers(0, 60, 2000), rng.integers(30 * k, 30 * k + 20, 2000)
        for split in ("train", "test"):
            for form in ("bs2", "aedat"):
                (tmp_path / form / split / name).mkdir(parents=True)
                (tmp_path / form / "sensor.txt").write_text("128x128")
            write_nmnist(tmp_path / "bs2" / split / name / "0.bs2", make_events(t, x, y, t % 200 == 0))
            turned = aedat2_bytes(make_events(t, 127 - x, 127 - y, t % 200 == 0))
            (tmp_path / "aedat" / split / name / "0.aedat").write_bytes(turned)
    for form in ("bs2", "aedat"):
        command = [
            "train", "live", "--from", "a.pt", "--data", f"folder:{tmp_path / form}", "--device", "cpu",
        ]  # fmt: skip
        code, _, err = plif(*command, *options, "--epochs", "1", "--batch-size", "2", "--out", f"{form}.pt")
        assert code == 0, err
    one, other = load(tmp_path / "bs2.pt"), load(tmp_path / "aedat.pt")
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert one.meta.view == other.meta.view == "upright"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--mix", "0.5"], "expected a number above 0 for each --data"),
        (["--vary", "thin:0.5"] * 3, "3 of them for 2 --data"),
        (["--vary", "thin:0.5", "--set", "loss=ce"], "which loss ce does not take"),
        (["--vary", "thin:0.5", "--protocol", "B"], "use A or C"),
        (["--set", "init_tau=3"], "init_tau is that of the file; expected T, framing, dropout or tau"),
        (["--set", "slow=0.25"], "slow: expected PLIF neurons with one tau a channel in two layers"),
        (["--set", "detach_reset=false"], "detach_reset is that of the file"),
        (["--neuron", "PLIF,v_threshold=0.5"], "neuron is that of the file"),
        (["--set", "bias_limit=1"], "bias limit 1.0: expected less than 1, the way from reset to threshold"),
        (["c4k5s4-BN-PLIF-FC30-PLIF-APk10s10"], "with more channels or neurons: it has other layers"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    plif: TrainingRun, tmp_path: Path, options: list[str], reason: str
) -> None:
    model(tmp_path / "a.pt")
    data = f"folder:{folder(tmp_path / 'd', CLASSES)}"
    command = ["train", "live", "--from", "a.pt", "--data", data, "--data", data, *options]
    code, _, err = plif(*command)
    assert code == 2 and reason in err and not (tmp_path / "model.pt").exists()


def test_a_set_of_some_classes_is_scored_and_the_missing_are_named(tmp_path: Path) -> None:
    from runtime.core.data import open_dataset

    root = folder(tmp_path / "d", CLASSES[:2])
    with pytest.warns(UserWarning, match="no recordings of right_wave"):
        found = open_dataset(f"folder:{root}", framing="duration:40ms,T=5", shape=(2, 32, 32), classes=CLASSES)
    assert found.classes == CLASSES and {found.label(i) for i in range(len(found))} == {0, 1}
    with pytest.raises(PlifError, match="not among the classes other"):
        open_dataset(
            f"folder:{root}", framing="duration:40ms,T=5", shape=(2, 32, 32), classes=("left_wave", "right_wave")
        )
