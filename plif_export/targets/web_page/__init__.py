"""Writer of web pages: .plif files -> one page that runs them by libplif itself, compiled for WebAssembly (docs/web.md).

    page/libplif.wasm   the library, as `make wasm` built it of runtime/native: no compiler is needed to make a page
    page/libplif.js     the functions of plif.h that the page calls
    page/camera.js      a small event camera that looks at what is drawn
    page/app.js         what a person sees and touches
    page/index.html, page/style.css     after look.js and look.css, which the dashboard has, too

What JavaScript has of plif's rules are lines of text, as `plif stream` takes them; what they mean is C's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import runtime
from runtime.artifacts.web_page.page import block
from runtime.core.stream.options import LIVE_RULES
from runtime.datasets.digits.saccades import PATH_X_PX, PATH_Y_PX

PAGE = Path(__file__).parent / "page"
LOOK = Path(runtime.__file__).parent / "observers" / "browser_page"
SCRIPTS = (LOOK / "look.js", PAGE / "libplif.js", PAGE / "camera.js", PAGE / "app.js")  # each uses those before it


@dataclass(frozen=True)
class PageNetwork:
    """A network of a page: its name for scripts, its title for people, a .plif file, and (name, bytes) of a recording."""

    name: str
    title: str
    plif: bytes
    sample: tuple[str, bytes] | None = None


def write_page(networks: Sequence[PageNetwork]) -> str:
    """The page, which needs no other file, no server and no network; its policy lets it ask for nothing."""
    data = [block("application/wasm", {"id": "libplif"}, (PAGE / "libplif.wasm").read_bytes())]
    for part in networks:
        data.append(block("application/x-plif", {"data-name": part.name, "data-title": part.title}, part.plif))
        if part.sample is not None:
            name, content = part.sample
            data.append(block("application/x-recording", {"data-of": part.name, "data-name": name}, content))
    path = {"x": [round(v, 3) for v in PATH_X_PX], "y": [round(v, 3) for v in PATH_Y_PX]}
    live = dict(zip(("decide", "reset"), LIVE_RULES, strict=True))
    style = _text(LOOK / "look.css", PAGE / "style.css")
    script = _filled(_text(*SCRIPTS), PATH=json.dumps(path), LIVE=json.dumps(live))
    return _filled(_text(PAGE / "index.html"), STYLE=style, DATA="\n".join(data), SCRIPT=script)


def _text(*files: Path) -> str:
    return "\n".join(file.read_text("utf-8") for file in files)


def _filled(text: str, **parts: str) -> str:
    """A text with its places, as @STYLE@, filled; what was filled in is not looked at again."""
    return re.sub("@([A-Z]+)@", lambda found: parts[found[1]], text)
