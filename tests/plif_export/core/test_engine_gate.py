"""`verify(engine=...)` proves what really runs, and fails where an engine does something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plif_export import export, verify
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError
from runtime.core.engines import Engine
from runtime.core.engines.available import load_engine_class
from runtime.core.model.card import Card
from runtime.engines.event import engine as event
from runtime.native import is_built
from tests.networks import firing, frames
from tests.runtime.core.conftest import add_engines

needs_event = pytest.mark.skipif(not is_built(), reason="the event engine is not built (no C compiler at installation)")

VARIANTS: list[dict[str, Any]] = [{}, {"v_reset": None}, {"v_reset": -0.25, "tau": "channel"}, {"decay_input": False}]


@pytest.mark.one_in(2)
@needs_event
@pytest.mark.parametrize("math", ("exact", "folded"))
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_event_engine_passes_the_gate(tmp_path: Path, variant: dict[str, Any], math: str) -> None:
    net = firing(**variant)
    path = export(net, tmp_path / "m.onnx", math=math, verify=False).path
    report = verify(path, net, engine="event")
    assert report.passed and report.engine == "event" and report.engine_steps == 2 * report.steps
    assert verify(path, net, frames(net, np.random.default_rng(1), T=7, streams=3), engine="event").engine_steps == 21


@pytest.mark.parametrize("engine", ("onnxruntime", "event"))
def test_an_engine_with_another_weight_or_threshold_fails_with_the_layer_named(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is opened on a file of its own, which is another model's: the gate sees what runs, not what was checked."""
    if engine == "event" and not is_built():
        pytest.skip("the event engine is not built (no C compiler at installation)")
    import torch

    net, other = firing(), firing()
    with torch.no_grad():
        other.get_submodule("conv2").weight[3] += 0.02
    export(net, tmp_path / "m.onnx", verify=False)
    export(other, tmp_path / "other.onnx", verify=False)
    kind = load_engine_class(engine)

    def opens_another(self: Engine, _: Path, card: Card, options: EngineOptions) -> None:
        kind.__init__(self, tmp_path / "other.onnx", card, options)

    add_engines(monkeypatch, type("Another", (kind,), {"name": "another", "__init__": opens_another}))
    report = verify(tmp_path / "m.onnx", net, engine="another")
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == "conv2" and "engine another" in report.failed_at["what"]


@pytest.mark.parametrize("static", (False, True))
def test_an_unrolled_file_is_proved_call_by_call(tmp_path: Path, static: bool) -> None:
    options: dict[str, Any] = {"kind": "static", "framing": None, "shape": (3, 16, 16)} if static else {}
    net = firing(**options)
    path = export(net, tmp_path / "u.onnx", form="unrolled", verify=False).path
    report = verify(path, net, engine="onnxruntime")
    assert report.passed and report.engine_steps == 2 * report.steps


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    net = firing()
    export(net, tmp_path / "m.onnx", verify=False)
    with pytest.raises(PlifError, match="is not known here"):
        verify(tmp_path / "m.onnx", net, engine="warp")
    assert event.EventEngine.name == "event"


