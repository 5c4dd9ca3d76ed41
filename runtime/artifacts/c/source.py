"""Generated C: NAME.c with the card in its last comment, and NAME.h next to it.

Both may be in `src` of an Arduino library, a folder.

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
class SourceFiles:
    """The source and the header of generated C as text.

    name: NAME, by which the source includes its header.
    """

    name: str
    source: str
    header: str


def find_source(path: Path) -> Path:
    """Find the C source file of an artifact: the file itself, or the one in an Arduino library.

    Raise PlifError where the library has none, or several.
    """
    if not path.is_dir():
        return path
    sources = sorted((path / "src").glob("*.c"))
    if len(sources) != 1:
        raise PlifError(
            f"{path / 'src'}: has {len(sources)} files *.c; expected the one that plif wrote; export it again"
        )
    return sources[0]


def read_texts(path: Path) -> SourceFiles:
    """Read a C source file and the header that it includes, each once.

    The files may be under construction (runtime/core/base/files.py). Raise PlifError where there is no such file, or
    no text.
    """
    path = find_source(path)
    name = re.sub(r"^\.(.*)\.[0-9a-f]+\.part$", r"\1", path.name).removesuffix(".c")
    return SourceFiles(name, read_text(path), read_text(header_path(path)))


def header_path(path: Path) -> Path:
    """Return the path of a source file's header.

    The file may be under construction (runtime/core/base/files.py).
    """
    return path.with_name(re.sub(r"\.c(\.[0-9a-f]+\.part)?$", lambda end: f".h{end[1] or ''}", path.name))


def read_text(path: Path) -> str:
    """Read a file of generated C as text; refuse a missing file, and a file that is no text."""
    with open_regular(path, "generated C; export it again: plif export model.pt --to c") as file:
        data = file.read(MOST_SOURCE + 1)
    try:
        if len(data) <= MOST_SOURCE:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise PlifError(f"{path}: is not C that plif wrote; export it again: plif export model.pt --to c")


def card_comment(card: str, digest: str) -> str:
    """Create the C comment that holds an artifact's card.

    In JSON a / may have a backslash before it, so that no comment ends or begins in it.
    """
    safe = card.replace("*/", "*\\/").replace("/*", "\\/*")
    return f"\n{BEGIN}digest {digest}\n{safe}{END}"


def read_card_text(path: Path) -> str:
    """Read the card of generated C as JSON text."""
    _, begin, remainder = read_text(find_source(path)).rpartition(BEGIN)
    if not begin or not remainder.endswith(END):
        raise PlifError(f"{path}: has no card at its end; its header has none, name the .c file, or export it again")
    return remainder.removesuffix(END).partition("\n")[2]


def read_contents(path: Path) -> Contents:
    """Read generated C and hash the contents that its card's digest covers: the source and its header.

    Raise PlifError where one of them cannot be read.
    """
    from runtime.core.model.readers.contents import Contents  # with NumPy: not to show a card

    texts = read_texts(path)
    return Contents(hash_parts(texts.source, texts.header))


def hash_parts(source: str, header: str) -> dict[str, str]:
    """Hash the parts of generated C that the card's digest covers: {"source" or "header": SHA-256}.

    source: with or without its card.
    """
    return {"source": _sha256(strip_card(source)), "header": _sha256(header)}


def strip_card(source: str) -> str:
    """Remove the comment that holds the card from a C source."""
    return source.rpartition(f"\n{BEGIN}")[0] if BEGIN in source else source


def _sha256(text: str) -> str:
    import hashlib  # with OpenSSL: not to show a card

    return hashlib.sha256(text.encode()).hexdigest()
