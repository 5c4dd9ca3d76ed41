"""A network in headless Chromium, for bench/edge.py: a page that steps frames by libplif as WebAssembly and says its answers."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from plif_export.targets.web_page import PAGE as PARTS
from tests.browser import Browser

PAGE = """<!doctype html><meta charset="utf-8"><title>bench</title><script>"use strict";
@LIBPLIF@
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const lib = new Libplif(bytes("@WASM@")), model = new Model(lib, bytes("@PLIF@"));
const session = new Session(model, {}), n = model.shape.reduce((a, b) => a * b), classes = model.classes.length;
const x = lib.room(4 * n), y = lib.room(4 * classes);
const counts = new Uint32Array(bytes("@COUNTS@").buffer), places = new Uint32Array(bytes("@PLACES@").buffer);
const values = new Float32Array(bytes("@VALUES@").buffer), said = [];
let k = 0;
for (const count of counts) {
  const frame = lib.array(Float32Array, x, n).fill(0);
  for (const end = k + count; k < end; k++) frame[places[k]] = values[k];
  lib.fine(lib.c.plif_step(session.at, x, y));
  said.push([...lib.array(Float32Array, y, classes)]);
}
window.found = { ms: performance.now(), y: said };
</script>"""


def write_page(path: Path, plif: bytes, x: np.ndarray) -> None:
    """Write the page of a .plif file and frames x float32 [T, ...], stored sparsely."""
    flat = x.reshape(len(x), -1)
    step, place = np.nonzero(flat)
    parts = {
        "WASM": (PARTS / "libplif.wasm").read_bytes(),
        "PLIF": plif,
        "COUNTS": np.bincount(step, minlength=len(flat)).astype("<u4").tobytes(),
        "PLACES": place.astype("<u4").tobytes(),
        "VALUES": flat[step, place].astype("<f4").tobytes(),
    }
    text = PAGE.replace("@LIBPLIF@", (PARTS / "libplif.js").read_text("utf-8"))
    for name, content in parts.items():
        text = text.replace(f"@{name}@", base64.b64encode(content).decode())
    path.write_text(text)


def visit(browser: Browser, page: Path) -> tuple[float, np.ndarray]:
    """Open a page; return (seconds from the start of the navigation to its last answer, y float32 [T, classes])."""
    browser.open("about:blank#")  # else the answer of the page before might be taken for this one's
    browser.open(page.resolve().as_uri())
    found = browser.until("window.found", seconds=300)
    assert not browser.messages, browser.messages
    return found["ms"] / 1e3, np.array(found["y"], np.float32)