def test_an_engine_alone_is_judged_like_a_file(tmp_path: Path) -> None:
    """The gate's questions to OpenVINO and NIR, here to ONNX Runtime: weights that the recording leaves silent, rows, card."""
    from plif_export.core.cards import make_card
    from plif_export.core.passes import run_passes
    from plif_export.core.proof.gate import run_gate
    from plif_export.core.proof.subjects.subject import EngineSession
    from plif_export.core.readers import read_model
    from runtime.core.api import load

    net = firing()
    source = read_model(net)
    path = export(net, tmp_path / "m.onnx", verify=False).path
    graph = run_passes(source.graph, "folded", static=False)
    facts: dict[str, Any] = {"form": "step", "T": net.T, "precision": "fp32", "math": "folded", "batch": None}
    expected = make_card(source.facts, graph, **facts, source_sha256=None)

    def judge(x: np.ndarray, **changes: Any) -> Any:
        start = [source.reference.initial() for _ in range(x.shape[1])]
        asked = {"graph": changes.get("graph", source.graph), "expected": changes.get("card", expected)}
        return run_gate(EngineSession(load(path)), source.reference, x, start, **asked)

    x = frames(net, np.random.default_rng(1), T=5, streams=3)
    report = judge(x)
    assert report.passed and report.rows == 33 and report.probed > 10_000 and report.engine_steps == 15
    x[:, :, :, :4] = 0  # the upper edge of every frame is silent, and so is one weight's effect
    assert judge(x).passed
    weight = source.graph["conv1"].params["weight"].copy()
    weight[3, 1, 0, 0] += 0.02
    changed = source.graph["conv1"].with_(params={**source.graph["conv1"].params, "weight": weight})
    found = judge(x, graph=source.graph.replace_nodes({"conv1": changed}))
    assert not found.passed and found.failed_at["layer"] == "conv1" and "on random spikes" in found.failed_at["what"]
    found = judge(x, card={**expected, "classes": ["c", "b", "a"]})
    assert not found.passed and found.failed_at["layer"] == "card"


def test_any_weight_of_an_engine_that_is_off_is_caught_though_a_neuron_that_fires_forgets_its_current() -> None:
    """An engine shows no h, so an input must fire once while what reads it is silent. Every pair of two layers has that."""
    from plif_export.core.cards import make_card
    from plif_export.core.proof.gate import run_gate
    from plif_export.targets.nir_file.target import InterpretedGraph
    from tests.plif_export.core.exact_networks import exact_network

    source = exact_network("PLIF")
    facts: dict[str, Any] = {"form": "step", "T": 4, "precision": "fp32", "math": "exact", "batch": None}
    card = make_card(source.facts, source.graph, **facts, source_sha256=None)
    x = np.zeros((1, 1, 2, 6, 6), np.float32)
    x[..., 2, 2] = 8  # a stimulus that leaves most neurons silent
    rng, missed = np.random.default_rng(1), 0
    for _ in range(40):
        weight = source.graph["fc1"].params["weight"].copy()
        weight[rng.integers(12), rng.integers(216)] += np.float32(0.125)
        graph = source.graph.replace_nodes({"fc1": source.graph["fc1"].with_(params={"weight": weight})})
        subject = InterpretedGraph(card, graph, {}, "numpy")
        missed += run_gate(subject, source.reference, x, graph=source.graph).passed
    assert missed == 0


def test_what_an_engine_does_on_its_own_spikes_is_counted_beside_the_gate(tmp_path: Path) -> None:
    """An engine that is right in every call from the reference's states, and drifts where it keeps its own."""
    from dataclasses import replace

    from plif_export.core.proof.compare import Observation
    from plif_export.core.proof.gate import run_gate
    from plif_export.core.proof.subjects.subject import Answer, Case, EngineSession, States
    from plif_export.core.readers import read_model
    from runtime.core.api import load

    net = firing()
    source, path = read_model(net), export(net, tmp_path / "m.onnx").path
    x = frames(net, np.random.default_rng(1), T=5, streams=3)

    class Drifting(EngineSession):
        def run_forced(self, case: Case) -> Answer:
            return EngineSession(self.model).run_forced(case)

        def run_call(self, x: np.ndarray, states: States) -> Answer:
            answer = super().run_call(x, states)
            off = Observation({"v": answer.layers["conv2"][0].after["v"] + np.float32(1e-3)})
            return replace(answer, y=np.roll(answer.y, 1, axis=-1), layers={**answer.layers, "conv2": {0: off}})

    right, drifts = (
        run_gate(kind(load(path)), source.reference, x, graph=source.graph) for kind in (EngineSession, Drifting)
    )
    assert right.passed and right.decisions == 3 and right.decisions_changed == 0
    assert right.free_running_mismatches == 0 and right.first_divergence is None
    assert drifts.passed and drifts.decisions == drifts.decisions_changed == 3
    assert drifts.first_divergence == {"layer": "conv2", "step": 0}
    assert drifts.free_running_mismatches >= drifts.layers[1].free_running_mismatches == 15 * 8 * 8 * 8
