"""IF, LIF and PLIF neurons (Fang et al., ICCV 2021, equations 1-7) with surrogate gradients (equations 8-17).

    charge   h = v + (x - (v - v_reset)) * alpha        decay_input=True
             h = v - (v - v_reset) * alpha + x          decay_input=False
             h = v + x                                  IF, which does not leak
    fire     s = (h >= v_threshold)                     one comparison: h - v_threshold >= 0 rounds first
    reset    v = v_reset where s, else h                hard
             v = h - s * v_threshold                    soft (v_reset None; the decay then goes towards 0)

    alpha = 1 / tau    PLIF: alpha = sigmoid(w), w learned, one per layer or one per channel, from -log(init_tau - 1)
                       LIF:  a constant

    ds/dh = 1 / (1 + (pi (h - v_threshold))^2)          the ATan surrogate, in backward only; the others are in
                                                        plif_train.core.network.surrogate
    dv/dh = 1 - s                                       hard reset with detach_reset

x is the current, h the charged and v the membrane potential, all without unit; a time-step is one call. The order of
operations is that of the equations, so that equal currents give equal bits in every program that follows them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from plif_train.core.network.surrogate import SURROGATES, surrogate_slope_
from runtime.core.base.errors import PlifError
from runtime.core.parts import load_from_parts

RUN_NEURON = load_from_parts("hooks", "run_neuron")  # all T steps at once; without it they are run one by one
NeuronHistory = list[tuple[Tensor, Tensor, Tensor, Tensor]]


class _Fire(torch.autograd.Function):
    """The autograd function of spiking: a step function in forward, a surrogate gradient in backward."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, v_threshold: float, surrogate: str) -> Tensor:
        ctx.save_for_backward(h)
        ctx.v_threshold, ctx.surrogate = v_threshold, surrogate
        return (h >= v_threshold).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (h,) = ctx.saved_tensors
        return grads[0] * surrogate_slope_(ctx.surrogate, h - ctx.v_threshold), None, None


def fire(h: Tensor, v_threshold: float, surrogate: str = "atan") -> Tensor:
    """Return the spikes (0.0 or 1.0) of neurons with charged potentials h [...], of the same shape and type.

    The surrogate is their gradient.
    """
    return _Fire.apply(h, v_threshold, surrogate)


