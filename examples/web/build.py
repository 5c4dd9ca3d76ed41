"""Makes the page: build/web/index.html, one file that needs no server and no network.

    python examples/web/build.py [--out build/web]          make web

The networks that ship, in int8, with one simulated recording each, in the page that `plif export --to web` makes of one network.
5 MB at most, or it is not written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from plif_export import export  # noqa: E402
from plif_export.targets.web_page import PageNetwork, write_page  # noqa: E402
from runtime.artifacts.web_page.page import read_plif_bytes  # noqa: E402
from runtime.core.base.errors import PlifError  # noqa: E402
from runtime.core.base.files import atomic_write, make_folder  # noqa: E402
from runtime.core.base.text import say  # noqa: E402
from runtime.core.events.formats.nmnist import write_nmnist  # noqa: E402
from runtime.core.events.sources import open_source  # noqa: E402
from runtime.sources.sim.source import GestureSource  # noqa: E402

MOST_BYTES = 5_000_000
NETWORKS = {"digits": ("nmnist-digits.pt", "Digits"), "gesture": ("gesture-people.pt", "Gestures")}
SAMPLES = {
    "digits": "sim:digits?seed=4&seconds=0.31",
    "gesture": "sim:dvs128-gesture?seed=8&seconds=5&gesture=right_hand_wave",
}


def sample(name: str, folder: Path) -> Path:
    """Return a simulated recording in N-MNIST's 5-byte layout; of a performer, the time of one gesture."""
    source = open_source(SAMPLES[name])
    events = np.concatenate([packet for packet in source.packets() if len(packet)])
    if isinstance(source, GestureSource):
        begin, end, _ = source.truth[0]
        events = events[(events["t"] >= begin) & (events["t"] < end)]
    path = folder / f"{name}.bin"
    write_nmnist(path, events)
    return path


def build(out: Path, verify: bool = True) -> Path:
    """Write the page to `out`/index.html; verify: prove the networks first. Raise PlifError if it is too large."""
    parts = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network, (model, title) in NETWORKS.items():
            page = export(
                ROOT / "models" / model, folder / f"{network}.html", to="web", precision="int8", verify=verify
            ).path
            recording = sample(network, folder)
            parts.append(PageNetwork(network, title, read_plif_bytes(page), (recording.name, recording.read_bytes())))
    text = write_page(parts).encode()
    if len(text) > MOST_BYTES:
        raise PlifError(f"the page has {len(text)} bytes; expected {MOST_BYTES} at most")
    with atomic_write(make_folder(out) / "index.html") as (target,):
        target.write_bytes(text)
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
