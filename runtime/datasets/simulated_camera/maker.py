"""What makes a simulated set, and the options that all of them have; `plif data NAME` runs it.

A part of data sets with OPTIONS makes one: its maker.py has MAKER and the record of its options. It imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from runtime.core.base.options import OptionRecord, option

Note: TypeAlias = Mapping[str, Any]  # what is written into the folder of a set


@dataclass(frozen=True)
class Maker:
    """How `plif data` makes a set.

    about   completes "plif data NAME ... --out DIR": what it makes
    needs   the option without which it makes none, and how it is typed; None where there is none
    make    "module:function" of the part: (folder, progress=.., options of its record) -> the note
    made    the note -> what is there now
    read    the data set, NAME of NAME:DIR, that reads it
    """

    about: str
    needs: tuple[str, str] | None
    make: str
    made: Callable[[Note], str]
    read: str

    @property
    def needed(self) -> str:
        """What has to be typed before --out."""
        return "" if self.needs is None else f"{self.needs[1]} "


class MakingOptions(OptionRecord):
    """How any set is made."""

    seed: int = option("To make one: of everything random.", default=0, least=0)
    workers: int = option("To make one: processes.", default=2, least=1)


class SimulationOptions(MakingOptions):
    """How a simulated data set is made; train and test are the set's own numbers when not given."""

    train: int | None = option("Recordings (20000) or performers (200) for training.", default=None, least=0)
    test: int | None = option("Recordings (2000) or held-out performers (20) for testing.", default=None, least=0)

    def counts(self, train: int, test: int) -> tuple[int, int]:
        """(train, test), the set's own where they were not given."""
        return train if self.train is None else self.train, test if self.test is None else self.test
