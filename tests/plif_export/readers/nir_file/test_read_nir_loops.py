"""NIR files with neurons that are programs, nested graphs and spikes that come back: what the library that wrote them does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import runtime
from plif_export import check_file, export
from plif_export.core.pipeline import ParityError
from plif_export.core.proof.arithmetic import interpret
from plif_export.readers.nir_file.reader import read_nir_graph
from runtime.core.model.card import read_card
from tests.foreign import events

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.usefixtures("warm_child")
N = 5


def full(value: float, n: int = N) -> np.ndarray:
    return np.full(n, value)


def chain(*middle: tuple[str, Any], edges: tuple[tuple[str, str], ...] = (), **more: Any) -> Any:
    """input [4] -> fc -> the nodes of `middle` -> output [5], and further nodes and edges."""
    nodes = {
        "input": nir.Input(input_type={"input": np.array([4])}),
        "fc": nir.Affine(np.random.default_rng(0).normal(0.5, 0.5, (N, 4)), full(0.1)),
        **dict(middle),
        "output": nir.Output(output_type={"output": np.array([N])}),
    }
    return nir.NIRGraph({**nodes, **more}, [*pairwise(nodes), *edges], type_check=False)


def counts(T: int = 40) -> np.ndarray:
    return np.random.default_rng(2).poisson(0.6, (T, 1, 4)).astype(np.float32)


def stepped(path: Path, x: np.ndarray, **options: Any) -> np.ndarray:
    """What the exported file gives for x [T, B, ...], after it passed the gate."""
    assert check_file(path).supported
    for form in ("step", "unrolled"):
        result = export(path, path.with_suffix(f".{form}.onnx"), form=form, T=len(x), neuron=options)
        assert result.passed and result.verify is not None and not result.verify.untested, result.verify
    step, unrolled = (
        runtime.load(path.with_suffix(f".{form}.onnx")).session(x.shape[1]).run(x) for form in ("step", "unrolled")
    )
    np.testing.assert_allclose(step, unrolled, atol=1e-5)
    graph, problems = read_nir_graph(path, **options)
    assert graph is not None and not problems
    np.testing.assert_allclose(step, interpret.run(graph, x)[0], atol=1e-5)
    return step


def euler(x: np.ndarray, charge: Any, v_threshold: Any = None, back: np.ndarray | None = None) -> np.ndarray:
    """NIR's equations, written down once more: charge(v, i, current) -> (v, i), then v > v_threshold and reset to 0."""
    weight = np.random.default_rng(0).normal(0.5, 0.5, (N, 4))
    v, i, s, out = np.zeros(N), np.zeros(N), np.zeros(N), []
    for x_t in x[:, 0].astype(np.float64):
        current = weight @ x_t + 0.1 + (0 if back is None else back @ s)
        v, i = charge(v, i, current)
        if v_threshold is None:
            out.append(v)
            continue
        s = (v > v_threshold).astype(np.float64)
        v = np.where(s > 0, 0, v)
        out.append(s)
    return np.stack(out)[:, None]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", ("I", "LI", "CubaLI"))
def test_neurons_without_spikes_give_their_membrane(tmp_path: Path, kind: str) -> None:
    one, zero = full(1.0), full(0.0)
    node, charge = {
        "I": (nir.I(full(2e3)), lambda v, i, c: (v + 0.2 * c, i)),
        "LI": (nir.LI(full(4e-4), 2 * one, zero), lambda v, i, c: (v + 0.25 * (-v + 2 * c), i)),
        "CubaLI": (
            nir.CubaLI(full(2e-4), full(4e-4), 2 * one, zero, 3 * one),
            lambda v, i, c: (v + 0.25 * (-v + 2 * (0.5 * i + 1.5 * c)), 0.5 * i + 1.5 * c),
        ),
    }[kind]
    hidden = ("if", nir.IF(full(1e4), full(0.5)))
    nir.write(tmp_path / "net.nir", chain(("readout", node)))
    np.testing.assert_allclose(stepped(tmp_path / "net.nir", counts()), euler(counts(), charge), rtol=1e-4, atol=1e-4)
    assert read_card(tmp_path / "net.step.onnx")["output"]["kind"] == "membrane"
    nir.write(tmp_path / "deep.nir", chain(hidden, ("w", nir.Linear(np.eye(N))), ("readout", node)))
    stepped(tmp_path / "deep.nir", counts())


def test_thresholds_may_differ_from_neuron_to_neuron(tmp_path: Path) -> None:
    thresholds = np.linspace(0.5, 3.0, N)
    nir.write(tmp_path / "net.nir", chain(("lif", nir.LIF(full(4e-4), full(4.0), full(0.0), thresholds))))
    y = stepped(tmp_path / "net.nir", counts())
    expected = euler(counts(), lambda v, i, c: (v + 0.25 * (-v + 4 * c), i), thresholds)
    assert np.mean(y != expected) < 0.02 and len({*y.mean((0, 1))}) > 2


