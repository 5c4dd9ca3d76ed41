"""A package outside of the tree adds a target: that of docs/own-parts.md, as it stands there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from runtime.core.base.errors import PlifError
from tests.networks import firing
from tests.runtime.core.test_own_parts import installed  # noqa: F401


def test_a_target_of_another_package_writes_what_was_proved(installed: Path) -> None:  # noqa: F811
    done = export(firing(), installed / "m.npz", to="weights")
    assert done.passed and done.not_run == "NumPy runs no network"
    assert {name.rpartition(".")[2] for name in np.load(done.path)} >= {"weight", "bias"}


def test_without_the_package_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"--to weights: this version writes onnx, "):
        export(firing(), tmp_path / "m.npz", to="weights")
