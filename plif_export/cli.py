"""`plif export`, `plif verify` and `plif demo`. Torch and ONNX are imported when a command runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from runtime.base.errors import PlifError
from runtime.cli.output import print_json
from runtime.model.artifacts import kind_of

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Network = Annotated[str | None, typer.Option(help="A preset or a notation string: the layers of a bare state_dict.")]
InputShape = Annotated[str | None, typer.Option("--shape", help="C,H,W of the input, where weights do not say it.")]
Settings = Annotated[str | None, typer.Option("--set", metavar="NAME=VALUE,...", help="Options of the target.")]
NeuronOptions = Annotated[
    str | None,
    typer.Option("--neuron", help="NAME=VALUE,...: v_threshold, v_reset, decay_input, tau; NIR: dt, fire, reset."),
]


def export(
    model: Annotated[Path, typer.Argument(help="A model.pt, a SpikingJelly state_dict or a NIR file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to; beside the model when not given.")
    ] = None,
    form: Annotated[str, typer.Option(help="step (streams) or unrolled (T steps a call).")] = "step",
    T: Annotated[
        int | None,
        typer.Option("--T", help="Steps of the unrolled form; the card's T when not given. Without a card: its T."),
    ] = None,
    network: Network = None,
    classes: Annotated[str | None, typer.Option(help="NAME,NAME,... in the order of the outputs.")] = None,
    framing: Annotated[str | None, typer.Option(help="How events become frames, e.g. count:T=16.")] = None,
    kind: Annotated[str | None, typer.Option(help="events or static (images), for a model without a card.")] = None,
    shape: InputShape = None,
    neuron: NeuronOptions = None,
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    half: Annotated[bool, typer.Option("--half", hidden=True)] = False,
    int8: Annotated[bool, typer.Option("--int8", hidden=True)] = False,
    to: Annotated[str, typer.Option(help="onnx, openvino, nir, triton, tensorrt or tensorrt-rtx.")] = "onnx",
    settings: Settings = None,
    math: Annotated[str | None, typer.Option(help="folded or exact.")] = None,
    batch: Annotated[int | None, typer.Option(help="A fixed number of streams; dynamic when not given.")] = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Skip the parity gate (the card then says so).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Writes an artifact beside the model, proves it against PyTorch, and says what to type next."""
    from plif_export.pipeline import ParityFailed
    from plif_export.pipeline import export as run

    precision = "fp16" if half else "int8" if int8 else precision
    try:
        result = run(
            model,
            output,
            form=form,
            T=T,
            precision=precision,
            math=math,
            to=to,
            batch=batch,
            verify=not no_verify,
            classes=classes,
            framing=framing,
            kind=kind,
            network=network,
            shape=_sizes(shape),
            neuron=neuron,
            options=_settings(settings),
        )
    except ParityFailed as failure:
        if as_json:
            print_json({"path": None, "sha256": None, "bytes": 0, "seconds": None, "verify": failure.report.to_dict()})
        raise
    if as_json:
        print_json(result.to_dict())
    for note in result.notes:
        typer.echo(f"{result.path}: {note}", err=True)
    if result.verify is None:
        typer.echo(f"{result.path}: written without proof (--no-verify); prove it with: plif verify", err=True)
    elif result.verify.untested:
        typer.echo(
            f"{result.path}: layers without a spike, or with nothing but spikes, in the proof: "
            f"{', '.join(result.verify.untested)}; verify them on real data: plif verify --data NAME:DIR",
            err=True,
        )
    if as_json:
        return
    typer.echo(f"{result.path}  {result.bytes / 1e6:.2f} MB in {result.seconds:.1f} s, SHA-256 {result.sha256[:16]}...")
    if result.verify is not None:
        typer.echo(("ONNX form: " if result.not_run else "") + result.verify.sentence())
    _say_next(result.path, form)


