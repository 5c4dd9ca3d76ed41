"""As in tests/export: the same weights every time, and shorter proofs."""

from tests.export.conftest import _same_weights, _shorter_proofs  # noqa: F401
