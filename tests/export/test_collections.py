"""A few of the attacks and of the right forms. All: python -m tests.export.attacks, python -m tests.export.right_forms."""

from __future__ import annotations

import pytest

from tests.export.attacks.harness import both
from tests.export.attacks.kind import everything
from tests.export.right_forms.__main__ import try_form
from tests.export.right_forms.collection import FORMS

KINDS = {kind.name: kind for kind in everything()}
SAMPLE = ("set-order", "threshold-tie")
LARGE = ("folds-at-eval", "context-variable", "counted-resets", "chunked-large-batch", "flush-set-by-module")


@pytest.mark.parametrize("name", [*SAMPLE, *(pytest.param(name, marks=pytest.mark.large) for name in LARGE)])
def test_an_attack_is_found_and_its_twin_goes_in(name: str) -> None:
    row = both(KINDS[name])
    assert row["attack"]["outcome"] in ("refused", "named", "equal"), row["attack"]["line"]
    assert row["twin"]["outcome"] == "equal", row["twin"]["line"]


@pytest.mark.parametrize("name", ["top-winners", pytest.param("rolled-delay", marks=pytest.mark.large)])
def test_a_right_form_goes_in(name: str) -> None:
    verdict = try_form(FORMS[name])
    assert verdict.result == "in", verdict.line
