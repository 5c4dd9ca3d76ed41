"""docs/other-libraries.md: its Python runs as it stands, and it names every layer that is supported."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plif_export.readers.libraries import layers
from plif_export.readers.libraries import neurons as neuron_modules
from plif_export.readers.module import elementwise, lower
from runtime.model import neurons

DOCS = Path(__file__).parent.parent.parent / "docs" / "other-libraries.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    registries: tuple[dict[str, object], ...] = (neurons.EQUATIONS, neuron_modules.NEURONS, layers.LAYERS)  # type: ignore[assignment]
    before = [dict(registry) for registry in registries]
    try:
        exec(compile(block, str(DOCS), "exec"), {"__name__": "example"})
    finally:
        for registry, content in zip(registries, before, strict=True):
            registry.clear()
            registry.update(content)


def test_every_supported_operation_and_neuron_is_named() -> None:
    text = DOCS.read_text()
    inner = ("part", "split_with_sizes")  # parts of others
    known = {name for name in (*lower.LOWER, *elementwise.TABLE) if name[0] != "_" and "indices" not in name}
    operations = known.difference(inner)
    names = {name.rpartition(".")[2] for name in neuron_modules.NEURONS} | operations
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
