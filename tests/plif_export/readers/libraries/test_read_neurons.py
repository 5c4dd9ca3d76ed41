"""Each kind of neuron against the library it comes from: 50 steps, the same bits, in NumPy and in the exported ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.writers import FORMS
from plif_export.readers.libraries.neurons import find_neuron_type
from plif_export.readers.module.reader import examine_module
from runtime.core.model.graph import Graph, Node, state_input, state_output
from runtime.core.model.neurons import EQUATIONS
from tests.conftest import needs_spikingjelly_2

STEPS, SHAPE = 50, (6, 5, 5)


def spikingjelly(cls: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from spikingjelly.activation_based import neuron, surrogate

        return getattr(neuron, cls)(surrogate_function=surrogate.ATan(), **options)  # type: ignore[no-any-return]

    return make


def snntorch(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        snn = pytest.importorskip("snntorch")
        return snn.Leaky(init_hidden=True, **options)  # type: ignore[no-any-return]

    return make


def norse(cls: str, **parameters: float) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        module = pytest.importorskip("norse.torch")
        values = {key: torch.tensor(value) for key, value in parameters.items()}
        kind = module.LIFBoxParameters if cls == "LIFBoxCell" else module.LIFParameters
        return getattr(module, cls)(kind(**values))  # type: ignore[no-any-return]

    return make


def ours(*arguments: Any, tau: list[float] | None = None, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from plif_train.core.network.neuron import Neuron

        module = Neuron(*arguments, **options)
        if tau is not None:
            module.w = nn.Parameter(-torch.log(torch.tensor(tau) - 1))
        return module.eval()

    return make


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "ours-channels": ours("PLIF", v_reset=-0.1, tau=[1.1, 1.5, 2.0, 3.0, 5.0, 9.0]),
    "ours-lif-soft": ours("LIF", init_tau=3.0, v_reset=None, decay_input=False),
    "sj-if": spikingjelly("IFNode"),
    "sj-if-soft": spikingjelly("IFNode", v_reset=None, v_threshold=0.75),
    "sj-lif": spikingjelly("LIFNode", tau=2.0),
    "sj-lif-tau-3": spikingjelly("LIFNode", tau=3.0, v_reset=-0.25),
    "sj-lif-no-decay": spikingjelly("LIFNode", tau=1.7, decay_input=False, v_reset=None),
    "sj-plif": spikingjelly("ParametricLIFNode", init_tau=2.0),
    "sj-plif-60": spikingjelly("ParametricLIFNode", init_tau=60.6, v_reset=None),
    "sj-plif-no-decay": spikingjelly("ParametricLIFNode", init_tau=1.117, decay_input=False, v_reset=0.1),
    "snn-subtract": snntorch(beta=0.9),
    "snn-subtract-now": snntorch(beta=0.9, reset_delay=False),
    "snn-zero": snntorch(beta=0.77, reset_mechanism="zero", threshold=0.8),
    "snn-zero-now": snntorch(beta=0.77, reset_mechanism="zero", reset_delay=False),
    "snn-none": snntorch(beta=0.5, reset_mechanism="none"),
    "snn-channels": snntorch(beta=torch.linspace(0.3, 1.2, 6).reshape(6, 1, 1)),
    "norse-box": norse("LIFBoxCell"),
    "norse-box-leak": norse("LIFBoxCell", v_leak=0.1, v_reset=-0.2, tau_mem_inv=330.0, v_th=0.6),
    "norse-cell": norse("LIFCell"),
    "norse-cell-slow": norse("LIFCell", tau_syn_inv=150.0, tau_mem_inv=70.0, v_th=0.3, v_leak=0.05),
}


def own_spikes(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """A neuron called once for each step, its own way."""
    found, state = [], None
    for x_t in x:
        out = module(x_t, state) if "norse" in type(module).__module__ else module(x_t)
        s, state = out if isinstance(out, tuple) else (out, None)
        found.append(s)
    return found


@pytest.mark.parametrize("name", NEURONS)
def test_a_neuron_keeps_the_bits_of_its_library(name: str) -> None:
    module = NEURONS[name]().eval()
    wrap = pytest.importorskip("norse.torch").SequentialState if name.startswith("norse") else nn.Sequential
    reading, _ = examine_module(wrap(module), torch.zeros(1, *SHAPE))
    assert reading is not None
    layer, program = reading.layers["0"], reading.program
    kind, attrs, params = layer.content
    node = Node("n", "Neuron", ("x",), SHAPE, {"kind": kind, "layer": "l", **attrs}, params)
    if kind == "Traced" and name == "sj-lif-no-decay":
        needs_spikingjelly_2("LIFNode without decay_input has another equation")
    assert kind in EQUATIONS and kind != "Traced"  # known by its class, and its equation has the same bits
    rng = np.random.default_rng(3)
    # Multiples of 1/8 land on the threshold exactly, which tells > from >=; the normal numbers tell rounding.
    drive = {"sj-lif-tau-3": 2.0, "sj-plif-60": 20.0, "norse-box": 8.0}.get(name, 1.0)
    x = (drive * rng.normal(0.4, 1.0, (STEPS, 2, *SHAPE))).astype(np.float32)
    x[:, :, :3] = np.round(8 * x[:, :, :3]) / 8
    v = {key: np.full((2, *SHAPE), start, np.float32) for key, start in node.initial.items()}
    onnx_step = ort.InferenceSession(FORMS["step"](Graph(SHAPE, (node,), "n"), 1, None).SerializeToString())
    found = {state_input("l", key): value.copy() for key, value in v.items()}
    spikes = 0
    with torch.no_grad():
        own = own_spikes(module, torch.from_numpy(x))
        known = program.fold_constants(2)
        now = program.initial_states(known, 2)
        for t in range(STEPS):
            values = program.run_step(known, now, torch.from_numpy(x[t]), 2)
            now = program.next_states(values)
            states = {key: values[s.after] for key, s in layer.variables.items()}
            fired = interpret.step_neuron(node, x[t], v)
            v = fired.after
            y, *after = onnx_step.run(["y", *(state_output("l", key) for key in v)], {"x": x[t], **found})
            found = {state_input("l", key): value for key, value in zip(v, after, strict=True)}
            np.testing.assert_array_equal(fired.s, own[t].numpy(), err_msg=f"spikes, step {t}")
            np.testing.assert_array_equal(y, own[t].numpy(), err_msg=f"spikes of the ONNX file, step {t}")
            for key in v:
                np.testing.assert_array_equal(v[key], states[key].numpy(), err_msg=f"{key}, step {t}")
                np.testing.assert_array_equal(
                    found[state_input("l", key)], states[key].numpy(), err_msg=f"ONNX {key}, {t}"
                )
            spikes += int(fired.s.sum())
    assert 0.02 < spikes / (STEPS * 2 * np.prod(SHAPE)) < 0.9


def test_every_kind_of_neuron_that_a_library_has_is_tested_against_it() -> None:
    found = {find_neuron_type(make()).read(make())[0] for make in NEURONS.values()}  # type: ignore[union-attr]
    assert found == {kind for kind in EQUATIONS if not kind.startswith("NIR-") and kind != "Traced"}


def test_the_spikes_of_our_kinds_do_not_depend_on_how_they_are_written_down() -> None:
    """IF, LIF and PLIF have a hand-written ONNX form; the equation itself, written down, must give the same bits."""
    from plif_export.core.writers import emitter
    from plif_export.core.writers.emit import write_symbols
    from runtime.core.model.neurons import get_equation
    from runtime.core.model.symbol import SymbolicMath, Terms, tensor_symbol

    rng = np.random.default_rng(4)
    x, v = rng.normal(0.5, 1, (2, 3, *SHAPE)).astype(np.float32)
    for attrs in ({"v_reset": 0.0}, {"v_reset": None}, {"v_reset": -0.3, "decay_input": False}, {"charge": "folded"}):
        attrs = {
            "kind": "PLIF",
            "layer": "l",
            "v_threshold": 0.9,
            "v_reset": 0.0,
            "decay_input": True,
            "charge": "exact",
            **attrs,
        }
        node = Node("n", "Neuron", ("x",), SHAPE, attrs, {"alpha": np.array(0.37, np.float32)})
        e = emitter.Emitter()
        terms = Terms(
            attrs,
            {"alpha": tensor_symbol(e.weight("alpha", node.params["alpha"]))},
            lambda name, c, e=e: tensor_symbol(e.weight(name, np.float32(c))),
        )
        h, s, after = get_equation("PLIF").step(SymbolicMath(), terms, tensor_symbol("x"), {"v": tensor_symbol("v")})
        write_symbols(e, {"h": h, "s": s, "v.next": after["v"]}, "l", "")
        info = [emitter.tensor_info(name, ["B", *SHAPE]) for name in ("x", "v", "s", "v.next")]
        written = ort.InferenceSession(e.model(info[:2], info[2:], "test").SerializeToString()).run(
            None, {"x": x, "v": v}
        )
        ours = ort.InferenceSession(FORMS["step"](Graph(SHAPE, (node,), "n"), 1, None).SerializeToString())
        np.testing.assert_array_equal(written, ours.run(None, {"x": x, "v.l": v}))
