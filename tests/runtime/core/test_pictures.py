"""The picture of a stream says the answer, and only where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.core.stream.decide import Decision

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("index", [0, None])
def test_a_class_is_named_only_where_it_is_the_answer(index: int | None, tmp_path: Path) -> None:
    from plif_export.commands.demo.pictures import draw_stream

    frames, votes = [np.zeros((2, 8, 8), np.float32)] * 3, [0.0 if index is None else 4.0, 0.0]
    decisions = [Decision(1000 * i, i, None, index, 0.0, votes, 0.1) for i in range(3)]
    drawn = [
        draw_stream(frames, decisions, {"conv1": [0.1, 0.2, 0.0]}, [name, "other"], tmp_path / f"{name}.png")
        for name in ("clapping", "waving")
    ]
    assert (drawn[0].read_bytes() == drawn[1].read_bytes()) == (index is None)
