"""The operations of the graph, each told once: operation.py says what that is, the other files tell those that plif's own
networks are made of, by family. All others are parts: runtime/operations.

To add one, write it into a folder there, with a part.py that has its name.
"""

# Each registers its operations.
from runtime.core.model.ops import convolution, elementwise, pool, shape, state  # noqa: F401
from runtime.core.model.ops.operation import OPERATIONS, Operation, register, spatial

__all__ = ["OPERATIONS", "Operation", "register", "spatial"]
