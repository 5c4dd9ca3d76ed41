"""The command `plif demo`. In Python: main_job.run_demo."""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.options import OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json


class DemoOptions(OptionRecord):
    """The options of the command `plif demo`: the folder for its results."""

    out: Path = option("A folder for what the demo makes.", default=Path("demo"))


def command(options: DemoOptions, output: Output) -> None:
    from plif_export.commands.demo.main_job import run_demo

    numbers = run_demo(options.out, say=lambda line: say(line, err=output.as_json))
    if output.as_json:
        print_json(numbers)
