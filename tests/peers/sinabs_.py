"""sinabs 3.1: its neurons, which take all steps at once, [B, T, ...] or [B * T, ...], between two linear layers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import sinabs.activation as activation
import sinabs.layers as sl
from torch import nn

from tests.peers import Maker, Peer, counts, strong

ONE = {"spike_fn": activation.SingleSpike}


def _between(part: Callable[[], nn.Module]) -> Maker:
    def make() -> Peer:
        net = nn.Sequential(strong(nn.Linear(10, 16), 12.0), part(), strong(nn.Linear(16, 5), 8.0), sl.IAF(**ONE))
        return Peer(net.eval(), counts(2, 8, 10), 1)

    return make


def _recurrent(cls: Callable[..., nn.Module], **options: object) -> Maker:
    return _between(lambda: cls(rec_connect=nn.Linear(16, 16, bias=False), **options, **ONE))


def _squeezed() -> Peer:
    """Batch and time in one axis, as sinabs.from_torch.from_model has them: two streams of eight steps."""
    parts = (strong(nn.Linear(10, 16), 12.0), strong(nn.Linear(16, 5), 8.0))
    net = nn.Sequential(*(each for part in parts for each in (part, sl.IAFSqueeze(batch_size=2))))
    return Peer(net.eval(), counts(16, 10))


MAKERS: dict[str, Maker] = {
    "IAF-single-spike": _between(partial(sl.IAF, **ONE)),
    "IAF-multi-spike": _between(sl.IAF),
    "IAFSqueeze": _squeezed,
    "LIF-single-spike": _between(partial(sl.LIF, 5.0, **ONE)),
    "LIF-multi-spike": _between(partial(sl.LIF, 5.0)),
    "LIF-lower-bound": _between(partial(sl.LIF, 5.0, min_v_mem=-1.0, **ONE)),
    "ALIF": _between(partial(sl.ALIF, 5.0, 5.0, **ONE)),
    "ExpLeak": _between(partial(sl.ExpLeak, 5.0)),
    "IAFRecurrent": _recurrent(sl.IAFRecurrent),
    "LIFRecurrent": _recurrent(sl.LIFRecurrent, tau_mem=5.0),
    "ALIFRecurrent": _recurrent(sl.ALIFRecurrent, tau_mem=5.0, tau_adapt=5.0),
}
