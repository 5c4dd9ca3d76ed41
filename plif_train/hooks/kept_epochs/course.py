"""The recorders of a training: its last epoch for --resume, and the tables of its course."""

from __future__ import annotations

from pathlib import Path

from plif_train.core.loop.hooks import TrainingRecorder
from plif_train.hooks.kept_epochs.log import TrainingLog
from plif_train.hooks.kept_epochs.resume import ResumeFile, check_output_files


def hear(out: Path, resume: bool, overwrite: bool, tensorboard: bool) -> list[TrainingRecorder]:
    """Return the recorders that a training which begins is to use: the resume file and the log."""
    check_output_files(out, resume, overwrite)
    return [ResumeFile(out, resume), TrainingLog(out, tensorboard)]
