"""The command line: `plif`. Parse, call, print, exit code; every command has the Python call that does the same.

Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted (by SIGTERM: 143, but for a
stream, which then ends in order), 141 who read the output went away, as `| head -1` does: what is written into files is
whole, and nothing is said. Whatever else goes wrong is one line on stderr. With --json stdout holds one JSON document
(stream: one a line) and nothing else.

A command's module is imported when the command runs; `plif --help` has what a command does from its part.py, and of the core's
from COMMANDS of the package. These modules import nothing heavy at their top: no NumPy, no torch, no engine.
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
from typer._click import Command, Context, HelpFormatter  # which typer itself does not name, as the errors
from typer._click.exceptions import NoArgsIsHelpError, NoSuchOption, UsageError
from typer.core import TyperCommand, TyperGroup

from runtime.core.base.errors import MissingExtra, PlifError, PlifWarning, install_command
from runtime.core.base.text import say
from runtime.core.base.version import __version__
from runtime.core.cli.commands import command_of, in_place, plain_typer
from runtime.core.cli.signals import catch_signals, exit_code, let_go
from runtime.core.observers import hear_others
from runtime.core.parts import PACKAGES, Part, by_name, find_part, find_parts

UNREAD = 141  # what a shell says of `yes` in `yes | head -1`


@cache
def commands_of(package: str) -> dict[str, Part]:
    """The commands of a package's core, which are always there."""
    if find_spec(package) is None:
        return {}
    own = import_module(package)
    return {
        name: Part(name, package, about, run=run, requires=own.REQUIRES, extra=own.EXTRA)
        for name, run, about in own.COMMANDS
    }


def commands() -> dict[str, Part]:
    """{what a user types: the command}: those of the core, then the parts."""
    core = {name: one for package in PACKAGES for name, one in commands_of(package).items()}
    return core | by_name(find_parts("commands"))


def find_command(name: str) -> Part | None:
    """A command of the core, for which nothing else is looked at; else a part."""
    core = next((commands_of(each)[name] for each in PACKAGES if name in commands_of(each)), None)
    return core or find_part("commands", name)


class _Commands(TyperGroup):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: Context) -> list[str]:
        return [*commands()]

    def get_command(self, ctx: Context | None, cmd_name: str) -> Command | None:
        found = find_command(cmd_name)
        return None if found is None else _command(cmd_name, found)

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        """A name may be two words."""
        if args[0] not in commands_of("runtime") and (both := " ".join(args[:2])) in by_name(find_parts("commands")):
            args = [both, *args[2:]]
        if find_command(args[0]) is None:
            from difflib import get_close_matches

            near = "".join(f" Did you mean '{name}'?" for name in get_close_matches(args[0], commands(), 1))
            ctx.fail(f"No such command '{args[0]}'.{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _lacks(each) or each.about) for name, each in commands().items()])


def _command(name: str, said: Part) -> Command:
    """The command as Typer runs it; one whose extra is not installed says what to install, whatever its options."""
    if not said.requires:
        # these commands multiply no large matrices with NumPy, and starting its BLAS threads is a fifth of their start
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not (lacks := _lacks(said)):
        return command_of(name, said.load(said.run), said.about)

    def missing() -> None:
        raise MissingExtra(f"plif {name}", said.extra)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    return TyperCommand(name, context_settings=anything, callback=missing, help=lacks)


def _lacks(said: Part) -> str:
    """What to install for a command; "" where all is there."""
    return "" if said.missing() is None else f"Not installed: {install_command(said.extra)}"


SHELLS = ("bash", "zsh", "fish")
COMPLETE = "_PLIF_COMPLETE"  # set by a shell that wants to know what may follow


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
        "--version", is_eager=True, callback=in_place(lambda: say(f"plif {__version__}")), help="Show the version and exit.",
    )] = False,
) -> None:  # fmt: skip
    """Deploy spiking neural networks: train, export, prove, evaluate, stream."""


_typer = plain_typer(name="plif", cls=_Commands, no_args_is_help=True)
_typer.callback()(_plif)
app = cast(TyperGroup, typer.main.get_command(_typer))


def main() -> None:
    """The console script: runs a command and turns what goes wrong into one line and an exit code."""
    _reopen()
    try:
        catch_signals(gently=sys.argv[1:2] == ["stream"])
        code = run(sys.argv[1:])
        let_go()
    except KeyboardInterrupt:  # before the command began, or after its end
        let_go()
        code = 130
        say("plif: interrupted", err=True)
    except OSError:  # the line about what went wrong: nobody reads it, or the disk is full
        code = UNREAD if _unread() else 2
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # said already; Python would say it again as it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(exit_code(code))


def _reopen() -> None:
    """Gives an output that whoever started us closed (`>&-`) to nobody: else the next file that is opened is written there."""
    # in the order of their numbers, since the lowest free one is taken; open for as long as the process lives
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def run(arguments: list[str]) -> int:
    """The command line as a function: arguments -> exit code."""
    warnings.showwarning = _lines_of_warnings()
    os.environ.setdefault("MPLBACKEND", "Agg")  # a command draws into files; in a program the backend is the user's
    try:
        try:
            code = invoke(arguments)
        except NoSuchOption:
            if not hear_others():
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
        asked = error.ctx.command_path if error.ctx else "plif"
        text = " ".join(error.format_message().split())
        if isinstance(error, NoSuchOption):
            name = error.option_name
            near = [
                f"-{word}" for word in arguments if name[1:] != "-" and word.startswith(name) and word != name
            ]  # -json
            near += error.possibilities or ()
            text = f"No such option '{name}'." + "".join(f" Did you mean '{each}'?" for each in near[:1])
        say(f"plif: error: {text} (see {asked} --help)", err=True)
        return 2
    except Exception as error:
        return UNREAD if isinstance(error, BrokenPipeError) and _unread() else _unexpected(error)
    if code == 130:
        say("plif: interrupted", err=True)
    return code


def invoke(arguments: list[str]) -> int:
    """Parses and runs a command line: gives its exit code, or raises what went wrong, usage errors of Typer among it."""
    if COMPLETE in os.environ:
        from typer.completion import completion_init

        completion_init()
        app.main([], "plif", COMPLETE)
    try:
        # not Typer's own main, which hides from us that nobody reads the output
        with app.make_context("plif", [*arguments]) as context:
            code = app.invoke(context)
    except typer.Exit as left:
        code = left.exit_code
    return code if isinstance(code, int) else 0


def _unread() -> bool:
    """Whether who read our output went away, as `| head -1` does. Other pipes break by a fault."""
    outputs = select.poll()
    for number in (1, 2):
        outputs.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in outputs.poll(0))


def _unexpected(error: Exception) -> int:
    """Reports an error that no rule of ours foresaw. A full disk or a forbidden folder is clear; the rest is our bug."""
    if os.environ.get("PLIF_TRACEBACK"):
        raise error
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        say(f"plif: error: {where}{error.strerror}", err=True)
    else:
        hint = "a bug in plif, or a file it should have refused; PLIF_TRACEBACK=1 shows where"
        say(f"plif: error: {type(error).__name__}: {text} ({hint})", err=True)
    return 2


def _lines_of_warnings() -> Callable[..., None]:
    """Prints warnings of ours in a line each, the same one once: the splits of a set may each have it."""
    said = set[str]()

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        text = str(message)
        if issubclass(category, PlifWarning) and text not in said:
            said.add(text)
            say(f"plif: warning: {text}", err=True)

    return show
