"""Third-party neurons: the equation of runtime/core/model/neurons.py for each class, and the way to reset it.

NEURONS maps a class (by its qualified name, so that no library is imported here) to a NeuronType. To add a custom
neuron: `register_neuron`; docs/own-neurons.md has an example of twenty lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import methodcaller
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.core.readers.ours import Content, read_membrane_attrs, read_neuron, to_array
from plif_export.core.readers.rules import InvalidModule, Unsupported, require
from plif_export.readers.libraries.layers import find_entry, qualified_name, require_uniform
from runtime.core.model import neurons
from runtime.core.model.neurons import Equation

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class NeuronType:
    """The exporter's knowledge about a class of neurons: how to read its equation, and how to reset its state.

    read: module -> (kind, attributes, parameters); raises Unsupported.
    keep: advice for a network that does not carry the state from one call to the next.
    reset: clears the module's state; None if the library's own reset does it.
    """

    read: Callable[..., Content]
    keep: str = "it keeps its membrane itself: do not reset it inside forward"
    reset: Callable[[nn.Module], None] | None = None


NEURONS: dict[str, NeuronType] = {}

# Classes with a state between steps. The reader reports an instance without a state as a problem.
STATEFUL = (
    "spikingjelly.activation_based.base.MemoryModule",
    "spikingjelly.clock_driven.base.MemoryModule",
    "snntorch._neurons.neurons.SpikingNeuron",
    "plif_train.core.network.neuron.Neuron",
    "norse.torch.module.snn.SNNCell",
    "norse.torch.module.snn.SNNRecurrentCell",
    "norse.torch.module.snn.SNN",
    "norse.torch.module.snn.SNNRecurrent",
    "torch.nn.modules.rnn.RNNBase",
    "torch.nn.modules.rnn.RNNCellBase",
)

LIBRARY_RESETS = {
    "spikingjelly": "functional.reset_net",
    "snntorch": "utils.reset",
}  # the function that resets a whole network


def _clear_buffers(module: nn.Module) -> None:
    for name in module._buffers:
        module._buffers[name] = torch.zeros(0)


# Classes with a reset that keeps the batch size of the last call, and a function that clears it.
EXTRA_RESETS: dict[str, Callable[[nn.Module], None]] = {"sinabs.layers.stateful_layer.StatefulLayer": _clear_buffers}


def find_neuron_type(module: nn.Module) -> NeuronType | None:
    return find_entry(module, NEURONS, ("forward", "single_step_functional_forward"))


def reset_neurons(module: nn.Module) -> None:
    """Reset the state of every neuron in a PyTorch module, with the reset function of the neuron's library."""
    for part in module.modules():
        kind = find_neuron_type(part)
        if kind is not None and kind.reset is not None:
            kind.reset(part)
        elif kind is not None or is_stateful(part):
            for name in ("reset", "reset_mem", "reset_states"):
                if callable(getattr(part, name, None)):
                    getattr(part, name)()
        elif (clear := find_entry(part, EXTRA_RESETS, ())) is not None:
            clear(part)


def reset_like_user(module: nn.Module) -> str:
    """Reset a PyTorch module as its user would, and return the name of the function, for a message.

    By the reset of its library, and reset() of every submodule; without such a library by its own reset().
    """
    packages = {cls.__module__.partition(".")[0] for part in module.modules() for cls in type(part).__mro__}
    if packages.isdisjoint(LIBRARY_RESETS):
        with suppress(AttributeError, TypeError):  # it has no reset, or one with arguments
            methodcaller("reset")(module)
            return "reset()"
    reset_neurons(module)
    for part in module.modules():
        try:
            methodcaller("reset")(part)
        except Exception:  # it has no reset, or one with arguments
            continue
    return next((name for package, name in LIBRARY_RESETS.items() if package in packages), "reset()")


def is_stateful(module: nn.Module) -> bool:
    return any(qualified_name(cls) in STATEFUL for cls in type(module).__mro__)


def keeps_state(module: nn.Module) -> bool:
    """Return whether a PyTorch module is a neuron or another layer that keeps a state between time-steps."""
    return find_neuron_type(module) is not None or is_stateful(module)


def register_neuron(
    cls: type[Module],
    equation: Equation,
    *,
    states: Mapping[str, str],
    attrs: Callable[[Module], Mapping[str, object]],
    params: Callable[[Module], Mapping[str, Tensor | np.ndarray | float]] = lambda module: {},
) -> None:
    """Register a class of custom neurons with the equation that it computes, so that it can be exported.

    equation: the equation (runtime.core.model.neurons.Equation); it is registered too.
    states: {variable of the equation: attribute of the module that holds it, a tensor}.
    attrs: module -> {"v_threshold": ..., "v_reset": ..., and further attributes that the equation needs}.
    params: module -> {name: tensor [] or [C], or a number}, the arrays that the equation needs.
    """
    neurons.register_equation(equation)

    def read(module: Module) -> Content:
        values = {key: np.asarray(torch.as_tensor(value).detach(), np.float32) for key, value in params(module).items()}
        return equation.kind, dict(attrs(module)), values

    def reset(module: nn.Module) -> None:
        module_reset = getattr(module, "reset", None)
        if callable(module_reset):
            module_reset()
        else:
            for attribute in states.values():
                setattr(module, attribute, None)

    keep = "keep it in the module, or pass it in and return it; do not reset it inside forward"
    NEURONS[qualified_name(cls)] = NeuronType(read, keep, reset)


