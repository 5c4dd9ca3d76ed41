"""docs/other-libraries.md and the pages behind it: their Python runs as it stands, and every layer that is supported is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plif_export.readers.libraries import layers
from plif_export.readers.libraries import neurons as neuron_modules
from plif_export.readers.module import lower
from plif_export.readers.step_program import elementwise
from runtime.core.model import neurons

DOCS = Path(__file__).parents[3] / "docs"
NAMES = ("other-libraries", "reading-modules", "own-neurons")
TEXTS = {name: (DOCS / f"{name}.md").read_text() for name in NAMES}
BLOCKS = [
    pytest.param(body, said, id=f"{name}-{i}")
    for name, text in TEXTS.items()
    for i, (body, said) in enumerate(re.findall(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", text, re.DOTALL))
]


@pytest.mark.parametrize(("block", "said"), BLOCKS)
def test_the_examples_run_and_print_what_the_page_says(
    block: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    registries: tuple[dict[str, object], ...] = (neurons.EQUATIONS.entries, neuron_modules.NEURONS, layers.LAYERS)  # type: ignore[assignment]
    before = [dict(registry) for registry in registries]
    try:
        exec(compile(block, str(DOCS), "exec"), {"__name__": "example"})
        assert not said or capsys.readouterr().out == said
    finally:
        for registry, content in zip(registries, before, strict=True):
            registry.clear()
            registry.update(content)


def test_every_supported_operation_and_neuron_is_named() -> None:
    text = TEXTS["reading-modules"]
    inner = ("part", "split_with_sizes")  # parts of others
    known = {name for name in (*lower.LOWER, *elementwise.TABLE) if name[0] != "_" and "indices" not in name}
    operations = known.difference(inner)
    names = {name.rpartition(".")[2] for name in neuron_modules.NEURONS} | operations
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
