"""Errors are letters to the user: where, what was found, what was expected, what to do.

The command line prints the one line and exits with `exit_code`; nothing else ever reaches a user as a traceback.
"""

from __future__ import annotations


class PlifError(Exception):
    """A file or an argument that cannot be used. The message is one line, complete in itself."""

    exit_code = 2


class PlifWarning(UserWarning):
    """Something the user should know and may go on with; the command line prints it as one line."""


class CheckFailed(PlifError):
    """The check that was asked for ran, and its answer is no (parity, a metric below its bar)."""

    exit_code = 1


class Interrupted(PlifError):
    """Ctrl-C where there is something to say about what is left."""

    exit_code = 130


class MissingExtra(PlifError):
    """A command needs an optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra that is not installed: pip install 'plif[{extra}]'")
