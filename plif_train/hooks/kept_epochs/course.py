"""What is kept of a training: its last epoch, and the tables of its course."""

from __future__ import annotations

from pathlib import Path

from plif_train.core.loop.hooks import TrainingCourse
from plif_train.hooks.kept_epochs.log import Log
from plif_train.hooks.kept_epochs.resume import LastEpoch, check_place


def hear(out: Path, resume: bool, overwrite: bool, tensorboard: bool) -> list[TrainingCourse]:
    check_place(out, resume, overwrite)
    return [LastEpoch(out, resume), Log(out, tensorboard)]
