"""A network as WebAssembly in headless Chromium, for bench/edge.py: a page that steps frames and says its answers."""

from __future__ import annotations

import base64
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from tests.browser import Browser

ROOT = Path(__file__).resolve().parent.parent
PAGE = """<!doctype html><meta charset="utf-8"><title>bench</title><script>"use strict";
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
(async () => {
  const { exports } = (await WebAssembly.instantiate(bytes("@WASM@"), {})).instance;
  const Kind = exports.bytes_each() === 1 ? Uint8Array : Float32Array;
  const x = new Kind(exports.memory.buffer, exports.frame(), @INPUTS@);
  const y = new Float32Array(exports.memory.buffer, exports.answer(), @CLASSES@);
  const counts = new Uint32Array(bytes("@COUNTS@").buffer), places = new Uint32Array(bytes("@PLACES@").buffer);
  const values = new Float32Array(bytes("@VALUES@").buffer), said = [];
  let k = 0;
  exports.reset();
  for (const count of counts) {
    x.fill(0);
    for (const end = k + count; k < end; k++) x[places[k]] = values[k];
    exports.step();
    said.push(Array.from(y));
  }
  window.found = { ms: performance.now(), y: said };
})();
</script>"""


def web_builder() -> ModuleType:
    """examples/web/build.py, which compiles a generated network for WebAssembly."""
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "examples" / "web" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_web"] = module
    spec.loader.exec_module(module)
    return module


def write_page(path: Path, wasm: bytes, x: np.ndarray, classes: int) -> None:
    """The page of a module and frames x float32 [T, ...], of which only what is not zero is written down."""
    flat = x.reshape(len(x), -1)
    step, place = np.nonzero(flat)
    parts = {
        "WASM": wasm,
        "COUNTS": np.bincount(step, minlength=len(flat)).astype("<u4").tobytes(),
        "PLACES": place.astype("<u4").tobytes(),
        "VALUES": flat[step, place].astype("<f4").tobytes(),
    }
    text = PAGE.replace("@INPUTS@", str(flat.shape[1])).replace("@CLASSES@", str(classes))
    for name, content in parts.items():
        text = text.replace(f"@{name}@", base64.b64encode(content).decode())
    path.write_text(text)


def visit(browser: Browser, page: Path) -> tuple[float, np.ndarray]:
    """Opens a page -> (seconds from the start of the navigation to its last answer, y float32 [T, classes])."""
    browser.open("about:blank#")  # else the answer of the page before might be taken for this one's
    browser.open(page.resolve().as_uri())
    found = browser.until("window.found", seconds=300)
    assert not browser.messages, browser.messages
    return found["ms"] / 1e3, np.array(found["y"], np.float32)
