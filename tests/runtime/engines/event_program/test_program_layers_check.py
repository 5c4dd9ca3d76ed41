"""Operations without weights and states are checked in C: each check has a change here that only it refuses."""

from __future__ import annotations

import re

import pytest

from runtime import native
from tests.runtime.engines.event_program.test_program_check import Change, Made, both, field, program

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

UNSAFE: list[tuple[str, Change]] = [
    # pools
    ("SPIKE_POOL.*reads spikes at .* where no operation", field("SPIKE_POOL", in_=64)),
    ("SPIKE_POOL.*kernel 2, stride 65536, padding 0", field("SPIKE_POOL", stride=1 << 16)),
    ("SPIKE_POOL.*padding 1 and dilation 1 make no 6 of 12", field("SPIKE_POOL", pad=1)),
    ("SPIKE_POOL.*from 40 channels to 41", field("SPIKE_POOL", oc=41)),
    ("SPIKE_POOL.*writes spikes", field("SPIKE_POOL", out=0)),
    ("SPIKE_POOL.*has 7 pieces of work", field("SPIKE_POOL", items=7)),
    ("SPIKE_POOL.*reads a value of kind 1", field("SPIKE_POOL", from_=native.FROM_FLOATS)),
    ("AVG_POOL.*reads a value of kind 2; expected kind 1", field("AVG_POOL", from_=native.FROM_SPIKES)),
    ("AVG_POOL.*make no", field("AVG_POOL", kh=3, kw=3)),
    ("MAX_POOL.*reads a value of kind 2; expected kind 1", field("MAX_POOL", from_=native.FROM_SPIKES)),
    ("MAX_POOL.*writes numbers", field("MAX_POOL", out=0)),
    # the rest
    ("UNPACK.*reads a value of kind 1; expected kind 2", field("UNPACK", from_=native.FROM_FLOATS)),
    ("UNPACK.*writes numbers", field("UNPACK", out=0)),
    ("ADD.*reads a value of kind 2; expected kind 1", field("ADD", from_=native.FROM_SPIKES)),
    ("ADD.*reads numbers at 64, where", field("ADD", in_=64)),
    ("ADD.*reads numbers at 64, where", field("ADD", in2=64)),
    ("FLATTEN.*reads a value of kind 0; expected kind 1", field("FLATTEN", from_=native.FROM_X)),
    ("FLATTEN.*\\[40, 4, 4\\] to \\[639, 1, 1\\]", field("FLATTEN", oc=639)),
    ("FLATTEN.*\\[40, 4, 4\\] to \\[640, 2, 1\\]", field("FLATTEN", oh=2)),
    ("FLATTEN.*\\[40, 4, 4\\] to \\[640, 1, 2\\]", field("FLATTEN", ow=2)),
    ("FLATTEN.*writes numbers", field("FLATTEN", out=0)),
    ("FLATTEN.*has 2 pieces of work; expected 1", field("FLATTEN", items=2)),
    ("VOTE.*0 voters", field("VOTE", voters=0)),
    ("VOTE.*16777217 voters", field("VOTE", voters=(1 << 24) + 1)),
    ("VOTE.*expected 9 channels of one pixel", field("VOTE", voters=3)),
    ("VOTE.*reads x", field("VOTE", from_=native.FROM_X)),
    ("VOTE.*gives \\[3, 2, 1\\]; expected", field("VOTE", oh=2)),
    ("VOTE.*gives \\[3, 1, 2\\]; expected", field("VOTE", ow=2)),
    ("VOTE.*reads \\[6, 2, 1\\]", field("VOTE", ih=2)),
    ("VOTE.*reads \\[6, 1, 2\\]", field("VOTE", iw=2)),
    ("VOTE.*reads spikes at 64, where", field("VOTE", in_=64)),
    ("VOTE.*writes 3 numbers to y, which has 2", both(field("VOTE", out=-1), program(y_floats=2))),
    ("VOTE.*writes numbers", field("VOTE", out=0)),
    ("VOTE.*has 2 pieces of work; expected 1", field("VOTE", items=2)),
    ("OUTPUT.*writes 3 numbers to y, which has 2", program(y_floats=2)),
    ("OUTPUT.*writes to the arena", field("OUTPUT", out=64)),
    ("OUTPUT.*expected 2 channels", field("OUTPUT", oc=2)),
    ("RATE.*reads numbers at", field("RATE", from_=native.FROM_FLOATS)),
    ("RATE.*reads x", field("RATE", from_=native.FROM_X)),
    ("RATE.*state 4 of 4", field("RATE", state=4)),
    ("RATE.*has 2 pieces of work; expected 1", field("RATE", items=2)),
]


@pytest.mark.parametrize(("message", "change"), UNSAFE, ids=[m for m, _ in UNSAFE])
def test_a_layer_that_could_touch_other_memory_is_refused(message: str, change: Change) -> None:
    made = Made()
    change(made)
    refused = made.refusal()
    assert refused is not None and re.search(message, refused), refused
