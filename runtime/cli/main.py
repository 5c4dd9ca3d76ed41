"""The command line: `plif`. Parse, call, print, exit code; every command has the Python call that does the same.

Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted. Whatever goes wrong is one
line on stderr. With --json stdout holds one JSON document (stream: one a line) and nothing else.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import warnings
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.base.errors import MissingExtra, PlifError, PlifWarning
from runtime.base.version import __version__
from runtime.cli.signals import own_process

if TYPE_CHECKING:
    from runtime.api import Model

app = typer.Typer(
    name="plif",
    help="Deploy spiking neural networks: train, export, prove, evaluate, stream.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# Commands that live in the other packages: (module with `register(app)`, what it imports, its extra, its commands).
PARTS = (
    ("plif_train.cli", ("torch",), "train", ("train", "figures")),
    ("plif_export.cli", ("torch", "onnx", "onnxruntime"), "cpu,export", ("export", "verify", "check", "demo")),
    ("runtime.cli.data", (), "", ("data",)),
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
EngineName = Annotated[
    str,
    typer.Option(help="auto (the fastest here), or one that plif info lists: event, onnxruntime, openvino, torch, ..."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; what the engine is for when not given.")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="Refuse the artifact when its SHA-256 is another. An engine needs it.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all when not given.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"plif {__version__}")
        raise typer.Exit


@app.callback()
def _main(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    pass


@app.command()
def info(
    file: Annotated[
        Path | None, typer.Argument(help="A model.pt or an artifact; the environment when not given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The card of a model or artifact, or the environment. Needs neither torch nor an engine."""
    from runtime.cli.info import card_lines, environment, environment_lines
    from runtime.model.card import read_card

    found = environment() if file is None else read_card(file)
    if as_json:
        print_json(found)
    else:
        typer.echo("\n".join(environment_lines(found) if file is None else card_lines(found)))


