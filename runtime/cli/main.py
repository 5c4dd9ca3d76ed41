"""The command line: `plif`. Parse, call, print, exit code; every command has the Python call that does the same.

Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted (by SIGTERM: 143, but for a
stream, which then ends in order), 141 who read the output went away, as `| head -1` does: what is written into files is
whole, and nothing is said. Whatever else goes wrong is one line on stderr. With --json stdout holds one JSON document
(stream: one a line) and nothing else.

A command's module is imported when the command runs; `plif --help` reads the first line of its docstring without. These modules
import nothing heavy at their top: no NumPy, no torch, no engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import select
import sys
import warnings
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

import click

from runtime.base.errors import MissingExtra, PlifError, PlifWarning, install_command
from runtime.base.text import say
from runtime.base.version import __version__
from runtime.cli.signals import catch_signals, exit_code, let_go

if TYPE_CHECKING:
    from importlib.abc import InspectLoader

UNREAD = 141  # what a shell says of `yes` in `yes | head -1`

_TRAIN = (("torch",), "train")
_EXPORT = (("torch", "onnx", "onnxruntime"), "cpu,export")

# name -> (module, function, what must be installed, the extra that brings it). To add a command, write its function, whose
# parameters are arguments and records of options (runtime/cli/commands.py), and enter it here.
COMMANDS: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "info": ("runtime.cli.info", "info", (), ""),
    "eval": ("runtime.cli.evaluate", "evaluate", (), ""),
    "predict": ("runtime.cli.predict", "predict", (), ""),
    "stream": ("runtime.cli.stream", "stream", (), ""),
    "send": ("runtime.cli.stream", "send", (), ""),
    "bench": ("runtime.cli.bench", "bench", (), ""),
    "train": ("plif_train.cli", "train", *_TRAIN),
    "paper": ("plif_train.paper.cli", "paper", *_TRAIN),
    "paper figures": ("plif_train.figures.cli", "figures", *_TRAIN),
    "export": ("plif_export.cli", "export", *_EXPORT),
    "verify": ("plif_export.cli", "verify", *_EXPORT),
    "check": ("plif_export.cli", "check", *_EXPORT),
    "demo": ("plif_export.cli", "demo", *_EXPORT),
    "data": ("runtime.cli.data", "data", (), ""),
}


class _Commands(click.Group):
    """The commands of COMMANDS, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A name may be two words."""
        both = " ".join(args[:2])
        if both in COMMANDS:
            args = [both, *args[2:]]
        if args[0] not in COMMANDS:
            from difflib import get_close_matches

            near = "".join(f" Did you mean '{name}'?" for name in get_close_matches(args[0], COMMANDS, 1))
            ctx.fail(f"No such command '{args[0]}'.{near}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _lacks(name) or _first_line(name)) for name in COMMANDS])


def _command(name: str) -> click.Command:
    """The command as click runs it; one whose extra is not installed says what to install, whatever its options."""
    module, function, needs, extra = COMMANDS[name]
    if not needs:
        # these commands multiply no large matrices with NumPy, and starting its BLAS threads is a fifth of their start
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    lacks = _lacks(name)
    if not lacks:
        from runtime.cli.commands import command_of

        return command_of(name, getattr(importlib.import_module(module), function))

    def missing() -> None:
        raise MissingExtra(f"plif {name}", extra)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    return click.Command(name, anything, callback=missing, help=lacks)


def _lacks(name: str) -> str:
    """What to install for a command; "" where all is there."""
    *_, needs, extra = COMMANDS[name]
    return "" if all(map(importlib.util.find_spec, needs)) else f"Not installed: {install_command(extra)}"


def _first_line(name: str) -> str:
    """Of a command's docstring, from the compiled module, which is not run: the list of commands imports none of them."""
    module, function, *_ = COMMANDS[name]
    spec = importlib.util.find_spec(module)
    code = cast("InspectLoader", spec and spec.loader).get_code(module)
    assert code is not None
    found = next(part for part in code.co_consts if isinstance(part, CodeType) and part.co_name == function)
    return str(found.co_consts[0] or "").partition("\n")[0]


def _show_completion(ctx: click.Context, option: click.Parameter, shell: str | None) -> None:
    if shell:
        from click.shell_completion import get_completion_class

        found = get_completion_class(shell)
        if found is None:
            ctx.fail(f"--show-completion {shell}: expected bash, zsh or fish")
        say(*found(app, {}, "plif", "_PLIF_COMPLETE").source().splitlines())
        ctx.exit()


app = _Commands(
    "plif",
    help="Deploy spiking neural networks: train, export, prove, evaluate, stream.",
    no_args_is_help=True,
    params=[
        click.Option(
            ["--show-completion"], metavar="SHELL", is_eager=True, expose_value=False, callback=_show_completion,
            help="What makes bash, zsh or fish complete plif, to add to its start-up file.",
        )
    ],
)  # fmt: skip
click.version_option(__version__, message="plif %(version)s")(app)


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
        code = invoke(arguments)
        sys.stdout.flush()
    except PlifError as error:
        kind = "interrupted" if error.exit_code == 130 else "error"
        say(f"plif: {kind}: {error}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        code = 130
    except click.exceptions.NoArgsIsHelpError as error:
        say(*error.format_message().splitlines(), err=True)
        return 2
    except click.ClickException as error:
        asked = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "plif"
        name = error.option_name if isinstance(error, click.NoSuchOption) else "--"
        typed = [word for word in arguments if name[1:] != "-" and word.startswith(name) and word != name]  # -json
        near = "".join(f". Did you mean '-{word}'?" for word in typed[:1])
        text = " ".join(error.format_message().split())
        say(f"plif: error: {text.removesuffix('.') if near else text}{near} (see {asked} --help)", err=True)
        return 2
    except Exception as error:
        return UNREAD if isinstance(error, BrokenPipeError) and _unread() else _unexpected(error)
    if code == 130:
        say("plif: interrupted", err=True)
    return code


def invoke(arguments: list[str]) -> int:
    """Parses and runs a command line: gives its exit code, or raises what went wrong, usage errors of click among it."""
    completing = os.environ.get("_PLIF_COMPLETE")
    if completing:
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, "plif", "_PLIF_COMPLETE", completing)
    try:
        # not click's own main, which hides from us that nobody reads the output
        with app.make_context("plif", [*arguments]) as context:
            code = app.invoke(context)
    except click.exceptions.Exit as left:
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

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = str(message)
        if issubclass(category, PlifWarning) and text not in said:
            said.add(text)
            say(f"plif: warning: {text}", err=True)

    return show
