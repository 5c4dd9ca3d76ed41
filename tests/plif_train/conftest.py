"""As in tests/train: one thread, and the command in this process."""

from tests.train.conftest import _subnormal_numbers_are_kept, plif  # noqa: F401
