"""Bars that an evaluation must reach before a network ships: what a CI pipeline calls, and fails on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.base.errors import PlifError
from runtime.measure.evaluate.evaluation import Evaluation


@dataclass(frozen=True)
class Gates:
    """The bars that were asked for; None where one was not. Reaching a bar exactly is enough.

    min_accuracy  share (0..1) of right answers, at least
    max_changed   share (0..1) of decisions that differ from those of --against, at most
    max_p99_ms    99th percentile of one call of the engine for a batch, at most
    """

    min_accuracy: float | None = None
    max_changed: float | None = None
    max_p99_ms: float | None = None

    def check(self, against: object) -> None:
        """Refuses, before anything is evaluated, what can never be decided."""
        for name in ("min_accuracy", "max_changed"):
            bar = getattr(self, name)
            if bar is not None and not 0 <= bar <= 1:
                raise PlifError(f"{_option(name)} {bar:g}: expected a share from 0 to 1, e.g. 0.97 for 97 %")
        if self.max_p99_ms is not None and not self.max_p99_ms > 0:
            raise PlifError(f"{_option('max_p99_ms')} {self.max_p99_ms:g}: expected milliseconds above 0")
        if self.max_changed is not None and against is None:
            raise PlifError(f"{_option('max_changed')}: changed from what? Name it with --against FILE")

    def missed(self, result: Evaluation) -> Iterator[str]:
        """A line for each bar that the result misses."""
        if self.min_accuracy is not None and result.accuracy < self.min_accuracy:
            low, high = result.interval
            yield (
                f"accuracy {result.accuracy:.4f} (95 % interval {low:.4f} - {high:.4f}) is below "
                f"--min-accuracy {self.min_accuracy:g}"
            )
        if self.max_changed is not None and result.against is not None:
            changed, n = result.against["decisions_changed"], len(result.predictions)
            if changed > self.max_changed * n:
                yield f"{changed} of {n} decisions changed ({changed / n:.4f}), more than --max-changed {self.max_changed:g}"
        p99 = result.latency_ms["p99"]
        if self.max_p99_ms is not None and p99 is not None and p99 > self.max_p99_ms:
            yield f"p99 of a call is {p99:g} ms at batch {result.batch}, more than --max-p99-ms {self.max_p99_ms:g}"


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
