"""How long a step takes in the page of examples/web, in headless Chromium: for each network, over recordings.

    make web
    python bench/web.py build/web/index.html --digits FOLDER --gesture FOLDER

Times are those of one call of the WebAssembly module (performance.now(), which Chromium rounds to 0.1 ms here).
A frame is what the framing of the network collects: a step has to be done before the next one is there.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine
from tests.browser import Browser, find_chromium

FRAME_MS = {"digits": 31.0, "gesture": 40.0}  # a recording of 310 ms in 10 frames; duration:40ms


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    for name in FRAME_MS:
        parser.add_argument(f"--{name}", type=Path, help="a folder of recordings, searched through")
    parser.add_argument("--limit", type=int, default=20, help="recordings of a network")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with Browser(find_chromium() or "chromium") as browser:
        browser.open(options.page.resolve().as_uri())
        for name, frame_ms in FRAME_MS.items():
            folder = getattr(options, name)
            if folder is None:
                continue
            files = sorted([*folder.rglob("*.bin"), *folder.rglob("*.bs2")])
            times: list[float] = []
            for file in files[:: max(1, len(files) // options.limit)][: options.limit]:
                content = base64.b64encode(file.read_bytes()).decode()
                times += browser.run(
                    f"plif.run('{name}', plif.unpack('{content}'), '{file.name}').map((d) => d.latency_ms)"
                )
            p50, p99 = np.percentile(times, (50, 99))
            rows.append({"network": name, "steps": len(times), "p50_ms": p50, "p99_ms": p99, "frame_ms": frame_ms})
    print(json.dumps({"machine": machine(), "bytes": options.page.stat().st_size, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
