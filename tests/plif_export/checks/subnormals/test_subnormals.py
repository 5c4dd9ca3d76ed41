"""Engines flush subnormal numbers to zero where no spike shows it; where one would, they keep them, and the card says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import plif_export
import runtime
from plif_export.checks.subnormals.flushing import find_flush_effect
from plif_export.core.cards import set_card
from plif_export.core.options import CallerFacts
from plif_export.core.passes import run_passes
from plif_export.core.proof.arithmetic import interpret
from plif_export.core.readers import read_model
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from runtime.core.base.errors import PlifError
from runtime.core.model.card import encode_card, read_card
from runtime.core.model.graph import Graph, Node, state_key
from tests.networks import firing
from tests.programs import LEAKY, PLIF, linear, traced, written

STEPS = 200
MANY = 100_000  # membranes: enough for two threads
FAINT = 2.0 ** np.array([-149, -140, -127, -126, -125, -110, -100, -60])


class Gated(nn.Module):
    """A trace of the spikes opens a gate for as long as it is not 0: a tenth of it is left after each step."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.fc1, self.fc2 = nn.Linear(8, 16, bias=False), nn.Linear(16, 4, bias=False)
        for fc in (self.fc1, self.fc2):
            nn.init.normal_(fc.weight, generator=generator)
        self.reset()

    def reset(self) -> None:
        self.v: Any = 0.0
        self.q: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = self.v * 0.5 + self.fc1(x)
        s = (self.v >= 1.0).float()
        self.v = self.v * (1 - s)
        self.q = 0.1 * self.q + s
        y: Tensor = self.fc2((self.q > 0).float())
        return y


@pytest.fixture(scope="module")
def graph() -> Graph:
    return read_model(Gated().eval(), torch.zeros(1, 8), CallerFacts(T=4)).graph


