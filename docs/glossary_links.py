"""Link the first use of each glossary term on each page to docs/glossary.md.

    python docs/glossary_links.py            writes the links that are missing
    python docs/glossary_links.py --check    names them, and exits with 1 if there are any

Code, headings, tables, links and generated pages stay as they are.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
GENERATED = frozenset({"docs/parts.md", "docs/performance.md", "docs/glossary.md"})
EVERYDAY = frozenset({"core", "form", "part", "row", "source", "target", "stream", "frame", "event", "step", "vote"})
PROTECTED = re.compile(r"`[^`]*`|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|https?://\S+")  # code, links, HTML
FENCE = re.compile(r"^(```|~~~)")


def read_terms() -> dict[str, str]:
    """Return term -> anchor, without the terms that have an everyday meaning as well."""
    titles = re.findall(r"^### (.+)$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return {title.lower(): title.lower().replace(" ", "-") for title in titles if title.lower() not in EVERYDAY}


def prose_lines(lines: list[str]) -> list[int]:
    """Return the numbers of the lines that are prose: no code block, heading, table or indented block."""
    numbers, fenced = [], False
    for number, line in enumerate(lines):
        if FENCE.match(line.strip()):
            fenced = not fenced
        elif not fenced and not line.startswith(("#", "|", "    ", "Read this if")):
            numbers.append(number)
    return numbers


def find_term(line: str, term: str) -> re.Match[str] | None:
    """Return the first use of a term in a line of prose, outside of code and links."""
    masked = PROTECTED.sub(lambda span: "\0" * len(span[0]), line)
    return re.search(rf"(?<![\w/.\0-]){re.escape(term)}s?(?![\w/\0-])", masked, re.IGNORECASE)


def link_terms(text: str, to_glossary: str) -> str:
    """Return a page with a link at the first use of each term that it does not link yet."""
    lines = text.split("\n")
    prose = prose_lines(lines)
    for term, anchor in read_terms().items():
        if f"glossary.md#{anchor})" in text:
            continue
        for number in prose:
            if use := find_term(lines[number], term):
                linked = f"[{use[0]}]({to_glossary}#{anchor})"
                lines[number] = lines[number][: use.start()] + linked + lines[number][use.end() :]
                break
    return "\n".join(lines)


def link_page(path: Path) -> str:
    """Return the text of a page with all links to the glossary."""
    to_glossary = Path(os.path.relpath(GLOSSARY, path.parent)).as_posix()
    return link_terms(path.read_text(encoding="utf-8"), to_glossary)


def find_pages() -> list[Path]:
    """Return the pages with prose of ours."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "models" / "README.md"]
    excluded = {ROOT / name for name in (*GENERATED, "CHANGELOG.md")}
    return sorted(path for path in pages if path not in excluded)


def main() -> int:
    """Write missing links, or with --check name the pages that lack some."""
    lacking = []
    for path in find_pages():
        linked = link_page(path)
        if linked != path.read_text(encoding="utf-8"):
            lacking.append(path.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                path.write_text(linked, encoding="utf-8")
    print("\n".join(lacking))
    return int(bool(lacking) and "--check" in sys.argv)


if __name__ == "__main__":
    raise SystemExit(main())
