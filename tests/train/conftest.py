"""One thread: these networks are small, and on a busy machine waiting for a second thread costs more than it brings."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _subnormal_numbers_are_kept() -> None:
    """An engine that ran earlier in this process may have told the processor to flush them; training does not."""
    torch.set_flush_denormal(False)
