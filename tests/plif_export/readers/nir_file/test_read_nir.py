"""NIR files as the libraries write them: the same spikes as the library's own network, or a refusal that says why."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import runtime
from plif_export import check_file, export, verify
from plif_export.core.proof.arithmetic import interpret
from plif_export.readers.nir_file.reader import read_nir_graph
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from tests.foreign import events, scale_to_threshold

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.usefixtures("warm_child")
STEPS = 50


def hand_made(neuron: Any, **more: Any) -> Any:
    rng = np.random.default_rng(0)
    nodes = {
        "input": nir.Input(input_type={"input": np.array([2, 8, 8])}),
        "conv": nir.Conv2d((8, 8), rng.normal(0, 0.6, (4, 1, 3, 3)), (2, 1), 1, 1, 2, rng.normal(0, 0.1, 4)),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([4, 2, 4])}, 0, -1),
        "fc": nir.Affine(rng.normal(0, 0.4, (5, 32)), rng.normal(0, 0.1, 5)),
        "neuron": neuron,
        "output": nir.Output(output_type={"output": np.array([5])}),
        **more,
    }
    chain = ["input", "conv", "pool", "flat", "fc", "neuron", "output"]
    return nir.NIRGraph(nodes, list(pairwise(chain)), type_check=False)


def full(value: float, n: int = 5) -> np.ndarray:
    return np.full(n, value)


@pytest.mark.parametrize("form", ("step", "unrolled"))
@pytest.mark.parametrize(
    "neuron",
    [
        lambda: nir.IF(full(1e4), full(1.0)),
        lambda: nir.LIF(np.linspace(2e-4, 9e-4, 5), full(1.5), full(0.1), full(0.8), full(-0.2)),
        lambda: nir.CubaLIF(full(3e-4), full(2e-4), full(1.2), full(0.0), full(0.5), full(0.1), full(2.0)),
    ],
    ids=("IF", "LIF", "CubaLIF"),
)
def test_nodes_of_a_nir_graph_come_through(tmp_path: Path, neuron: Any, form: str) -> None:
    nir.write(tmp_path / "net.nir", hand_made(neuron()))
    result = export(tmp_path / "net.nir", form=form, T=5, classes="a,b,c,d,e")
    assert result.passed and result.verify is not None and result.verify.untested == [] and result.notes
    assert verify(result.path, tmp_path / "net.nir", events(20, 2, (2, 8, 8))).passed
    assert check_file(tmp_path / "net.nir").supported


def check_spikes(path: Path, expected: np.ndarray, x: np.ndarray, most: float = 0.0, **options: Any) -> None:
    """Compares the file, in the interpreter and exported, on x [T, B, ...] with the library's own spikes [T, B, n]."""
    graph, problems = read_nir_graph(path, **options)
    assert graph is not None and not problems
    y, _ = interpret.run(graph, x)
    assert 0.01 < y.mean() < 0.95
    assert np.mean(y != expected) <= most
    result = export(path, path.with_suffix(".onnx"), neuron=options)
    assert result.passed
    session = runtime.load(result.path).session(x.shape[1])
    assert np.mean(session.run(x) != expected) <= most


@pytest.mark.parametrize("cls", ("IFNode", "LIFNode", "ParametricLIFNode", "CUBALIFNode"))
def test_a_file_that_spikingjelly_wrote_gives_its_spikes(tmp_path: Path, cls: str) -> None:
    from spikingjelly.activation_based import functional, layer, neuron, nir_exchange, surrogate

    torch.manual_seed(0)

    def make() -> nn.Module:
        options: dict[str, Any] = {"LIFNode": {"tau": 3.0}, "ParametricLIFNode": {"decay_input": False}}.get(cls, {})
        return getattr(neuron, cls)(surrogate_function=surrogate.ATan(), **options)  # type: ignore[no-any-return]

    net = nn.Sequential(
        layer.Conv2d(2, 6, 3, bias=True), make(), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(6 * 9, 4), make()
    )
    if cls == "CUBALIFNode":  # as a live module it is not known
        with torch.no_grad():
            for part in (net[0], net[4]):
                part.weight.mul_(2)
    else:
        scale_to_threshold(net, (2, 8, 8))
    functional.reset_net(net)
    nir_exchange.export_to_nir(net, torch.zeros(1, 2, 8, 8), save_path=tmp_path / "net.nir")
    functional.reset_net(net)
    x = events(STEPS, 1, (2, 8, 8))
    with torch.no_grad():
        expected = np.stack([net(torch.from_numpy(x_t)).numpy() for x_t in x])
    check_spikes(tmp_path / "net.nir", expected, x, fire=">=")


