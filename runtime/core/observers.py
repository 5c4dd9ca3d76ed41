"""Observers: parts that hear a run, an evaluation or a proof, and may add to what comes of it.

Such a part is a folder observers/NAME. HEARS in its part.py names what it hears:

    run      a run of streams, from Python too: hear(model, **its options) -> [Observer] (runtime/core/stream/observe.py)
    stream   `plif stream`: hear(as_json, **its options) -> [Observer]
    eval     an evaluation: hear(bars, command, shown, **its options) -> [Hearer] (runtime/core/measure/evaluate/judge.py)
    instead of eval   hear(artifact, its options, those that were given, **own) -> [(model, progress) -> (document, lines)], one
    instead of bench  hear(artifacts, options that were given, streams, seconds, **own) -> [progress -> (document, lines)], one
    workers  an evaluation, or a prediction, also without an option: hear(loop, **its options) -> iterator of Outcome, for all;
             begun_engine(keep, **its options) -> the engine with which it was begun (runtime/core/measure/evaluate/loop.py)
    predictions   its predictions, where a folder is named, and the table of a prediction: write_predictions(predictions, classes,
             folder), FILES that it writes; check_table, write_table, as_csv, read_csv (runtime/observers/prediction_tables)
    exits    the same, also without an option: hear(model, **its options) -> [Exits] (runtime/core/measure/evaluate/batches.py);
             check_exits(model) refuses one whose samples cannot end early
    proof    of which an option was given: hear(proof, **its options), on what passed the gate (plif_export/core/prove.py)
    artifact what was proved: hear(proved) -> text of a file beside it, or None (plif_export/core/pipeline.py)
    info     `plif info` of what is no model, or of nothing: hear(file, view, **its options) -> [(document, rows, lines)]
    recordings  what is streamed or evaluated: hear(card, framing) -> [Likeness] (runtime/core/events/fit.py)
    archives  a file that may lie in an archive, of parts of datasets: unpack(path) -> context of the file, list_members(archive,
             suffix) -> names
    choice   what is chosen by its time, of parts of engines: choose(path, card, options, names) -> EngineChoice of engines that
             all open an artifact; tune and in_turns, of anything else; forget(key) (runtime/engines/tuner)
    filters  a source whose events are to be filtered: Filters(text, sensor) (runtime/observers/event_filters)
    queues   a run of which a source has a clock of its own, as live ones: queue:Queues (runtime/observers/live_queue)
    gates    a command with bars: hear(suite, **its options) -> [function of the gates, at its end]

A record that is HeardOptions has the options of the parts that hear it, so the command, its help and the Python call have them
while the part is there. A part with options hears where one of them is given, one without always. Their record is imported for
the help, so what is heavy is not beside it.

An observer of another package (runtime/core/parts.py) needs an option: it is looked up where one of a command or of a Python
call is none of ours. To look for one without options, or for a help, would cost each start ten milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import Field, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from runtime.core.base.options import OptionRecord, options_of
from runtime.core.parts import Part, find_parts, parts_of_others

OTHERS: list[Part] = []  # of other packages, once they were looked up
RECORDS: list[tuple[type[HeardOptions], str]] = []  # and what the parts hear whose options each has


def hearing(what: str, kind: str = "observers") -> list[Part]:
    """The parts of a kind that hear it; those with LAST come last."""
    others = OTHERS if kind == "observers" else ()
    return [part for part in (*find_parts(kind).values(), *others) if what in part.hears]


@cache
def hear_others() -> bool:
    """Gives all records the options of observers of other packages; whether there are any."""
    OTHERS.extend(part for part in parts_of_others("observers").values() if part.options)
    for record, by in RECORDS:
        for part in OTHERS:
            if by in part.hears:
                _declare(record, part)
    return bool(OTHERS)


def recorder_of(source: object) -> Part | None:
    """The part that recorded this, where it is the name of a folder that holds its file."""
    for part in find_parts("observers").values():
        with suppress(OSError, ValueError):
            if part.holds and isinstance(source, str) and Path(source, part.holds).is_file():
                return part
    return None


class HeardOptions(OptionRecord):
    """Base of a record that has the options of parts, too: class StreamOptions(ViewOptions, HeardOptions, by="run")."""

    def __init_subclass__(cls, by: str = "") -> None:
        super().__init_subclass__()
        RECORDS.append((cls, by))
        for part in hearing(by) if by else ():
            _declare(cls, part)

    def __init__(self, **given: object) -> None:
        if given.keys() - {each.name for each in fields(self)}:
            hear_others()
        super().__init__(**given)

    def hearers(self, what: str, always: bool = False) -> Iterator[tuple[Part, dict[str, Any]]]:
        """Each part that hears it, with what its options are in this record: those without, and those of which one was given, or,
        `always`, none."""
        for part in hearing(what):
            own = self.of(part)
            if always or not own or any(own[each.name] not in (each.default, ()) for each in _options(part)):
                yield part, own

    def of(self, part: Part) -> dict[str, Any]:
        """What the options of a part are in this record."""
        return {each.name: vars(self).get(each.name, each.default) for each in _options(part)}

    def hear(self, what: str, *said: object, always: bool = False) -> list[Any]:
        """What all of them make of `said` and of their options."""
        return [each for part, own in self.hearers(what, always) for each in part.load("hear")(*said, **own)]


def _declare(record: type[HeardOptions], part: Part) -> None:
    """The options of a part become fields of a record, and of those that derive from it."""
    types = get_type_hints(part.load(part.options)) if part.options else {}
    own = {each.name: each for each in _options(part)}
    record.__annotations__ = {**record.__annotations__, **{name: types[name] for name in own}}
    for heir, _ in RECORDS:
        if issubclass(heir, record):
            heir.__dataclass_fields__ |= own


def _options(part: Part) -> list[Field[Any]]:
    return options_of(part.load(part.options)) if part.options else []
