"""Makes the page: build/web/index.html, one file that needs no server and no network.

    python examples/web/build.py [--out build/web]          make web

The networks that ship are exported as C in int8, compiled for WebAssembly by clang (with lld; no library), and laid into the
page with the scripts of this folder and one simulated recording each. 5 MB at most, or it is not written.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from plif_export import export  # noqa: E402
from runtime.base.errors import PlifError  # noqa: E402
from runtime.base.files import make_folder, whole_or_nothing  # noqa: E402
from runtime.base.text import say  # noqa: E402
from runtime.events.formats.nmnist import write_nmnist  # noqa: E402
from runtime.events.sources import open_source  # noqa: E402
from runtime.model.card import Card, read_card  # noqa: E402
from runtime.simulate.gesture_source import GestureSource  # noqa: E402
from runtime.simulate.saccades import PATH_X_PX, PATH_Y_PX  # noqa: E402

MOST_BYTES = 5_000_000
NETWORKS = {"digits": ("nmnist-digits.pt", "Digits"), "gesture": ("gesture-sim.pt", "Gestures")}
SAMPLES = {
    "digits": "sim:digits?seed=4&seconds=0.31",
    "gesture": "sim:dvs128-gesture?seed=8&seconds=5&gesture=right_hand_wave",
}
SCRIPTS = ("recordings.js", "frames.js", "network.js", "camera.js", "app.js")  # each uses those before it
FLAGS = ("--target=wasm32", "-O3", "-msimd128", "-nostdlib", "-fno-builtin", "-Wl,--no-entry", "-Wl,--strip-all")


def find_clang() -> str:
    """clang, with an lld that links WebAssembly. Raises PlifError where one is missing."""
    clang = shutil.which("clang")
    if clang is None or shutil.which("wasm-ld") is None:
        raise PlifError("the page needs clang and wasm-ld; on Debian: apt-get install clang lld")
    return clang


def compile_wasm(source: Path, prefix: str) -> bytes:
    """A generated network as a WebAssembly module, with the exports of net.c."""
    names = (f'-DPLIF_SOURCE="{source}"', f"-DPLIF_NAME={prefix}", f"-DPLIF_BIG={prefix.upper()}")
    out = source.with_suffix(".wasm")
    command = [
        find_clang(),
        *FLAGS,
        *names,
        "-I",
        str(HERE),
        "-I",
        str(source.parent),
        str(HERE / "net.c"),
        "-o",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PlifError(f"clang cannot make WebAssembly of {source.name} ({done.stderr.strip()[:200]})")
    return out.read_bytes()


def about(name: str, title: str, card: Card, wasm: bytes, sample: Path) -> dict[str, Any]:
    """What the page knows of a network."""
    layers = [n for n in card["graph"]["nodes"] if n["op"] == "Neuron"]
    return {
        "name": name,
        "title": title,
        "notation": card["notation"],
        "shape": card["input"]["shape"],
        "classes": [str(c) for c in card["classes"]],
        "voters": card["output"].get("voters", 1),
        "T": card["T"],
        "framing": card["framing"],
        "layers": [{"name": n["attrs"]["layer"], "size": int(np.prod(n["shape"]))} for n in layers],
        "wasm": base64.b64encode(wasm).decode(),
        "sample": {"file": sample.name, "bytes": base64.b64encode(sample.read_bytes()).decode()},
    }


def sample(name: str, folder: Path) -> Path:
    """A simulated recording in N-MNIST's 5-byte layout; of a performer, the time of his gesture alone."""
    source = open_source(SAMPLES[name])
    events = np.concatenate([packet for packet in source.packets() if len(packet)])
    if isinstance(source, GestureSource):
        begin, end, _ = source.truth[0]
        events = events[(events["t"] >= begin) & (events["t"] < end)]
    path = folder / f"{name}.bin"
    write_nmnist(path, events)
    return path


def build(out: Path, verify: bool = True) -> Path:
    """The page, written to `out`/index.html; verify: prove the networks first. Raises PlifError where a tool is missing, or
    where it is too large."""
    find_clang()
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network, (model, title) in NETWORKS.items():
            source = export(
                ROOT / "models" / model, folder / f"{network}.c", to="c", precision="int8", verify=verify
            ).path
            module = compile_wasm(source, network)
            say(f"{network}: {len(module)} bytes of WebAssembly, weights included")
            found.append(about(network, title, read_card(source), module, sample(network, folder)))
    path = {"x": [round(v, 3) for v in PATH_X_PX], "y": [round(v, 3) for v in PATH_Y_PX]}
    script = '"use strict";\n' + "\n".join((HERE / each).read_text("utf-8") for each in SCRIPTS)
    script = script.replace("@PATH@", json.dumps(path)).replace("@NETWORKS@", json.dumps(found).replace("<", "\\u003c"))
    page = (HERE / "index.html").read_text("utf-8").replace("@STYLE@", (HERE / "style.css").read_text("utf-8"))
    text = page.replace("@SCRIPT@", script)
    if len(text.encode()) > MOST_BYTES:
        raise PlifError(f"the page has {len(text.encode())} bytes; expected {MOST_BYTES} at most")
    with whole_or_nothing(make_folder(out) / "index.html") as (target,):
        target.write_text(text, "utf-8")
    return out / "index.html"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "web")
    try:
        page = build(parser.parse_args().out)
    except PlifError as error:
        sys.exit(str(error))
    say(f"{page}  {page.stat().st_size / 1e6:.2f} MB; open it in a browser")


if __name__ == "__main__":
    main()
