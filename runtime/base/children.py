"""Python in a process of its own, which imports nothing from the folder that the user happens to be in.

What `python -P` does, since Python 3.11: a file json.py or aedat.py there is not taken for the module of that name.
"""

from __future__ import annotations

import sys
from pathlib import Path

SAFE_PATH = "import sys; sys.path[:] = [place for place in sys.path if place]; "
RUN = SAFE_PATH + "del sys.argv[0]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"


def run_script(script: Path, *arguments: str) -> list[str]:
    """The command that runs a script; its own folder is not imported from, either."""
    return [sys.executable, "-c", RUN, str(script), *arguments]


def run_code(code: str) -> list[str]:
    """The command that runs this code."""
    return [sys.executable, "-c", SAFE_PATH + code]