class Neuron(nn.Module):
    """A layer of IF, LIF or PLIF neurons with its membrane potential.

    kind          "IF", "LIF" or "PLIF"
    v             membrane potential [B, ...], not in the state_dict; None from reset() until the first step, which
                  starts at v_reset (soft reset: 0)
    channels      None: one tau for the layer (w is 0-dimensional, as in the paper); C: one per channel (w is [C])
    compiled      set it, and forward_sequence() runs its T steps through torch.compile (worth it on a GPU)
    history       set it to a list, and every time-step appends (v before, h, s, v after), each [B, ...], detached

    `forward(x [B, ...])` is one time-step, `forward_sequence(x [T, B, ...])` is T of them with the same arithmetic;
    both start from the present state and leave the new one. In training mode the state keeps its graph from call to
    call (reset() ends it); in eval mode it is detached after each call, so that a stream does not grow a graph.
    """

    w: nn.Parameter | None
    v: Tensor | None

    def __init__(
        self,
        kind: str = "PLIF",
        *,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        detach_reset: bool = True,
        init_tau: float = 2.0,
        surrogate: str = "atan",
        channels: int | None = None,
        name: str = "neuron",
    ) -> None:
        super().__init__()
        if kind not in ("IF", "LIF", "PLIF"):
            raise PlifError(f"{name}: neuron '{kind}' is not known, expected IF, LIF or PLIF")
        if kind != "IF" and not (math.isfinite(init_tau) and init_tau > 1):
            raise PlifError(f"{name}: tau {init_tau} is out of range, expected a number above 1")
        if surrogate not in SURROGATES:
            raise PlifError(f"{name}: surrogate '{surrogate}' is not known, expected {', '.join(SURROGATES)}")
        self.kind = kind
        self.surrogate = surrogate
        self.name = name
        self.v_threshold = float(v_threshold)
        self.v_reset = None if v_reset is None else float(v_reset)
        self.decay_input = decay_input
        self.detach_reset = detach_reset
        self.init_tau = float(init_tau)
        self.history: NeuronHistory | None = None
        self.compiled = False
        if kind == "PLIF":
            shape = () if channels is None else (channels,)
            self.w = nn.Parameter(torch.full(shape, -math.log(self.init_tau - 1)))
        else:
            self.register_parameter("w", None)
        self.register_buffer("v", None, persistent=False)

    def alpha(self) -> Tensor | None:
        """Return 1/tau (the leak) of a neuron layer, float32, detached: 0-dimensional or [C]; None for IF.

        Exported files hold exactly this number.
        """
        if self.kind == "IF":
            return None
        if self.w is None:
            return torch.tensor(1.0 / self.init_tau, dtype=torch.float32)
        return self.w.detach().float().sigmoid()

    def tau(self) -> float | list[float]:
        """Return the membrane time constant tau of a neuron layer in time-steps, [C] or one; infinite for IF."""
        alpha = self.alpha()
        if alpha is None:
            return math.inf
        return (1.0 / alpha.double()).tolist()

    def reset(self) -> None:
        """Clear the membrane state of a neuron layer: the next step starts at v_reset (soft reset: 0)."""
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        """Run one time-step of a neuron layer: current x [B, ...] -> spikes 0.0 or 1.0, [B, ...].

        Spikes have the type of the membrane.
        """
        v = self._initial_state(x)
        s, v = self._advance(x, v, self._alpha_for(x))
        self._store_state(v)
        return s

    def forward_sequence(self, x_seq: Tensor, T: int | None = None, pools: bool = False) -> Tensor:
        """Run T time-steps of a neuron layer: current [T, B, ...] -> spikes [T, B, ...], of its type.

        The result equals T calls of forward, bit for bit.

        T        with a current [1, B, ...] that is the same in all T steps
        pools    if a part has kernels for it, the spikes come max-pooled by 2 x 2: [T, B, C, H / 2, W / 2]
        """
        T = len(x_seq) if T is None else T
        v = self._initial_state(x_seq[0])
        alpha = self._alpha_for(x_seq[0])
        if RUN_NEURON and self.history is None and not torch.compiler.is_compiling():
            spikes, v = RUN_NEURON(self, x_seq, v, alpha, T, pools)
            self._store_state(v)
            return spikes
        steps = []
        for x in x_seq.expand(T, *x_seq.shape[1:]):
            s, v = self._advance(x, v, alpha)
            steps.append(s)
        self._store_state(v)
        return torch.stack(steps).to(x_seq.dtype)

    def _advance(self, x: Tensor, v: Tensor, alpha: Tensor | float) -> tuple[Tensor, Tensor]:
        x = x.to(v.dtype)
        above_reset = v - self.v_reset if self.v_reset else v
        if self.kind == "IF":
            h = v + x
        elif self.decay_input:
            h = v + (x - above_reset) * alpha
        else:
            h = v - above_reset * alpha + x
        s = fire(h, self.v_threshold, self.surrogate)
        s_reset = s.detach() if self.detach_reset else s
        if self.v_reset is None:
            v_next = h - s_reset * self.v_threshold
        elif self.detach_reset:
            v_next = torch.where(s_reset > 0, self.v_reset, h)
        else:  # the same value, written so that the surrogate's gradient reaches the reset
            v_next = s_reset * self.v_reset + (1 - s_reset) * h
        if self.history is not None:
            self.history.append((v.detach(), h.detach(), s.detach(), v_next.detach()))
        return s, v_next

    def _initial_state(self, x: Tensor) -> Tensor:
        if self.v is None:
            # Half-precision currents (autocast) charge a float32 membrane: a small leak vanishes in 8 bits of mantissa.
            dtype = torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else x.dtype
            return torch.full(x.shape, self.v_reset or 0.0, dtype=dtype, device=x.device)
        if self.v.shape != x.shape:
            raise PlifError(
                f"{self.name}: the state is of shape {tuple(self.v.shape)} and the input of shape {tuple(x.shape)}; "
                "call reset() before another batch, or restore a state of this shape"
            )
        return self.v

    def _store_state(self, v: Tensor) -> None:
        self.v = v if self.training else v.detach()

    def _alpha_for(self, x: Tensor) -> Tensor | float:
        if self.kind == "IF":
            return 1.0
        if self.w is None:
            return 1.0 / self.init_tau
        alpha = self.w.sigmoid()
        # [C] -> [C, 1, 1] against [B, C, H, W]
        return alpha.reshape(-1, *[1] * (x.dim() - 2)) if alpha.dim() else alpha

    def extra_repr(self) -> str:
        return f"{self.kind}, v_threshold={self.v_threshold}, v_reset={self.v_reset}, decay_input={self.decay_input}"
