"""Record docs/dashboard.gif: the dashboard in Chromium while a stream recognises digits.

    python docs/dashboard_gif.py [ARTIFACT]     demo/nmnist-digits.onnx, which make demo exports

Needs Chromium and the extras dashboard and train (Pillow).
"""

from __future__ import annotations

import io
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image  # noqa: E402

from tests.browser import Browser, find_chromium  # noqa: E402

WINDOW = (1100, 800)  # CSS pixels
WIDTH = 820  # of the picture: README shows it at this width
FRAMES, FRAME_MS = 36, 250  # nine seconds, four pictures a second: a digit is shown for 0.4 s
SECONDS = 20  # of the stream: longer than the browser needs to open the page and to record
COLOURS = 64
STREAM = (
    *(f"sim:digits?seed=7&seconds={SECONDS}", "--speed", "real", "--dashboard", "0"),
    *("--framing", "events:n=550,max=40ms", "--decide", "leak:120ms,margin=0.2"),
)


def open_stream(artifact: str) -> tuple[subprocess.Popen[str], str]:
    """Start `plif stream` and return its process and the address of its dashboard."""
    token = secrets.token_urlsafe(24)
    command = [sys.executable, "-m", "runtime.core.cli", "stream", artifact, *STREAM]
    environment = {**os.environ, "PLIF_DASHBOARD_TOKEN": token}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if address := re.search(r"http://[\d.:]+/", line):
            return process, f"{address[0]}?token={token}"
    raise SystemExit("plif stream ended without a dashboard")


def record_frames(address: str) -> list[Image.Image]:
    """Take FRAMES screenshots of the page, FRAME_MS apart."""
    pictures = []
    with Browser(find_chromium() or "chromium", *WINDOW) as browser, tempfile.TemporaryDirectory() as folder:
        browser.open(address)
        time.sleep(2)  # until votes and rates have filled
        for _ in range(FRAMES):
            start_s = time.monotonic()
            shot = browser.screenshot(Path(folder) / "frame.png", full=False)
            pictures.append(Image.open(io.BytesIO(shot.read_bytes())).convert("RGB"))
            time.sleep(max(0.0, FRAME_MS / 1000 - (time.monotonic() - start_s)))
    return pictures


def write_gif(pictures: list[Image.Image], path: Path) -> None:
    """Write an endless GIF of WIDTH pixels, all pictures with the palette of the last."""
    height = WIDTH * pictures[0].height // pictures[0].width
    small = [picture.resize((WIDTH, height), Image.Resampling.LANCZOS) for picture in pictures]
    palette = small[-1].quantize(COLOURS, dither=Image.Dither.NONE)
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in small]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, optimize=True)


def main() -> None:
    """Record a stream of the artifact and write docs/dashboard.gif."""
    artifact = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "demo" / "nmnist-digits.onnx")
    process, address = open_stream(artifact)
    try:
        pictures = record_frames(address)
    finally:
        process.terminate()
        process.wait()
    path = ROOT / "docs" / "dashboard.gif"
    write_gif(pictures, path)
    print(f"{path}: {len(pictures)} frames, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
