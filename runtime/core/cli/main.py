"""The command line `plif`: parse, call, print, exit code; every command has the Python call that does the same.

Exit codes: 0 done, 1 the requested check failed, 2 bad file or usage, 130 interrupted (by SIGTERM: 143, except for a
stream, which then ends in order), 141 the reader of the output closed it, as `| head -1` does: written files are
complete, and plif prints no message. Any other error is one line on stderr. With --json stdout holds one JSON
document (stream: one a line) and nothing else.

A command's module is imported when the command runs. `plif --help` reads the help of a command from its part.py, and
of a core command from COMMANDS of its package. These modules import nothing heavy at their top: no NumPy, no torch,
no engine.
"""

from __future__ import annotations

import os
import select
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, cast

import typer
from typer._click import Command, Context, HelpFormatter  # typer itself does not export these, nor the errors below
from typer._click.exceptions import NoArgsIsHelpError, NoSuchOption, UsageError
from typer.core import TyperCommand, TyperGroup

from runtime.core.base.errors import MissingExtra, PlifError, PlifWarning, format_pip_install
from runtime.core.base.text import say
from runtime.core.base.version import __version__
from runtime.core.cli.commands import make_command, make_plain_typer, run_instead
from runtime.core.cli.signals import catch_signals, process_exit_code, restore_signals
from runtime.core.observers import add_external_options
from runtime.core.parts import PACKAGES, Part, find_part, find_parts, index_by_name

OUTPUT_CLOSED = 141  # the exit code that a shell reports for `yes` in `yes | head -1`


@cache
def get_core_commands(package: str) -> dict[str, Part]:
    """Return {name: command} of the commands in the core of a package, which need no plug-in part."""
    if find_spec(package) is None:
        return {}
    module = import_module(package)
    return {
        name: Part(name, package, about, run=run, requires=module.REQUIRES, extra=module.EXTRA)
        for name, run, about in module.COMMANDS
    }


def list_all_commands() -> dict[str, Part]:
    """Return {name that a user types: command}: the core commands first, then those of plug-in parts."""
    core = {name: command for package in PACKAGES for name, command in get_core_commands(package).items()}
    return core | index_by_name(find_parts("commands"))


def find_command(name: str) -> Part | None:
    """Find a command by name: in the core, for which no plug-in part is read, or in a part; None if unknown."""
    core = next((get_core_commands(package)[name] for package in PACKAGES if name in get_core_commands(package)), None)
    return core or find_part("commands", name)


class _CommandGroup(TyperGroup):
    """The Typer group of all commands; it imports a command at its first use."""

    def list_commands(self, ctx: Context) -> list[str]:
        return [*list_all_commands()]

    def get_command(self, ctx: Context | None, cmd_name: str) -> Command | None:
        part = find_command(cmd_name)
        return None if part is None else _make_command(cmd_name, part)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """Find the command that the arguments name in one word or two; return its name, the command and the rest."""
        if args[0] not in get_core_commands("runtime") and (two_words := " ".join(args[:2])) in index_by_name(
            find_parts("commands")
        ):
            args = [two_words, *args[2:]]
        if find_command(args[0]) is None:
            from difflib import get_close_matches

            near = "".join(f" Did you mean '{name}'?" for name in get_close_matches(args[0], list_all_commands(), 1))
            ctx.fail(f"No such command '{args[0]}'.{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, _note_missing(command) or command.about) for name, command in list_all_commands().items()]
            )


def _make_command(name: str, part: Part) -> Command:
    """Return a plug-in part's command for Typer; if modules are missing, a command that says what to install."""
    if not part.requires:
        # these commands multiply no large matrices, and starting BLAS threads takes a fifth of their start-up time
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not (missing_note := _note_missing(part)):
        return make_command(name, part.load(part.run), part.about)

    def missing() -> None:
        raise MissingExtra(f"plif {name}", part.extra)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    return TyperCommand(name, context_settings=anything, callback=missing, help=missing_note)


def _note_missing(part: Part) -> str:
    """Return the text that says what to install for a command; "" if all its modules are installed."""
    return "" if part.find_missing() is None else f"Not installed: {format_pip_install(part.extra)}"


SHELLS = ("bash", "zsh", "fish")
COMPLETE = "_PLIF_COMPLETE"  # a shell sets it to ask for completions


def _show_completion(shell: str | None) -> None:
    if shell is not None:
        from typer.completion import get_completion_script

        if shell not in SHELLS:
            raise typer.BadParameter(f"expected {' or '.join(SHELLS)}")
        say(*get_completion_script(prog_name="plif", complete_var=COMPLETE, shell=shell).splitlines())
        raise typer.Exit


