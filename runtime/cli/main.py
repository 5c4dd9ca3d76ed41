"""The command line: `plif`. Parse, call, print, exit code; every command has the Python call that does the same.

Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted (by SIGTERM: 143, but for a
stream, which then ends in order), 141 who read the output went away, as `| head -1` does: what is written into files is
whole, and nothing is said. Whatever else goes wrong is one line on stderr. With --json stdout holds one JSON document
(stream: one a line) and nothing else.

A command's module is imported when the command runs, and by `plif --help`, which lists the first line of its docstring. So
these modules import nothing heavy at their top: no NumPy, no torch, no engine.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer
import typer.core

from runtime.base.errors import MissingExtra, PlifError, PlifWarning
from runtime.base.options import OptionRecord, flag_of, options_of
from runtime.base.text import say
from runtime.base.version import __version__
from runtime.cli.signals import catch_signals, exit_code, let_go

UNREAD = 141  # what a shell says of `yes` in `yes | head -1`

_TRAIN = (("torch",), "train")
_EXPORT = (("torch", "onnx", "onnxruntime"), "cpu,export")

# name -> (module, function, what must be installed, the extra that brings it). To add a command, write its function, whose
# parameters are arguments and records of options (runtime/base/options.py), and enter it here.
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


class _Commands(typer.core.TyperGroup):
    """The commands of COMMANDS, each imported when it is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # Names alone: Typer lists them, and since 0.20 it also offers the nearest one for a name that is not there.
        self.commands.update(dict.fromkeys(COMMANDS))  # type: ignore[arg-type]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """A name may be two words, or an old one."""
        if args[0] not in COMMANDS:
            from runtime.cli.old_names import renamed

            args = renamed(args)
        both = " ".join(args[:2])
        return super().resolve_command(ctx, [both, *args[2:]] if both in COMMANDS else args)


def _command(name: str) -> Any:
    """The command as Typer runs it; one whose extra is not installed says what to install, whatever its options."""
    module, function, needs, extra = COMMANDS[name]
    if not needs:
        # these commands multiply no large matrices with NumPy, and starting its BLAS threads is a fifth of their start
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    if all(importlib.util.find_spec(package) for package in needs):
        run_it = typer_command(getattr(importlib.import_module(module), function))
        single.command(name, context_settings=getattr(run_it, "context_settings", None))(run_it)
        return typer.main.get_command(single)

    def missing() -> None:
        raise MissingExtra(f"plif {name}", extra)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    single.command(name, context_settings=anything, help=f"Not installed: pip install 'plif[{extra}]'")(missing)
    return typer.main.get_command(single)


def records_of(command: Callable[..., Any]) -> dict[str, type[OptionRecord]]:
    """The records that a command takes, by the names of its parameters."""
    hints = get_type_hints(command)
    return {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, OptionRecord)}


def typer_command(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command as Typer takes it; one without records is as it was."""
    records = records_of(command)
    if not records:
        return command
    own = inspect.signature(command, eval_str=True).parameters

    @wraps(command)
    def call(**said: Any) -> Any:
        given = {name: value for name, value in said.items() if name in own}
        for name, record in records.items():
            given[name] = record(**{each.name: said[each.name] for each in options_of(record)})
        return command(**given)

    found = {one.name: one for each in own.values() for one in _parameters(each, records.get(each.name))}
    parameters = [*found.values()]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _parameters(own: inspect.Parameter, record: type[OptionRecord] | None) -> Iterator[inspect.Parameter]:
    if record is None:
        yield own.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    types = get_type_hints(record)
    for each in options_of(record):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        kind = _annotation(each, types[each.name])
        yield inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _annotation(each: Field[Any], declared: Any) -> Any:
    about = each.metadata
    kind = about["typed"] or (str | None if about["parse"] is not None else declared)
    flags = about["flags"] or [flag_of(each)]
    return Annotated[kind, typer.Option(*flags, help=about["help"], metavar=about["metavar"])]


app = typer.Typer(
    name="plif",
    cls=_Commands,
    help="Deploy spiking neural networks: train, export, prove, evaluate, stream.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        say(f"plif {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


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
    warnings.showwarning = _one_line_warning
    os.environ.setdefault("MPLBACKEND", "Agg")  # a command draws into files; in a program the backend is the user's
    try:
        code = _typed(arguments)
        sys.stdout.flush()
    except PlifError as error:
        kind = "interrupted" if error.exit_code == 130 else "error"
        say(f"plif: {kind}: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _unread():
            return UNREAD
        # Usage errors are classes of click in older Typer, of Typer itself since 0.29; both format their own message.
        if not hasattr(error, "format_message"):
            return _unexpected(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            say(*error.format_message().splitlines(), err=True)
        else:
            say(f"plif: error: {' '.join(error.format_message().split())} (see plif --help)", err=True)
        return 2
    if code == 130:
        say("plif: interrupted", err=True)
    return code


def _typed(arguments: list[str]) -> int:
    outputs = sys.stdout, sys.stderr
    try:
        code = typer.main.get_command(app)(arguments, prog_name="plif", standalone_mode=False)
    except SystemExit as left:
        sys.stdout, sys.stderr = outputs
        if isinstance(left.__context__, BrokenPipeError):  # Typer takes it for itself, and hides it from who flushes
            raise left.__context__ from None
        raise
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


def _one_line_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, PlifWarning):
        say(f"plif: warning: {message}", err=True)
