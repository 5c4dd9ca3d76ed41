"""Web pages of `plif export --to web`: a .plif file in a page, in base64.

<script type="application/x-plif" data-name="NAME" data-title="TITLE">BASE64</script>

The page around it is code, which is never run or read here.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.artifacts.plif_file.file import decode_text, split_file
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular

if TYPE_CHECKING:
    from runtime.core.model.card import Card
    from runtime.core.model.readers.contents import Contents

EXPECTED = "a page made by: plif export model.pt --to web"
PLIF = "application/x-plif"
BLOCK = re.compile(rb'<script type="([a-z/-]+)"((?: [a-z-]+="[^"<>]*")*)>([A-Za-z0-9+/=]*)</script>')


def make_block(type_: str, attributes: Mapping[str, str], content: bytes) -> str:
    """Create the <script> element that holds bytes in a web page."""
    words = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f'<script type="{type_}"{words}>{base64.b64encode(content).decode()}</script>'


def find_blocks(data: bytes, type_: str) -> list[tuple[dict[str, str], bytes]]:
    """Find the <script> elements of one type in a web page: [(attributes, content)]."""
    matches = []
    for kind, words, text in BLOCK.findall(data):
        if kind == type_.encode():
            pairs = re.findall(r'([a-z-]+)="([^"<>]*)"', words.decode("utf-8", "replace"))
            matches.append(({name: html.unescape(value) for name, value in pairs}, base64.b64decode(text)))
    return matches


def remove_contents(data: bytes, type_: str) -> bytes:
    """Remove the contents of the <script> elements of one type from a web page."""
    return BLOCK.sub(lambda match: match[0].replace(match[3], b"") if match[1] == type_.encode() else match[0], data)


def extract_plif(path: Path, data: bytes) -> bytes:
    """Extract the .plif file from the bytes of a web page; refuse a page with none, or more than one."""
    try:
        files = [content for _, content in find_blocks(data, PLIF)]
    except ValueError:  # no base64
        files = []
    if len(files) != 1:
        raise PlifError(f"{path}: a web page with {len(files)} networks; expected {EXPECTED}")
    return files[0]


def read_plif_bytes(path: Path) -> bytes:
    """Read the bytes of the .plif file in a web page."""
    return extract_plif(path, read_regular(path, EXPECTED))


def read_card_text(path: Path) -> str:
    """Read the card of the .plif file in a web page."""
    return decode_text(path, split_file(path, read_plif_bytes(path))[0]["card"])


def read_contents(path: Path) -> Contents:
    """Read the .plif file in a web page and hash the contents that the card's digest covers."""
    from runtime.artifacts.plif_file.program import hash_contents  # with NumPy: not to show a card

    return hash_contents(path, *split_file(path, read_plif_bytes(path)))


def read_program(path: Path, card: Card) -> bytes:
    """Read the program of the .plif file in a web page; refuse a file with other facts than its card."""
    from runtime.artifacts.plif_file.facts import check_facts

    return check_facts(path, read_plif_bytes(path), card)
