"""A bare state_dict and the notation of its network: the tensors find their layers, or the file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.model import parametric_lif_net
from torch import nn

import plif_train
import runtime
from plif_export import check_file, export, verify
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.events import make_frames, read_events
from runtime.core.model.card import read_card
from tests.foreign import events, scale_to_threshold
from tests.recorded import DATA

GESTURE = "{c32k3s1-BN-IF-c32k2s2-BN-IF}*5-DP-FC128-IF-DP-FC110-IF-APk10s10"
DIGITS = "c16k3s2-IF-{c32k3s2-IF}*2-{c64k3s2-IF}*3-FC10-IF"


def spikingjelly_net(name: str, cls: str = "ParametricLIFNode", channels: int = 4, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    kind = getattr(neuron, cls)
    return getattr(parametric_lif_net, name)(  # type: ignore[no-any-return]
        channels=channels, spiking_neuron=kind, surrogate_function=surrogate.ATan(), **options
    )


NETS: dict[str, tuple[str, tuple[int, int, int], str]] = {
    "MNISTNet": ("mnist", (1, 28, 28), "{c4k3s1-BN-PLIF-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10"),
    "NMNISTNet": ("nmnist", (2, 34, 34), "{c4k3s1-BN-PLIF-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10"),
    "CIFAR10Net": (
        "cifar10:paper",
        (3, 32, 32),
        "{{c4k3s1-BN-PLIF}*3-MPk2s2}*2-DP-FC2048-PLIF-DP-FC100-PLIF-APk10s10",
    ),
    "CIFAR10DVSNet": (
        "cifar10-dvs:paper",
        (2, 128, 128),
        "{c4k3s1-BN-PLIF-MPk2s2}*4-DP-FC512-PLIF-DP-FC100-PLIF-APk10s10",
    ),
    "DVSGestureNet": (
        "dvs128-gesture",
        (2, 128, 128),
        "{c4k3s1-BN-PLIF-MPk2s2}*5-DP-FC512-PLIF-DP-FC110-PLIF-APk10s10",
    ),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NETS)
def test_a_state_dict_of_parametric_lif_net_gives_its_networks_votes(tmp_path: Path, name: str) -> None:
    """The network runs in SpikingJelly over all T at once; the file was made from nothing but its tensors."""
    _, shape, notation = NETS[name]
    net = scale_to_threshold(spikingjelly_net(name), shape, steps=2)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    kind = "static" if name in ("MNISTNet", "CIFAR10Net") else "events"
    result = export(tmp_path / "net.pth", network=notation, kind=kind)
    card = read_card(result.path)
    assert result.passed and tuple(card["input"]["shape"]) == shape
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    x = events(6, 1, shape)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(_steps(result.path, x), expected, atol=1e-6)
    assert expected.sum() > 0


def _steps(path: Path, x: np.ndarray) -> np.ndarray:
    session = runtime.load(path).session(1)
    return np.stack([session.step(x_t) for x_t in x])


@pytest.mark.parametrize("name", NETS)
def test_key_lists_of_the_published_networks_fit_their_presets(tmp_path: Path, name: str) -> None:
    """Full size, SpikingJelly's names and the authors' own: every tensor finds its layer."""
    from plif_export.core.options import CallerFacts
    from plif_export.readers.state_dict.reader import _build_network, _load_weights

    lists = json.loads((DATA / "state_dict_shapes.json").read_text())[name]
    preset, shape, _ = NETS[name]
    for maker, network in (("library", preset), ("authors", preset.removesuffix(":paper"))):
        weights = {tensor: torch.zeros(shape_of_it) for tensor, shape_of_it in lists[maker].items()}
        net, _ = _build_network(tmp_path, network, CallerFacts(), weights)
        assert net.meta.shape == shape
        assert net.options.bias == ("fc" if maker == "library" else False)
        _load_weights(net, weights, tmp_path)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("cls", "notation", "options"), [("IFNode", "IF", ""), ("LIFNode", "LIF", "tau=4,v_reset=none")]
)
def test_other_neurons_are_said_with_the_notation_and_neuron(
    tmp_path: Path, cls: str, notation: str, options: str
) -> None:
    more: dict[str, Any] = {"tau": 4.0, "v_reset": None} if cls == "LIFNode" else {}
    net = scale_to_threshold(spikingjelly_net("NMNISTNet", cls, **more), (2, 34, 34))
    torch.save({"epoch": 3, "net": net.state_dict(), "best": 0.5}, tmp_path / "net.pth")
    network = NETS["NMNISTNet"][2].replace("PLIF", notation)
    result = export(tmp_path / "net.pth", network=network, neuron=options or None, framing="count:T=10")
    assert read_card(result.path)["T"] == 10
    x = events(6, 1, (2, 34, 34))
    with pytest.raises(
        PlifError, match="has no layer 'conv_fc_2'"
    ):  # the file has the notation's names, not the module's
        verify(result.path, net, x)
    assert verify(result.path, tmp_path / "net.pth", x, network=network, neuron=options or None).passed
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    with torch.no_grad():
        np.testing.assert_allclose(_steps(result.path, x), net(torch.from_numpy(x)).numpy(), atol=1e-6)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "network", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "FC2-IF", "holds Python objects .* never loaded; docs/other-libraries.md"),
        ({"net": {"a.weight": torch.zeros(2, 2)}, "x": Bomb()}, "FC2-IF", "holds Python objects"),
        (
            {"a.weight": torch.zeros(2, 2)},
            None,
            r"a bare state_dict \(1 tensors\) does not say its layers; .*--network",
        ),
        ({"lr": 0.1}, "FC2-IF", "expected a state_dict, names and tensors"),
        ({"a.weight": torch.full((2, 2), torch.nan)}, "FC2-IF", "a.weight has numbers that are NaN"),
        (
            {"c.weight": torch.zeros(4, 2, 3, 3), "f.weight": torch.zeros(3, 7)},
            "c4k3s1-IF-FC3-IF",
            "no square input gives",
        ),
        (
            {"c.weight": torch.zeros(4, 2, 3, 3), "f.weight": torch.zeros(3, 4096)},
            "c4k3s1-IF-FC3-PLIF",
            r"none is left for fc1_neuron",
        ),
        (
            {"c.weight": torch.zeros(4, 2, 3, 3), "f.weight": torch.zeros(3, 4096), "g.weight": torch.zeros(3, 3)},
            "c4k3s1-IF-FC3-IF",
            r"'g' and what follows \(1 layers\) has no place",
        ),
        (
            {"c.weight": torch.zeros(5, 2, 3, 3), "f.weight": torch.zeros(3, 4096)},
            "c4k3s1-IF-FC3-IF",
            r"c.weight is \[5, 2, 3, 3\], where .* has conv1 with \[4, 2, 3, 3\]",
        ),
        (
            {"c.weight": torch.zeros(4, 2, 3, 3), "n.w": torch.zeros(()), "f.weight": torch.zeros(3, 4096)},
            "c4k3s1-IF-FC3-IF",
            r"n holds \{'w': \[\]\}, where .* has fc1 \(Linear\)",
        ),
        (
            {
                "c.weight": torch.zeros(4, 2, 3, 3),
                "f.weight": torch.zeros(3, 4096),
                "f.bias": torch.zeros(3),
                "g.weight": torch.zeros(3, 3),
            },
            "c4k3s1-IF-FC3-IF-FC3-IF",
            "some of its layers have a bias",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(
    tmp_path: Path, content: Any, network: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(PlifError, match=message) as refused:
        export(tmp_path / "net.pth", tmp_path / "m.onnx", network=network)
    assert "\n" not in str(refused.value) and not (tmp_path / "m.onnx").exists()
    assert "run" not in capsys.readouterr().out
    with pytest.raises(PlifError, match=message):
        check_file(tmp_path / "net.pth", network=network)


def test_a_model_with_a_card_needs_no_network(tmp_path: Path) -> None:
    plif_train.save(plif_train.build("nmnist", channels=2, hidden=20), tmp_path / "model.pt")
    with pytest.raises(PlifError, match="leave --network out"):
        export(tmp_path / "model.pt", network="nmnist")
    with pytest.raises(PlifError, match="has a card of its own"):
        export(tmp_path / "model.pt", classes="a,b")
    with pytest.raises(PlifError, match="has a card of its own"):
        export(tmp_path / "model.pt", neuron="tau=2")
    assert check_file(tmp_path / "model.pt").supported


# --- two real networks that others trained ---------------------------------------------------------------------------------


@pytest.fixture
def plif(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """The command line, with --json."""

    def call(*arguments: str) -> dict[str, Any]:
        assert run([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    return call


@pytest.mark.large
def test_the_real_gesture_network_goes_from_its_own_file_to_six_of_six_clips(
    clips: Path, shared_data: Path, tmp_path: Path, plif: Callable[..., dict[str, Any]]
) -> None:
    out = tmp_path / "gesture.onnx"
    result = plif(
        "export", str(shared_data / "checkpoints" / "spikingjelly_if_dvs128gesture_T16.pth"), "--network", GESTURE,
        "--classes", "0,1,10,2,3,4,5,6,7,8,9", "--framing", "duration:131072us,T=16,pad=repeat,value=binary", "-o", str(out),
    )  # fmt: skip
    assert result["verify"]["passed"] and result["verify"]["untested"] == []
    model = runtime.load(out)
    assert model.input_shape == (2, 128, 128) and model.T == 16
    right = {}
    for clip in sorted(clips.glob("*.bs2")):
        x = make_frames(read_events(clip, sensor=(128, 128)), model.card["framing"], (2, 128, 128), (128, 128))
        votes = np.rint(10 * model.session(1).run(x[:, None])[:, 0].astype(np.float64)).sum(axis=0)
        right[clip.name] = model.classes[int(votes.argmax())] == clip.name.partition("_")[0]
        assert 0.6 < votes.max() / 160 <= 1.0
    assert len(right) == 6 and all(right.values()), right


def test_the_real_digits_network_goes_from_its_own_file_to_97_of_100(
    nmnist: Path, shared_data: Path, tmp_path: Path, plif: Callable[..., dict[str, Any]]
) -> None:
    out = tmp_path / "digits.onnx"
    result = plif(
        "export", str(shared_data / "checkpoints" / "spikingjelly_if_nmnist_T16.pth"), "--network", DIGITS,
        "--classes", ",".join("0123456789"), "--framing", "count:T=16", "-o", str(out),
    )  # fmt: skip
    assert result["verify"]["passed"] and result["verify"]["untested"] == []
    found = plif("eval", str(out), "--data", f"nmnist:{nmnist}")
    assert (found["samples"], found["T"]) == (100, 16) and found["correct"] >= 97
