"""`plif demo`. In Python: main_job.run."""

from __future__ import annotations

from pathlib import Path

from runtime.base.options import OptionRecord, option
from runtime.base.text import say
from runtime.cli.output import Output, print_json


class DemoOptions(OptionRecord):
    """Where the demo writes."""

    out: Path = option("A folder for what the demo makes.", default=Path("demo"))


def command(place: DemoOptions, output: Output) -> None:
    from plif_export.commands.demo.main_job import run

    result = run(place.out, say=lambda line: say(line, err=output.as_json))
    if output.as_json:
        print_json(result)
