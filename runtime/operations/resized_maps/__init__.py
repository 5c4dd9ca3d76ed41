"""Maps of other sizes."""

# Each registers its operations.
from runtime.operations.resized_maps import pooling, resize, transposed  # noqa: F401
