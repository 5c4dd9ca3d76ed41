"""Errors are written for the user: where, what was found, what was expected, what to do.

The command line prints the one line and exits with `exit_code`; a user never sees a traceback.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.core.base.text import printable

# What comes of taking apart what strangers wrote, as if it were what it should be.
NONSENSE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class PlifError(Exception):
    """A file or an argument that cannot be used. The message is one line that needs no context, and safe to print."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class PlifWarning(UserWarning):
    """Something that the user should know and that stops nothing; the command line prints it as one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class CheckFailed(PlifError):
    """The check that the user asked for ran and failed (parity, a metric below its bar)."""

    exit_code = 1


class Gate(NamedTuple):
    """A part of a check that the user asked for: why it failed, or why it says nothing; neither where it passed."""

    name: str
    failed: str | None = None
    skipped: str | None = None


class Interrupted(PlifError):
    """Ctrl-C where the user must be told what was kept and how to continue."""

    exit_code = 130


class MissingExtra(PlifError):
    """A command needs an optional dependency that is not installed."""

    def __init__(self, what: str, extra: str, index: str = "") -> None:
        super().__init__(f"{what} needs an extra that is not installed: {install_command(extra, index)}")


def install_command(extra: str, index: str = "") -> str:
    """What installs an extra; index: an option that names where else it lies."""
    return f"pip install {index}{' ' * bool(index)}'plif[{extra}]'"
