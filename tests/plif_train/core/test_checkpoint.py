"""model.pt comes back as it was, and every file that is something else is refused in one line, unrun."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from plif_train import build, load, save, scale_to_fire
from plif_train.core.loop.checkpoint import load_torch_file
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.plif_train.core.small import largest_file

pytestmark = pytest.mark.quick


def small() -> Network:
    return build("nmnist", channels=3, hidden=20, v_reset=-0.2, tau="channel", bias="fc", T=4)


def test_a_network_comes_back_with_everything_that_belongs_to_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = small()
    x = torch.poisson(torch.full((4, 2, 2, 34, 34), 0.4))
    scale_to_fire(net, x)
    net.eval()
    save(net, tmp_path / "model.pt", training={"dataset": "folder", "epochs": 3})
    back = load(tmp_path / "model.pt")
    assert not back.training
    assert (back.notation, back.options, back.meta) == (net.notation, net.options, net.meta)
    assert back.meta.training == {"dataset": "folder", "epochs": 3}
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), back.state_dict().values(), strict=True))
    with torch.no_grad():
        y = net(x)
        assert y.sum() > 0 and torch.equal(y, back(x))
    assert all(parameter.requires_grad for parameter in back.parameters())
    save(back, tmp_path / "again.pt")
    assert load(tmp_path / "again.pt").meta.training == {"dataset": "folder", "epochs": 3}


def contents() -> dict[str, Any]:
    """What training scripts save."""
    torch.manual_seed(0)
    linear, base = torch.nn.Linear(3, 3), torch.arange(24.0).reshape(4, 6)
    tied = torch.nn.Sequential(linear, torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 3))
    tied[2].weight = linear.weight
    adam = {"step": torch.tensor(1.0), "exp_avg": torch.randn(3, 3), "exp_avg_sq": torch.rand(3, 3)}
    groups = [{"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "amsgrad": False, "params": [0, 1]}]
    kinds = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    kinds += (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return {
        "network": small().state_dict(),
        "tied": tied.state_dict(),
        "parameters": dict(tied.named_parameters()),
        "optimizer": {"state": {0: adam}, "param_groups": groups, 3: "é"},
        "views": [
            base,
            base,
            base.t(),
            base[:, 2],
            base[2:, 1:3],
            base[0].as_strided((3,), (0,)),
        ],
        "kinds": [torch.arange(-3, 4).to(kind) for kind in kinds],
        "empty": [torch.zeros(0), torch.zeros(3, 0, 2, dtype=torch.bfloat16), torch.tensor(3.0)],
        "gradients": [torch.ones(2, requires_grad=True), torch.nn.Parameter(torch.ones(2), requires_grad=False)],
    }


def same(ours: object, theirs: object) -> list[tuple[Tensor, Tensor]]:
    """Asserts that two trees are the same, and gives the pairs of tensors in them."""
    assert type(ours) is type(theirs)
    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        for what in ("dtype", "shape", "requires_grad", "is_leaf", "device"):
            assert getattr(ours, what) == getattr(theirs, what)
        assert (ours.stride(), ours.storage_offset()) == (theirs.stride(), theirs.storage_offset())
        assert torch.equal(*(torch.empty(0, dtype=torch.uint8).set_(each.untyped_storage()) for each in (ours, theirs)))
        return [(ours, theirs)]
    if isinstance(ours, dict) and isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return [pair for a, b in zip(ours, theirs, strict=True) for pair in same(a, b)]
    assert ours == theirs
    return []


def test_tensors_are_those_that_pytorch_reads_and_share_what_they_shared(tmp_path: Path) -> None:
    torch.save(contents(), tmp_path / "model.pt")
    theirs = torch.load(tmp_path / "model.pt", weights_only=True)
    pairs = same(load_torch_file(tmp_path / "model.pt", "a test"), theirs)
    assert len(pairs) > 50
    for key in (id, lambda tensor: tensor.untyped_storage().data_ptr()):
        first: list[dict[int, int]] = [{}, {}]
        for i, pair in enumerate(pairs):
            a, b = (seen.setdefault(key(tensor), i) for seen, tensor in zip(first, pair, strict=True))
            assert a == b
    shared = next(ours for ours, _ in pairs if ours.shape == (4, 6))
    shared[2, 1] = 99.0
    assert sum(bool((ours == 99.0).any()) for ours, _ in pairs) == 4


def test_a_file_of_others_is_not_opened_by_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(small(), tmp_path / "model.pt")
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch._C, "PyTorchFileReader", None)
    assert load(tmp_path / "model.pt").notation == small().notation


def test_the_card_can_be_read_without_torch_and_names_no_folder(tmp_path: Path) -> None:
    save(small(), tmp_path / "model.pt")
    card = read_card(tmp_path / "model.pt")
    assert card["notation"] == "{c3k3s1-BN-PLIF-MPk2s2}*2-DP-FC20-PLIF-DP-FC100-PLIF-APk10s10"
    assert card["options"]["v_reset"] == -0.2 and card["options"]["bias"] == "fc"
    assert card["framing"] == "count:T=4" and card["T"] == 4 and len(card["classes"]) == 10
    assert str(tmp_path) not in json.dumps(card)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(small(), path)
    before = path.read_bytes()
    net = small()
    net.meta.__dict__["training"] = {"bad": float("nan")}  # a card that cannot be written
    with pytest.raises(ValueError):
        save(net, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]
    with pytest.raises(PlifError, match="cannot be written"):
        save(small(), tmp_path / "missing" / "model.pt")


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(small(), path)
    before = path.read_bytes()
    with largest_file(1 << 20), pytest.raises(PlifError, match=r"model\.pt: cannot be written \(File too large\)"):
        save(build("FC600-PLIF-FC10-PLIF", shape=(1, 30, 30)), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]


class Touch:
    """A pickle that would create a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def test_code_inside_a_file_is_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for name, content in {
        "in_card.pt": {"card": Touch(marker), "weights": {}},
        "beside.pt": {"card": "{}", "weights": {}, "extra": Touch(marker)},
        "alone.pt": Touch(marker),
    }.items():
        torch.save(content, tmp_path / name)
        torch.save(content, tmp_path / f"old_{name}", _use_new_zipfile_serialization=False)
    for path in sorted(tmp_path.glob("*.pt")):
        with pytest.raises(PlifError, match=f"{path.name}.*never run") as error:
            load(path)
        assert "\n" not in str(error.value) and error.value.exit_code == 2
    assert not marker.exists()


