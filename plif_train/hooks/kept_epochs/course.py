"""What is kept of a training: its last epoch, and the tables of its course."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from plif_train.hooks.kept_epochs.log import Log
from plif_train.hooks.kept_epochs.resume import ResumeFile, check_place, resume_path
from plif_train.loop.hooks import Epoch, TrainingCourse, TrainingState


def hear(out: Path, resume: bool, overwrite: bool, tensorboard: bool) -> list[TrainingCourse]:
    check_place(out, resume, overwrite)
    return [LastEpoch(out, resume), Tables(out, tensorboard)]


class LastEpoch(TrainingCourse):
    """The resume file."""

    def __init__(self, out: Path, resume: bool) -> None:
        self.out, self.resume = out, resume

    def _file(self, run: TrainingState) -> ResumeFile:
        return ResumeFile(resume_path(self.out), run.net, run.recipe, run.about, run.samples, run.processes)

    def compare(self, run: TrainingState) -> list[str]:
        if self.resume:
            t_max = self._file(run).read().t_max
            if run.recipe.t_max is None and t_max not in (None, run.recipe.epochs):
                return [f"the cosine keeps its half period of {t_max} epochs; --set t_max=N changes it"]
        return []

    def restore(self, run: TrainingState) -> None:
        if self.resume:
            point = self._file(run).restore(run.optimizer, run.scaler)
            run.done, run.processes = point.epoch, max(run.processes, point.processes)
            run.best = point.best if self.out.exists() else run.best
            if run.recipe.t_max is None and point.t_max != run.recipe.epochs:  # the cosine stays what it was
                run.recipe = replace(run.recipe, t_max=point.t_max)
        elif run.world.rank == 0:
            self.keep(run)

    def keep(self, run: TrainingState) -> None:
        self._file(run).write(run.done, run.best, run.optimizer, run.scaler)

    def left(self) -> str | None:
        file = resume_path(self.out)
        return f"{file} holds the last whole epoch; add --resume to the command to continue" if file.exists() else None


class Tables(TrainingCourse):
    """model.csv, model.weights.csv, and TensorBoard's files."""

    def __init__(self, out: Path, tensorboard: bool) -> None:
        self.out, self.tensorboard = out, tensorboard

    def begin(self, run: TrainingState) -> None:
        self.log = Log(self.out, run.done, self.tensorboard)
        if not run.done:
            self.log.start(run.net)

    def add(self, run: TrainingState, epoch: Epoch) -> None:
        self.log.add(epoch, run.net)

    def close(self) -> None:
        self.log.close()
