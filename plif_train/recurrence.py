"""The T steps of a neuron layer as one differentiable function, so that training keeps one tensor a step instead of ten.

Forward is Neuron's, operation for operation, so its spikes are the same bit for bit:

    h_t = v_{t-1} + (x_t - (v_{t-1} - r)) alpha        decay_input       r = v_reset, 0 with soft reset
    h_t = v_{t-1} - (v_{t-1} - r) alpha + x_t          otherwise
    h_t = v_{t-1} + x_t                                IF
    s_t = h_t >= v_th
    v_t = r where s_t else h_t   (hard)                v_t = h_t - s_t v_th   (soft)

Backward goes from T to 1 (paper, eq. 8-17), with gs the gradient of the spikes and gv that of the membrane:

    g(h) = gs_t g'(h_t - v_th) + gv dv_t/dh_t          g' is the surrogate (plif_train.surrogate)
    dv_t/dh_t = 1 - s_t [+ (r - h_t) g']  (hard)       1 [- v_th g']  (soft)     [..] only when the reset is not detached
    gx_t = alpha g(h) or g(h);   galpha += g(h) dh_t/dalpha;   gv = (1 - alpha) g(h) or g(h)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from plif_train import native
from plif_train.surrogate import slope_

BLOCK = 1 << 16  # neurons a thread: 256 KiB a tensor in float32


@dataclass(frozen=True)
class Rule:
    """The constants of a neuron: leaks False is IF; surrogate is a name of plif_train.surrogate.

    compiled  through torch.compile, whatever native kernels there are
    """

    v_threshold: float
    v_reset: float | None
    leaks: bool
    decay_input: bool
    detach_reset: bool
    surrogate: str
    compiled: bool = False

    def native(self, x: Tensor, v: Tensor) -> native.RuleStruct | None:
        """The constants as the kernels of train.c take them; None where those do not serve x [T, ...] and v [...]."""
        known = not self.compiled and self.detach_reset and self.surrogate in native.SURROGATES
        if not known or v.dtype != torch.float32 or not native.runs(x, v):
            return None
        charge = 0 if not self.leaks else 1 if self.decay_input else 2
        return native.RuleStruct(
            charge, self.v_reset is None, native.SURROGATES.index(self.surrogate), x.dtype == torch.bfloat16,
            self.v_threshold, self.v_reset or 0.0,
        )  # fmt: skip


class Recurrence(torch.autograd.Function):
    """(current x [T, ...], v [...], alpha broadcastable to v, rule) -> (spikes [T, ...] of x's type, v after the last
    step). v is float32 (or float64), x may be bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, alpha: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """x [T, ...], v [...] -> (spikes [T, ...], the last v [...])"""
        flat_x, flat_v, flat_alpha = x.flatten(1), v.flatten(), _flat(alpha, v)
        h = torch.empty(flat_x.shape, dtype=v.dtype, device=v.device)
        s = torch.empty_like(h, dtype=x.dtype)  # 0 and 1 are exact in every type, and the next layer wants this one
        end = torch.empty_like(flat_v)
        native_rule = rule.native(x, v)
        if native_rule is not None:
            native.forward(_rows(flat_x), flat_v, flat_alpha.float().contiguous(), native_rule, h, s, end)
        else:
            run = _compiled(_forward) if rule.compiled else _forward
            for part in _blocks(flat_v, rule):
                end[part] = run(
                    flat_x[:, part], flat_v[part], flat_alpha if alpha.dim() == 0 else flat_alpha[part], rule,
                    h[:, part], s[:, part],
                )  # fmt: skip
        ctx.rule, ctx.native = rule, native_rule
        ctx.save_for_backward(x, h, s, v, alpha)
        return s.view(x.shape), end.view(v.shape)

    @staticmethod
    def backward(ctx: Any, gs: Tensor, gv: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None]:
        """Gradients of the spikes [T, ...] and of the last v [...] -> those of x [T, ...], the first v and alpha"""
        rule: Rule = ctx.rule
        x, h, s, v0, alpha = ctx.saved_tensors
        flat_x, flat_v, flat_alpha, flat_gs = x.flatten(1), v0.flatten(), _flat(alpha, v0), gs.flatten(1)
        learns = rule.leaks and ctx.needs_input_grad[2]
        gx = torch.empty_like(h, dtype=x.dtype)
        end = gv.flatten().clone()  # of the last v; below, block by block, it becomes that of the first
        one = alpha.dim() == 0
        galpha = torch.zeros((), dtype=v0.dtype, device=v0.device) if one else torch.empty_like(end)
        if ctx.native is not None:
            start, flat_alpha = torch.empty_like(end), flat_alpha.float().contiguous()
            galpha = native.backward(
                _rows(flat_x), flat_v, flat_alpha, ctx.native, h, flat_gs.contiguous(), end, gx, start
            )
            end = start
        else:
            run = _compiled(_backward) if rule.compiled else _backward
            for part in _blocks(flat_v, rule):
                end[part], found = run(
                    flat_x[:, part], h[:, part], s[:, part], flat_v[part], flat_alpha if one else flat_alpha[part],
                    flat_gs[:, part], end[part], rule, gx[:, part], learns,
                )  # fmt: skip
                if found is not None and one:
                    galpha = galpha + found.sum()
                elif found is not None:
                    galpha[part] = found
        summed = (galpha if one else galpha.view(v0.shape).sum_to_size(alpha.shape)) if learns else None
        return gx.view(x.shape), end.view(v0.shape), summed, None


