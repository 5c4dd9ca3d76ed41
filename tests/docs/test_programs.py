"""The Python programs in the docs are Python, and import from plif what is there."""

from __future__ import annotations

import ast
import importlib
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from tests.docs.commands import FENCE, PAGES

OURS = ("plif", "runtime", "plif_export", "plif_train")


def programs(page: Path) -> list[str]:
    return [body for language, body in FENCE.findall(page.read_text()) if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if programs(page)], ids=lambda page: page.name)
def test_a_program_parses_and_what_it_takes_from_plif_exists(page: Path) -> None:
    for program in programs(page):
        tree = ast.parse(program, page.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
                module = importlib.import_module(node.module)
                for name in node.names:
                    if not hasattr(module, name.name):
                        importlib.import_module(f"{node.module}.{name.name}")
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in OURS:
                module = importlib.import_module(node.value.id)
                with suppress(PlifError):  # of a part that was removed
                    if not hasattr(module, node.attr):
                        importlib.import_module(f"{node.value.id}.{node.attr}")
