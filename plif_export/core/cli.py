"""`plif export` and `plif verify`. Torch and ONNX are imported when a command runs."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from plif_export.core.options import Destination, ExportOptions, ProofSamples, VerifyOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import GateOptions, Output, print_json
from runtime.core.model.artifacts import kind_of

CODE = "my_module.py:NAME, a module or what makes one: code, which is run"


class ProofOptions(OptionRecord):
    """What an artifact is proved against."""

    against: Path = option(f"The model.pt, state_dict or NIR file it was made from, or {CODE}.")


def export(
    model: Annotated[Path, Argument(f"A model.pt, a SpikingJelly state_dict, a NIR file, or {CODE}.")],
    to: Destination,
    how: ExportOptions,
    output: Output,
) -> None:
    """Writes an artifact beside the model, proves it against PyTorch, and says what to type next."""
    from plif_export.core.pipeline import ParityFailed
    from plif_export.core.pipeline import export as run

    try:
        with redirect_stdout(sys.stderr):  # where what the model's own code prints is no result
            result = run(model, to.path, **vars(how))
    except ParityFailed as failure:
        if output.as_json:
            print_json({"path": None, "sha256": None, "bytes": 0, "seconds": None, "verify": failure.report.to_dict()})
        raise
    if output.as_json:
        print_json(result.to_dict())
    for note in result.notes:
        say(f"{result.path}: {note}", err=True)
    if result.verify is None:
        say(f"{result.path}: written without proof (--no-verify); prove it with: plif verify", err=True)
    elif result.verify.untested:
        say(
            f"{result.path}: layers without a spike, or with nothing but spikes, whatever they were given in the proof: "
            f"{', '.join(result.verify.untested)}; --require-tested refuses them",
            err=True,
        )
    if output.as_json:
        return
    say(f"{result.path}  {result.bytes / 1e6:.2f} MB in {result.seconds:.1f} s, SHA-256 {result.sha256[:16]}...")
    if result.size is not None:
        say(result.size.sentence())
    if result.verify is not None:
        say(("ONNX form: " if result.not_run else "") + result.verify.sentence())
    _say_next(result.path, how.form)


def _say_next(artifact: Path, form: str) -> None:
    from runtime.core.engines.available import engines_for  # loads NumPy, which no help needs

    try:
        artifact_kind = kind_of(artifact)
    except PlifError:  # a bare plan is for other programs
        return
    path = shlex.quote(str(artifact))
    say("next:")
    say(f"  plif info {path}")
    if artifact_kind.instead:
        say(f"  {artifact_kind.instead}")
    if not engines_for(artifact_kind):
        return
    if form == "step":
        say(f"  plif stream {path} RECORDING")
    say(f"  plif eval {path} --data NAME:DIR")


def verify(
    artifact: Annotated[Path, Argument("An exported artifact.")],
    against: ProofOptions,
    recordings: ProofSamples,
    how: VerifyOptions,
    also: GateOptions,
    output: Output,
) -> None:
    """Parity with the PyTorch model, spike by spike; exit code 1 when it fails."""
    from plif_export.core.verification import samples
    from plif_export.core.verification import verify as run

    data = recordings.data
    with also.told("verify", artifact) as gates:
        if data and how.steps:
            raise PlifError("--steps is for synthetic input; --data brings recordings of its own length")
        inputs = samples(artifact, data, recordings.limit) if data else None
        with redirect_stdout(sys.stderr):
            report = run(artifact, against.against, inputs, **vars(how))
        gates += report.gates()
    if output.as_json:
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
            say(report.shown_sentence())
        for line in report.structure_lines():
            say(line)
        if inputs is None:
            low, high = report.inputs or (0, 0)
            own = f"; the module itself: {report.module}" if report.module else ""
            say(f"synthetic input from {low:g} to {high:g}, --seed {report.seed} gives it again{own}")
        say(report.digest_sentence())
    if not report.passed:
        raise CheckFailed(f"{artifact}: {report.sentence()}")
