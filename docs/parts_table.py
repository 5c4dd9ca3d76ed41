"""Makes docs/parts.md and the table of formats in docs/events.md, from what each part.py says.

    python docs/parts_table.py        writes both

A part that was removed may still stand in them, and pages may still link to its page: docs/site.py then leaves the link out, and
the tests pass. The next run of this script forgets it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))

from runtime.core.parts import FILE, PACKAGES, Part, find_parts, read_part  # noqa: E402

ROW = re.compile(r"^\| `(\w+/\w+/\w+)` \| .* \| (?:\[\S+\]\((\S+)\) )?\|$", re.MULTILINE)
PRINTED = re.compile(rb"[ -~]+")
FORMATS = re.compile(r"(?<=<!-- from part.py -->\n).*?(?=\n\n)", re.DOTALL)


def parts() -> dict[str, Part]:
    """Return {folder: the literals of its part.py}."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).glob(f"*/*/{FILE}"))]
    return {file.parent.relative_to(ROOT).as_posix(): read_part(file, "") for file in files}


def page() -> str:
    """Return docs/parts.md."""
    lines = [
        "# All parts",
        "",
        "Read this if you want to remove a capability, or find its code: `git rm -r` of a folder, and of the parts that",
        "need it, removes it. Each part keeps to a [contract](contracts/format.md); `python tests/parts.py` shows what",
        "needs it. `python docs/parts_table.py` writes this page.",
        "",
        "| part | what it is | page |",
        "|---|---|---|",
        *(f"| `{folder}` | {part.about} | {_link(part)} |".replace("|  |", "| |") for folder, part in parts().items()),
    ]
    return "\n".join(lines) + "\n"


def _link(part: Part) -> str:
    name = part.page.removeprefix("docs/")
    return f"[{name}]({name})" if name else ""


def formats() -> str:
    """Return the table of docs/events.md."""
    found = [part for part in find_parts("formats").values() if part.names != ()]
    return "\n".join(
        [
            "| format | found by |",
            "|---|---|",
            *(f"| {part.about.removesuffix('.')} | {', '.join(_marks(part))} |" for part in found),
            "| N-MNIST .bin, 5 bytes an event | none of the above, and times that do not step back |",
        ]
    )


def _marks(part: Part) -> Iterator[str]:
    for word in dict.fromkeys(max(PRINTED.findall(magic), key=len) for magic in part.magic):
        yield f"`{word.decode().strip()}`"
    if part.last:
        yield "what follows" if part.magic else "what it holds"
    if part.extra:
        yield f"extra `{part.extra}`"


def pages_of_removed_parts() -> set[str]:
    """Pages that docs/parts.md knows, of parts that are no more: "cluster.md"."""
    said = ROW.findall((DOCS / "parts.md").read_text(encoding="utf-8"))
    return {link for folder, link in said if link and not (ROOT / folder).exists() and not (DOCS / link).exists()}


def main() -> None:
    (DOCS / "parts.md").write_text(page(), encoding="utf-8")
    events = DOCS / "events.md"
    text = events.read_text(encoding="utf-8")
    events.write_text(FORMATS.sub(lambda _: formats(), text), encoding="utf-8")


if __name__ == "__main__":
    main()
