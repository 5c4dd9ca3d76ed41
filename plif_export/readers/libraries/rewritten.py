"""Third-party classes whose own code is no step of plain operations: rewritten, or refused with the reason.

They compute all time-steps at once, or a whole layer of attention in a fused kernel (attention.py).

The rewritten code is only used to record the class. The result is then compared with the class's own forward
(module_runs/check.py). To add a class, enter it in REWRITTEN, or in REFUSED with the reason and the advice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plif_export.core.readers.rules import Problem, Unsupported, require
from plif_export.readers.libraries.attention import rewrite_attention, rewrite_encoder_layer
from plif_export.readers.libraries.layers import find_entry

Forward = Callable[..., Tensor | tuple[Tensor, Tensor | None]]


def _rewrite_sliding_psn(m: Any) -> Forward:
    """Return a forward function that computes SpikingJelly's SlidingPSN neuron one time-step after another.

    S[t] = step(sum_i w_i X[t - k + 1 + i] + b), over the last k inputs: zeros before the first. SpikingJelly joins
    the batch and the neurons for it, and makes shorter sums in the first steps.
    """

    def forward(x: Tensor) -> Tensor:  # [B, ...], or [T, B, ...], which starts from zeros and keeps no state
        is_multi_step = m.step_mode == "m"
        past, fired = [] if is_multi_step else list(m.queue), list[Tensor]()
        for x_t in x.unbind(0) if is_multi_step else [x]:
            # different expressions of zero, so that each counts as a state of its own
            window = [*(past or [torch.zeros_like(x_t) * float(i) for i in range(m.k - 1)]), x_t]
            h = window[0] * m.weight[0]
            for i in range(1, m.k):
                h = h + window[i] * m.weight[i]
            fired.append(m.surrogate_function(h + m.bias))
            # copied in every step, so that a step reads values of the step before, and none older
            past = [v * 1.0 for v in window[1:]]
        if is_multi_step:
            return torch.stack(fired)
        m.queue = past
        return fired[0]

    return forward


def _rewrite_state_leaky(m: Any) -> Forward:
    """Return a forward function that computes snnTorch's StateLeaky or LinearLeaky one step after another.

    U[t] = exp(-1 / tau) U[t - 1] + X[t], S = U > threshold, without reset: X is the input, or a linear layer of it.
    snnTorch computes all steps in one convolution with exp(-t / tau).
    """
    untruncated = m.kernel_truncation_steps is None
    require(
        untruncated, "it forgets after kernel_truncation_steps", "leave it None: what decays is forgotten by itself"
    )
    require(not m.state_quant, "state_quant is set", "export the membrane in float32: state_quant=False")

    def forward(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # [T, B, C]
        u, decay = torch.zeros(()), torch.exp(-1 / m.tau)
        membranes: list[Tensor] = []
        for x_t in x.unbind(0):
            current = m.linear(x_t) if hasattr(m, "linear") else x_t
            u = (u if membranes else torch.zeros_like(current)) * decay + current
            membranes.append(u)
        mem = torch.stack(membranes)
        return (m.fire(mem) * m.graded_spikes_factor, mem) if m.output else mem

    return forward


def _rewrite_leaky_parallel(m: Any) -> Forward:
    """Return a forward function that computes snnTorch's LeakyParallel (an nn.RNN) one step after another.

    U[t] = relu(W X[t] + b + beta U[t - 1] + c), S = U > threshold, without reset.
    """
    w, beta = m.rnn.weight_hh_l0, m.rnn.weight_hh_l0.diagonal()
    is_diagonal = torch.equal(w, torch.diag(beta))
    require(is_diagonal, "its membranes go through a layer on the way to the next step", "use weight_hh_enable=False")
    b, c = (m.rnn.bias_ih_l0, m.rnn.bias_hh_l0) if m.rnn.bias else (None, 0.0)

    def forward(x: Tensor) -> Tensor:  # [T, B, C]
        u = torch.zeros(())
        membranes: list[Tensor] = []
        for x_t in x.unbind(0):
            current = nn.functional.linear(x_t, m.rnn.weight_ih_l0, b)
            u = torch.relu(current + ((u if membranes else torch.zeros_like(current)) * beta + c))
            membranes.append(u)
        s: Tensor = m.spike_grad(torch.stack(membranes) - m.threshold) * m.graded_spikes_factor
        return s

    return forward


REWRITTEN: dict[str, Callable[..., Forward]] = {
    "spikingjelly.activation_based.neuron.psn.SlidingPSN": _rewrite_sliding_psn,
    "snntorch._neurons.stateleaky.StateLeaky": _rewrite_state_leaky,
    "snntorch._neurons.linearleaky.LinearLeaky": _rewrite_state_leaky,
    "snntorch._neurons.leakyparallel.LeakyParallel": _rewrite_leaky_parallel,
    "torch.nn.modules.activation.MultiheadAttention": rewrite_attention,
    "torch.nn.modules.transformer.TransformerEncoderLayer": rewrite_encoder_layer,
}


def rewrite_forwards(module: nn.Module) -> None:
    """Replace the forward of each submodule whose class is in REWRITTEN by one of plain operations of each step."""
    for path, part in module.named_modules():
        make_forward = find_entry(part, REWRITTEN)
        if make_forward is not None:
            try:
                object.__setattr__(part, "forward", make_forward(part))
            except Unsupported as problem:
                raise Unsupported(problem.rule, problem.advice, path) from None


_SLIDING = "train SlidingPSN, whose weights are the same in every step"
# class -> (reason, advice)
REFUSED: dict[str, tuple[str, str]] = {
    "spikingjelly.activation_based.neuron.psn.PSN": ("a step of it reads the inputs of later steps", _SLIDING),
    "spikingjelly.activation_based.neuron.psn.MaskedPSN": ("each of its T steps has weights of its own", _SLIDING),
    "spikingjelly.activation_based.neuron.lif_variants.GatedLIFNode": (
        "each of its T steps has a weight of its own (conduct)",
        "train LIFNode or ParametricLIFNode, whose weights are the same in every step",
    ),
    "spikingjelly.activation_based.layer.attention.TemporalWiseAttention": (
        "the weight of a step is made of all T steps, later ones too",
        "train attention among channels or pixels of one step",
    ),
}


def find_refused_parts(module: nn.Module) -> list[Problem]:
    """List the submodules that the export refuses, because their time-steps do not all compute the same."""
    refused = ((path, part, find_entry(part, REFUSED)) for path, part in module.named_modules())
    return [
        Problem(path or "forward", type(part).__name__, *reason) for path, part, reason in refused if reason is not None
    ]
