"""The description of a maker of simulated sets, and the options of all makers; `plif data NAME` runs one.

A part of data sets with OPTIONS has a maker: its maker.py has MAKER and the record of its options. It imports nothing
heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from runtime.core.base.options import OptionRecord, option

Note: TypeAlias = Mapping[str, Any]  # the JSON note in the folder of a set


@dataclass(frozen=True)
class Maker:
    """The description of a plug-in part that makes a data set, for the command `plif data`.

    about     completes "plif data NAME ... --out DIR": the contents of the set
    needs     the required option, and its form on the command line; None without one
    make      "module:function" of the part: (folder, progress=.., options of its record) -> the note
    describe  the note -> a text about the set that was made
    read      the data set, NAME of NAME:DIR, that reads it
    """

    about: str
    needs: tuple[str, str] | None
    make: str
    describe: Callable[[Note], str]
    read: str

    @property
    def needed(self) -> str:
        """The option, as text, that the user must type before --out to make a data set; empty if there is none."""
        return "" if self.needs is None else f"{self.needs[1]} "


class MakingOptions(OptionRecord):
    """The command-line options for making any data set: random seed and number of processes."""

    seed: int = option("To make one: of everything random.", default=0, least=0)
    workers: int = option("To make one: processes.", default=2, least=1)


class SimulationOptions(MakingOptions):
    """The command-line options for making a simulated data set, with the numbers of recordings.

    train and test have defaults that depend on the set.
    """

    train: int | None = option("Recordings (20000) or performers (200) for training.", default=None, least=0)
    test: int | None = option("Recordings (2000) or held-out performers (20) for testing.", default=None, least=0)

    def counts(self, train: int, test: int) -> tuple[int, int]:
        """Return the numbers (train, test) of recordings to make: those that the user gave, else the given defaults."""
        return train if self.train is None else self.train, test if self.test is None else self.test
