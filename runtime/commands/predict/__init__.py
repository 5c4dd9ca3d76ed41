"""`plif predict`: label recordings that have no labels.

The Python call is runtime.commands.predict.unlabelled.predict.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from runtime.commands.predict.options import PredictOptions
from runtime.core.base.declared import OpenOptions
from runtime.core.base.options import Argument
from runtime.core.base.progress import Progress
from runtime.core.base.text import escape_csv_cell
from runtime.core.cli.output import Artifact, Output, open_model, print_engine_choice, raise_last_problem
from runtime.core.observers import find_observers

if TYPE_CHECKING:
    from runtime.core.measure.results import Predicted


def command(
    artifact: Artifact,
    recordings: Annotated[list[Path], Argument("Recordings, and folders of recordings.")],
    options: PredictOptions,
    opening: OpenOptions,
    output: Output,
) -> None:
    from runtime.commands.predict.unlabelled import predict, shards_folder
    from runtime.core.measure.evaluate.census import list_problems
    from runtime.core.measure.evaluate.loop import find_resumed_engine

    model = open_model(artifact, opening, find_resumed_engine(options, shards_folder(options.out)))
    with Progress("predicting") as progress:
        predicted = predict(model, recordings, **vars(options), progress=progress.update)
    print_engine_choice(model)
    output.show(predicted.to_dict(), lambda: _summary_lines(predicted))
    raise_last_problem(
        list_problems(predicted.recordings, predicted.unreadable, predicted.first_unreadable, predicted.lost)
    )


def _summary_lines(predicted: Predicted) -> Iterator[str]:
    from runtime.core.stream.decide import NOT_SURE

    if predicted.out is None:
        for part in find_observers("predictions"):
            yield from part.load("as_csv")(predicted.predictions, predicted.classes).splitlines()
        return
    counts = {**{escape_csv_cell(name): n for name, n in predicted.answers.items()}, NOT_SURE: predicted.unanswered}
    answers = ", ".join(f"{name} {n}" for name, n in counts.items() if n)
    yield f"{predicted.recordings - predicted.unreadable} of {predicted.recordings} recordings: {answers}"
    yield (
        f"engine {predicted.engine}, batch {predicted.batch}, {predicted.workers} worker{'s' * (predicted.workers > 1)}: "
        f"{predicted.throughput_per_s:g} recordings/s"
    )
    yield f"wrote {predicted.out}"
