"""`plif predict`: labels for recordings without labels. In Python: runtime.commands.predict.unlabelled.predict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.commands.predict.options import PredictOptions
from runtime.core.base.declared import Opening
from runtime.core.base.options import Argument
from runtime.core.base.progress import Progress
from runtime.core.base.text import cell
from runtime.core.cli.output import Artifact, Output, open_model, raise_problems, say_engine
from runtime.core.observers import hearing

if TYPE_CHECKING:
    from runtime.core.measure.results import Predicted


def command(
    artifact: Artifact,
    recordings: Annotated[list[Path], Argument("Recordings, and folders of recordings.")],
    how: PredictOptions,
    opening: Opening,
    output: Output,
) -> None:
    from runtime.commands.predict.unlabelled import kept_in, predict
    from runtime.core.measure.evaluate.census import problems
    from runtime.core.measure.evaluate.loop import begun_engine

    model = open_model(artifact, opening, begun_engine(how, kept_in(how.out)))
    with Progress("predicting") as progress:
        result = predict(model, recordings, **vars(how), progress=progress.update)
    say_engine(model)
    output.show(result.to_dict(), lambda: _lines(result))
    raise_problems(problems(result.recordings, result.unreadable, result.first_unreadable, result.lost))


def _lines(result: Predicted) -> Iterator[str]:
    from runtime.core.stream.decide import NOT_SURE

    if result.out is None:
        for part in hearing("predictions"):
            yield from part.load("as_csv")(result.predictions, result.classes).splitlines()
        return
    counts = {**{cell(name): n for name, n in result.answers.items()}, NOT_SURE: result.unanswered}
    answers = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
    yield f"{result.recordings - result.unreadable} of {result.recordings} recordings: {answers}"
    yield (
        f"engine {result.engine}, batch {result.batch}, {result.workers} worker{'s' * (result.workers > 1)}: "
        f"{result.throughput_per_s:g} recordings/s"
    )
    yield f"wrote {result.out}"
