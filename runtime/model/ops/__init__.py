"""The operations of the graph, each told once: operation.py says what that is, the other files tell them by family.

To add one, write it into its family's file, or into a file of its own that is imported here.
"""

from runtime.model.ops import convolution, elementwise, pool, product, reduce, resize, shape, state, vote
from runtime.model.ops.operation import OPERATIONS, Operation, register, spatial

FAMILIES = (
    convolution,
    elementwise,
    pool,
    product,
    reduce,
    resize,
    shape,
    state,
    vote,
)  # which register their operations

__all__ = ["FAMILIES", "OPERATIONS", "Operation", "register", "spatial"]
