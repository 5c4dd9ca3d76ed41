"""Operations that the recorder refuses: those of which an exported file could not do the same.

random numbers     a file has no generator
sizes from values  a file's sizes are fixed
narrow integers    they wrap around, and a file computes in float32
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.tracing.nodes import (
    FILL_OPS,
    IDENTITY_OPS,
    PERMUTE_OPS,
    RESHAPE_OPS,
    Argument,
    Overload,
    Result,
    any_dynamic,
    as_outputs,
    dynamic_dtypes,
    op_name,
)
from plif_export.readers.unseen_state.looks import find_source_line

RANDOM_ADVICE = "encode outside, and give it the encoded steps"
NARROW_INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32}
# Operations that wrap around in narrow integers.
WRAPPING_OPS = {"add", "sub", "rsub", "mul", "neg", "pow", "square", "mm", "bmm", "addmm", "addmv", "addcmul", "addbmm"}
# Operations that only select or move numbers, so that an integer type cannot overflow.
SELECTING_OPS = RESHAPE_OPS | IDENTITY_OPS | PERMUTE_OPS
SELECTING_OPS |= {"select", "slice", "split", "unbind", "cat", "stack", "expand", "where"}
SELECTING_OPS |= {"index", "gather", "minimum", "maximum", "amax", "amin", "bitwise_and", "bitwise_or"}


def refuse_random_numbers(func: Overload, args: Sequence[Argument], kwargs: Mapping[str, Argument]) -> None:
    """Refuse an operation that draws random numbers; one with a dropout of probability 0 draws none."""
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return
    arguments = func._schema.arguments
    given = {a.name: v for a, v in zip(arguments, args, strict=False)} | dict(kwargs)
    if not any(a.name == "dropout_p" and not given.get(a.name, a.default_value) for a in arguments):
        raise Unsupported(f"it draws random numbers ({op_name(func)}) in forward", RANDOM_ADVICE)


def refuse_sizes_from_values(func: Overload, a: Sequence[Argument]) -> None:
    """Refuse an operation whose output has a size that depends on values which follow from the input."""
    name = op_name(func)
    masks = a[1:] if name == "index" else a
    sized = torch.Tag.dynamic_output_shape in func.tags and (name != "index" or dynamic_dtypes(masks) == {torch.bool})
    if sized and any_dynamic(masks) and not (name == "one_hot" and a[1] != -1):
        rule = f"the size of what {name}() makes depends on values ({find_source_line()})"
        raise Unsupported(rule, "give it num_classes" if name == "one_hot" else "use torch.where")


def refuse_narrow_integers(func: Overload, a: Sequence[Argument], out: Result) -> None:
    """Refuse an operation that computes in integers of less than 64 bits."""
    name = op_name(func)
    narrow = next((o.dtype for o in as_outputs(out) if isinstance(o, Tensor) and o.dtype in NARROW_INTEGERS), None)
    exact = {torch.bool, narrow} if name in SELECTING_OPS else {torch.bool} if "copy" in name else set()
    if narrow is not None and not dynamic_dtypes(a) <= exact and name not in FILL_OPS:
        raise Unsupported(f"it computes in {narrow} ({name}, {find_source_line()}), which wraps", "keep it float")


class NarrowIntegerLog(TorchDispatchMode):
    """A log of the first operation that computes in narrow integers, in a run on frames of uint8."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.first = ""

    def __torch_dispatch__(
        self, func: Overload, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> object:
        out: object = func(*args, **(kwargs or {}))
        name = op_name(func)
        made, given = ({t.dtype for t in tree_leaves(v) if isinstance(t, Tensor)} for v in (out, [args, kwargs]))
        narrow = made & given & NARROW_INTEGERS
        if not self.first and narrow and name.rstrip("_") in WRAPPING_OPS:
            self.first = f"it computes in {min(map(str, narrow))} ({name}, {find_source_line()})"
        return out
