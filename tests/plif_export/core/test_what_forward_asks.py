"""What forward asks of the world, and what it keeps in odd places, is named: nothing of it passes as proved."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch

from plif_export.core.readers import read_model
from runtime.core.base.errors import PlifError
from tests.plif_export.core.attacks.modules import ATTACKS, IN, all_modules

all_modules()
SAID = {
    "EnvironmentVariable": r"what os\.environ says \(here line \d+ of surroundings\.py\)",
    "FileExists": r"what pathlib\..*exists says",
    "AfterAYear": r"what time\.time says",
    "ThreadName": r"what threading\.current_thread says",
    "Gradients": r"what torch\.is_grad_enabled says",
    "DefaultType": r"what torch\.get_default_dtype says",
    "WhoCalls": r"what inspect\.currentframe says",
    "WhoTraces": r"what torch\._C\._len_torch_dispatch_stack says",
    "GlobalSwitch": r"what sys says",
    "Warmed": r"what Warmed\.alive is, once more are made",
    "Embedding": r"values for which embedding\(\) raises \(bright line \d+ of values\.py\)",
    "ShapeGrows": r"after step 67 \(self\.log",
    "OffsetMoves": r"after step 67 \(self\.at\.shape\)",
}
REFUSED = {
    "OfAnotherModule": r"run alone.*, it does not do what was recorded",
    "EvenRows": r"row 0 of a batch of 10",
    "AttributeOfATensor": r"self\.weight\.uses .* counts",
    "ContextVariable": r"_CONTEXT .* counts",
    "ThreadLocal": r"_LOCAL\.n .* counts",
    "WeakDictionary": r"_WEAK\[.* counts",
    "WeightIsReplaced": r"len\(self\.later\) .* counts",
    "AllClose": r"looks at values of tensors \(allclose",
    "OneHot": r"looks at values of tensors \(assert_async",
    "Generator": r"cannot pickle 'generator'",
    "CopyIsAnother": r"a copy of it is another one",
}


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    ATTACKS[request.node.callspec.params["name"]].make.tidy()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", SAID)
def test_what_may_be_otherwise_elsewhere_is_said_with_its_line(name: str) -> None:
    said = read_model(_made(name), torch.zeros(1, IN)).not_proved
    assert any(re.match(SAID[name], text) for text in said), said


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", REFUSED)
def test_state_in_odd_places_and_values_that_decide_are_refused(name: str) -> None:
    with pytest.raises(PlifError, match=REFUSED[name]) as refused:
        read_model(_made(name), torch.zeros(1, IN))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["LockAndThread", "LogsEach100Steps", "EnvironmentAtTheBeginning", "ScriptedFunction"])
def test_what_is_harmless_is_not_said(name: str) -> None:
    said = read_model(_made(name), torch.zeros(1, IN)).not_proved
    assert said == read_model(_made("Plain"), torch.zeros(1, IN)).not_proved


def _made(name: str) -> torch.nn.Module:
    return ATTACKS[name].make().eval()
