"""The build backend: setuptools' own, which brings a C compiler from PyPI (ziglang) to a machine that has none.

libplif decides what plif says of events, so it is built on every machine. setup.py asks `find_compiler`, too.

Wheel and sdist are packed again, so that the same files give the same bytes: anybody can build a release and compare.
"""

import base64
import gzip
import hashlib
import io
import os
import shlex
import subprocess
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks that stay as they are

from build_sbom import read_shared, write_sbom

ZIGLANG = "ziglang==0.17.*"  # 101 MB; it is gone after the build
HEADERS = b"#include <math.h>\n#include <pthread.h>\n"  # a compiler can be here without them


def find_compiler() -> str | None:
    """CC, else the first of Python's own compiler, cc, gcc and clang that finds its headers; None where none does."""
    if os.environ.get("CC"):
        return os.environ["CC"]
    for command in filter(None, (sysconfig.get_config_var("CC"), "cc", "gcc", "clang")):
        try:
            words = [*shlex.split(command), "-fsyntax-only", "-x", "c", "-"]
            if subprocess.run(words, input=HEADERS, capture_output=True).returncode == 0:
                return command
        except OSError:
            continue
    return None


def _with_compiler(requires: list[str]) -> list[str]:
    return requires if find_compiler() else [*requires, ZIGLANG]


def get_requires_for_build_wheel(config_settings=None):
    return _with_compiler(build_meta.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings=None):
    return _with_compiler(build_meta.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    path = Path(wheel_directory, build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
    with zipfile.ZipFile(path) as built:
        files = [(info.filename, info.external_attr >> 16, built.read(info)) for info in built.infolist()]
    files = _with_sbom(files, version=path.name.split("-")[1])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, mode, content in files:
            info = zipfile.ZipInfo(name, time.gmtime(_epoch())[:6])
            info.external_attr = (0o100000 | _everybodys(mode)) << 16
            wheel.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path.name


def build_sdist(sdist_directory, config_settings=None):
    path = Path(sdist_directory, build_meta.build_sdist(sdist_directory, config_settings))
    with tarfile.open(path) as built:
        files = {info.name: (info.mode, built.extractfile(info).read()) for info in built if info.isfile()}
    write_archive(path, files)
    return path.name


def write_archive(path: Path, files: dict[str, tuple[int, bytes]], links: dict[str, str] | None = None) -> None:
    """Write a .tar.gz whose bytes depend on names, rights of the owner and contents alone.

    files: {name: (mode, content)}; links: {name: target}, symbolic ones
    """
    raw = io.BytesIO()
    links = links or {}
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name in sorted({**files, **links}):
            info = tarfile.TarInfo(name)
            info.mtime = _epoch()
            if name in links:
                info.type, info.mode, info.linkname = tarfile.SYMTYPE, 0o777, links[name]
                archive.addfile(info)
            else:
                mode, content = files[name]
                info.mode, info.size = _everybodys(mode), len(content)
                archive.addfile(info, io.BytesIO(content))
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=_epoch()))


def _with_sbom(files: list[tuple[str, int, bytes]], version: str) -> list[tuple[str, int, bytes]]:
    """Add the bill of materials to the files of a wheel, and its line to RECORD, which stays the last."""
    *files, (record, mode, lines) = sorted(files, key=lambda file: file[0].endswith(".dist-info/RECORD"))
    content = write_sbom(read_shared(), version, {name: text for name, _, text in files})
    name = f"{record.rpartition('/')[0]}/sboms/plif.cdx.json"
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    lines = f"{name},sha256={digest},{len(content)}\n".encode() + lines
    return [*files, (name, 0o644, content), (record, mode, lines)]


def _epoch() -> int:
    """Return the time-stamp of all files: SOURCE_DATE_EPOCH, else the first that zip knows."""
    return max(int(os.environ.get("SOURCE_DATE_EPOCH", 0)), 315_532_800)


def _everybodys(mode: int) -> int:
    """Who may read and run a file: everybody what its owner may, whatever the umask was."""
    return 0o755 if mode & 0o100 else 0o644
