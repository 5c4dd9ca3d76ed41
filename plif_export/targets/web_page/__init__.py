"""The writer of web pages: .plif files -> one page that runs them by libplif in WebAssembly (docs/web.md).

    page/libplif.wasm   the library, as `make wasm` built it of runtime/native: no compiler is needed to make a page
    page/libplif.js     the functions of plif.h that the page calls
    page/camera.js      a small simulated event camera that films the drawing area
    page/app.js         the user interface
    page/index.html, page/style.css     after look.js and look.css, which the dashboard has, too

JavaScript passes plif's live rules as text, as `plif stream` takes them; the C code parses them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import runtime
from runtime.artifacts.web_page.page import make_block
from runtime.core.stream.options import LIVE_RULES
from runtime.datasets.digits.saccades import PATH_X_PX, PATH_Y_PX

PAGE = Path(__file__).parent / "page"
LOOK = Path(runtime.__file__).parent / "observers" / "browser_page"
SCRIPTS = (LOOK / "look.js", PAGE / "libplif.js", PAGE / "camera.js", PAGE / "app.js")  # each uses the previous ones


@dataclass(frozen=True)
class PageNetwork:
    """A network that a web page contains: name, title, the bytes of its .plif file, and a sample recording.

    name for scripts, title for people, a .plif file, and (name, bytes) of a recording
    """

    name: str
    title: str
    plif: bytes
    sample: tuple[str, bytes] | None = None


def write_page(networks: Sequence[PageNetwork]) -> str:
    """Return the HTML text of a web page that runs networks, and needs no other file, server or connection.

    Its content security policy allows no requests.
    """
    data = [make_block("application/wasm", {"id": "libplif"}, (PAGE / "libplif.wasm").read_bytes())]
    for part in networks:
        data.append(make_block("application/x-plif", {"data-name": part.name, "data-title": part.title}, part.plif))
        if part.sample is not None:
            name, content = part.sample
            data.append(make_block("application/x-recording", {"data-of": part.name, "data-name": name}, content))
    path = {"x": [round(v, 3) for v in PATH_X_PX], "y": [round(v, 3) for v in PATH_Y_PX]}
    live = dict(zip(("decide", "reset"), LIVE_RULES, strict=True))
    style = _join_files(LOOK / "look.css", PAGE / "style.css")
    script = _fill_placeholders(_join_files(*SCRIPTS), PATH=json.dumps(path), LIVE=json.dumps(live))
    return _fill_placeholders(_join_files(PAGE / "index.html"), STYLE=style, DATA="\n".join(data), SCRIPT=script)


def _join_files(*files: Path) -> str:
    return "\n".join(file.read_text("utf-8") for file in files)


def _fill_placeholders(text: str, **parts: str) -> str:
    """Replace the placeholders of an HTML text, such as @STYLE@.

    Inserted text is not searched again.
    """
    return re.sub("@([A-Z]+)@", lambda match: parts[match[1]], text)
