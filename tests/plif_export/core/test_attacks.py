"""Changed artifacts and modules that turn, drawn by somebody who did not read the checks (attacks/): none passes falsely."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plif_export.core.attacks.artifacts import Attack, Subject, all_attacks
from tests.plif_export.core.attacks.modules import Module, all_modules, try_module


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return Subject.of(tmp_path_factory.mktemp("attacks") / "small")


@pytest.mark.one_in(90)
@pytest.mark.parametrize("attack", [pytest.param(one, id=one.name) for one in all_attacks()])
def test_a_changed_artifact_is_refused_or_what_changed_is_named(subject: Subject, attack: Attack) -> None:
    found = subject.try_one(attack)
    if found.verdict == "not run":
        pytest.skip(found.message)
    assert found.verdict == "right", found


@pytest.mark.one_in(90)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("module", [pytest.param(one, id=one.name) for one in all_modules()])
def test_a_module_that_turns_is_refused_and_one_that_does_not_is_exported(tmp_path: Path, module: Module) -> None:
    found = try_module(module, tmp_path)
    assert found.verdict == "right", found
