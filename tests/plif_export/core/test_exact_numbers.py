"""Where numbers are whole, arithmetic is exact and nothing is excused; where they are large, the tolerance follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.proof.arithmetic.bounds import Bounds
from plif_export.core.prove import prove
from runtime.core.model.graph import Graph, Node
from runtime.core.model.neurons import EQUATIONS
from runtime.core.model.ops import OPERATIONS, Operation
from runtime.native import is_built
from tests.conftest import crossed
from tests.plif_export.core.exact_networks import NEURONS, exact_network, other_comparison, written

FORMS_AND_MATHS: tuple[tuple[str, str], ...] = (("step", "exact"), ("step", "folded"), ("unrolled", "folded"))


def test_there_is_a_network_of_whole_numbers_for_every_kind_of_neuron() -> None:
    assert {kind for kind, _, _ in NEURONS.values()} >= set(EQUATIONS) - {"Traced"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("neuron", "form_and_math", "layer"), crossed(list(NEURONS), FORMS_AND_MATHS, ("conv1", "fc1"), one_in=4)
)
def test_a_comparison_that_treats_equal_numbers_the_other_way_is_caught(
    neuron: str, form_and_math: tuple[str, str], layer: str
) -> None:
    source, (form, math) = exact_network(neuron), form_and_math
    proto, card = written(source, form, math)
    if layer == "conv1":
        report = prove(proto, card, source)
        assert report.passed, report.sentence()
        assert report.untested == [] and report.excused == 0
    report = prove(other_comparison(proto, layer), card, source)
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == layer


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("neuron", "form_and_math", "v_threshold"), crossed(list(NEURONS), FORMS_AND_MATHS, (1.0, 2.0**14), one_in=4)
)
def test_whole_weights_up_to_2_to_15_pass(neuron: str, form_and_math: tuple[str, str], v_threshold: float) -> None:
    source, (form, math) = exact_network(neuron, largest=2**15, v_threshold=v_threshold), form_and_math
    report = prove(*written(source, form, math), source)
    assert report.passed, report.sentence()
    assert report.max_scaled_dv < 1


@pytest.mark.parametrize("alpha", (0.1, 0.3, 0.7))
@pytest.mark.parametrize("seed", (1, 2))
def test_large_whole_weights_whose_terms_cancel_pass_where_alpha_rounds(alpha: float, seed: int) -> None:
    source = exact_network("PLIF", 2**15, 1.0, seed, alpha=alpha)
    report = prove(*written(source, "step", "folded"), source)
    assert report.passed, report.sentence()
    assert 0.01 < report.max_scaled_dv < 1


@pytest.mark.skipif(not is_built(), reason="the event engine is not built (no C compiler at installation)")
def test_an_engine_that_fires_one_float_later_is_caught(tmp_path: Path) -> None:
    """On whole numbers that is > for >=."""
    import onnx

    import runtime

    source = exact_network("PLIF")
    fc1 = source.graph["fc1_neuron"]
    late = fc1.with_(attrs={**fc1.attrs, "v_threshold": float(np.nextafter(np.float32(4), np.float32(5)))})
    for graph, passes in ((source.graph, True), (source.graph.replace_nodes({fc1.name: late}), False)):
        from plif_export.core.cards import set_card
        from plif_export.core.passes import run_passes

        proto, card = written(source, "step", "folded")
        other = onnx.ModelProto()
        other.CopyFrom(written(source, "step", "folded", graph)[0])
        set_card(other, {**card, "graph": run_passes(graph, "folded", False).to_record()})
        onnx.save(other, tmp_path / "m.onnx")
        report = prove(proto, card, source, opened=runtime.load(tmp_path / "m.onnx", "event"))
        alone = prove(None, card, source, opened=runtime.load(tmp_path / "m.onnx", "event"))
        assert (report.passed, alone.passed) == (passes, passes)


# --- the bounds themselves -------------------------------------------------------------------------------------------


def mixed_graph(rng: np.random.Generator, whole: bool) -> Graph:
    """Every kind of node that has a rule, in front of a neuron; with `whole` numbers all but a BatchNorm."""

    def drawn(*shape: int) -> np.ndarray:
        return np.asarray(rng.integers(-2, 3, shape) if whole else rng.normal(0, 1, shape), np.float32)

    place = {"stride": 1, "padding": 1}
    transposed = {**place, "output_padding": 0, "groups": 2, "dilation": 1}
    scale = np.float32([1, 2, 4, 0.5]) if whole else drawn(4)
    normal = {"weight": drawn(4), "bias": drawn(4), "mean": drawn(4), "var": np.abs(drawn(4)) + np.float32(0.1)}
    neuron = {"kind": "PLIF", "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True, "charge": "exact", "layer": "a"}
    nodes = [
        Node(
            "conv", "Conv", ("x",), (4, 8, 9), {**place, "groups": 2}, {"weight": drawn(4, 1, 3, 3), "bias": drawn(4)}
        ),
        Node("max", "MaxPool", ("conv",), (4, 8, 9), {"kernel": 3, **place}),
        Node("mean", "AvgPool", ("max",), (4, 8, 8), {"kernel": (1, 2), "stride": 1}),
        Node("affine", "Affine", ("mean",), (4, 8, 8), {}, {"scale": scale, "shift": drawn(4)}),
        Node("norm", "BatchNorm", ("affine",), (4, 8, 8), {"eps": 1e-5}, normal),
        Node("smooth", "Gelu", ("norm",), (4, 8, 8), {"approximate": "none"}),
        Node("drop", "Dropout", ("smooth",), (4, 8, 8), {"p": 0.5}),
        Node("shuffled", "PixelShuffle", ("mean",), (1, 16, 16), {"factor": 2}),
        Node("back", "Reshape", ("shuffled",), (4, 8, 8)),
        Node("twice", "Add", ("drop", "back"), (4, 8, 8)),
        Node("product", "Mul", ("twice", "mean"), (4, 8, 8)),
        Node("both", "Concat", ("product", "drop"), (8, 8, 8), {"axis": 1}),
        Node("global", "GlobalAvgPool", ("both",), (8, 1, 1)),
        Node("flat", "Flatten", ("global",), (8,)),
        Node("up", "ConvTranspose", ("mean",), (4, 8, 8), transposed, {"weight": drawn(4, 2, 3, 3), "bias": drawn(4)}),
        Node("less", "Sub", ("up", "mean"), (4, 8, 8)),
        Node("wide", "Pad", ("less",), (4, 16, 8), {"before": [0, 4, 0], "after": [0, 4, 0], "mode": "zeros"}),
        Node("fine", "PixelShuffle", ("wide",), (1, 32, 16), {"factor": 2}),
        Node("coarse", "Reshape", ("fine",), (4, 16, 8)),
        Node("ups", "Reduce", ("coarse",), (4,), {"how": "mean", "axes": [2, 3], "keepdims": False}),
        Node("tokens", "Reshape", ("mean",), (4, 64)),
        Node("turned", "Permute", ("tokens",), (64, 4), {"axes": [0, 2, 1]}),
        Node("pairs", "MatMul", ("turned", "tokens"), (64, 64)),
        Node("some", "Slice", ("pairs",), (64, 4), {"axis": 2, "start": 0, "stop": 64, "step": 16}),
        Node("top", "TopK", ("some",), (8, 4), {"axis": 1, "k": 8, "values": 64}),
        Node("rows", "Reduce", ("top",), (4,), {"how": "mean", "axes": [1], "keepdims": False}),
        Node("eight", "Concat", ("ups", "rows"), (8,), {"axis": 1}),
        Node("joined", "Add", ("flat", "eight"), (8,)),
        Node("fc", "Linear", ("joined",), (6,), {}, {"weight": drawn(6, 8), "bias": drawn(6)}),
        Node("a", "Neuron", ("fc",), (6,), neuron, {"alpha": np.float32(0.5 if whole else 0.3)}),
        Node("vote", "Vote", ("a",), (3,), {"voters": 2}),
    ]
    graph = Graph((2, 8, 9), tuple(nodes), "vote")
    return graph.replace_nodes({}, {"norm", "smooth"}) if whole else graph


def test_there_is_a_bound_for_every_kind_of_node() -> None:
    """A new one that says `measured` gets the safe default, which knows nothing of exact numbers."""
    graph = mixed_graph(np.random.default_rng(0), whole=False)
    ruled = {name for name, operation in OPERATIONS.items() if operation.meaning and not operation.measured}
    assert {node.op for node in graph} >= ruled - {"Constant"}


@pytest.mark.parametrize("whole", (False, True))
def test_float32_is_within_the_bound_of_float64_and_equal_to_it_where_the_bound_is_zero(whole: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        graph = mixed_graph(rng, whole)
        x = rng.poisson(0.4, (1, 2, 8, 9)).astype(np.float32)
        v = (rng.integers(-4, 5, (1, 6)) / 4 if whole else rng.normal(0, 1, (1, 6))).astype(np.float32)
        step = Bounds(graph).step(x, {"a": np.ones((1, 6), bool)})
        bound = step.neuron_bound("a", {"v": v}).h
        found, exact = (interpret.step(graph, x, {"a": v}, dtype)[2]["a"].h for dtype in (np.float32, np.float64))
        assert np.all(np.abs(found - exact) <= bound)
        assert np.all(bound == 0) if whole else np.all(bound > 0)
        assert np.all(step.output_bound() == 0)  # of two spikes each


@pytest.mark.parametrize("op", ("Softplus", "Normalise"))
def test_a_kind_of_node_without_a_rule_is_bounded_and_never_exact(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def softplus(m: Any, node: Node, p: Any, x: Any) -> Any:
        return m.op("Log", m.op("Exp", x) + np.float32(1))

    def normalise(m: Any, node: Node, p: Any, x: Any) -> Any:
        centred = x - m.mean(x, (1, 2, 3), True)
        return centred / m.op("Sqrt", m.mean(centred * centred, (1, 2, 3), True) + np.float32(1e-5))

    new = {"Softplus": softplus, "Normalise": normalise}
    monkeypatch.setitem(OPERATIONS.entries, op, Operation(op, new[op], measured=True))
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 4, (6, 2, 3, 3)).astype(np.float32)
    attrs: dict[str, Any] = {"kind": "IF", "layer": "a", "v_threshold": 1.0, "v_reset": 0.0, "decay_input": True}
    nodes = (
        Node("conv", "Conv", ("x",), (6, 6, 6), {"stride": 1, "padding": 1, "groups": 1}, {"weight": weight}),
        Node("new", op, ("conv",), (6, 6, 6)),
        Node("a", "Neuron", ("new",), (6, 6, 6), {**attrs, "charge": "exact"}),
    )
    graph = Graph((2, 6, 6), nodes, "a")
    for scale in (1.0, 1e-3):
        x = (rng.poisson(0.5, (1, 2, 6, 6)) * scale).astype(np.float32)
        state = {"v": np.zeros((1, 6, 6, 6), np.float32)}
        bound = Bounds(graph).step(x, {}).neuron_bound("a", state).h
        found, exact = (
            interpret.step(graph, x, {"a": state["v"]}, dtype)[2]["a"].h for dtype in (np.float32, np.float64)
        )
        assert np.all(bound > 0) and np.all(np.abs(found - exact) <= bound)
        assert np.all(bound < 1e-4 * np.maximum(1, np.abs(exact).max()))
