"""Every kind of mutation is caught, or there is a reason why it cannot be; and docs/numerics.md says so of each."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from plif_export.core.writers import FORMS
from runtime.native import is_built
from tests.plif_export.core.mutated_networks import NETWORKS, WHOLE
from tests.plif_export.core.mutations import MUTATIONS, REASONS, WAYS, Trial, trials

DOCS = Path(__file__).parents[3] / "docs"


def unexplained(found: list[Trial]) -> list[Trial]:
    return [one for one in found if one.became == "missed" and one.reason is None]


def runs(way: str) -> bool:
    """Whether this machine has what that way needs."""
    if way == "event":
        return is_built()
    if way in FORMS:
        return True
    return bool(pytest.importorskip(way, reason=f"{way} is not installed"))


@pytest.mark.parametrize("place", range(len(MUTATIONS)), ids=MUTATIONS.__getitem__)
def test_a_sample_of_every_mutation_is_caught(place: int, tmp_path: Path) -> None:
    """One mutant of each, in another network and another way each time."""
    networks = [name for name in NETWORKS if name.startswith(WHOLE)]
    turned = itertools.chain(networks[place % len(networks) :], networks, ("averaged", "joined", "ordinary"))
    ways = itertools.chain(WAYS[place % len(WAYS) :], WAYS)
    for network, way in itertools.product(turned, list(ways)):
        if runs(way) and (found := list(trials(network, way, MUTATIONS[place : place + 1], 1, tmp_path))):
            assert unexplained(found) == []
            return
    raise AssertionError("there is no place for it in any network")


@pytest.mark.large
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("network", NETWORKS)
def test_every_mutation_is_caught_in_every_network(network: str, way: str, tmp_path: Path) -> None:
    if runs(way):
        assert unexplained(list(trials(network, way, MUTATIONS, 4, tmp_path))) == []


def test_the_page_has_every_mutation_and_a_reason_for_each_that_is_missed() -> None:
    text = (DOCS / "numerics.md").read_text()
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert [name for name in MUTATIONS if name not in rows] == [], "run docs/mutations.py"
    assert "no reason is known" not in text
    assert all(reason in text for reason in REASONS.values())
