"""What a proof runs is what `runtime.load` opens: every engine of `auto` in an export, every one with `--engine all`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from plif_export import export, verify
from plif_export.core.pipeline import ParityError
from plif_export.core.proof.report import ProvedWith, Report
from runtime.core.api import load
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.engines.onnxruntime import OnnxRuntimeEngine
from runtime.core.model.card import Card
from runtime.native import count_cores, is_built
from tests.networks import firing
from tests.plif_export.checks.subnormals.test_subnormals import Gated
from tests.runtime.core.conftest import add_engines

pytestmark = pytest.mark.skipif(not is_built(), reason="the event engine is not built (no C compiler at installation)")


def proved(report: Report | None) -> ProvedWith:
    assert report is not None and report.proved_with is not None
    return report.proved_with


def names(report: Report | None) -> list[str]:
    return [engine["name"] for engine in proved(report)["engines"]]


def test_an_export_proves_every_engine_that_auto_may_take_and_says_what_was_not_run(tmp_path: Path) -> None:
    exported = export(firing(), tmp_path / "m.onnx")
    record, report = proved(exported.verify), exported.verify
    assert report is not None and report.passed
    assert (record["torch"], record["device"], record["threads"]) == (torch.__version__, "cpu", 1)
    assert "PyTorch" in record["mode"] and "float32" in record["mode"]
    assert names(report) == ["event", "onnxruntime"] and load(exported.path).engine.name in names(report)
    for engine in record["engines"]:
        opened = load(exported.path, engine["name"])
        assert engine["threads"] == (opened.engine.threads or count_cores())
        assert engine["flush_denormals"] is True and engine["steps"] == 2 * report.steps
    assert record["not_run"] == ["onnxruntime-cuda", "onnxruntime-tensorrt", "webgpu"]
    written = json.loads((tmp_path / "m.onnx.report.json").read_text())
    assert written["verify"]["proved_with"] == record and written["verify"]["engine"] == "event, onnxruntime"
    assert verify(exported.path, firing(), steps=3).proved_with is not None


@pytest.mark.parametrize("to", ("plif", "openvino"))
def test_a_file_of_one_engine_is_proved_in_that_engine(to: str, tmp_path: Path) -> None:
    if to == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / {"plif": "m.plif", "openvino": "m_openvino"}[to]
    report = export(firing(), path, to=to).verify
    engine = {"plif": "event"}.get(to, to)
    assert names(report) == [engine] and proved(report)["not_run"] == []
    report = verify(path, firing(), engine="all", steps=3)
    assert report.passed and names(report) == [engine] and proved(report)["not_run"] == []


def test_an_engine_that_refuses_the_file_is_named_with_its_reason(tmp_path: Path) -> None:
    report = export(firing(), tmp_path / "m.onnx", precision="fp16").verify
    assert names(report) == ["onnxruntime"]
    assert proved(report)["not_run"][0].startswith("onnxruntime-cuda")
    assert proved(report)["not_run"][-1].startswith("event (precision fp16; engine event computes in fp32")


@pytest.mark.parametrize("engine", ("event", "onnxruntime"))
def test_an_export_fails_where_an_engine_of_auto_differs(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file itself is right, and one engine opens another: without its proof that would be exported."""
    net, other = firing(), firing()
    with torch.no_grad():
        other.get_submodule("conv2").weight[3] += 0.02
    path = export(other, tmp_path / "other.onnx").path
    kind = type(load(path, engine).engine)
    open_right = kind.__init__

    def open_another(self: Engine, _: Path, card: Card, options: EngineOptions) -> None:
        open_right(self, path, card, options)

    monkeypatch.setattr(kind, "__init__", open_another)
    with pytest.raises(ParityError, match=f"layer conv2, step 0: engine {engine}: .*; nothing was written"):
        export(net, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("module", ("runtime.engines.event.engine", "runtime.core.engines.onnxruntime"))
def test_an_export_fails_where_the_session_that_runs_flushes_what_the_network_notices(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slices of the gate keep subnormal numbers, as the card says; the opened engine does not."""
    example = torch.zeros(1, 8)
    report = export(Gated(), tmp_path / "m.onnx", example).verify
    assert {engine["flush_denormals"] for engine in proved(report)["engines"]} == {False}
    monkeypatch.setattr(f"{module}.should_flush", lambda *_: True)
    engine = "event" if "event" in module else "onnxruntime"
    with pytest.raises(ParityError, match=f"engine {engine}: from faint states"):
        export(Gated(), tmp_path / "flushed.onnx", example)


class Refusing(OnnxRuntimeEngine):
    name = "refusing"

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        raise PlifError(f"{path}: no such thing")


class Another(OnnxRuntimeEngine):
    name = "another"
    opens: Path | None = None

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        super().__init__(self.opens or path, card, options)


def test_all_engines_of_the_machine_are_proved_and_the_first_that_differs_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, other = firing(), firing()
    with torch.no_grad():
        other.get_submodule("conv2").weight[3] += 0.02
    path = export(net, tmp_path / "m.onnx", verify=False).path
    Another.opens = None
    add_engines(monkeypatch, Refusing, Another)
    report = verify(path, net, engine="all", steps=3)
    assert report.passed and names(report) == ["event", "onnxruntime", "another"]
    assert "refusing (no such thing)" in proved(report)["not_run"]
    monkeypatch.setattr(Another, "opens", export(other, tmp_path / "other.onnx", verify=False).path)
    assert verify(path, net, steps=3).passed  # what auto does not take is not run, and named
    assert "another" in proved(verify(path, net, steps=3))["not_run"]
    report = verify(path, net, engine="all", steps=3)
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == "conv2" and report.failed_at["what"].startswith("engine another: ")


def test_without_the_part_the_report_names_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plif_export.core import prove
    from runtime.core.parts import load_from_parts

    def load_others(kind: str, name: str) -> Any:
        return None if name == "engines of a proof" else load_from_parts(kind, name)

    monkeypatch.setattr(prove, "load_from_parts", load_others)
    report = export(firing(), tmp_path / "m.onnx").verify
    assert names(report) == [] and cast(Report, report).engine is None
