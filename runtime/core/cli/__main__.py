"""The command `plif`, also as `python -m runtime.core.cli`, for launchers such as torchrun: holds Ctrl-C, then loads the rest.

Before this file runs, Python's own start and the console script have it, a hundredth of a second or two: Ctrl-C then ends
with Python's traceback. Nothing is open or begun before `catch_signals`, so ending at once loses nothing.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    from runtime.core.cli.main import main as command

    command()


def _end(*_: object) -> None:
    try:
        os.write(2, b"plif: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