def _say_next(artifact: Path, form: str) -> None:
    try:
        artifact_kind = kind_of(artifact)
    except PlifError:  # a bare plan is for other programs
        return
    path = shlex.quote(str(artifact))
    typer.echo("next:")
    typer.echo(f"  plif info {path}")
    if artifact_kind.engine is None:
        typer.echo(f"  {artifact_kind.instead}")
        return
    if form == "step":
        typer.echo(f"  plif stream {path} RECORDING")
    typer.echo(f"  plif eval {path} --data NAME:DIR")


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
    network: Network = None,
    shape: InputShape = None,
    neuron: NeuronOptions = None,
    as_json: Json = False,
) -> None:
    """Parity with the PyTorch model, spike by spike; exit code 1 when it fails."""
    from plif_export.pipeline import samples
    from plif_export.pipeline import verify as run
    from runtime.base.errors import CheckFailed

    if data and steps:
        raise PlifError("--steps is for synthetic input; --data brings recordings of its own length")
    inputs = samples(artifact, data, limit) if data else None
    report = run(
        artifact,
        against,
        inputs,
        steps=steps,
        seed=seed,
        engine=engine,
        network=network,
        shape=_sizes(shape),
        neuron=neuron,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        rounded = report.precision != "fp32"
        more = f"{'by rounding':>13}" if rounded else ""
        typer.echo(f"{'layer':<12}{'rate':>8}{'differ':>9}{'excused':>9}{'max |dv|':>11}{'free-running':>14}{more}")
        for layer in report.layers:
            more = f"{layer.rounding_mismatches:>13}" if rounded else ""
            typer.echo(
                f"{layer.name:<12}{100 * layer.rate:>6.2f} %{layer.mismatches:>9}{layer.excused:>9}"
                f"{layer.max_abs_dv:>11.1e}{layer.free_running_mismatches:>14}{more}"
            )
        if report.passed:
            typer.echo(report.sentence())
            typer.echo(
                f"also: {report.probed} neurons on random spikes, {report.rows} streams side by side, and the card"
            )
            if report.engine:
                typer.echo(
                    f"engine {report.engine}: {report.engine_steps} steps, every membrane and output as in the model"
                )
    if not report.passed:
        raise CheckFailed(f"{artifact}: {report.sentence()}")


def check(
    file: Annotated[Path, typer.Argument(help="A model.pt, a state_dict, a NIR file, or an exported artifact.")],
    to: Annotated[str, typer.Option(help="Where it should run, as of plif export.")] = "onnx",
    settings: Settings = None,
    network: Network = None,
    shape: InputShape = None,
    neuron: NeuronOptions = None,
    as_json: Json = False,
) -> None:
    """What of this model or artifact is supported, and where; exit code 1 when something is not."""
    from plif_export.checks import check_file
    from runtime.base.errors import CheckFailed

    options = _settings(settings)
    report = check_file(file, to=to, network=network, shape=_sizes(shape), neuron=neuron, options=options)
    if as_json:
        print_json(report.to_dict())
    else:
        for line in report.lines():
            typer.echo(line)
    if not report.supported:
        raise CheckFailed(f"{file}: {report.problems[0]}")


def _settings(text: str | None) -> dict[str, str]:
    """NAME=VALUE,NAME=VALUE; a value may be a list: sm=86+89."""
    found: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in found:
            raise PlifError(f"--set {text}: expected NAME=VALUE,NAME=VALUE with each name once")
        found[name] = value
    return found


def _sizes(text: str | None) -> list[int] | None:
    """C,H,W"""
    if text is None:
        return None
    sizes = text.lower().replace("x", ",").split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in sizes):
        raise PlifError(f"--shape {text}: expected positive sizes such as 2,34,34")
    return [int(part) for part in sizes]


def demo(
    out: Annotated[Path, typer.Option(help="A folder for what the demo makes.")] = Path("demo"),
    as_json: Json = False,
) -> None:
    """The main job on what ships with the project: export, prove, evaluate, stream; ends with pictures."""
    from plif_export.demo import run

    result = run(out, say=lambda line: typer.echo(line, err=as_json))
    if as_json:
        print_json(result)