@app.command("eval")
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact, or a model.pt (runs in PyTorch).")],
    data: Annotated[str, typer.Option(help="NAME:DIR, e.g. nmnist:recordings, or digits.")],
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples in one batch; 16 when not given.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read samples ahead.")] = 1,
    against: Annotated[
        Path | None, typer.Option(help="Another artifact or model.pt on the same samples: which decisions differ?")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for metrics.json, predictions.csv and confusion.png.")
    ] = None,
    engine: EngineName = "auto",
    device: Device = None,
    sha256: Sha256 = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Batch accuracy on a data set."""
    from runtime.api import load
    from runtime.base.progress import Progress
    from runtime.measure.evaluate import evaluate as run
    from runtime.measure.evaluate import write_results

    model = load(artifact, engine, threads=threads, rates=True, device=device, sha256=sha256)
    with Progress("evaluating") as progress:
        result = run(model, data, split=split, limit=limit, batch=batch, workers=workers, progress=progress.update)
    _say_engine(model)
    if against is not None:
        other = load(against, threads=threads, device=device)
        with Progress("evaluating the other") as progress:
            found = run(other, data, split=split, limit=limit, batch=batch, workers=workers, progress=progress.update)
        result.compare(found, against)
    written = write_results(result, out) if out else []
    if as_json:
        document = result.to_dict()
        print_json(document)
        return
    typer.echo(
        f"accuracy {100 * result.accuracy:.2f} %  ({result.correct} of {result.samples}, {result.data}, {split})"
    )
    typer.echo(
        f"engine {result.engine}, batch {result.batch}, T={result.T}: "
        f"{_ms(result.latency_ms['p50'])} ms a call (p99 {_ms(result.latency_ms['p99'])}), {result.throughput_per_s:g} samples/s"
    )
    rates = ", ".join(f"{layer} {100 * rate:.1f} %" for layer, rate in result.firing_rates.items())
    typer.echo(f"firing rates {rates or f'are not counted by engine {result.engine}'}")
    if result.against is not None:
        typer.echo(
            f"against {result.against['path']}: {result.against['decisions_changed']} of {result.samples} decisions differ; "
            f"its accuracy {100 * result.against['accuracy']:.2f} %"
        )
    for path in written:
        typer.echo(f"wrote {path}")


@app.command()
def stream(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact in the step form.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            help="A recording, a folder of --record, - (CSV on stdin), "
            "udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH, tcp://HOST:PORT, "
            "usb://[SERIAL] or sim:digits?seed=1. Several run side by side on one engine."
        ),
    ],
    framing: Annotated[str | None, typer.Option(help="How events become frames; the card's when not given.")] = None,
    decide: Annotated[
        str | None,
        typer.Option(
            help="sum (default of recordings), leak[:500ms] (default of feeds: leak:120ms,margin=0.2) or kofn[:3/5], "
            "then ,margin= ,release= ,idle= (events a second)."
        ),
    ] = None,
    reset: Annotated[
        str | None,
        typer.Option(
            help="recording (default of recordings), silence:MS (of feeds: silence:1000), never, every:T[/COPIES] or decay:TAU."
        ),
    ] = None,
    speed: Annotated[str, typer.Option(help="max, or real: recordings are paced by the events' own time.")] = "max",
    filters: Annotated[
        str | None,
        typer.Option("--filter", help="hot,refractory:1ms,background:5ms,roi:X0:Y0:X1:Y1,down:2,flip:x,rotate:90,swap"),
    ] = None,
    overload: Annotated[
        str | None,
        typer.Option(help="merge[:8] (default) or drop[:8]: what happens to the oldest when more frames wait."),
    ] = None,
    on_return: Annotated[
        str | None, typer.Option(help="hold (default) or reset: the state, when a live source was lost and is back.")
    ] = None,
    dashboard: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="A page in the browser that shows and steers it."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A new folder for events, decisions and metrics; naming it as SOURCE replays it."
        ),
    ] = None,
    sensor: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, for sources that do not say.")] = None,
    engine: EngineName = "auto",
    device: Device = None,
    sha256: Sha256 = None,
    threads: Threads = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Streams events step by step and prints decisions."""
    from runtime.api import load
    from runtime.cli.signals import Ending
    from runtime.show.terminal import Notes, Terminal
    from runtime.stream.observe import Observer
    from runtime.stream.options import StreamOptions
    from runtime.stream.replay import recorded_engine

    with Ending() as ending, ExitStack() as stack:
        shown = Notes() if as_json else Terminal()
        stack.callback(shown.close)
        observers: list[Observer] = [shown]
        if record is not None:
            from runtime.stream.record import Recorder

            observers.append(stack.enter_context(Recorder(record)))
        if dashboard is not None:
            from runtime.show.dashboard import Dashboard

            page = stack.enter_context(Dashboard(dashboard))
            observers.append(page)
        if engine == "auto":
            engine = recorded_engine(sources) or engine
        model = load(artifact, engine, threads=threads, device=device, rates=dashboard is not None, sha256=sha256)
        options = StreamOptions(
            framing=framing,
            decide=decide,
            reset=reset,
            speed=speed,
            sensor=parse_sensor(sensor),
            filters=filters,
            overload=overload,
            on_return=on_return,
        )
        running = model.stream(sources, options, observers=observers)
        if dashboard is not None:
            if page.warning:
                print(f"plif: warning: {page.warning}", file=sys.stderr)
            print(f"plif: dashboard at {page.address}", file=sys.stderr, flush=True)
        _say_engine(model)
        several = len(running.names) > 1
        ending.gently(running.controls.end)
        try:
            for decision in running:
                if as_json:
                    print(json.dumps(decision.to_dict(source=several), allow_nan=False), flush=True)
        except OSError:
            if not ending.asked:  # SIGHUP: nothing can be printed any more
                raise
        finally:
            ending.closing()
            running.close()
            with suppress(OSError) if ending.asked else nullcontext():  # the terminal that was closed
                shown.close()
                summary = running.summary()
                if as_json:
                    print_json({"summary": summary}, compact=True)
                else:
                    _print_summary(summary)
    if ending.asked:
        raise KeyboardInterrupt


@app.command()
def send(
    source: Annotated[str, typer.Argument(help="A recording, or sim:digits?seed=1.")],
    target: Annotated[str, typer.Argument(help="udp://HOST:PORT?format=t64|t32|spif|jaer")],
    speed: Annotated[str, typer.Option(help="real: paced by the events' own time; max; or events a second.")] = "real",
    each: Annotated[int, typer.Option(min=1, help="Events in one datagram.")] = 100,
    sensor: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, for recordings that do not say.")] = None,
    as_json: Json = False,
) -> None:
    """Sends a recording as UDP datagrams: a camera for trying plif stream."""
    from runtime.events.send import send as run

    sent = run(source, target, speed=speed, each=each, sensor=parse_sensor(sensor))
    if as_json:
        print_json({"events": sent})
    else:
        typer.echo(f"sent {sent} events")


