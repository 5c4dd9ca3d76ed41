"""Weights are random in many of these tests; they are the same ones every time."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)
