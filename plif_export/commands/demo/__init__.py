"""`plif demo`. In Python: main_job.run."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.options import OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json


class DemoOptions(OptionRecord):
    """Where the demo writes."""

    out: Path = option("A folder for what the demo makes.", default=Path("demo"))


def command(place: DemoOptions, output: Output) -> None:
    from plif_export.commands.demo.main_job import run

    result = run(place.out, say=lambda line: say(line, err=output.as_json))
    if output.as_json:
        print_json(result)
