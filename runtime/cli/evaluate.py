"""`plif eval` and `plif calibrate-exit`: how often an artifact is right, and when it may stop.

In Python: runtime.measure.evaluate.evaluation.evaluate and runtime.measure.evaluate.calibrate_exit.calibrate_exit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.base.errors import CheckFailed
from runtime.base.progress import Progress
from runtime.cli.output import (
    Cluster,
    Device,
    EngineName,
    Json,
    Sha256,
    Threads,
    Workers,
    command_line,
    raise_problems,
    say_engine,
    say_unnamed,
    show,
)
from runtime.cli.stream import SENSOR_FROM
from runtime.stream.options import help_of

if TYPE_CHECKING:
    from runtime.measure.evaluate.evaluation import Evaluation


def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact, or a model.pt (runs in PyTorch).")],
    data: Annotated[str, typer.Option(help="NAME:DIR, e.g. nmnist:recordings, or digits.")],
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples in one batch; measured when not given.")] = None,
    workers: Workers = None,
    against: Annotated[
        Path | None, typer.Option(help="Another artifact or model.pt on the same samples: which decisions differ?")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A folder for report.html, metrics.json, predictions.csv, confusion.png and the figures' CSV."
        ),
    ] = None,
    cluster: Cluster = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what --out DIR holds.")] = False,
    min_accuracy: Annotated[float | None, typer.Option(help="Exit 1 where accuracy (0..1) is lower.")] = None,
    max_changed: Annotated[
        float | None, typer.Option(help="Exit 1 where a larger share (0..1) of decisions differs from --against.")
    ] = None,
    max_p99_ms: Annotated[float | None, typer.Option(help="Exit 1 where the p99 of a call takes longer.")] = None,
    exit_margin: Annotated[
        str | None,
        typer.Option(help="End a sample where its answer leads by this share of all votes; or off. The card's."),
    ] = None,
    stress: Annotated[
        bool,
        typer.Option(
            "--stress", help="Also with lost events, noise, hot pixels, stretched, shifted, mirrored, swapped."
        ),
    ] = False,
    sensor: Annotated[str | None, typer.Option(help="folder:DIR: " + help_of("sensor"))] = None,
    csv: Annotated[str | None, typer.Option(help="folder:DIR: " + help_of("csv"))] = None,
    engine: EngineName = "auto",
    device: Device = None,
    sha256: Sha256 = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Batch accuracy on a data set, and the report of it."""
    from runtime.api import load
    from runtime.data import with_options
    from runtime.engines.early_exit import chosen_margin
    from runtime.measure.evaluate.census import problems
    from runtime.measure.evaluate.evaluation import begun_engine, write_results
    from runtime.measure.evaluate.evaluation import evaluate as run
    from runtime.measure.evaluate.gates import Gates
    from runtime.measure.evaluate.stress import measure_stress
    from runtime.measure.report.files import write_report
    from runtime.measure.report.report import make_report

    data = with_options(data, sensor=sensor, csv=csv)
    gates = Gates(min_accuracy, max_changed, max_p99_ms)
    gates.check(against)
    options: dict[str, Any] = {"split": split, "limit": limit, "batch": batch, "workers": workers, "cluster": cluster}
    if engine == "auto" and resume:
        engine = begun_engine(out) or engine
    model = load(artifact, engine, threads=threads, rates=True, device=device, sha256=sha256)
    say_unnamed(model.card)
    margin = chosen_margin(exit_margin, model.card)
    with Progress("evaluating") as progress:
        result = run(model, data, out=out, exit_margin=margin, resume=resume, progress=progress.update, **options)
    say_engine(model)
    if against is not None:
        place = None if out is None else out / "against"
        begun = begun_engine(place) if resume else None
        other = load(against, begun or "auto", threads=threads, device=device)
        options["batch"] = None if other.card.get("batch") else batch
        with Progress("evaluating the other") as progress:
            own = chosen_margin(exit_margin if exit_margin == "off" else None, other.card)
            again = begun is not None
            found = run(other, data, out=place, exit_margin=own, resume=again, progress=progress.update, **options)
        result.compare(found, against)
    stressed: list[dict[str, Any]] = []
    if stress:
        with Progress("under stress") as progress:
            stressed = measure_stress(model, data, split=split, limit=limit, progress=progress.update)
    written = write_results(result, out, command_line()) if out else []
    if out is not None:
        with Progress("drawing the report") as progress:
            report = make_report(model, result, out, command=command_line(), stress=stressed, progress=progress.update)
        written += write_report(report, out)[:3]
    document = result.to_dict() | ({"stress": stressed} if stress else {})
    show(document, lambda _: [*_evaluation_lines(result, written), *_stress_lines(stressed)], as_json)
    unreadable, told = result.unreadable["samples"], f"so accuracy is of {result.samples}"
    first = "".join(
        f"{one['path']}: {one['error'].removeprefix(one['path'] + ': ')}" for one in result.unreadable["first"][:1]
    )
    found_wrong = problems(result.samples + unreadable, unreadable, first, result.lost, told)
    raise_problems([*(CheckFailed(line) for line in gates.missed(result)), *found_wrong])