@app.command()
def bench(
    artifacts: Annotated[list[Path], typer.Argument(help="Artifacts in the step form, or a model.pt beside them.")],
    engine: Annotated[list[str] | None, typer.Option(help="An engine; may be given several times.")] = None,
    streams: Annotated[int, typer.Option(min=1, help="Rows of the batch.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="For each artifact and engine.")] = 5.0,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Latency and throughput, side by side in one run, with firing rates and proof beside them."""
    from runtime.base.progress import Progress
    from runtime.measure.bench import bench as run

    with Progress("measuring") as progress:
        rows = run(
            artifacts,
            engines=engine or ["auto"],
            streams=streams,
            seconds=seconds,
            threads=threads,
            progress=progress.update,
        )
    for row in rows:
        if row.engine_reason:
            print(f"plif: {row.artifact}: engine {row.engine}: {row.engine_reason}", file=sys.stderr)
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    typer.echo(
        f"{'artifact':<28}{'engine':<13}{'streams':>8}{'p50 ms':>9}{'p99 ms':>9}{'steps/s':>10}{'silence':>9}  differ  rates"
    )
    for row in rows:
        rates = " ".join(f"{100 * rate:.0f}" for rate in row.firing_rates.values())
        differ = "-" if row.spike_mismatches is None else str(row.spike_mismatches)
        typer.echo(
            f"{row.artifact:<28.28}{row.engine:<13}{row.streams:>8}{row.p50_ms:>9.3f}{row.p99_ms:>9.3f}{row.steps_per_s:>10.1f}"
            f"{row.after_silence_p50_ms:>9.3f}  {differ:<6}  {rates} %"
        )


def _say_engine(model: Model) -> None:
    """Which engine --engine auto took, and why."""
    choice = model.engine_choice
    if choice is not None and choice.asked == "auto":
        print(f"plif: {choice.sentence()}", file=sys.stderr)


def _print_summary(summary: dict[str, Any]) -> None:
    from runtime.show.terminal import printable

    for name, one in summary.get("sources", {}).items():
        typer.echo(f"{name}: {printable(one['label'] or 'not sure')}, {_account(one)}, {one['frames']} frames")
    if "sources" not in summary:
        typer.echo(f"answer    {printable(summary['label'] or 'not sure')}")
    typer.echo(f"events    {_account(summary)}")
    typer.echo(f"frames    {summary['frames']} ({summary['framing']})")
    if summary.get("frames_merged") or summary.get("frames_dropped"):
        typer.echo(f"overload  {summary['frames_merged']} frames merged, {summary['frames_dropped']} dropped")
    latency, lag = summary["latency_ms"], summary["lag_ms"]
    if latency["p50"] is not None:
        typer.echo(f"latency   p50 {latency['p50']:.3g} ms, p99 {latency['p99']:.3g} ms a step")
    if lag["p50"] is not None:
        typer.echo(f"lag       p50 {lag['p50']:.3g} ms, p99 {lag['p99']:.3g} ms behind the feed")
    for note in summary["notes"]:
        typer.echo(f"note: {note}", err=True)


def _account(summary: dict[str, Any]) -> str:
    counts = ", ".join(
        f"{summary['events_' + key]} {key}" for key in ("used", "filtered", "late", "invalid", "dropped")
    )
    return f"{summary['events_in']} = {counts}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def parse_sensor(text: str | None) -> tuple[int, int] | None:
    from runtime.events.size import parse_size

    return None if text is None else parse_size(f"--sensor {text}", text)


def print_json(document: Any, compact: bool = False) -> None:
    text = json.dumps(document, allow_nan=False, indent=None if compact else 2)  # NaN is no JSON
    print(text, flush=compact)


# --- the other packages' commands ---------------------------------------------------------------------------------


def _mount() -> None:
    for module, needs, extra, commands in PARTS:
        if all(importlib.util.find_spec(name) for name in needs):
            importlib.import_module(module).register(app)
        else:
            for command in commands:
                _mount_missing(command, extra)


def _mount_missing(command: str, extra: str) -> None:
    def missing() -> None:
        raise MissingExtra(f"plif {command}", extra)

    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(command, context_settings=anything, help=f"Not installed: pip install 'plif[{extra}]'")(missing)


def main() -> None:
    """The console script: runs a command and turns what goes wrong into one line and an exit code."""
    if sys.argv[1:2] == ["stream"]:
        own_process()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The command line as a function: arguments -> exit code."""
    warnings.showwarning = _one_line_warning
    try:
        code = _command()(arguments, prog_name="plif", standalone_mode=False)
        code = code if isinstance(code, int) else 0
    except PlifError as error:
        kind = "interrupted" if error.exit_code == 130 else "error"
        print(f"plif: {kind}: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Usage errors: classes of click in older Typer, of Typer itself since 0.29; both say themselves like this.
        if not hasattr(error, "format_message"):
            return _unexpected(error)
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
        else:
            print(f"plif: error: {' '.join(error.format_message().split())} (see plif --help)", file=sys.stderr)
        return 2
    if code == 130:
        print("plif: interrupted", file=sys.stderr)
    return code


def _unexpected(error: Exception) -> int:
    """What no rule of ours foresaw. A full disk or a forbidden folder says enough itself; the rest is a bug of ours."""
    if os.environ.get("PLIF_TRACEBACK"):
        raise error
    text = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        print(f"plif: error: {where}{error.strerror}", file=sys.stderr)
    else:
        hint = "a bug in plif, or a file it should have refused; PLIF_TRACEBACK=1 shows where"
        print(f"plif: error: {type(error).__name__}: {text} ({hint})", file=sys.stderr)
    return 2


def _command() -> Any:
    if not getattr(app, "mounted", False):
        _mount()
        app.mounted = True  # type: ignore[attr-defined]
    return typer.main.get_command(app)


def _one_line_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, PlifWarning):
        print(f"plif: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