def _plif(
    shell: Annotated[str | None, typer.Option(
        "--show-completion", metavar="SHELL", is_eager=True, callback=_show_completion,
        help="What makes bash, zsh or fish complete plif, to add to its start-up file.",
    )] = None,
    version: Annotated[bool, typer.Option(
        "--version", is_eager=True, callback=run_instead(lambda: say(f"plif {__version__}")), help="Show the version and exit.",
    )] = False,
) -> None:  # fmt: skip
    """Deploy spiking neural networks: train, export, prove, evaluate, stream."""


_typer = make_plain_typer(name="plif", cls=_CommandGroup, no_args_is_help=True)
_typer.callback()(_plif)
app = cast(TyperGroup, typer.main.get_command(_typer))


def main() -> None:
    """Run the console script: call a command, and turn any error into one line and an exit code."""
    _open_closed_streams()
    try:
        catch_signals(gracefully=sys.argv[1:2] == ["stream"])
        code = run(sys.argv[1:])
        restore_signals()
    except KeyboardInterrupt:  # before the command began, or after its end
        restore_signals()
        code = 130
        say("plif: interrupted", err=True)
    except OSError:  # the error line itself could not be written: output closed, or disk full
        code = OUTPUT_CLOSED if _is_output_closed() else 2
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # reported already; Python would report it again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(process_exit_code(code))


def _open_closed_streams() -> None:
    """Open the null device for each standard stream that the caller closed (`>&-`).

    Otherwise the next opened file would get its number, and the output would go there.
    """
    # in the order of their numbers, since the lowest free one is taken; open for as long as the process lives
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def run(arguments: list[str]) -> int:
    """Run a command line, given as a list of arguments, and return its exit code."""
    warnings.showwarning = _make_warning_printer()
    os.environ.setdefault("MPLBACKEND", "Agg")  # a command draws into files; in a program the backend is the user's
    try:
        try:
            code = invoke(arguments)
        except NoSuchOption:
            if not add_external_options():
                raise
            code = invoke(arguments)
        sys.stdout.flush()
    except PlifError as error:
        kind = "interrupted" if error.exit_code == 130 else "error"
        say(f"plif: {kind}: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        code = 130
    except NoArgsIsHelpError as error:
        say(*error.format_message().splitlines(), err=True)
        return 2
    except UsageError as error:
        command_path = error.ctx.command_path if error.ctx else "plif"
        text = " ".join(error.format_message().split())
        if isinstance(error, NoSuchOption):
            name = error.option_name
            near = [
                f"-{word}" for word in arguments if name[1:] != "-" and word.startswith(name) and word != name
            ]  # -json
            near += error.possibilities or ()
            text = f"No such option '{name}'." + "".join(f" Did you mean '{option}'?" for option in near[:1])
        say(f"plif: error: {text} (see {command_path} --help)", err=True)
        return 2
    except Exception as error:
        return (
            OUTPUT_CLOSED if isinstance(error, BrokenPipeError) and _is_output_closed() else _report_unexpected(error)
        )
    if code == 130:
        say("plif: interrupted", err=True)
    return code


def invoke(arguments: list[str]) -> int:
    """Parse and run a command line, and return its exit code; usage errors of Typer are raised."""
    if COMPLETE in os.environ:
        from typer.completion import completion_init

        completion_init()
        app.main([], "plif", COMPLETE)
    try:
        # not Typer's own main, which hides that the output was closed
        with app.make_context("plif", [*arguments]) as context:
            code = app.invoke(context)
    except typer.Exit as left:
        code = left.exit_code
    return code if isinstance(code, int) else 0


def _is_output_closed() -> bool:
    """Return whether the reader of our output closed it, as `| head -1` does; else a broken pipe is an error."""
    outputs = select.poll()
    for number in (1, 2):
        outputs.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in outputs.poll(0))


def _report_unexpected(error: Exception) -> int:
    """Print an unexpected error and return its exit code.

    A full disk or a forbidden folder needs no hint; any other error is a bug.
    """
    if os.environ.get("PLIF_TRACEBACK"):
        raise error
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.strerror:
        file_note = f"{error.filename}: " if error.filename else ""
        say(f"plif: error: {file_note}{error.strerror}", err=True)
    else:
        hint = "a bug in plif, or a file it should have refused; PLIF_TRACEBACK=1 shows where"
        say(f"plif: error: {type(error).__name__}: {text} ({hint})", err=True)
    return 2


def _make_warning_printer() -> Callable[..., None]:
    """Return a function that prints each PlifWarning once, in one line.

    The splits of a data set may each raise the same warning.
    """
    shown = set[str]()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = str(message)
        if issubclass(category, PlifWarning) and text not in shown:
            shown.add(text)
            say(f"plif: warning: {text}", err=True)

    return show
