"""Weights are random in many of these tests; they are the same ones every time. Proofs are shorter than an export's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from plif_export.core import prove

STEPS = (
    10  # of a proof that is not told its inputs: what 20 show of these small networks, 10 do; make test-all has all 20
)


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _shorter_proofs(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if "not large" in request.config.getoption("markexpr"):
            patch.setattr(prove, "PARITY_STEPS", STEPS)
        yield