def calibrate_exit(
    artifact: Annotated[Path, typer.Argument(help="An ONNX artifact in the step form, or a .plif file.")],
    data: Annotated[str, typer.Option(help="NAME:DIR to calibrate on; other recordings than those that judge it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The new artifact.")],
    lose: Annotated[str, typer.Option(help="How much accuracy may be lost: 0.5% or 0.005.")] = "0.5%",
    split: Annotated[str, typer.Option(help="train or test.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many samples.")] = None,
    engine: EngineName = "auto",
    as_json: Json = False,
) -> None:
    """Find the margin of an early exit, and write it into the card of a new artifact."""
    from runtime.api import load
    from runtime.measure.evaluate.calibrate_exit import calibrate_exit as run
    from runtime.measure.evaluate.calibrate_exit import parse_share, require_room, write_exit

    share = parse_share(lose, "--lose")
    require_room(artifact, out)
    model = load(artifact, engine)
    with Progress("calibrating") as progress:
        found = run(model, data, share, split=split, limit=limit, progress=progress.update)
    path = write_exit(artifact, found, out)
    lines = (
        f"margin {found.margin:g}: {found.mean_steps:.2f} steps a sample on {found.samples} of {data}, {split}",
        f"accuracy there {100 * found.accuracy:.2f} %, with all steps {100 * found.accuracy_all_steps:.2f} %; "
        f"at most {100 * found.lost_at_most:.2f} % are lost (95 % interval)",
        f"wrote {path}; eval and stream use it",
    )
    show({"path": str(path), **found.to_dict()}, lambda _: lines, as_json)


def _evaluation_lines(result: Evaluation, written: list[Path]) -> Iterator[str]:
    low, high = (100 * end for end in result.interval)
    yield (
        f"accuracy {100 * result.accuracy:.2f} %  ({result.correct} of {result.samples}, 95 % interval {low:.1f} - {high:.1f}; "
        f"{result.data}, {result.split})"
    )
    yield (
        f"engine {result.engine}, batch {result.batch}, {result.workers} worker{'s' * (result.workers > 1)}"
        f"{f' of {result.threads} threads' * (result.threads > 1)}, T={result.T}: "
        f"{_ms(result.latency_ms['p50'])} ms a call (p99 {_ms(result.latency_ms['p99'])}), {result.throughput_per_s:g} samples/s"
    )
    if result.unanswered:
        yield f"{result.unanswered} samples have no answer (no votes) and count as wrong"
    if result.sensor is not None and result.sensor_from not in ("source", "recording"):
        yield f"sensor {result.sensor[0]}x{result.sensor[1]} ({SENSOR_FROM[str(result.sensor_from)]})"
    rates = ", ".join(f"{layer} {100 * rate:.1f} %" for layer, rate in result.firing_rates.items())
    yield f"firing rates {rates or f'are not counted by engine {result.engine}'}"
    if result.exit_margin is not None:
        yield f"early exit at a margin of {result.exit_margin:g}: {result.mean_steps:.2f} steps a sample"
    if result.against is not None:
        yield (
            f"against {result.against['path']}: {result.against['decisions_changed']} of {result.samples} decisions differ; "
            f"its accuracy {100 * result.against['accuracy']:.2f} % (McNemar's p {result.against['p']:.3g})"
        )
    yield from (f"wrote {path}" for path in written)


def _stress_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each kind of stress: its levels and the accuracy at each."""
    for name in dict.fromkeys(row["stress"] for row in rows):
        points = "  ".join(f"{row['level']:g}: {100 * row['accuracy']:.1f} %" for row in rows if row["stress"] == name)
        yield f"{name:<10} {points}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
