"""McNemar's test."""

from __future__ import annotations

import pytest

from runtime.observers.paired_networks.paired import compare_decisions, mcnemar_p_value


def test_mcnemar_is_a_coin() -> None:
    assert (
        mcnemar_p_value(0, 0) == 1
        and mcnemar_p_value(1, 0) == 1
        and mcnemar_p_value(0, 5) == 2 / 32
        and mcnemar_p_value(5, 5) == 1
    )
    assert mcnemar_p_value(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096) and mcnemar_p_value(600, 600) == 1
    assert 0 <= mcnemar_p_value(400, 900) < 1e-40
    found = compare_decisions([(0, 0, 1), (0, 1, 0), (0, 1, 2), (None, 0, 1), (1, 1, 1)])
    assert (found.samples, found.changed, found.only_first, found.only_second) == (4, 3, 1, 1)
