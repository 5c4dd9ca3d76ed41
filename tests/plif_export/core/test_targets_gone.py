"""A target, an engine or a kind of file whose part is gone is refused in one line that says what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from plif_export import export
from plif_export.core.targets import find_target, list_layouts, list_targets
from runtime.core.base.errors import PlifError
from runtime.core.engines import available
from runtime.core.parts import find_parts
from tests.networks import firing


def test_every_target_and_every_layout_can_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for gone in [*find_parts("targets").values()]:
        kept = type(find_target(gone.layout, {"layout": gone.name})) if gone.layout else None
        monkeypatch.delitem(find_parts("targets"), gone.name)
        for name in (gone.name,) if gone.names is None else gone.names:
            others = ", ".join(list_targets())
            assert name not in list_targets()
            with pytest.raises(PlifError, match=f"^--to {name}: this version writes {others}$"):
                find_target(name)
        if gone.layout:
            assert not list_layouts(gone.layout)
            assert type(find_target(gone.layout, {"layout": gone.name})) is not kept  # whose `check` refuses the word
        monkeypatch.undo()


def test_without_other_engines_auto_takes_onnx_runtime_and_others_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = export(firing(), tmp_path / "m.onnx", verify=False).path
    page = export(firing(), tmp_path / "m.plif", to="plif", verify=False).path
    for name in [*find_parts("engines")]:
        monkeypatch.delitem(find_parts("engines"), name)
    model = runtime.load(path)
    assert model.engine.name == available.ONNX_RUNTIME and model.engine_choice is not None
    assert model.engine_choice.reason == "it opens .onnx files"
    with pytest.raises(PlifError, match="engine 'event' is not known here; expected auto or one of: onnxruntime"):
        runtime.load(path, "event")
    with pytest.raises(PlifError, match=r"no engine runs it here$"):
        runtime.load(page)
