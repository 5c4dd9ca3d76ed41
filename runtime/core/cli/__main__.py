"""The entry point of `plif`, also as `python -m runtime.core.cli` for launchers such as torchrun.

It holds Ctrl-C, then loads the rest. Before this file runs, Python's own start and the console script take a
hundredth of a second or two: Ctrl-C then ends with Python's traceback. No file is open and no work begun before
`catch_signals`, so ending at once loses nothing.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the `plif` command, the console script; Ctrl-C before its modules are loaded ends the process at once."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_interrupted)
    from runtime.core.cli.main import main as command

    command()


def _exit_interrupted(*_: object) -> None:
    try:
        os.write(2, b"plif: interrupted\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    main()