def test_a_whole_module_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"net": torch.nn.Linear(2, 2)}, tmp_path / "model.pt")
    with pytest.raises(PlifError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load(tmp_path / "model.pt")


def _changed(tmp_path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> Path:
    save(small(), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    card = json.loads(content["card"])
    change(card, content["weights"])
    torch.save({"card": json.dumps(card), "weights": content["weights"]}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


CHANGES: dict[str, tuple[Callable[[dict[str, Any], dict[str, torch.Tensor]], Any], str]] = {
    "newer": (lambda card, w: card.update(format_version=2), "newer"),
    "older": (lambda card, w: card.update(format_version=0), "older"),
    "another format": (lambda card, w: card.update(format="other"), "plif-model"),
    "no T": (lambda card, w: card.pop("T"), "lacks T"),
    "bad notation": (lambda card, w: card.update(notation="c3k3s1-NB"), "character"),
    "unknown option": (lambda card, w: card["options"].update(leak=1), "leak"),
    "wrong option": (lambda card, w: card["options"].update(tau="neuron"), "option tau"),
    "option of another type": (lambda card, w: card["options"].update(init_tau="2"), "option init_tau"),
    "missing": (lambda card, w: w.pop("fc1.weight"), r"lacks fc1\.weight"),
    "unexpected": (lambda card, w: w.update({"fc9.weight": torch.zeros(1)}), r"has also fc9\.weight"),
    "shape": (lambda card, w: w.update({"fc1.weight": torch.zeros(20, 3)}), r"fc1\.weight is float32 \[20, 3\]"),
    "type": (lambda card, w: w.update({"fc1.weight": w["fc1.weight"].half()}), "float16"),
    "NaN": (lambda card, w: w["conv2.weight"].view(-1)[5:7].fill_(float("nan")), r"conv2\.weight has 2 of 81"),
    "infinite": (lambda card, w: w["conv1_bn.running_var"][0].fill_(float("inf")), "1 of 3"),
    "huge": (
        lambda card, w: card.update(notation="FC1000000-PLIF-FC1000000-PLIF-FC10-PLIF"),
        "do not fit",  # 4 TB by its card: said from the shapes, before any memory is asked for
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_does_not_fit_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    with pytest.raises(PlifError, match=message) as error:
        load(_changed(tmp_path, change))
    assert "model.pt" in str(error.value) and "\n" not in str(error.value)


def test_a_card_of_brackets_in_brackets_is_no_card(tmp_path: Path) -> None:
    torch.save({"card": "[" * 100_000, "weights": {}}, tmp_path / "model.pt")
    with pytest.raises(PlifError, match="its card is not JSON"):
        load(tmp_path / "model.pt")


def _zip_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"PK\x03\x04",
        b"\x80\x02.",
        bytes(range(256)),
        _zip_of("a.txt", b"x"),
        _zip_of("m/data.pkl", b"\x80"),
    ],
    ids=["empty", "text", "half a zip", "a bare pickle", "noise", "another zip", "a cut pickle"],
)
def test_what_is_no_checkpoint_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(PlifError, match=r"model\.pt") as error:
        load(tmp_path / "model.pt")
    assert "\n" not in str(error.value)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save(small(), tmp_path / "model.pt")
    data = (tmp_path / "model.pt").read_bytes()
    for end in range(0, len(data), len(data) // 37):
        (tmp_path / "cut.pt").write_bytes(data[:end])
        with pytest.raises(PlifError):
            load(tmp_path / "cut.pt")


def test_missing_files_folders_and_foreign_tensors_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="no such file"):
        load(tmp_path / "none.pt")
    with pytest.raises(PlifError, match="folder"):
        load(tmp_path)
    torch.save({"conv.0.weight": torch.zeros(2)}, tmp_path / "state_dict.pt")
    with pytest.raises(PlifError, match="without a card"):
        load(tmp_path / "state_dict.pt")
