"""The commands `plif export` and `plif verify`; torch and ONNX are imported when a command runs."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated

from plif_export.core.options import Destination, ExportOptions, ProofSamples, VerifyOptions
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.progress import show_stages
from runtime.core.base.text import say
from runtime.core.cli.output import GateOptions, Output, print_json
from runtime.core.model.artifacts import detect_kind

CODE = "my_module.py:NAME, a module or what makes one: code, which is run"


class ProofOptions(OptionRecord):
    """The command-line option for the PyTorch model that an artifact is proved against."""

    against: Path = option(f"The model.pt, state_dict or NIR file it was made from, or {CODE}.")


def export(
    model: Annotated[Path, Argument(f"A model.pt, a SpikingJelly state_dict, a NIR file, or {CODE}.")],
    to: Destination,
    options: ExportOptions,
    output: Output,
) -> None:
    """Export a model: write an artifact next to it, prove it against PyTorch, and print the next commands."""
    from plif_export.core.pipeline import ParityError
    from plif_export.core.pipeline import export as run
    from plif_export.core.readers import leave_code_to_child

    leave_code_to_child(model)
    try:
        with (
            redirect_stdout(sys.stderr),
            show_stages(),
        ):  # the output of the model's own code must not mix with the result
            exported = run(model, to.path, **vars(options))
    except ParityError as failure:
        if output.as_json:
            print_json({"path": None, "sha256": None, "bytes": 0, "seconds": None, "verify": failure.report.to_dict()})
        raise
    if output.as_json:
        print_json(exported.to_dict())
    for note in exported.notes:
        say(f"{exported.path}: {note}", err=True)
    if exported.verify is None:
        say(f"{exported.path}: written without proof (--no-verify); prove it with: plif verify", err=True)
    elif exported.verify.untested:
        say(
            f"{exported.path}: layers without a spike, or with nothing but spikes, whatever they were given in the proof: "
            f"{', '.join(exported.verify.untested)}; --require-tested refuses them",
            err=True,
        )
    if output.as_json:
        return
    say(
        f"{exported.path}  {exported.bytes / 1e6:.2f} MB in {exported.seconds:.1f} s, SHA-256 {exported.sha256[:16]}..."
    )
    if exported.size is not None:
        say(exported.size.sentence())
    if exported.verify is not None:
        say(("ONNX form: " if exported.not_run else "") + exported.verify.sentence())
    _print_next_steps(exported.path, options.form)


def _print_next_steps(artifact: Path, form: str) -> None:
    from runtime.core.engines.available import engines_for  # loads NumPy, which the help does not need

    try:
        artifact_kind = detect_kind(artifact)
    except PlifError:  # a bare plan is opened by other programs only
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
    proof_options: ProofOptions,
    recordings: ProofSamples,
    options: VerifyOptions,
    gate_options: GateOptions,
    output: Output,
) -> None:
    """Verify an artifact against the PyTorch model, spike by spike; exit code 1 when they differ."""
    from plif_export.core.readers import leave_code_to_child
    from plif_export.core.verification import load_samples
    from plif_export.core.verification import verify as run

    leave_code_to_child(proof_options.against)
    data = recordings.data
    with gate_options.collect_gates("verify", artifact) as gates:
        if data and options.steps:
            raise PlifError("--steps is for synthetic input; --data brings recordings of its own length")
        inputs = partial(load_samples, data=data, limit=recordings.limit) if data else None
        with redirect_stdout(sys.stderr), show_stages():
            report = run(artifact, proof_options.against, inputs, **vars(options))
        gates += report.gates()
    if output.as_json:
        print_json(report.to_dict())
    else:
        rounded = report.rounding
        column = f"{'by rounding':>13}" if rounded else ""
        say(f"{'layer':<12}{'rate':>8}{'differ':>9}{'excused':>9}{'max |dv|':>11}{'free-running':>14}{column}")
        for layer in report.layers:
            column = f"{layer.rounding_mismatches:>13}" if rounded else ""
            say(
                f"{layer.name:<12}{100 * layer.rate:>6.2f} %{layer.mismatches:>9}{layer.excused:>9}"
                f"{layer.max_abs_dv:>11.1e}{layer.free_running_mismatches:>14}{column}"
            )
        if report.passed:
            say(report.sentence())
            say(f"also: {report.probed} neurons on random spikes, {report.rows} streams side by side, and the card")
            if report.engine:
                say(f"engine {report.engine}: {report.engine_steps} steps, every membrane and output as in the model")
            say(report.evidence_sentence())
        for line in report.structure_lines():
            say(line)
        if inputs is None:
            low, high = report.inputs or (0, 0)
            say(f"synthetic input from {low:g} to {high:g}, --seed {report.seed} gives it again")
        say(report.digest_sentence())
        say(f"SHA-256 {report.sha256}")
    if not report.passed:
        raise CheckFailed(f"{artifact}: {report.sentence()}")
