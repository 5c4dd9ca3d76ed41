"""Whether the options of an export, the model and the target fit each other; asked before any work."""

from __future__ import annotations

from typing import Any

from plif_export.options import ExportOptions
from plif_export.passes import MATHS
from plif_export.readers.facts import TrainedModel
from plif_export.targets.target import Target
from runtime.base.errors import PlifError
from runtime.events.framing import Framing


def check_arguments(
    options: ExportOptions, math: str, source: TrainedModel, target: Target, example_input: Any
) -> None:
    """Raises PlifError for the first pair that does not fit. example_input [B, ...]: only its shape is looked at."""
    facts = source.facts
    if source.has_card:
        options.refuse_beside_card()
    for name, value, known in (
        ("form", options.form, target.forms),
        ("math", math, MATHS),
        ("precision", options.precision, target.precisions),
    ):
        if value not in known:
            raise PlifError(f"--{name} {value}: --to {target.name} writes {', '.join(known)}")
    framed_T = None if facts.framing is None else Framing.parse(facts.framing).T
    if framed_T not in (None, facts.T):
        raise PlifError(
            f"the model's framing '{facts.framing}' makes {framed_T} frames, but its T is {facts.T}; save it with equal ones"
        )
    if source.has_card and options.T is not None and options.form != "unrolled":
        raise PlifError("--T belongs to --form unrolled; the step form runs for any number of steps")
    if example_input is not None and source.has_card and tuple(example_input.shape[1:]) != tuple(facts.shape):
        found, expected = list(example_input.shape), ", ".join(map(str, facts.shape))
        raise PlifError(f"example_input is {found}; expected one step [B, {expected}]")
