"""Web pages of `plif export --to web`: a .plif file in a page, in base64.

<script type="application/x-plif" data-name="NAME" data-title="TITLE">BASE64</script>

The page around it is code, of which nothing is run or read here.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.artifacts.plif_file.file import take_apart, text_of
from runtime.core.base.errors import PlifError
from runtime.core.base.files import read_regular

if TYPE_CHECKING:
    from runtime.core.model.card import Card
    from runtime.core.model.readers.contents import Contents

EXPECTED = "a page made by: plif export model.pt --to web"
PLIF = "application/x-plif"
BLOCK = re.compile(rb'<script type="([a-z/-]+)"((?: [a-z-]+="[^"<>]*")*)>([A-Za-z0-9+/=]*)</script>')


def block(type_: str, attributes: Mapping[str, str], content: bytes) -> str:
    """Bytes as they stand in a page, where a script finds them."""
    words = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
    return f'<script type="{type_}"{words}>{base64.b64encode(content).decode()}</script>'


def blocks(data: bytes, type_: str) -> list[tuple[dict[str, str], bytes]]:
    """[(attributes, content)] of a page's blocks of one type."""
    found = []
    for kind, words, text in BLOCK.findall(data):
        if kind == type_.encode():
            pairs = re.findall(r'([a-z-]+)="([^"<>]*)"', words.decode("utf-8", "replace"))
            found.append(({name: html.unescape(value) for name, value in pairs}, base64.b64decode(text)))
    return found


def without(data: bytes, type_: str) -> bytes:
    """A page without the contents of its blocks of one type."""
    return BLOCK.sub(lambda found: found[0].replace(found[3], b"") if found[1] == type_.encode() else found[0], data)


def plif_of(path: Path, data: bytes) -> bytes:
    """The .plif file in the bytes of a page. Raises PlifError where there is none, or more than one."""
    try:
        found = [content for _, content in blocks(data, PLIF)]
    except ValueError:  # no base64
        found = []
    if len(found) != 1:
        raise PlifError(f"{path}: a web page with {len(found)} networks; expected {EXPECTED}")
    return found[0]


def read_bytes(path: Path) -> bytes:
    """The bytes of the .plif file in a page."""
    return plif_of(path, read_regular(path, EXPECTED))


def read_card_text(path: Path) -> str:
    """The card of the .plif file in a page."""
    return text_of(path, take_apart(path, read_bytes(path))[0]["card"])


def read_contents(path: Path) -> Contents:
    """What the digest binds to the card."""
    from runtime.artifacts.plif_file.program import contents_of  # with NumPy: not to show a card

    return contents_of(path, *take_apart(path, read_bytes(path)))


def read_program(path: Path, card: Card) -> bytes:
    """The .plif file in a page, checked against its card."""
    from runtime.artifacts.plif_file.facts import require_same

    return require_same(path, read_bytes(path), card)