def test_a_file_that_snntorch_wrote_gives_its_spikes(tmp_path: Path) -> None:
    """Its exporter writes reset to 0 whatever the network does: right for reset_mechanism zero without delay."""
    snn = pytest.importorskip("snntorch")
    exporter = pytest.importorskip("snntorch.export_nir")
    torch.manual_seed(0)

    def leaky(n: int) -> nn.Module:
        options = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
        return snn.Leaky(beta=0.9 * torch.ones(n), threshold=torch.ones(n), **options)  # type: ignore[no-any-return]

    net = nn.Sequential(nn.Linear(12, 30), leaky(30), nn.Linear(30, 4), leaky(4))
    scale_to_threshold(net, (12,))
    graph = exporter.export_to_nir(net, torch.zeros(1, 12), ignore_dims=[0])
    nir.write(tmp_path / "net.nir", graph)
    for part in net.modules():
        if isinstance(part, snn.Leaky):
            part.reset_mem()
    x = events(STEPS, 1, (12,))
    with torch.no_grad():
        expected = np.stack([net(torch.from_numpy(x_t)).numpy() for x_t in x])
    check_spikes(tmp_path / "net.nir", expected, x)


def test_a_file_that_sinabs_wrote_gives_its_spikes(tmp_path: Path) -> None:
    """Made once, in an environment of its own, by tests/data/sinabs_nir.py; what sinabs gave lies beside it."""
    folder = Path(__file__).parents[3] / "data"
    recorded = np.load(folder / "sinabs.npz")
    path = tmp_path / "net.nir"
    path.write_bytes((folder / "sinabs.nir").read_bytes())
    check_spikes(path, recorded["spikes"], recorded["x"].astype(np.float32), dt=1.0, fire=">=", reset="subtract")


def wired(neuron: Any, *edges: tuple[str, str], **more: Any) -> Any:
    """The hand-made network with further nodes and edges."""
    graph = hand_made(neuron, **more)
    graph.edges += list(edges)
    return graph


