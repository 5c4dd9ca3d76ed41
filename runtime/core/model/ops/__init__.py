"""The operations of the graph, each defined in one place.

operation.py defines the record of an operation; the other files define, by family, the operations of plif's own
networks. All other operations are parts: runtime/operations. To add one, write it into a folder there, with a part.py
that has its name.
"""

# Each module registers its operations.
from runtime.core.model.ops import convolution, elementwise, pool, shape, state  # noqa: F401
from runtime.core.model.ops.operation import OPERATIONS, Operation, expand_sizes, register

__all__ = ["OPERATIONS", "Operation", "expand_sizes", "register"]
