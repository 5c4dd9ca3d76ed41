"""`plif export`, `plif verify` and `plif demo`. Torch and ONNX are imported when a command runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from plif_export.options import CallerFacts, ExportOptions, with_fields
from runtime.base.errors import CheckFailed, PlifError
from runtime.base.text import say
from runtime.cli.output import Json, print_json
from runtime.model.artifacts import kind_of


def _options(*names: str, declared: type[CallerFacts] = ExportOptions) -> Callable[[Any], Any]:
    """Gives a command the options of these names as they are declared; it gets them as keyword arguments."""
    types = get_type_hints(declared)

    def typer_option(each: Field[Any]) -> Any:
        flags = [each.metadata["flag"]] if each.metadata["flag"] else []
        kind = types[each.name] if each.metadata["parse"] is None else str | None
        kind = list[str] | None if each.name == "metadata" else kind
        return Annotated[kind, typer.Option(*flags, help=each.metadata["help"])]

    return with_fields(declared, *names, annotation=typer_option)


@_options(
    *("form", "T", "network", "classes", "class_order", "framing", "kind", "shape", "neuron"),
    *("precision", "to", "options", "flash", "ram", "math", "batch", "metadata"),
)
def export(
    model: Annotated[Path, typer.Argument(help="A model.pt, a SpikingJelly state_dict or a NIR file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to; beside the model when not given.")
    ] = None,
    *,
    half: Annotated[bool, typer.Option("--half", hidden=True)] = False,
    int8: Annotated[bool, typer.Option("--int8", hidden=True)] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Skip the parity gate (the card then says so).")
    ] = False,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Writes an artifact beside the model, proves it against PyTorch, and says what to type next."""
    from plif_export.pipeline import ParityFailed
    from plif_export.pipeline import export as run

    if half or int8:
        options["precision"] = "fp16" if half else "int8"
    try:
        result = run(model, output, verify=not no_verify, **options)
    except ParityFailed as failure:
        if as_json:
            print_json({"path": None, "sha256": None, "bytes": 0, "seconds": None, "verify": failure.report.to_dict()})
        raise
    if as_json:
        print_json(result.to_dict())
    for note in result.notes:
        say(f"{result.path}: {note}", err=True)
    if result.verify is None:
        say(f"{result.path}: written without proof (--no-verify); prove it with: plif verify", err=True)
    elif result.verify.untested:
        say(
            f"{result.path}: layers without a spike, or with nothing but spikes, in the proof: "
            f"{', '.join(result.verify.untested)}; verify them on real data: plif verify --data NAME:DIR",
            err=True,
        )
    if as_json:
        return
    say(f"{result.path}  {result.bytes / 1e6:.2f} MB in {result.seconds:.1f} s, SHA-256 {result.sha256[:16]}...")
    if result.size is not None:
        say(result.size.sentence())
    if result.verify is not None:
        say(("ONNX form: " if result.not_run else "") + result.verify.sentence())
    _say_next(result.path, options["form"])


def _say_next(artifact: Path, form: str) -> None:
    try:
        artifact_kind = kind_of(artifact)
    except PlifError:  # a bare plan is for other programs
        return
    path = shlex.quote(str(artifact))
    say("next:")
    say(f"  plif info {path}")
    if artifact_kind.instead:
        say(f"  {artifact_kind.instead}")
    if artifact_kind.engine is None:
        return
    if form == "step":
        say(f"  plif stream {path} RECORDING")
    say(f"  plif eval {path} --data NAME:DIR")


@_options(*(each.name for each in fields(CallerFacts) if each.name != "output"), declared=CallerFacts)
def verify(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact.")],
    against: Annotated[Path, typer.Option(help="The model.pt, state_dict or NIR file it was made from.")],
    data: Annotated[
        str | None, typer.Option(help="NAME:DIR: prove it on recordings instead of synthetic input.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many samples of --data.")] = 4,
    steps: Annotated[int | None, typer.Option(min=1, help="Time-steps of synthetic input.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic input.")] = 0,
    engine: Annotated[str | None, typer.Option(help="Prove this engine as well, e.g. event.")] = None,
    *,
    as_json: Json = False,
    **options: Any,
) -> None:
    """Parity with the PyTorch model, spike by spike; exit code 1 when it fails."""
    from plif_export.pipeline import samples
    from plif_export.pipeline import verify as run

    if data and steps:
        raise PlifError("--steps is for synthetic input; --data brings recordings of its own length")
    inputs = samples(artifact, data, limit) if data else None
    report = run(artifact, against, inputs, steps=steps, seed=seed, engine=engine, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        rounded = report.rounding
        more = f"{'by rounding':>13}" if rounded else ""
        say(f"{'layer':<12}{'rate':>8}{'differ':>9}{'excused':>9}{'max |dv|':>11}{'free-running':>14}{more}")
        for layer in report.layers:
            more = f"{layer.rounding_mismatches:>13}" if rounded else ""
            say(
                f"{layer.name:<12}{100 * layer.rate:>6.2f} %{layer.mismatches:>9}{layer.excused:>9}"
                f"{layer.max_abs_dv:>11.1e}{layer.free_running_mismatches:>14}{more}"
            )
        if report.passed:
            say(report.sentence())
            say(f"also: {report.probed} neurons on random spikes, {report.rows} streams side by side, and the card")
            if report.engine:
                say(f"engine {report.engine}: {report.engine_steps} steps, every membrane and output as in the model")
        say(report.digest_sentence())
    if not report.passed:
        raise CheckFailed(f"{artifact}: {report.sentence()}")


@_options("to", "options", "network", "shape", "neuron")
def check(
    file: Annotated[Path, typer.Argument(help="A model.pt, a state_dict, a NIR file, or an exported artifact.")],
    *,
    as_json: Json = False,
    **options: Any,
) -> None:
    """What of this model or artifact is supported, and where; exit code 1 when something is not."""
    from plif_export.checks import check_file

    report = check_file(file, **options)
    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            say(line)
    if not report.supported:
        raise CheckFailed(f"{file}: {report.problems[0]}")


def demo(
    out: Annotated[Path, typer.Option(help="A folder for what the demo makes.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """The main job on what ships with the project: export, prove, evaluate, stream; ends with pictures."""
    from plif_export.demo import run

    result = run(out, say=lambda line: say(line, err=as_json))
    if as_json:
        print_json(result)
