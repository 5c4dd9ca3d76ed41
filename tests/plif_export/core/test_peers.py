"""Networks of docs/networks.txt: a sample is made, exported and proved in CI; behind `large`, all that were exported once."""

from __future__ import annotations

import json

import pytest

from tests.peers import listed
from tests.peers.table import BEGIN, PAGE, RECORD, exported, judged, table

SAMPLE = (
    "norse/LIFRefracCell", "snntorch/Synaptic", "snntorch/SLSTM", "spikingjelly/IzhikevichNode", "spikingjelly/STBIFNode",
    "spikingjelly/DSRIFNode", "nir/CubaLIF-recurrent", "snntorch/LinearLeaky", "snntorch/LeakyParallel",
)  # fmt: skip
ROWS = json.loads(RECORD.read_text())


@pytest.mark.one_in(3)
@pytest.mark.parametrize("network", SAMPLE)
def test_a_network_of_another_library_gives_its_own_spikes(network: str) -> None:
    library, name = network.split("/")
    pytest.importorskip(library)
    row = exported(library, name)
    assert row["refused"] is None and row["differ"] == 0 and row["free_running"] == 0 and row["neuron_steps"] > 200


def test_the_page_says_what_was_run() -> None:
    assert {f"{library}/{name}" for library, _, name in listed()} >= set(ROWS)
    assert table(ROWS) in PAGE.read_text().partition(BEGIN)[2]
    assert sum(row["differ"] for row in ROWS.values() if row["refused"] is None) == 0


@pytest.mark.large
@pytest.mark.parametrize("network", [network for network, row in ROWS.items() if row["refused"] is None])
def test_what_was_exported_once_is_exported_still(network: str) -> None:
    library, name = network.split("/")
    pytest.importorskip(library)
    row = judged(library, name)
    assert row["refused"] is None and row["differ"] == 0