def test_a_threshold_and_a_delay_are_nodes_like_others(tmp_path: Path) -> None:
    nir.write(
        tmp_path / "net.nir",
        chain(("li", nir.I(full(3e3))), ("fires", nir.Threshold(full(0.8))), ("late", nir.Delay(full(3e-4)))),
    )
    x = counts()
    y = stepped(tmp_path / "net.nir", x)
    v = euler(x, lambda v, i, c: (v + 0.3 * c, i))
    expected = np.concatenate([np.zeros((3, 1, N)), (v > 0.8)[:-3]])
    assert np.mean(y != expected) < 0.02 and 0.1 < y.mean() < 1


def test_spikes_that_come_back_arrive_one_step_later(tmp_path: Path) -> None:
    back = np.random.default_rng(1).normal(-0.3, 0.4, (N, N))
    one = full(1.0)
    node = nir.CubaLIF(2e-4 * one, 4e-4 * one, 2 * one, 0 * one, one, 0 * one, 2 * one)
    edges = (("cuba", "w_rec"), ("w_rec", "cuba"))
    nir.write(tmp_path / "net.nir", chain(("cuba", node), edges=edges, w_rec=nir.Linear(back)))
    y = stepped(tmp_path / "net.nir", counts())

    def charge(v: np.ndarray, i: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        i = 0.5 * i + c
        return v + 0.25 * (-v + 2 * i), i

    expected = euler(counts(), charge, 1.0, back)
    np.testing.assert_array_equal(y, expected)
    assert np.any(expected != euler(counts(), charge, 1.0))  # without the loop


def test_spikes_may_come_back_without_a_layer_between(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", chain(("if", nir.IF(full(1e4), full(2.0))), edges=(("if", "if"),)))
    y = stepped(tmp_path / "net.nir", counts())
    expected = euler(counts(), lambda v, i, c: (v + c, i), 2.0, np.eye(N))
    np.testing.assert_array_equal(y, expected)
    assert np.any(expected != euler(counts(), lambda v, i, c: (v + c, i), 2.0))


def test_a_loop_over_two_layers_is_cut_where_it_comes_back(tmp_path: Path) -> None:
    """The first layer gets the second's spikes of the step before; the second the first's of this step."""
    rng = np.random.default_rng(3)
    forth, back = rng.normal(0.4, 0.3, (N, N)), rng.normal(-0.3, 0.3, (N, N))
    make = lambda: nir.IF(full(1e4), full(1.0))  # noqa: E731
    middle = (("first", make()), ("forth", nir.Linear(forth)), ("second", make()))
    nir.write(
        tmp_path / "net.nir", chain(*middle, edges=(("second", "back"), ("back", "first")), back=nir.Linear(back))
    )
    y = stepped(tmp_path / "net.nir", counts())
    weight = np.random.default_rng(0).normal(0.5, 0.5, (N, 4))
    v, u, s, expected = np.zeros(N), np.zeros(N), np.zeros(N), []
    for x_t in counts()[:, 0]:
        v = v + weight @ x_t + 0.1 + back @ s
        r = (v > 1).astype(float)
        v, u = np.where(r > 0, 0, v), u + forth @ r
        s = (u > 1).astype(float)
        u = np.where(s > 0, 0, u)
        expected.append(s)
    np.testing.assert_array_equal(y[:, 0], np.stack(expected))


def test_a_recurrent_neuron_that_snntorch_wrote_gives_its_spikes(tmp_path: Path) -> None:
    """It writes a graph within the graph."""
    snn = pytest.importorskip("snntorch")
    exporter = pytest.importorskip("snntorch.export_nir")
    reset: dict[str, Any] = {"reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
    layer = snn.RLeaky(torch.full((20,), 0.9), linear_features=20, threshold=torch.ones(20), **reset)
    net = nn.Sequential(nn.Linear(12, 20), layer, nn.Linear(20, 4))
    with torch.no_grad():
        net[0].weight.mul_(2)
        layer.recurrent.weight.mul_(1.5)
    nir.write(tmp_path / "net.nir", exporter.export_to_nir(net, torch.zeros(1, 12), ignore_dims=[0]))
    layer.reset_mem()
    x, fired = events(50, 1, (12,)), []
    layer.register_forward_hook(lambda module, args, out: fired.append(out.detach().numpy()))
    with torch.no_grad():
        expected = np.stack([net(torch.from_numpy(x_t)).numpy() for x_t in x])
    assert 0.02 < np.mean(fired) < 0.9
    np.testing.assert_allclose(stepped(tmp_path / "net.nir", x), expected, atol=1e-4)


def test_a_file_that_stays_silent_says_which_dt_and_reset_were_taken(tmp_path: Path) -> None:
    nir.write(tmp_path / "net.nir", chain(("lif", nir.LIF(full(20.0), full(1.0), full(0.0), full(1.0)))))
    said = r"no layer fired .*\(dt=0.0001 s and reset value taken for this NIR file: .*sinabs for 1 .*--neuron dt=...,reset=...\)"
    with pytest.raises(ParityError, match=said) as refused:
        export(tmp_path / "net.nir")
    assert "\n" not in str(refused.value)
    result = export(tmp_path / "net.nir", neuron="dt=10")
    assert result.passed
