"""How many threads a step takes: measured while it runs, since it depends on what else the machine does.

    look    every count takes LOOK steps in a row, the most threads first;  t(n) = mean seconds of these
            n = the most; for each smaller m:  n = m where t(m) < (1 - MARGIN) t(n)
    then    n threads, until 1 step in 200 would be one of the next look's slower counts (p99 does not see looks),
            or until most steps take more than SLOWER t(n), REST steps after the last look or later

In a row, and the mean: beside other programs a count is only as fast as its threads are given processors, which the system
evens out over some ten milliseconds. Counts that take turns get the processors of each other, and a median sees either the
steps that were interrupted or those that were not. More threads get more of a busy machine, so fewer must be clearly faster.

Any count gives the same bits, so it may change between two steps of a stream.
"""

from __future__ import annotations

LOOK = 16
MARGIN = 0.10
SLOWER = 1.3
APART = 200  # steps for each step of a look with a count that is not taken
REST = 10 * LOOK


def counts(most: int) -> tuple[int, ...]:
    """What is worth a try: most, half of it, and so on to one thread, in ascending order."""
    return () if most < 1 else (*counts(most // 2), most)


class ThreadCount:
    """The number of threads of an engine's steps for one number of rows. Sessions in several threads may share it: at worst
    they look once more than needed.

    counts  the candidates, ascending; one alone is taken without a look
    now     what was taken last
    """

    def __init__(self, counts: tuple[int, ...]) -> None:
        self.counts, self.now = counts, counts[-1]
        self._expected_s = 0.0  # of a step, as of the last look
        self._steps = self._slow = 0  # since then; slow steps more than others
        self._times: dict[int, list[float]] | None = None  # while it looks, s
        self._look()

    def next(self) -> int:
        """How many threads the next step takes."""
        times = self._times
        return self.now if times is None else next((n for n in times if len(times[n]) < LOOK), self.now)

    def took(self, threads: int, seconds: float) -> None:
        """To be told of each step."""
        if (times := self._times) is not None:
            times[threads].append(seconds)
            if min(map(len, times.values())) >= LOOK:
                self._decide({n: sum(t) / len(t) for n, t in times.items()})
            return
        self._steps += 1
        self._slow = max(0, self._slow + (1 if seconds > SLOWER * self._expected_s else -1))
        due = self._steps >= APART * LOOK * (len(self.counts) - 1)
        if due or (self._slow >= LOOK and self._steps >= REST):
            self._look()

    def _look(self) -> None:
        if len(self.counts) > 1:
            self._times = {n: [] for n in reversed(self.counts)}

    def _decide(self, t: dict[int, float]) -> None:
        self.now = self.counts[-1]
        for n in reversed(self.counts[:-1]):
            if t[n] < (1 - MARGIN) * t[self.now]:
                self.now = n
        self._expected_s, self._steps, self._slow, self._times = t[self.now], 0, 0, None
