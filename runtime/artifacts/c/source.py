"""Generated C: NAME.c, whose last comment is the card, and NAME.h beside it; or both in `src` of an Arduino library, a folder.

/* plif.card
digest SHA-256
{"format": ...}
*/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents

BEGIN, END = "/* plif.card\n", "\n*/\n"
MOST_SOURCE = 1 << 29  # bytes
LIBRARY = "library.properties"


@dataclass(frozen=True)
class Texts:
    """Both files as text;  name: NAME, by which the source includes its header."""

    name: str
    source: str
    header: str


def source_of(path: Path) -> Path:
    """The source file of an artifact: itself, or that in an Arduino library. Raises PlifError where that has none, or several."""
    if not path.is_dir():
        return path
    found = sorted((path / "src").glob("*.c"))
    if len(found) != 1:
        raise PlifError(
            f"{path / 'src'}: has {len(found)} files *.c; expected the one that plif wrote; export it again"
        )
    return found[0]


def read_texts(path: Path) -> Texts:
    """A source file and the header that it has to include, each read once; also where they are being written
    (runtime/core/base/files.py). Raises PlifError where there is no such file, or no text."""
    path = source_of(path)
    name = re.sub(r"^\.(.*)\.[0-9a-f]+\.part$", r"\1", path.name).removesuffix(".c")
    return Texts(name, read_text(path), read_text(header_of(path)))


def header_of(path: Path) -> Path:
    """The header of a source file, also of one that is being written (runtime/core/base/files.py)."""
    return path.with_name(re.sub(r"\.c(\.[0-9a-f]+\.part)?$", lambda end: f".h{end[1] or ''}", path.name))


def read_text(path: Path) -> str:
    """Raises PlifError where there is no such file, or no text."""
    with open_regular(path, "generated C; export it again: plif export model.pt --to c") as file:
        data = file.read(MOST_SOURCE + 1)
    try:
        if len(data) <= MOST_SOURCE:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise PlifError(f"{path}: is not C that plif wrote; export it again: plif export model.pt --to c")


def card_comment(card: str, digest: str) -> str:
    """The comment that holds a card; in JSON a / may have a backslash before it, so that no comment ends or begins in it."""
    safe = card.replace("*/", "*\\/").replace("/*", "\\/*")
    return f"\n{BEGIN}digest {digest}\n{safe}{END}"


def read_card_text(path: Path) -> str:
    """The card as JSON text."""
    _, begin, rest = read_text(source_of(path)).rpartition(BEGIN)
    if not begin or not rest.endswith(END):
        raise PlifError(f"{path}: has no card at its end; its header has none, name the .c file, or export it again")
    return rest.removesuffix(END).partition("\n")[2]


def read_contents(path: Path) -> Contents:
    """What the digest binds to the card. Raises PlifError where the source or its header cannot be read."""
    from runtime.core.model.readers.contents import Contents  # with NumPy: not to show a card

    texts = read_texts(path)
    return Contents(parts_of(texts.source, texts.header))


def parts_of(source: str, header: str) -> dict[str, str]:
    """What the digest binds to the card: {"source" or "header": SHA-256}; source: with or without its card."""
    return {"source": _sha256(code_of(source)), "header": _sha256(header)}


def code_of(source: str) -> str:
    """A source without the comment that holds its card."""
    return source.rpartition(f"\n{BEGIN}")[0] if BEGIN in source else source


def _sha256(text: str) -> str:
    import hashlib  # with OpenSSL: not to show a card

    return hashlib.sha256(text.encode()).hexdigest()
