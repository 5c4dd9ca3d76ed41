"""What a model without a card does not say: asked for again by a proof, or named as not proved; classes are never guessed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import plif_train
import runtime
from plif_export import export, verify
from plif_export.core.cards import set_card
from plif_train.core.network.presets import PRESETS
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from tests.networks import firing
from tests.plif_export.core.unseen_state import Net

LAYERS = "{c8k3s1-BN-PLIF-MPk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10"
CLASSES = ("cat", "dog", "bird")
SAID: dict[str, Any] = {"classes": CLASSES, "framing": "count:T=5", "kind": "events"}
GESTURE = "{c32k3s1-BN-IF-c32k2s2-BN-IF}*5-DP-FC128-IF-DP-FC110-IF-APk10s10"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The state_dict of a network, on disk, without a card."""
    torch.save(firing(LAYERS).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def edited(path: Path, **changes: Any) -> Path:
    """The artifact with another card, as somebody's editor could leave it."""
    proto, card = onnx.load(path), read_card(path)
    set_card(proto, {**card, **changes})
    onnx.save(proto, path)
    return path


def facts(**said: Any) -> dict[str, Any]:
    return {"network": LAYERS, "shape": (2, 16, 16), **said}


@pytest.mark.parametrize(
    ("changed", "key"),
    [({"classes": list(CLASSES[::-1])}, "classes"), ({"framing": "duration:10ms,T=5"}, "framing")],
    ids=["reversed classes", "another framing"],
)
def test_what_the_owner_says_is_compared_with_the_card(weights: Path, changed: dict[str, Any], key: str) -> None:
    path = export(weights, **facts(**SAID)).path
    report = verify(path, weights, **facts(**SAID))
    assert report.passed and report.not_proved == []
    edited(path, **changed)
    report = verify(path, weights, **facts(**SAID))
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == "card" and key in report.failed_at["what"]


def test_what_nobody_says_again_is_named_as_not_proved(weights: Path) -> None:
    path = edited(export(weights, **facts(**SAID)).path, classes=list(CLASSES[::-1]), framing="duration:10ms,T=5")
    report = verify(path, weights, **facts())
    assert report.passed and report.not_proved == ["classes", "framing", "kind"]
    assert "not proved: classes, framing, kind" in report.sentence()
    assert report.to_dict()["not_proved"] == ["classes", "framing", "kind"]
    assert verify(path, weights, **facts(framing="duration:10ms,T=5")).not_proved == ["classes"]


def test_the_command_takes_what_the_owner_says(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(weights, **facts(**SAID)).path
    command = ["verify", str(path), "--against", str(weights), "--network", LAYERS, "--shape", "2,16,16", "--json"]
    assert run([*command, "--classes", "cat,dog,bird", "--framing", "count:T=5", "--kind", "events"]) == 0
    assert json.loads(capsys.readouterr().out)["not_proved"] == []
    assert run([*command, "--classes", "bird,dog,cat"]) == 1
    assert "classes" in capsys.readouterr().err


def test_an_export_says_in_its_card_what_nobody_said(weights: Path) -> None:
    result = export(weights, **facts(framing="count:T=5"))
    assert result.verify is not None and result.verify.not_proved == ["classes"]
    assert read_card(result.path)["parity"]["not_proved"] == ["classes"]


def test_a_model_with_a_card_leaves_nothing_unproved_and_is_not_told_otherwise(tmp_path: Path) -> None:
    plif_train.save(firing(LAYERS), tmp_path / "m.pt")
    path = export(tmp_path / "m.pt").path
    assert verify(path, tmp_path / "m.pt").not_proved == []
    with pytest.raises(PlifError, match="--classes: the model has a card of its own"):
        verify(path, tmp_path / "m.pt", classes=("x", "y", "z"))
    edited(path, classes=["c", "b", "a"])
    assert not verify(path, tmp_path / "m.pt").passed


def test_a_report_says_what_holds_for_all_inputs_for_all_steps_and_what_was_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plif_train.save(firing(LAYERS), tmp_path / "m.pt")
    path = export(tmp_path / "m.pt", precision="int8").path
    command = ["verify", str(path), "--against", str(tmp_path / "m.pt"), "--engine", "event"]
    assert run(command) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("all inputs: structure (")]
    assert "; all steps: state (" in line and "; sampled: numbers (" in line
    assert "weights rounded to int8" in line
    assert run([*command, "--json", "--structure", "ignored"]) == 0
    shown = json.loads(capsys.readouterr().out)["shown"]
    assert [(one["what"], one["for"]) for one in shown] == [("numbers", "sampled"), ("engine event", "sampled")]
    export(tmp_path / "m.pt", path, math="exact", precision="int8")
    report = verify(edited(path, math="folded"), tmp_path / "m.pt")
    assert report.structure and not report.passed
    assert not any(one["for"] == "all inputs" for one in replace(report, passed=True).evidence())


def test_an_unrolled_file_is_proved_with_its_own_T_unless_another_is_said(weights: Path) -> None:
    path = export(weights, form="unrolled", T=3, **facts()).path
    assert verify(path, weights, **facts()).passed
    assert verify(path, weights, **facts(T=3)).passed
    assert not verify(path, weights, **facts(T=4)).passed


# --- classes that nobody named ------------------------------------------------------------------------------------------


def gesture_weights(tmp_path: Path) -> Path:
    """A checkpoint of somebody else's for the preset dvs128-gesture, narrow."""
    net = plif_train.build("dvs128-gesture", channels=2, hidden=4)
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    return path


def test_a_preset_gives_foreign_weights_no_class_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(PRESETS["dvs128-gesture"], channels=2, hidden=4)
    monkeypatch.setitem(PRESETS, "dvs128-gesture", small)
    path = gesture_weights(tmp_path)
    natural = list(small.meta.classes)
    sj = [natural[i] for i in (0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9)]

    def exported(**said: Any) -> tuple[list[str], bool]:
        card = read_card(export(path, network="dvs128-gesture", verify=False, **said).path)
        return card["classes"], card["classes_named"]

    assert exported() == ([str(i) for i in range(11)], False)
    assert exported(class_order="natural") == (natural, True)
    assert exported(class_order="sj") == (sj, True)
    assert exported(classes=tuple("abcdefghijk")) == (list("abcdefghijk"), True)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"class_order": "sj"}, "of no known data set"),
        ({"class_order": "random"}, "expected sj"),
        ({"class_order": "sj", "classes": CLASSES}, "leave one of the two out"),
        ({"classes": ("a", "b")}, "2 names for a network of 3 outputs"),
    ],
)
def test_an_order_that_cannot_be_known_is_refused(weights: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(PlifError, match=message):
        export(weights, **facts(**said))


@pytest.mark.parametrize("command", ["export", "info", "stream", "eval"])
def test_every_command_says_that_classes_are_numbers(
    weights: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights.with_name("net.onnx")
    shape = ["--network", LAYERS, "--shape", "2,16,16", "--framing", "duration:5ms"]
    assert run(["export", str(weights), "-o", str(path), *shape]) == 0
    said = capsys.readouterr()
    np.savez(weights.with_name("r.npz"), x=[1, 2], y=[3, 4], p=[0, 1], t=[10, 9000])
    if command == "info":
        assert run(["info", str(path)]) == 0
        said = capsys.readouterr()
        assert "nobody named" in said.out
        return
    if command == "stream":
        assert run(["stream", str(path), str(weights.with_name("r.npz")), "--sensor", "16x16"]) == 0
        said = capsys.readouterr()
        assert "nobody named" in said.err.splitlines()[0]
        return
    if command == "eval":
        (weights.parent / "test" / "0").mkdir(parents=True)
        run(["eval", str(path), "--data", f"folder:{weights.parent}"])
        said = capsys.readouterr()
    assert "nobody named" in said.err


def test_named_classes_bring_no_warning(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(weights, **facts(**SAID)).path
    assert run(["info", str(path)]) == 0
    assert "nobody named" not in capsys.readouterr().out
    assert read_card(path)["classes_named"] is True


def test_with_the_order_of_its_library_a_gesture_checkpoint_gets_the_real_clips_right(
    tmp_path: Path, clips: Path, shared_data: Path
) -> None:
    checkpoint = shared_data / "checkpoints" / "spikingjelly_if_dvs128gesture_T16.pth"
    framing = "duration:131072us,T=16,pad=repeat,value=binary"
    path = export(
        checkpoint, tmp_path / "g.onnx", network=GESTURE, class_order="sj", framing=framing, verify=False
    ).path
    model = runtime.load(path)
    right = 0
    for clip in clips.iterdir():
        decisions = list(model.stream(str(clip), sensor=(128, 128)))
        right += clip.stem.partition("_")[2] == decisions[-1].label
    assert right == 6


def test_of_a_live_module_a_report_says_that_reading_it_was_sampled_and_on_what(tmp_path: Path) -> None:
    net = Net()
    report = export(net, tmp_path / "m.onnx", torch.zeros(1, 6)).verify
    assert report is not None and report.inputs[1] > 200
    given = re.fullmatch(r"64 steps, batches 1, 2, 3, 10, 33, counts 0 to (\d+)", report.module)
    assert given is not None and int(given[1]) == 255
    shown = {one["what"]: one for one in report.evidence()}
    assert shown["reading the module"] == {"what": "reading the module", "for": "sampled", "how": report.module}
    assert "what was read of the module" in shown["structure"]["how"] and "sampled" in shown["state"]["how"]
    assert report.to_dict()["module"] == report.module