def _require_step_function(function: Callable[[Tensor], Tensor], at_threshold: float, name: str) -> None:
    """Refuse a spike function that is not the Heaviside step with the given value at the threshold."""
    tiny = torch.finfo(torch.float32).tiny
    with torch.no_grad():
        spikes = [float(value) for value in function(torch.tensor([-1.0, -tiny, 0.0, tiny, 1.0]))]
    if spikes != [0.0, 0.0, at_threshold, 1.0, 1.0]:
        rule = f"its {name} gives {spikes} below, at and above the threshold, not a step from 0 to 1"
        raise InvalidModule(rule, "use a surrogate whose forward is the step function")


# --- ours, inside other modules ---------------------------------------------------------------------------------------------


NEURONS["plif_train.core.network.neuron.Neuron"] = NeuronType(read_neuron)


# --- SpikingJelly -------------------------------------------------------------------------------------------------------


def _read_spikingjelly(m: Any) -> Content:
    _require_step_function(m.surrogate_function, 1.0, "surrogate_function")
    require(
        isinstance(m.v_threshold, float | int), f"v_threshold is a {type(m.v_threshold).__name__}", "use one number"
    )
    kind = {"IFNode": "IF", "LIFNode": "LIF", "ParametricLIFNode": "PLIF"}[find_class_name(m)]
    attrs = read_membrane_attrs(m, kind == "IF" or m.decay_input)
    if kind == "IF":
        return kind, attrs, {}
    if kind == "PLIF":
        return kind, attrs, {"alpha": to_array(m.w.detach().float().sigmoid())}
    tau = float(m.tau)
    if np.frexp(tau)[0] != 0.5:  # not a power of two: dividing by tau is not multiplying by 1/tau
        attrs.update(charge="divided", tau=tau)
    return kind, attrs, {"alpha": np.array(1.0 / tau, np.float32)}


def find_class_name(m: nn.Module) -> str:
    return next(cls.__name__ for cls in type(m).__mro__ if qualified_name(cls) in NEURONS)


for _file, _cls in (("integrate_and_fire", "IFNode"), ("lif", "LIFNode"), ("plif", "ParametricLIFNode")):
    NEURONS[f"spikingjelly.activation_based.neuron.{_file}.{_cls}"] = NeuronType(_read_spikingjelly)
    for _package in ("activation_based", "clock_driven"):  # 0.0.0.0.14 and 0.0.0.0.12
        NEURONS[f"spikingjelly.{_package}.neuron.{_cls}"] = NeuronType(_read_spikingjelly)


# --- snnTorch -------------------------------------------------------------------------------------------------------------


def _read_leaky(m: Any) -> Content:
    _require_step_function(m.spike_grad, 0.0, "spike_grad")
    require(not m.inhibition, "inhibition=True, one spike per layer", "train without inhibition")
    require(not m.state_quant, "state_quant is set", "export the membrane in float32: state_quant=False")
    threshold = np.unique(to_array(torch.as_tensor(m.threshold)))
    require(threshold.size == 1, f"{threshold.size} thresholds in one layer", "use one threshold for a layer")
    beta = to_array(torch.as_tensor(m.beta).clamp(0, 1))
    reset = ("subtract", "zero", "none")[int(m.reset_mechanism_val)]
    attrs: dict[str, object] = {
        "v_threshold": float(threshold[0]),
        "v_reset": 0.0 if reset == "zero" else None,
        "reset": reset,
        "reset_delay": bool(m.reset_delay),
    }
    per_channel = beta.ndim > 1 and beta.size == beta.shape[0]  # [C, 1, 1] against [B, C, H, W]
    return "Leaky", attrs, {"beta": beta.reshape(() if beta.size == 1 else -1 if per_channel else beta.shape)}


NEURONS["snntorch._neurons.leaky.Leaky"] = NeuronType(
    _read_leaky, "make the neuron with init_hidden=True, or pass mem in and return it: spk, mem = lif(x, mem)"
)


# --- Norse ----------------------------------------------------------------------------------------------------------------


def _read_norse(m: Any) -> Content:
    p = m.p
    two_states = type(m).__name__ == "LIFCell"
    require(p.method == "super", f"method '{p.method}'", "use method 'super', whose forward is the step function")
    attrs: dict[str, object] = {
        name: require_uniform(to_array(torch.as_tensor(value)), name)
        for name, value in (("v_threshold", p.v_th), ("v_leak", p.v_leak), ("v_reset", p.v_reset))
    }
    reset = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if reset == "reset_subtract":
        attrs["v_reset"] = None
    elif reset != "reset_value":
        raise Unsupported(f"reset_method '{reset}'", "use reset_value or reset_subtract")
    with torch.no_grad():
        params = {"k": to_array(torch.as_tensor(m.dt * p.tau_mem_inv))}
        if two_states:
            params["k_syn"] = to_array(torch.as_tensor(m.dt * p.tau_syn_inv))
    return "LIFCell" if two_states else "LIFBox", attrs, params


for _file, _cls in (("lif_box", "LIFBoxCell"), ("lif", "LIFCell")):
    NEURONS[f"norse.torch.module.{_file}.{_cls}"] = NeuronType(
        _read_norse, "keep it, with self.state = None at first: s, self.state = lif(x, self.state)"
    )
