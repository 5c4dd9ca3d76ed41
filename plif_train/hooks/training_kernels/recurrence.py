"""Time-steps of a neuron layer as one differentiable function: training keeps one tensor a step instead of ten.

Forward is Neuron's, operation for operation, so its spikes are the same bit for bit:

    h_t = v_{t-1} + (x_t - (v_{t-1} - r)) alpha        decay_input       r = v_reset, 0 with soft reset
    h_t = v_{t-1} - (v_{t-1} - r) alpha + x_t          otherwise
    h_t = v_{t-1} + x_t                                IF
    s_t = h_t >= v_th
    v_t = r where s_t else h_t   (hard)                v_t = h_t - s_t v_th   (soft)

Backward goes from T to 1 (paper, eq. 8-17), with gs the gradient of the spikes and gv that of the membrane:

    g(h) = gs_t g'(h_t - v_th) + gv dv_t/dh_t          g' is the surrogate (plif_train.core.network.surrogate)
    dv_t/dh_t = 1 - s_t [+ (r - h_t) g']  (hard)       1 [- v_th g']  (soft)     [..] if the reset is not detached
    gx_t = alpha g(h) or g(h);   galpha += g(h) dh_t/dalpha;   gv = (1 - alpha) g(h) or g(h)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from plif_train.core.network.surrogate import surrogate_slope_
from plif_train.hooks.training_kernels import native

if TYPE_CHECKING:
    from plif_train.core.network.neuron import Neuron

BLOCK = 1 << 16  # neurons a thread: 256 KiB a tensor in float32


@dataclass(frozen=True)
class NeuronConstants:
    """The constants of a neuron layer that its computation over time needs: threshold, reset, leak, surrogate.

    leaks        False is IF
    surrogate    a name of plif_train.core.network.surrogate
    compiled     through torch.compile, even if native kernels exist
    """

    v_threshold: float
    v_reset: float | None
    leaks: bool
    decay_input: bool
    detach_reset: bool
    surrogate: str
    compiled: bool = False

    def native_layer(self, x: Tensor, v: Tensor, T: int, pools: bool) -> native.Layer | None:
        """Return the description of a neuron layer for the C kernels (train.c), without its tensors.

        It is None if the kernels do not support x [T or 1, ...] and v [...].
        """
        is_supported = not self.compiled and self.detach_reset and self.surrogate in native.SURROGATES
        if not is_supported or v.dtype != torch.float32 or not native.can_run(x, v):
            return None
        width = v.shape[-1] if pools else 0
        unit = 2 * width or 16
        block = min(native.BLOCK, native.LIMIT // T) // unit * unit
        if not block or (pools and (v.dim() != 4 or v.shape[-2] % 2 or width % 2)):
            return None
        charge = 0 if not self.leaks else 1 if self.decay_input else 2
        return native.Layer(
            T=T, N=v.numel(), block=block, width=width, once=len(x) < T,
            charge=charge, soft=self.v_reset is None, surrogate=native.SURROGATES.index(self.surrogate),
            half=x.dtype == torch.bfloat16, v_threshold=self.v_threshold, v_reset=self.v_reset or 0.0,
        )  # fmt: skip


def run_neuron(
    neuron: Neuron, x: Tensor, v: Tensor, alpha: Tensor | float, T: int, pools: bool
) -> tuple[Tensor, Tensor]:
    """Run the T steps of a neuron layer: current x [T or 1, ...], potential v -> (spikes [T, ...], last v).

    With `pools` the spikes come already max-pooled, if the kernels can.
    """
    factor = alpha if isinstance(alpha, Tensor) else v.new_tensor(alpha)
    constants = NeuronConstants(
        neuron.v_threshold, neuron.v_reset, neuron.kind != "IF", neuron.decay_input, neuron.detach_reset,
        neuron.surrogate, neuron.compiled,
    )  # fmt: skip
    layer = (pools and constants.native_layer(x, v, T, True)) or constants.native_layer(x, v, T, False)
    steps: tuple[Tensor, Tensor] = (
        NativeRecurrence.apply(x, v, factor, layer) if layer else Recurrence.apply(x, v, factor, constants, T)
    )
    return steps


class Recurrence(torch.autograd.Function):
    """The T steps of a neuron layer as an autograd function in PyTorch operations.

    (current x [T, ...], v [...], alpha broadcastable to v, constants, T) -> (spikes [T, ...] of x's type, v after the
    last step). v is float32 (or float64), x may be bfloat16. A current that is the same in all steps may be x [1,
    ...].
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, alpha: Tensor, constants: NeuronConstants, T: int
    ) -> tuple[Tensor, Tensor]:
        """Compute T steps of a neuron layer: current x [T or 1, ...], potential v -> (spikes [T, ...], last v)."""
        flat_x, flat_v, flat_alpha = x.flatten(1).expand(T, -1), v.flatten(), _flatten_alpha(alpha, v)
        h = torch.empty(flat_x.shape, dtype=v.dtype, device=v.device)
        s = torch.empty_like(h, dtype=x.dtype)  # 0 and 1 are exact in every type, and the next layer wants this one
        end = torch.empty_like(flat_v)
        run = _compile_steps(_run_forward) if constants.compiled else _run_forward
        for part in _split_neurons(flat_v, constants):
            end[part] = run(
                flat_x[:, part], flat_v[part], flat_alpha if alpha.dim() == 0 else flat_alpha[part], constants,
                h[:, part], s[:, part],
            )  # fmt: skip
        ctx.rule = constants
        ctx.save_for_backward(x, h, s, v, alpha)
        return s.view(T, *v.shape), end.view(v.shape)

    @staticmethod
    def backward(ctx: Any, gs: Tensor, gv: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        """Compute gradients of current x [T, B, ...], first potential v [B, ...] and alpha (1/tau) over T steps."""
        constants: NeuronConstants = ctx.rule
        x, h, s, v0, alpha = ctx.saved_tensors
        T = len(h)
        flat_x, flat_v, flat_alpha, flat_gs = (
            x.flatten(1).expand(T, -1),
            v0.flatten(),
            _flatten_alpha(alpha, v0),
            gs.flatten(1),
        )
        learns = constants.leaks and ctx.needs_input_grad[2]
        gx = torch.empty_like(h, dtype=x.dtype)
        end = gv.flatten().clone()  # the gradient of the last v; block by block it becomes that of the first v
        is_scalar = alpha.dim() == 0
        galpha = torch.zeros((), dtype=v0.dtype, device=v0.device) if is_scalar else torch.empty_like(end)
        run = _compile_steps(_run_backward) if constants.compiled else _run_backward
        for part in _split_neurons(flat_v, constants):
            end[part], part_galpha = run(
                flat_x[:, part], h[:, part], s[:, part], flat_v[part], flat_alpha if is_scalar else flat_alpha[part],
                flat_gs[:, part], end[part], constants, gx[:, part], learns,
            )  # fmt: skip
            if part_galpha is not None and is_scalar:
                galpha = galpha + part_galpha.sum()
            elif part_galpha is not None:
                galpha[part] = part_galpha
        summed = (galpha if is_scalar else galpha.view(v0.shape).sum_to_size(alpha.shape)) if learns else None
        gx = gx if len(x) == T else gx.sum(0)
        return gx.view(x.shape), end.view(v0.shape), summed, None, None


class NativeRecurrence(torch.autograd.Function):
    """The T steps of a neuron layer as an autograd function that calls the C kernels (train.c).

    `layer` is the result of NeuronConstants.native_layer. If it pools, the spikes come max-pooled: x [T or 1, B, C,
    H, W] -> spikes [T, B, C, H / 2, W / 2].
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, alpha: Tensor, layer: native.Layer) -> tuple[Tensor, Tensor]:
        """Compute T steps of a neuron layer in C: current x [T or 1, ...], potential v -> (spikes [T, ...], last v)."""
        x, v, flat_alpha = x.contiguous(), v.contiguous(), _flatten_alpha(alpha, v).float().contiguous()
        s, end = x.new_empty(_spike_shape(layer, v)), torch.empty_like(v)
        layer.each = flat_alpha.dim()
        layer.x, layer.v0, layer.alpha, layer.s, layer.v_end = map(native.tensor_address, (x, v, flat_alpha, s, end))
        native.run_kernel("plif_train_forward", layer, layer.N, layer.T * layer.N, layer.block)
        ctx.layer = layer
        ctx.save_for_backward(x, v, alpha)
        ctx.set_materialize_grads(False)
        return s, end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gs: Tensor | None, gv: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute gradients of current x [T, B, ...], first potential v [B, ...] and alpha (1/tau) by the C kernels."""
        layer = native.Layer.from_buffer_copy(ctx.layer)  # another thread may go back through the same layer
        x, v, alpha = ctx.saved_tensors
        flat_alpha = _flatten_alpha(alpha, v).float().contiguous()
        gs = x.new_zeros(_spike_shape(layer, v)) if gs is None else gs.contiguous()
        gv = None if gv is None else gv.contiguous()
        gx, gv0 = torch.empty_like(x), torch.empty_like(v) if ctx.needs_input_grad[1] else None
        galpha = v.new_empty(layer.N if layer.each else -(-layer.N // layer.block))
        layer.x, layer.v0, layer.alpha, layer.gs, layer.gv_end = map(native.tensor_address, (x, v, flat_alpha, gs, gv))
        layer.gx, layer.gv0, layer.galpha = map(native.tensor_address, (gx, gv0, galpha))
        native.run_kernel("plif_train_backward", layer, layer.N, layer.T * layer.N, layer.block)
        summed = galpha.view(v.shape).sum_to_size(alpha.shape) if layer.each else galpha.sum()
        return gx, gv0, summed if ctx.needs_input_grad[2] else None, None


def _spike_shape(layer: native.Layer, v: Tensor) -> tuple[int, ...]:
    """Return the shape of the spikes [T, ...] of a neuron layer with the potentials v [...]."""
    if not layer.width:
        return (layer.T, *v.shape)
    return (layer.T, *v.shape[:-2], v.shape[-2] // 2, v.shape[-1] // 2)


def _run_forward(x: Tensor, v: Tensor, alpha: Tensor, constants: NeuronConstants, h: Tensor, s: Tensor) -> Tensor:
    """Compute T steps of N neurons in PyTorch: fill h (potentials) and s (spikes), [T, N]; return the last v [N]."""
    r, drive = constants.v_reset or 0.0, torch.empty_like(v)
    at_rest = v.new_tensor(r)
    for h_t, s_t, x_t in zip(h, s, x, strict=True):
        above = v - r if r else v
        if not constants.leaks:
            torch.add(v, x_t, out=h_t)
        elif constants.decay_input:
            torch.sub(x_t.to(v.dtype), above, out=drive)
            torch.add(v, drive.mul_(alpha), out=h_t)
        else:
            torch.mul(above, alpha, out=drive)
            torch.sub(v, drive, out=h_t).add_(x_t)
        fires = h_t >= constants.v_threshold
        s_t.copy_(fires)
        # in v's type: bfloat16 would round the threshold
        v = (
            h_t - fires.to(v.dtype) * constants.v_threshold
            if constants.v_reset is None
            else torch.where(fires, at_rest, h_t)
        )
    return v


def _run_backward(
    x: Tensor,
    h: Tensor,
    s: Tensor,
    v0: Tensor,
    alpha: Tensor,
    gs: Tensor,
    gv: Tensor,
    constants: NeuronConstants,
    gx: Tensor,
    learns: bool,
) -> tuple[Tensor, Tensor | None]:
    """Compute gradients of T steps of N neurons, [T, N]: fill gx, return those of v0 and of alpha (1/tau).

    The gradient of alpha is None unless `learns`.
    """
    r, hard = constants.v_reset or 0.0, constants.v_reset is not None
    galpha = torch.zeros_like(v0) if learns else None
    stays = 1 - s[-1] if hard else s[-1]  # 1 where the membrane was not reset
    for t in range(len(h) - 1, -1, -1):
        slope = surrogate_slope_(constants.surrogate, h[t] - constants.v_threshold)
        gh = gs[t] * slope
        if not constants.detach_reset:
            gh.add_(slope.mul_(gv).mul_(r - h[t] if hard else -constants.v_threshold))
        gh = gh.addcmul_(gv, stays) if hard else gh.add_(gv)
        if t and hard:
            stays = 1 - s[t - 1]
        if not constants.leaks:
            gv = gh
            gx[t] = gh
            continue
        if galpha is not None:
            if t == 0:
                before = v0
            else:
                before = h[t - 1] * stays if hard else h[t - 1] - s[t - 1].to(h.dtype) * constants.v_threshold
                if r:
                    before.add_(s[t - 1], alpha=r)
            above = before - r if r else before
            if constants.decay_input:
                galpha.addcmul_(gh, x[t] - above)
            else:
                galpha.addcmul_(gh, above, value=-1)
        leaked = gh * alpha
        gv = gh - leaked
        gx[t] = leaked if constants.decay_input else gh
    return gv, galpha


@cache
def _compile_steps(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the T steps of neurons into one kernel with torch.compile, for any number of neurons.

    So a layer of another size is not compiled again.
    """
    return torch.compile(function, dynamic=True)


def _split_neurons(v: Tensor, constants: NeuronConstants) -> list[slice]:
    """Split the neurons [N] of a layer into slices that fit the CPU cache.

    On a CPU the tensors of a step then stay in the cache from one operation to the next, and over all T. Compiled
    code keeps values in registers and takes all neurons at once.
    """
    is_single = constants.compiled or v.device.type != "cpu"
    size = max(len(v), 1) if is_single else BLOCK * torch.get_num_threads()
    return [slice(start, start + size) for start in range(0, len(v), size)]


def _flatten_alpha(alpha: Tensor, v: Tensor) -> Tensor:
    """Flatten alpha (1/tau) to one value for each neuron of v [...]; a single number stays single."""
    return alpha if alpha.dim() == 0 else alpha.expand(v.shape).flatten()
