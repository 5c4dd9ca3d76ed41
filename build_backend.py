"""The build backend: setuptools' own, which brings a C compiler from PyPI (ziglang) to a machine that has none.

libplif decides what plif says of events, so it is built on every machine. setup.py asks `find_compiler`, too.
"""

import os
import shlex
import subprocess
import sysconfig

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks that stay as they are

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