@pytest.fixture(scope="module")
def folder(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gated.onnx, as an export proves it, gated.plif, gated.c, g_openvino and g_triton; and membrane.onnx, a network that does
    not notice."""
    folder = tmp_path_factory.mktemp("subnormals")
    plif_export.export(Gated().eval(), folder / "gated.onnx", torch.zeros(1, 8), T=4)
    for name, to in {"gated.plif": "plif", "gated.c": "c", "g_triton": "triton", "g_openvino": "openvino"}.items():
        if to == "openvino" and importlib.util.find_spec(to) is None:
            continue
        proto, card = written(graph, folder / "m.onnx")
        find_target(to).write(ExportJob(graph, proto, card, name=name), folder / name)
    halved = {**LEAKY, "program": [["leaked", "Mul", "v", 0.5], ["after", "Add", "leaked", "x"]]}
    written(Graph((MANY,), (traced("n", ("x",), (MANY,), halved),), "n_neuron"), folder / "membrane.onnx")
    return folder


@pytest.fixture(scope="module")
def answers() -> tuple[np.ndarray, np.ndarray]:
    """x [T, 1, 8], some frames and then silence, and what PyTorch gives for it [T, 1, 4]."""
    x = np.zeros((STEPS, 1, 8), np.float32)
    x[:3] = np.random.default_rng(0).normal(0, 2, (3, 1, 8))
    net = Gated().eval()
    with torch.no_grad(), native.flush_subnormals(False):
        y = np.stack([net(torch.from_numpy(frame)).numpy() for frame in x])
    assert np.flatnonzero((y[1:] != y[:-1]).any(axis=(1, 2)))[-1] > 44  # gates close long after 2^-126 was passed
    return x, y


@pytest.mark.parametrize(
    ("engine", "file"),
    [("onnxruntime", "gated.onnx"), ("event", "gated.onnx"), ("event", "gated.plif"), ("openvino", "g_openvino")],
)
def test_a_trace_that_gates_gives_what_pytorch_gives_also_when_it_has_become_subnormal(
    folder: Path, answers: tuple[np.ndarray, np.ndarray], engine: str, file: str
) -> None:
    pytest.importorskip("openvino" if engine == "openvino" else "onnxruntime")
    x, expected = answers
    session = runtime.load(folder / file, engine).session()
    np.testing.assert_allclose(np.stack([session.step(frame) for frame in x]), expected, atol=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "event"])
@pytest.mark.parametrize("first", [True, False])
def test_artifacts_of_both_kinds_live_in_one_process_and_each_obeys_its_card(
    folder: Path, answers: tuple[np.ndarray, np.ndarray], engine: str, first: bool
) -> None:
    """Whichever came first, with threads of their own, and whatever the calling thread does; it goes on doing so."""
    x, expected = answers
    pulse = np.ones((1, MANY), np.float32)
    for caller in (True, False):
        with native.flush_subnormals(caller):
            names = ["membrane", "gated"] if first else ["gated", "membrane"]
            sessions = {name: runtime.load(folder / f"{name}.onnx", engine, threads=2).session() for name in names}
            y = []
            for t, frame in enumerate(x[:140]):
                sessions["membrane"].step(pulse * (t < 3))
                y.append(sessions["gated"].step(frame))
                assert ((np.full(1, 2.0**-126, np.float32) / 2) == 0) == caller
            np.testing.assert_allclose(np.stack(y), expected[:140], atol=1e-5)
            (left,) = sessions["membrane"].snapshot()
            assert not left.view(np.uint32).any()
    kept = runtime.load(folder / "membrane.onnx", engine, threads=2, flush_denormals=False).session()
    for t in range(140):
        kept.step(pulse * (t < 3))
    assert (kept.snapshot()[0].view(np.uint32) > 0).all()


def test_the_card_of_a_network_that_notices_says_so_and_of_one_that_does_not_says_nothing(folder: Path) -> None:
    assert read_card(folder / "gated.onnx")["flush_denormals"] is False
    assert "flush_denormals" not in read_card(folder / "membrane.onnx")


def test_who_asks_for_flushing_is_refused_where_the_network_notices(folder: Path) -> None:
    with pytest.raises(PlifError, match=r"flush_denormals=True makes 0 of numbers below 2\^-126.*leave it out"):
        runtime.load(folder / "gated.onnx", "event", flush_denormals=True)
    runtime.load(folder / "membrane.onnx", "event", flush_denormals=True)
    runtime.load(folder / "membrane.onnx", "event", flush_denormals=False)


def test_an_engine_that_cannot_keep_them_is_refused_by_name(folder: Path, graph: Graph) -> None:
    with pytest.raises(PlifError, match=r"engine onnxruntime-cuda makes 0 .*--engine event or onnxruntime"):
        runtime.load(folder / "gated.onnx", "onnxruntime-cuda")
    card = read_card(folder / "gated.onnx")
    for target, options in (("tensorrt", {}), ("tensorrt-rtx", {}), ("triton", {"backend": "tensorrt"})):
        with pytest.raises(PlifError, match=r"--to tensorrt.*a GPU may make 0 of numbers below 2\^-126"):
            find_target(target).check(graph, card, options)


def test_a_triton_server_runs_it_on_the_cpu_which_keeps_them(folder: Path) -> None:
    (config,) = (folder / "g_triton").rglob("config.pbtxt")
    assert "instance_group {\n  kind: KIND_CPU\n}" in config.read_text()


def test_generated_c_says_that_they_must_not_be_flushed(folder: Path) -> None:
    for text in ((folder / "gated.c").read_text(), (folder / "gated.h").read_text()):
        assert "must not be flushed to zero" in text


def test_libplif_keeps_them_without_a_flag_and_older_ones_refuse_the_file(
    folder: Path, answers: tuple[np.ndarray, np.ndarray]
) -> None:
    data = (folder / "gated.plif").read_bytes()
    assert int.from_bytes(data[8:12], "little") == plif_file.KEPT == 5
    x, expected = answers
    library = native.library()
    model = library.plif_open(str(folder / "gated.plif").encode(), 0)
    session = library.plif_session_new(model, None)
    y = np.zeros((STEPS, 4), np.float32)
    for frame, out in zip(x, y, strict=True):
        assert library.plif_step(session, frame.ctypes.data, out.ctypes.data) == 0
    library.plif_session_free(session)
    library.plif_close(model)
    np.testing.assert_allclose(y, expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "event"])
def test_the_gate_finds_what_flushing_does_where_the_card_allows_it(folder: Path, tmp_path: Path, engine: str) -> None:
    """From its numbers alone, in the runtime's own session with its own defaults."""
    proto = onnx.load(folder / "gated.onnx")
    card = read_card(folder / "gated.onnx")
    del card["flush_denormals"]
    set_card(proto, card)
    onnx.save(proto, tmp_path / "m.onnx")
    asked = {} if engine == "onnxruntime" else {"engine": engine}
    report = plif_export.verify(tmp_path / "m.onnx", Gated().eval(), structure="ignored", **asked)
    assert report.failed_at is not None and "from faint states" in report.failed_at["what"]
    compared = plif_export.verify(tmp_path / "m.onnx", Gated().eval())
    assert compared.structure[0]["where"] == "card flush_denormals"
    assert plif_export.verify(folder / "gated.onnx", Gated().eval(), **asked).passed


# --- which networks notice --------------------------------------------------------------------------------------------


def neuron(*lines: list[Any], v_threshold: float = 1.0, **params: Any) -> Graph:
    """A layer of programs whose last line is the next v and whose "t" is a comparison."""
    program = [*lines, ["s", "Cast", "t"]]
    attrs = {"states": {"v": 0.0, "z": 0.0}, "program": program, "h": "h", "s": "s", "next": {"v": "h", "z": "s"}}
    return Graph((4,), (linear("fc", "x", 4, 3), traced("n", ("fc",), (3,), attrs, v_threshold, **params)), "n_neuron")


def over(threshold: Any, *lines: list[Any], op: str = "GreaterOrEqual", **params: Any) -> Graph:
    return neuron(*lines, ["t", op, "h", threshold], **params)


LEAK: list[list[Any]] = [["leaked", "Mul", "v", 0.9], ["h", "Add", "leaked", "x"]]


@pytest.mark.parametrize(
    ("does", "graph"),
    [
        (False, over(1.0, *LEAK)),
        (False, over(1e-6, *LEAK)),
        (True, over(0.0, *LEAK)),
        (True, over(0.0, *LEAK, op="Greater")),
        (True, over(1e-39, *LEAK)),  # a subnormal threshold
        (True, over(1e-30, *LEAK)),  # after many steps more may be missing than that
        (True, over("x", *LEAK)),  # another value that moves
        (False, neuron(*LEAK, ["over", "Sub", "h", 1.0], ["t", "GreaterOrEqual", "over", 0.0])),
        (True, neuron(*LEAK, ["big", "Mul", "h", 1e30], ["t", "GreaterOrEqual", "big", 1.0])),
        (False, over("th", *LEAK, th=[0.5, 1.0, -2.0])),
        (True, over("th", *LEAK, th=[0.5, 0.0, 2.0])),  # of one of three neurons
        (False, over(0.0, *LEAK[:1], ["sum", "Add", "leaked", "x"], ["h", "Add", "sum", "b"], b=[0.1, 0.2, 0.3])),
        (True, over(1.0, ["grown", "Mul", "v", 1.1], ["h", "Add", "grown", "x"])),
        (False, over(1.0, ["grown", "Mul", "v", 1.0], ["h", "Add", "grown", "x"])),
        (True, over(1.0, ["square", "Mul", "v", "v"], ["h", "Add", "square", "x"])),
        (True, over(1.0, ["share", "Div", "x", "v"], ["h", "Add", "share", "x"])),
        (True, over(1.0, ["root", "Sqrt", "v"], ["h", "Add", "root", "x"])),
        (True, over(1.0, ["down", "Floor", "v"], ["h", "Add", "down", "x"])),
        (False, over(1.0, ["near", "Round", "v"], ["h", "Add", "near", "x"])),
        (False, over(1.0, ["rest", "Sub", 1.0, "z"], ["kept", "Mul", "v", "rest"], ["h", "Add", "kept", "x"])),
        (True, over(1.0, ["on", "Greater", "z", 0.0], ["kept", "Where", "on", 0.0, "v"], ["h", "Add", "kept", "x"])),
        (False, over(1.0, ["soft", "Tanh", "v"], ["h", "Add", "soft", "x"])),
        (False, Graph((4,), (traced("n", ("x",), (4,), LEAKY),), "n_neuron")),
        (False, Graph((4,), (traced("n", ("x",), (4,), PLIF, 1.0, alpha=0.5),), "n_neuron")),
        (True, Graph((4,), (traced("n", ("x",), (4,), PLIF, 1.0, alpha=1e-40),), "n_neuron")),
    ],
    ids=str,
)
def test_a_network_notices_where_subnormal_numbers_meet_more_than_sums_factors_and_thresholds(
    does: bool, graph: Graph
) -> None:
    found = find_flush_effect(graph)
    assert (found is not None) == does
    assert found is None or found.startswith(("layer n ", "state n "))


def test_a_membrane_that_another_layer_multiplies_by_itself_is_noticed_and_one_that_is_weighed_is_not() -> None:
    shape = (3,)
    nodes: tuple[Node, ...] = (linear("fc", "x", 4, 3), traced("n", ("fc",), shape, LEAKY))
    held = Node("held", "State", ("n_neuron",), shape, {"layer": "n", "variable": "v", "when": "after"})
    last = traced("m", ("fc2",), shape, PLIF, 1.0, alpha=0.5)
    weighed = Graph((4,), (*nodes, held, linear("fc2", "held", 3, 3), last), "m_neuron")
    squared = Graph((4,), (*nodes, held, Node("fc2", "Mul", ("held", "n_neuron"), shape), last), "m_neuron")
    assert find_flush_effect(weighed) is None
    assert find_flush_effect(squared) == "layer fc2 multiplies two values that move"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("math", ["folded", "exact"])
def test_networks_of_the_paper_do_not_notice(math: str, precision: str) -> None:
    for options in ({}, {"v_reset": None}, {"decay_input": False}):
        net = firing(**options)
        assert find_flush_effect(run_passes(read_model(net).graph, math, False, precision)) is None


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """A program of what neurons do, with numbers that are often harmless."""
    lines: list[list[Any]] = []
    values, truths, spikes = ["x", "v", "i"], [], []

    def line(op: str, *operands: Any) -> str:
        lines.append([f"a{len(lines)}", op, *operands])
        return f"a{len(lines) - 1}"

    for kind in rng.integers(0, 11, rng.integers(3, 9)):
        number = float(rng.choice([0.0, 1.0, 0.5, 0.9, -0.3, 1.1, 2.0, 1e-3, 1e-20, 1e-38, 3.0]))
        a, b = (str(value) for value in rng.choice(values, 2))
        if kind == 7:
            truths.append(line(str(rng.choice(["Greater", "GreaterOrEqual"])), a, number))
            spikes.append(line("Cast", truths[-1]))
        elif kind == 8 and truths:
            values.append(line("Where", str(rng.choice(truths)), number, a))
        elif kind == 9 and spikes:
            values.append(line("Mul", a, str(rng.choice(spikes))))
        elif kind == 10:
            values.append(line("Mul", a, line("Sub", 1.0, "z")))
        elif kind < 7:
            one = str(rng.choice(["Relu", "Abs", "Neg", "Tanh", "Sigmoid", "Round"]))
            ways = [("Add", a, b), ("Add", a, b), ("Sub", a, b), ("Mul", a, number), ("Add", a, number), (one, a)]
            values.append(line(*[*ways, ("Max", a, b)][kind]))
    h = line("Add", str(rng.choice(values[1:])), "x")
    fires = line("GreaterOrEqual", h, float(rng.choice([1.0, 0.5, 0.0])))
    s, v = line("Cast", fires), line("Where", fires, 0.0, h)
    i = line("Clip", line("Mul", str(rng.choice(values[1:])), float(rng.choice([0.5, 0.9, 1.0]))), -2.0, 2.0)
    after = {"v": v, "i": i, "z": s}
    return {"states": dict.fromkeys(after, 0.0), "program": lines, "h": h, "s": s, "next": after}


def test_programs_that_are_said_not_to_notice_fire_the_same_spikes_from_faint_states_with_and_without_flushing() -> (
    None
):
    counted = {True: 0, False: 0}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        graph = Graph((6,), (traced("n", ("x",), (6,), drawn(rng), 1.0),), "n_neuron")
        said = find_flush_effect(graph) is not None
        counted[said] += 1
        faint = rng.choice([*FAINT, *-FAINT, 0, 0.5, 1, -1], (3 + 10, 64, 6)).astype(np.float32)
        start = {state_key("n", name): value for name, value in zip(("v", "i", "z"), faint[:3], strict=True)}
        start["z.n"] = np.clip(start["z.n"], 0, 1)
        runs = []
        for on in (False, True):
            with native.flush_subnormals(on):
                y, state = interpret.run(graph, faint[3:], start)
            runs.append((y, *state.values()))
        assert said or all(np.allclose(one, other, rtol=0, atol=1e-30) for one, other in zip(*runs, strict=True)), seed
    assert min(counted.values()) > 30


def test_a_process_that_flushes_is_refused_where_the_network_notices(tmp_path: Path) -> None:
    """Else its owner's PyTorch would do something else than what is proved."""
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(PlifError, match=r"subnormal numbers are 0 in this process.*set_flush_denormal\(False\)"):
            plif_export.export(Gated().eval(), tmp_path / "m.onnx", torch.zeros(1, 8), T=4)
        assert plif_export.export(firing(), tmp_path / "n.onnx").passed
        assert (torch.full((1,), 2.0**-126) / 2 == 0).all()
    finally:
        torch.set_flush_denormal(False)
    assert not (tmp_path / "m.onnx").exists()


def test_a_card_that_says_something_else_of_flushing_is_refused(folder: Path, tmp_path: Path) -> None:
    card = {**read_card(folder / "gated.onnx"), "flush_denormals": "never"}
    proto = onnx.load(folder / "gated.onnx")
    next(p for p in proto.metadata_props if p.key == "plif.card").value = encode_card(card)
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(PlifError, match="flush_denormals 'never'; expected false, or no such key"):
        runtime.load(tmp_path / "m.onnx")
