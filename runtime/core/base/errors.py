"""Errors for the user: each message says where, the problem, the expected value and the remedy.

The command line prints that one line and exits with `exit_code`; a user never sees a traceback.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime.core.base.text import printable

# The exceptions that parsing untrusted data as if it were valid can raise.
PARSE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


class PlifError(Exception):
    """The error for an unusable file or argument; its message is one printable line that needs no context."""

    exit_code = 2

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class PlifWarning(UserWarning):
    """A warning that stops nothing; the command line prints it as one line."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class CheckFailed(PlifError):
    """The error of a check that ran and failed, such as parity or a minimum accuracy."""

    exit_code = 1


class Gate(NamedTuple):
    """The outcome of one check of a command: the reason why it failed or was skipped; neither if it passed."""

    name: str
    failed: str | None = None
    skipped: str | None = None


class Interrupted(PlifError):
    """The error of Ctrl-C; its message says which results were saved and how to continue."""

    exit_code = 130


class MissingExtra(PlifError):
    """The error of a command that needs an optional dependency (an extra of plif) that is not installed."""

    def __init__(self, feature: str, extra: str, index: str = "") -> None:
        super().__init__(f"{feature} needs an extra that is not installed: {format_pip_install(extra, index)}")


def format_pip_install(extra: str, index: str = "") -> str:
    """Return the pip command that installs an extra (optional dependencies) of plif.

    index  a pip option that names another package index, with a space at its end
    """
    return f"pip install {index}{' ' * bool(index)}'plif[{extra}]'"
