"""Make the archive of libplif for C and C++, without Python.

    make release [ARCH=aarch64], or python docs/release.py --out dist

libplif-VERSION-linux-PROCESSOR.tar.gz:
    include/ lib/     plif.h, libplif.so, libplif.a, pkg-config and CMake files, all of which may be moved
    models/           the shipped networks as .plif files, each proved
    recordings/       a simulated camera that sees digits, in the 5-byte format of N-MNIST
    examples/ src/    programs in C and C++; the library's sources and Makefile, for other processors
    README.md         docs/edge.md, which has the commands
    libplif.cdx.json  the bill of materials, with the SHA-256 of what was compiled (build_sbom.py)

The same sources, compiler and Python packages give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from build_backend import write_archive  # noqa: E402
from build_sbom import read_shared, remove_requirements, write_sbom  # noqa: E402
from plif_export import export  # noqa: E402
from runtime.core.base.version import __version__  # noqa: E402
from runtime.core.events import open_source  # noqa: E402
from runtime.core.events.formats.nmnist import write_nmnist  # noqa: E402

NATIVE = ROOT / "runtime" / "native"
MODELS = ("nmnist-digits", "gesture-people")
SOURCES = ("*.c", "*.h", "*.in", "Makefile")
RECORDING = "sim:digits?seed=3&seconds=1"


def remove_duration(report: Path) -> None:
    """Remove from a report how long the export took, which differs each time."""
    document = json.loads(report.read_text(encoding="utf-8"))
    del document["seconds"]
    report.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def make_release(
    out: Path, models: Sequence[str] = MODELS, verify: bool = True, settings: Sequence[str] = (),
    processor: str = platform.machine(),
) -> Path:  # fmt: skip
    """Write the archive into the folder `out`; return its path.

    settings: more variables of runtime/native/Makefile, such as the CC and AR of another processor.
    """
    name = f"libplif-{__version__}-{platform.system().lower()}-{processor}"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        where = (
            f"DESTDIR={folder}",
            "PREFIX=",
            "PC_PREFIX=$${pcfiledir}/../..",
            "PC_LIBDIR=$${prefix}/lib",
            f"BUILD={temporary}/build",
        )
        subprocess.run(["make", "-s", "-C", str(NATIVE), "install", *where, *settings], check=True)
        for part in ("models", "recordings"):
            (folder / part).mkdir()
        for model in models:
            place = folder / "models" / f"{model}.plif"
            export(ROOT / "models" / f"{model}.pt", place, to="plif", verify=verify)
            remove_duration(place.with_name(f"{place.name}.report.json"))
        events = np.concatenate([packet.copy() for packet in open_source(RECORDING).packets()])
        write_nmnist(folder / "recordings" / "simulated-digits.bin", events)
        for pattern in SOURCES:
            for path in sorted(NATIVE.rglob(pattern)):
                target = folder / "src" / path.relative_to(NATIVE)
                if target.parts[-2] != "examples":
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
        shutil.copytree(NATIVE / "examples", folder / "examples")
        shutil.copy(ROOT / "LICENSE", folder)
        shutil.copy(ROOT / "docs" / "edge.md", folder / "README.md")
        archive = out / f"{name}.tar.gz"
        paths = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_symlink() or path.is_file()
        }
        links = {f"{name}/{inside}": str(path.readlink()) for inside, path in paths.items() if path.is_symlink()}
        files = {
            inside: (path.stat().st_mode, path.read_bytes()) for inside, path in paths.items() if not path.is_symlink()
        }
        contents = {inside: content for inside, (_, content) in files.items()}
        bill = write_sbom(remove_requirements(read_shared(), "libplif"), __version__, contents)
        files["libplif.cdx.json"] = (0o644, bill)
        write_archive(archive, {f"{name}/{inside}": file for inside, file in files.items()}, links)
    return archive


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("dist"))
    parser.add_argument("--processor", default=platform.machine(), help="for which CC and AR compile")
    arguments = parser.parse_args()
    print(make_release(arguments.out, processor=arguments.processor))