def _forward(x: Tensor, v: Tensor, alpha: Tensor, rule: Rule, h: Tensor, s: Tensor) -> Tensor:
    """T steps of N neurons, [T, N]: fills h and s, returns the last v."""
    r, drive = rule.v_reset or 0.0, torch.empty_like(v)
    at_rest = v.new_tensor(r)
    for h_t, s_t, x_t in zip(h, s, x, strict=True):
        above = v - r if r else v
        if not rule.leaks:
            torch.add(v, x_t, out=h_t)
        elif rule.decay_input:
            torch.sub(x_t.to(v.dtype), above, out=drive)
            torch.add(v, drive.mul_(alpha), out=h_t)
        else:
            torch.mul(above, alpha, out=drive)
            torch.sub(v, drive, out=h_t).add_(x_t)
        fires = h_t >= rule.v_threshold
        s_t.copy_(fires)
        v = h_t - s_t * rule.v_threshold if rule.v_reset is None else torch.where(fires, at_rest, h_t)
    return v


def _backward(
    x: Tensor,
    h: Tensor,
    s: Tensor,
    v0: Tensor,
    alpha: Tensor,
    gs: Tensor,
    gv: Tensor,
    rule: Rule,
    gx: Tensor,
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """Backward over T steps of N neurons, [T, N]: fills gx, returns the gradients [N] of v0 and, where it learns, of alpha."""
    r, hard = rule.v_reset or 0.0, rule.v_reset is not None
    galpha = torch.zeros_like(v0) if learns else None
    stays = 1 - s[-1] if hard else s[-1]  # 1 where the membrane was not reset
    for t in range(len(h) - 1, -1, -1):
        slope = slope_(rule.surrogate, h[t] - rule.v_threshold)
        gh = gs[t] * slope
        if not rule.detach_reset:
            gh.add_(slope.mul_(gv).mul_(r - h[t] if hard else -rule.v_threshold))
        gh = gh.addcmul_(gv, stays) if hard else gh.add_(gv)
        if t and hard:
            stays = 1 - s[t - 1]
        if not rule.leaks:
            gv = gh
            gx[t] = gh
            continue
        if galpha is not None:
            if t == 0:
                before = v0
            else:
                before = h[t - 1] * stays if hard else h[t - 1] - s[t - 1] * rule.v_threshold
                if r:
                    before.add_(s[t - 1], alpha=r)
            above = before - r if r else before
            if rule.decay_input:
                galpha.addcmul_(gh, x[t] - above)
            else:
                galpha.addcmul_(gh, above, value=-1)
        leaked = gh * alpha
        gv = gh - leaked
        gx[t] = leaked if rule.decay_input else gh
    return gv, galpha


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The T steps as one kernel each way; for any number of neurons, so that another layer is not compiled again."""
    return torch.compile(function, dynamic=True)


def _rows(x: Tensor) -> Tensor:
    """[T, N] whose steps each lie together in memory; the steps may be one and the same (a static image)."""
    return x if x.stride(1) == 1 else x.contiguous()


def _blocks(v: Tensor, rule: Rule) -> list[slice]:
    """Parts of the neurons [N]: on a CPU so few that a step's tensors stay in the cache from one operation to the next,
    and over all T. Compiled code keeps values in registers and takes all neurons at once."""
    whole = rule.compiled or v.device.type != "cpu"
    size = max(len(v), 1) if whole else BLOCK * torch.get_num_threads()
    return [slice(start, start + size) for start in range(0, len(v), size)]


def _flat(alpha: Tensor, v: Tensor) -> Tensor:
    """alpha for each neuron of v, flat; one number stays one."""
    return alpha if alpha.dim() == 0 else alpha.expand(v.shape).flatten()
