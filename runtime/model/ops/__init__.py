"""The operations of the graph, each told once: operation.py says what that is, the other files tell them by family.

To add one, write it into its family's file, or into a file of its own that is imported here.
"""

# Each registers its operations.
from runtime.model.ops import convolution, elementwise, pool, product, reduce, resize, shape, state  # noqa: F401
from runtime.model.ops.operation import OPERATIONS, Operation, register, spatial

__all__ = ["OPERATIONS", "Operation", "register", "spatial"]