W_REC = np.random.default_rng(1).normal(0, 0.3, (5, 5))
IF = lambda: nir.IF(full(1e4), full(1.0))  # noqa: E731
LI = lambda: nir.LI(full(3e-4), full(1.0), full(0.0))  # noqa: E731


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda: wired(LI(), ("neuron", "w_rec"), ("w_rec", "neuron"), w_rec=nir.Linear(W_REC)),
            {},
            r"w_rec \(Linear\): it is part of a recurrent connection that does not carry spikes alone",
        ),
        (
            lambda: wired(IF(), ("neuron", "late"), ("late", "neuron"), late=nir.Delay(full(1e-4))),
            {},
            r"late \(Delay\): it is a Delay on a recurrent connection",
        ),
        (
            lambda: wired(IF(), ("neuron", "w"), ("w", "neuron"), ("w", "output"), w=nir.Linear(W_REC)),
            {},
            r"w \(Linear\): it is part of a recurrent connection, and read elsewhere as well",
        ),
        (
            lambda: wired(IF(), ("neuron", "w"), ("w", "neuron"), ("fc", "w"), w=nir.Linear(W_REC)),
            {},
            r"w \(Linear\): it is part of a recurrent connection that does not carry spikes alone",
        ),
        (
            lambda: wired(IF(), ("a", "b"), ("b", "a"), a=nir.Linear(W_REC), b=nir.Linear(W_REC)),
            {},
            r"a \(Linear\): it is part of a loop that does not start at the input; connect it",
        ),
        (
            lambda: hand_made(nir.Delay(full(5e-3))),
            {},
            r"neuron \(Delay\): its delay is 50 steps of dt=0.0001; 1 to 32",
        ),
        (lambda: hand_made(nir.Delay(full(1e-4) * [1, 1, 2, 1, 1])), {}, r"neuron \(Delay\): its delays differ"),
        (
            lambda: hand_made(
                nir.NIRGraph(
                    {"input": nir.Input(np.array([5])), "a": LI(), "b": LI()},
                    [("input", "a"), ("input", "b")],
                    type_check=False,
                )
            ),
            {},
            "the nested graph 'neuron' has 1 inputs and 2 outputs; give it one of each",
        ),
        (
            lambda: hand_made(nir.LIF(full(1e-5), full(1.0), full(0.0), full(1.0))),
            {},
            "tau is below the time-step dt=0.0001",
        ),
        (
            lambda: hand_made(nir.LIF(full(1e-3), full(1.0), np.arange(5.0), full(9.0))),
            {},
            "v_leak differs from neuron to neuron",
        ),
        (lambda: hand_made(nir.IF(full(1e4, 7), full(1.0, 7))), {}, "no file"),
        (
            lambda: hand_made(nir.IF(np.arange(1.0, 8.0), full(1.0, 7))),
            {},
            r"its gain has shape \[7\] for neurons \[5\]",
        ),
        (lambda: hand_made(nir.IF(full(1e4), full(1.0))), {"tau": 2.0}, "--neuron tau: for a NIR file expected"),
        (lambda: hand_made(nir.IF(full(1e4), full(1.0))), {"fire": "maybe"}, "fire=gt or ge"),
    ],
    ids=(
        *(
            "loop of LI",
            "delay in a loop",
            "loop read elsewhere",
            "loop without spikes",
            "island",
            "long delay",
            "delays",
        ),
        *("nested", "tau", "leak", "size-uniform", "size", "option", "fire"),
    ),
)
def test_what_nir_can_say_and_a_spiking_step_cannot_is_refused(
    tmp_path: Path, make: Any, options: dict[str, Any], message: str
) -> None:
    nir.write(tmp_path / "net.nir", make())
    if message == "no file":  # seven equal parameters for five neurons are one parameter
        assert export(tmp_path / "net.nir").passed
        return
    with pytest.raises(PlifError, match=message) as refused:
        export(tmp_path / "net.nir", neuron=options)
    assert "\n" not in str(refused.value) and not (tmp_path / "net.onnx").exists()
    if not options:
        report = check_file(tmp_path / "net.nir")
        assert not report.supported and report.problems[0] in str(refused.value)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", hand_made(nir.IF(full(1e4), full(1.0))))
    data = (tmp_path / "net.nir").read_bytes()
    (tmp_path / "net.nir").write_bytes(data[: len(data) // 2])
    with pytest.raises(PlifError, match="not a NIR file, or damaged"):
        export(tmp_path / "net.nir")


def test_the_card_of_a_nir_file_says_what_was_taken(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", hand_made(nir.LIF(full(1e-3), full(1.0), full(0.0), full(0.8))))
    card = read_card(export(tmp_path / "net.nir", neuron="dt=2e-4").path)
    assert card["taus"] == {"neuron": pytest.approx(5.0)} and card["notation"] is None
    assert card["graph"]["nodes"][-1]["attrs"]["fire"] == ">"


def test_what_no_nir_file_says_is_not_proved_unless_its_owner_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, named = tmp_path / "net.nir", {"classes": "a,b,c,d,e", "framing": "count:T=5", "kind": "events"}
    nir.write(path, hand_made(nir.IF(full(1e4), full(1.0))))
    assumed = ["assumed dt = 0.0001 s", "assumed firing at v > v_threshold", "assumed reset to v_reset"]
    assert run(["export", str(path), *(f"--{key}={value}" for key, value in named.items())]) == 0
    said = capsys.readouterr()
    assert f"not proved: {', '.join(assumed)}" in said.out and "--neuron dt=...,fire=...,reset=..." in said.err
    artifact = path.with_suffix(".onnx")
    assert read_card(artifact)["parity"]["not_proved"] == assumed
    assert verify(artifact, path, **named).not_proved == assumed
    assert verify(artifact, path, **named, neuron="dt=1e-4,fire=gt").not_proved == assumed[2:]
    assert verify(artifact, path, **named, neuron="dt=1e-4,fire=gt,reset=value").not_proved == []
