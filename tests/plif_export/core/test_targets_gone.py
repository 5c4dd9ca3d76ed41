"""A target, an engine or a kind of file whose part is gone is refused in one line that says what is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import runtime
from plif_export import export
from plif_export.core import targets as targets_of_here
from plif_export.core.targets import find_target, list_targets
from runtime.core.base.errors import PlifError
from runtime.core.engines import available
from runtime.core.parts import Part, find_parts
from tests.networks import firing


def without(kind: str, *names: str) -> Mapping[str, Part]:
    return {name: part for name, part in find_parts(kind).items() if name not in names}


def test_every_target_and_every_layout_can_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for gone in find_parts("targets").values():
        monkeypatch.setattr(targets_of_here, "find_parts", lambda kind, name=gone.name: without(kind, name))
        for name in (gone.name,) if gone.names is None else gone.names:
            others = ", ".join(list_targets())
            assert name not in list_targets()
            with pytest.raises(PlifError, match=f"^--to {name}: this version writes {others}$"):
                find_target(name)
        if gone.layout:
            assert not targets_of_here.list_layouts(gone.layout)
            monkeypatch.undo()
            kept = type(find_target(gone.layout, {"layout": gone.name}))
            monkeypatch.setattr(targets_of_here, "find_parts", lambda kind, name=gone.name: without(kind, name))
            assert type(find_target(gone.layout, {"layout": gone.name})) is not kept  # whose `check` refuses the word


def test_without_other_engines_auto_takes_onnx_runtime_and_others_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = export(firing(), tmp_path / "m.onnx", verify=False).path
    page = export(firing(), tmp_path / "m.plif", to="plif", verify=False).path
    monkeypatch.setattr(available, "find_parts", lambda kind: without(kind, *find_parts(kind)))
    monkeypatch.setattr(available, "find_part", lambda kind, name: None)
    model = runtime.load(path)
    assert model.engine.name == available.ONNX_RUNTIME and model.engine_choice is not None
    assert model.engine_choice.reason == "it opens .onnx files"
    with pytest.raises(PlifError, match="engine 'event' is not known here; expected auto or one of: onnxruntime"):
        runtime.load(path, "event")
    with pytest.raises(PlifError, match=r"no engine runs it here$"):
        runtime.load(page)
