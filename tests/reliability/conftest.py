"""Fixtures of the tests of reliability."""

from __future__ import annotations

import pytest

from tests.reliability.opened import Artifacts


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return Artifacts(tmp_path_factory.mktemp("reliability"))
