"""Counts what keeps code from being read: filler for names, participles for classes, fragments for docstrings.

    python tests/words.py           the counts
    python tests/words.py -v        and each place

tests/test_house.py holds the counts, ruff (D205, D400, D401, D403, D404) the form of docstrings.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests import house

FILLER = frozenset(
    """found one at each made said where what other known whole how own given rest kept more which seen now others held
    here there both got took every everything still again result item stuff thing things told asked taken done gone wanted
    it that these those this all_of new_one""".split()  # noqa: SIM905
)  # words for how a value was come by, or for nothing: a name says what it holds
PARTICIPLE = re.compile(
    r"_*([A-Z]\w*(?<!e)ed|Made|Held|Said|Ran|Lost|Cut|Kept|Met|Found|Shown|Told|Sent|Given|Taken|Written|Drawn|Hidden|Seen|"
    r"Known|Again|Against)$"
)
PUBLIC = frozenset({"Exported", "Predicted"})  # names that scripts rely on
FRAGMENT = re.compile(
    r"(What|How|Which|Where|Whether|When|Whose|Who|As|Of|The same|Like|With|Without|In|On|For|From|By|Beside|Also|And|Or|But|"
    r"Not|Nothing|Else|So)\b"
)
ERRORS = ("Error", "Exception")


class Words(NamedTuple):
    """Counts of the product's Python files; each list holds `path:line name`."""

    bindings: int
    filler: list[str]
    participles: list[str]
    fragments: list[str]


def product_trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield path and syntax tree of each Python file of the product."""
    for path in house.product_files():
        if path.suffix == ".py":
            yield path.relative_to(house.ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def bound_name(node: ast.AST) -> str | None:
    """Return the name that a node binds to a value, if it binds one."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else None


def is_participle(node: ast.ClassDef) -> bool:
    """Return whether a class is named by a participle; errors may be, as Python's own are."""
    if any(word in ast.unparse(base) for base in node.bases for word in ERRORS):
        return False
    return bool(PARTICIPLE.match(node.name)) and node.name not in PUBLIC


def count_words() -> Words:
    """Count bindings, filler, participles and fragments in the product."""
    counts = Words(0, [], [], [])
    bindings = 0
    for path, tree in product_trees():
        for node in ast.walk(tree):
            place = f"{path}:{getattr(node, 'lineno', 1)}"
            name = bound_name(node)
            if name and name not in ("self", "cls", "_"):
                bindings += 1
                if name.strip("_") in FILLER:
                    counts.filler.append(f"{place} {name}")
            if isinstance(node, ast.ClassDef) and is_participle(node):
                counts.participles.append(f"{place} {node.name}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node)
                if text and FRAGMENT.match(text):
                    counts.fragments.append(f"{place} {text.splitlines()[0]}")
    return counts._replace(bindings=bindings)


def main() -> None:
    """Print the counts."""
    words = count_words()
    share = 100 * len(words.filler) / words.bindings
    print(f"bindings {words.bindings}, filler {len(words.filler)} ({share:.1f} %)")
    print(f"participle classes {len(words.participles)}, fragments {len(words.fragments)}")
    if "-v" in sys.argv:
        print("\n".join([*words.filler, *words.participles, *words.fragments]))


if __name__ == "__main__":
    main()
