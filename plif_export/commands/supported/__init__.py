"""The command `plif check`. In Python: layers.check of a live module, and layers.check_file."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

from plif_export.commands.supported.options import CheckOptions
from plif_export.core.cli import CODE
from runtime.core.base.errors import CheckFailed
from runtime.core.base.options import Argument
from runtime.core.cli.output import Output


def command(
    file: Annotated[Path, Argument(f"A model.pt, a state_dict, a NIR file, an exported artifact, or {CODE}.")],
    options: CheckOptions,
    output: Output,
) -> None:
    from plif_export.commands.supported.layers import check_file
    from plif_export.core.readers import leave_code_to_child

    leave_code_to_child(file)
    with redirect_stdout(sys.stderr):
        report = check_file(file, **vars(options))
    output.show(report.to_dict(), report.lines)
    if not report.supported:
        raise CheckFailed(f"{file}: {report.problems[0]}")
