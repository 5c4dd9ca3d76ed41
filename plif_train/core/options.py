"""Options of a training that are no keys of its recipe.

`plif --help` loads this module without torch.
"""

from __future__ import annotations

from pathlib import Path

from runtime.core.base.options import OptionRecord, option


class TrainingOptions(OptionRecord):
    """Options of one training: its data, the files to read and write, and resume or overwrite."""

    data: list[str] = option("NAME:DIR of a data set; several: the first is the test, too.")
    out: Path = option("The best epoch; NAME.resume.pt is the last.", default=Path("model.pt"))
    start: Path | None = option("Go on from the weights of a model.pt.", "--from", default=None)
    like: Path | None = option("A model.pt: its network and recipe again.", default=None)
    resume: bool = option("Continue from NAME.resume.pt.", "--resume", default=False)
    overwrite: bool = option("Begin again.", "--overwrite", default=False)
    cache: Path | None = option("A folder that keeps the frames for the next run.", default=None)
    tensorboard: bool = option("Log to NAME.tensorboard, too.", "--tensorboard", default=False)
