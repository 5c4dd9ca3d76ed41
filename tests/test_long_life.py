"""What keeps the project usable for years: licences that users may have, and lower bounds that are tested."""

from __future__ import annotations

import re

from tests.licences import table
from tests.oldest import lower_bounds


def test_nothing_that_users_must_install_is_under_the_gpl() -> None:
    licences = table()
    assert {"numpy", "click", "rich", "torch", "onnx", "onnxruntime"} <= set(licences)
    assert [name for name, licence in licences.items() if re.search("GPL|GNU|not stated", licence)] == []


def test_every_requirement_of_the_runtime_and_the_exporter_has_a_lower_bound_that_is_tested() -> None:
    bounds = lower_bounds("cpu", "export")
    assert set(bounds) == {"numpy", "click", "rich", "onnxruntime", "torch", "onnx", "matplotlib"}
