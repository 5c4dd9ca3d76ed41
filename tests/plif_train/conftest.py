"""As in tests/train: `plif train` in a folder of a test's own."""

from tests.train.conftest import *  # noqa: F403
