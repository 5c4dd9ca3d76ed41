"""What a camera can do and a recording rarely shows: an artifact that is wrong only there does not pass, by numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from plif_export import export
from plif_export.core.proof.compare import Observation
from plif_export.core.proof.subjects.subject import Answer, EngineSession, States
from plif_export.core.prove import prove
from plif_export.core.readers.ours import read_network
from plif_export.observers.random_states import probe
from plif_train.core.network.network import Network
from runtime import load
from runtime.core.events.stimulus import MOST, make_stress_frames, make_stress_images
from runtime.native import is_built
from tests.networks import firing
from tests.plif_export.core.mutations_of_files import number, rewired
from tests.plif_export.core.test_parity_can_fail import FORM_NAMES, failure, replace_initializer, written

# --- a file -------------------------------------------------------------------------------------------------------------


def rows_from_the_third_get_nothing(proto: onnx.ModelProto) -> None:
    def mask(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
        zero, two, one = (number(proto, f"number.{i}", np.int64(i)) for i in (0, 2, 1))
        shape = number(proto, "number.shape", np.int64([-1, 1, 1, 1]))
        return [
            helper.make_node("Shape", ["x"], ["x.shape"]),
            helper.make_node("Gather", ["x.shape", zero], ["x.rows"], axis=0),
            helper.make_node("Range", [zero, "x.rows", one], ["x.row"]),
            helper.make_node("Less", ["x.row", two], ["x.first"]),
            helper.make_node("Cast", ["x.first"], ["x.mask"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["x.mask", shape], ["x.masks"]),
            helper.make_node("Mul", ["x", "x.masks"], ["x.wrong"]),
        ]

    rewired("x", mask)(proto)


def input_clipped(proto: onnx.ModelProto) -> None:
    rewired("x", lambda proto: [helper.make_node("Min", ["x", number(proto, "eight", np.float32(8))], ["x.wrong"])])(
        proto
    )


def made_of(proto: onnx.ModelProto, name: str, nodes: list[onnx.NodeProto]) -> None:
    """Nodes that make `name` of what made it before, which is called <name>.right then."""
    for node in proto.graph.node:
        node.output[:] = [f"{name}.right" if output == name else output for output in node.output]
    proto.graph.node.extend(nodes)


def empty_frames_do_not_leak(proto: onnx.ModelProto) -> None:
    largest = helper.make_node("ReduceMax", ["x"], ["x.largest"], keepdims=0)
    any_event = helper.make_node("Greater", ["x.largest", number(proto, "nothing", np.float32(0))], ["x.any"])
    proto.graph.node.extend([largest, any_event])
    for state in [out.name for out in proto.graph.output if out.name != "y"]:
        held = helper.make_node("Where", ["x.any", f"{state}.right", state.removesuffix(".next")], [state])
        made_of(proto, state, [held])


def membranes_bounded_below(proto: onnx.ModelProto) -> None:
    low, state = number(proto, "low", np.float32(-10)), "v.conv1.next"
    made_of(proto, state, [helper.make_node("Max", [f"{state}.right", low], [state])])


def many_counts_vote(proto: onnx.ModelProto) -> None:
    """A pixel of 12 counts or more adds 50 to class 0."""
    twelve, votes = number(proto, "twelve", np.float32(12)), number(proto, "votes", np.float32([50, 0, 0]))
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["x.largest"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["x.largest", twelve], ["x.many"]),
        helper.make_node("Cast", ["x.many"], ["x.vote"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x.vote", votes], ["x.votes"]),
        helper.make_node("Add", ["y.right", "x.votes"], ["y"]),
    ]
    made_of(proto, "y", nodes)


def biggest_weight_off(proto: onnx.ModelProto) -> None:
    def change(weight: np.ndarray) -> np.ndarray:
        weight.flat[np.abs(weight).argmax()] *= np.float32(1.01)
        return weight

    replace_initializer(proto, "fc1.weight", change)


ON_FILES: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "rows from the third on get no input": (rows_from_the_third_get_nothing, "beside 32 others"),
    "empty frames do not leak": (empty_frames_do_not_leak, "membranes differ"),
    "input clipped at 8 counts": (input_clipped, "differ"),
    "membranes of conv1 bounded below at -10": (membranes_bounded_below, "membranes differ"),
    "12 counts add 50 to class 0": (many_counts_vote, "outputs differ"),
    "the biggest weight of fc1 1 % off": (biggest_weight_off, "membranes differ"),
}


@pytest.mark.parametrize("attack", ON_FILES)
def test_a_file_that_is_wrong_only_where_a_camera_does_something_rare_is_caught(attack: str) -> None:
    net = firing()
    proto, card = written(net, "step", "folded")
    change, what = ON_FILES[attack]
    change(proto)
    assert what in failure(proto, card, net)["what"]


@pytest.mark.parametrize(("op", "end", "v_reset"), [("Max", -10, 0.0), ("Min", 20, None)])
def test_membranes_that_are_bounded_far_away_are_caught_where_no_input_brings_them(
    op: str, end: float, v_reset: float | None
) -> None:
    net = firing(framing="duration:20ms,value=binary", v_reset=v_reset)
    for layer in ("conv1", "conv2", "fc1"):
        proto, card = written(net, "step", "folded")
        state, name = f"v.{layer}.next", number(proto, "end", np.float32(end))
        made_of(proto, state, [helper.make_node(op, [f"{state}.right", name], [state])])
        at = failure(proto, card, net)
        assert at["layer"] == layer and "on random spikes" in at["what"]


def test_every_weight_that_is_off_by_a_thousandth_of_the_usual_is_caught_and_a_right_file_passes_any_seed() -> None:
    """Fan-ins of hundreds, where an error of one weight is lost in the rounding of a sum over a third of them; those of a
    convolution over 16 pixels, and behind a pool."""
    net = firing("c40k3s1-BN-PLIF-MPk4s4-c40k3s1-BN-PLIF-FC40-PLIF-FC30-PLIF-APk10s10")
    rng = np.random.default_rng(0)
    for form in FORM_NAMES:
        proto, card = written(net, form, "folded")
        for seed in range(3):
            assert prove(proto, card, net, seed=seed, steps=5).passed
        for name in ("conv1.weight", *["conv2.weight"] * 4, "fc1.weight", "fc2.weight"):
            proto, card = written(net, form, "folded")

            def change(weight: np.ndarray) -> np.ndarray:
                weight.flat[rng.integers(weight.size)] += np.float32(1e-3) * np.abs(weight).mean()
                return weight

            replace_initializer(proto, name, change)
            assert failure(proto, card, net)["layer"] == name.split(".")[0]


def test_every_channel_fires_in_the_few_rows_that_a_convolution_gets() -> None:
    """108 parts of which 7 are shown; a channel of 64 pixels has no pixel in 44 of them."""
    graph = read_network(firing("c96k3s1-BN-PLIF-MPk2s2-c8k3s1-BN-PLIF-FC30-PLIF-APk10s10"))
    reach = probe.find_reach(graph, graph["conv2_neuron"].inputs)
    shown = probe.draw_spike_rows(graph["conv1_neuron"].shape, reach, reach.rows, np.random.default_rng(0))
    assert (reach.parts, reach.rows, reach.block, len(shown)) == (108, 7, 2, 7)
    pooled = shown.reshape(7, 96, 8, 2, 8, 2).max((3, 5))
    assert pooled.any((0, 2, 3)).all() and pooled.mean() < 0.02


# --- an engine ----------------------------------------------------------------------------------------------------------


class Wrong(EngineSession):
    """An engine that does something else with what goes in, or with what comes out."""

    def __init__(self, model: Any, into: Callable[..., Any] | None, out: Callable[..., Any] | None) -> None:
        super().__init__(model)
        self.into, self.out = into, out

    def run_call(self, x: np.ndarray, states: States) -> Answer:
        answer = super().run_call(x if self.into is None else self.into(x), states)
        return answer if self.out is None else self.out(x, states, answer)


def _third_row(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x[:, :2], np.zeros_like(x[:, 2:])], axis=1)


def _moved(answer: Answer, change: Callable[[str, np.ndarray], np.ndarray]) -> Answer:
    layers: Mapping[str, Any] = {
        name: {k: Observation({"v": change(name, seen.after["v"])}) for k, seen in steps.items()}
        for name, steps in answer.layers.items()
    }
    return Answer(answer.y, layers)


def _held(x: np.ndarray, states: States, answer: Answer) -> Answer:
    return answer if x.any() else _moved(answer, lambda name, v: states[name]["v"])


def _bounded(x: np.ndarray, states: States, answer: Answer) -> Answer:
    return _moved(answer, lambda name, v: np.maximum(v, -10) if name == "conv1" else v)


def _voting(x: np.ndarray, states: States, answer: Answer) -> Answer:
    return Answer(answer.y + np.float32([50 * (x.max() >= 12), 0, 0]), answer.layers)


def _spoiled_by_silence(x: np.ndarray, states: States, answer: Answer) -> Answer:
    """Right, but in a step in which no layer fires either."""
    quiet = not x.any() and all((seen.after["v"] != 0).all() for seen in (s[0] for s in answer.layers.values()))
    return _moved(answer, lambda name, v: states[name]["v"]) if quiet else answer


ON_ENGINES: dict[str, tuple[Callable[..., Any] | None, Callable[..., Any] | None]] = {
    "rows from the third on get no input": (_third_row, None),
    "input clipped at 8 counts": (lambda x: np.minimum(x, 8), None),
    "empty frames do not leak": (None, _held),
    "wholly silent steps do not leak": (None, _spoiled_by_silence),
    "membranes of conv1 bounded below at -10": (None, _bounded),
    "12 counts add 50 to class 0": (None, _voting),
    "nothing": (None, None),
}


@pytest.mark.parametrize("engine", ("onnxruntime", "event"))
def test_an_engine_that_is_wrong_only_where_a_camera_does_something_rare_is_caught(tmp_path: Path, engine: str) -> None:
    if engine == "event" and not is_built():
        pytest.skip("the event engine is not built (no C compiler at installation)")
    net = firing()
    path = export(net, tmp_path / "m.onnx", verify=False).path
    passed = {attack for attack, how in ON_ENGINES.items() if _judge(path, net, Wrong(load(path, engine), *how))}
    assert passed == {"nothing"}


def test_the_biggest_weight_of_an_engine_is_held_to_one_per_cent(tmp_path: Path) -> None:
    import torch

    net, other = firing(), firing()
    with torch.no_grad():
        weight = other.get_submodule("fc1").weight
        weight.view(-1)[weight.abs().argmax()] *= 1.01
    path, wrong = (
        export(one, tmp_path / name, verify=False).path for one, name in ((net, "m.onnx"), (other, "w.onnx"))
    )
    assert not _judge(path, net, EngineSession(load(wrong)))


def _judge(path: Path, net: Network, subject: EngineSession) -> bool:
    return prove(onnx.load(path), load(path).card, net, opened=subject).passed


# --- the stimulus -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ("count:T=5", "duration:20ms,value=binary"))
def test_the_stimulus_has_empty_full_and_hot_frames(framing: str) -> None:
    most = 1 if "binary" in framing else MOST
    quiet, lit = make_stress_frames(20, 2, (2, 16, 16), framing, np.random.default_rng(0)).swapaxes(0, 1)
    assert [t for t in range(20) if not quiet[t].any()] == [0, 9, 10, 11, 19]
    assert [np.count_nonzero(lit[t]) for t in (5, 6, 16)] == [1, 512, 512]
    assert lit[5].max() == lit[15].max() == lit[16].min() == most
    assert 1 < np.count_nonzero(lit[15] == most) < 512 or most == 1


def test_images_of_the_stimulus_are_black_and_white_too() -> None:
    normalisation = {"mean": [0.5, 0.25], "std": [0.5, 0.125]}
    shown = make_stress_images(4, 1, (2, 6, 6), normalisation, np.random.default_rng(0))[:, 0]
    assert set(np.unique(shown[1, 0])) == {-1, 1} and (shown[2, 1] == -2).all() and (shown[3] == [[[1]], [[6]]]).all()
    assert len(np.unique(shown[0])) > 30
