"""Observers: parts that follow a run, an evaluation or a proof, and may add to its result.

An observer is a folder observers/NAME. HEARS in its part.py names its subjects; for each of them the core calls its
`hear`:

    run      a run of streams, from Python too: hear(model, **options) -> [Observer]
             (runtime/core/stream/observe.py)
    stream   `plif stream`: hear(as_json, **options) -> [Observer]
    eval     an evaluation: hear(bars, command, shown, **options) -> [JudgementHook]
             (runtime/core/measure/evaluate/judge.py)
    instead of eval   hear(artifact, options, changed flags, **options) -> [(model, progress) -> (document,
                      lines)], one
    instead of bench  hear(artifacts, changed flags, streams, seconds, **options) -> [progress -> (document,
                      lines)], one
    workers  an evaluation or a prediction, also without an option: hear(loop, **options) -> iterator of
             Outcome, for all; find_resumed_engine(keep, **options) -> the engine of a resumed evaluation
             (runtime/core/measure/evaluate/loop.py)
    predictions   the predictions of an evaluation into a folder, and the table of a prediction:
                  write_predictions(predictions, classes, folder), FILES that it writes; check_table,
                  write_table, as_csv, read_csv (runtime/observers/prediction_tables)
    exits    early exits of samples, also without an option: hear(model, **options) -> [ExitRule]
             (runtime/core/measure/evaluate/batches.py); check_exits(model) refuses a model without early exits
    proof    a proof with one of its options: hear(proof, **options), after the gate passed
             (plif_export/core/prove.py)
    artifact a proved artifact: hear(proved) -> text of a file next to it, or None (plif_export/core/pipeline.py)
    info     `plif info` of a file that is no model, or without one: hear(file, view, **options) -> [(document,
             rows, lines)]
    recordings  the recordings of a stream or an evaluation: hear(card, framing) -> [Likeness]
                (runtime/core/events/fit.py)
    archives  a file that may lie in an archive, of parts of datasets: unpack(path) -> context of the file,
              list_members(archive, suffix) -> names
    choice   a choice by measured time, of parts of engines: choose(path, card, options, names) -> EngineChoice
             of engines that all open an artifact; tune and in_turns, of other choices; forget(key)
             (runtime/engines/tuner)
    framing  the framing of a run of streams, also without an option: hear(card, framing, decide rule,
             sensors of feeds, **options) -> [(framing, decide rule)] (runtime/observers/followed_view)
    filters  a source with events to filter: Filters(text, sensor) (runtime/observers/event_filters)
    queues   a run with a source that has its own clock, such as a live one: queue:Queues
             (runtime/observers/live_queue)
    gates    a command with gates: hear(suite, **options) -> [function of the gates, called at the end]

A record that derives from ExtensibleOptions has the options of its observers, so the command, its help and the Python
call have them as long as the part is there. A part with options hears only if one of them is given; a part without
options always hears. The record of a part is imported for the help, so heavy imports must not be next to it.

An observer of a third-party package (runtime/core/parts.py) needs an option: plif looks it up when a command or a
Python call has an option that no part here knows. A look-up for help, or for observers without options, would cost
each start ten milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import Field, fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from runtime.core.base.options import OptionRecord, list_options
from runtime.core.parts import Part, find_parts, third_party_parts

THIRD_PARTY: list[Part] = []  # of third-party packages, after the look-up
RECORDS: list[tuple[type[ExtensibleOptions], str]] = []  # each with the subject that its observers hear


def find_observers(subject: str, kind: str = "observers") -> list[Part]:
    """Return the plug-in parts that observe a subject, such as a run or a proof; parts with LAST come last.

    subject  a name in HEARS of their part.py
    """
    external = THIRD_PARTY if kind == "observers" else ()
    return [part for part in (*find_parts(kind).values(), *external) if subject in part.hears]


@cache
def add_external_options() -> bool:
    """Add the options of third-party observers to all option records; return whether there are any."""
    THIRD_PARTY.extend(part for part in third_party_parts("observers").values() if part.options)
    for record, by in RECORDS:
        for part in THIRD_PARTY:
            if by in part.hears:
                _add_options(record, part)
    return bool(THIRD_PARTY)


def find_recorder(source: object) -> Part | None:
    """Return the observer part that recorded a folder, by the file that marks it; None for other sources."""
    for part in find_parts("observers").values():
        with suppress(OSError, ValueError):
            if part.holds and isinstance(source, str) and Path(source, part.holds).is_file():
                return part
    return None


class ExtensibleOptions(OptionRecord):
    """The base class of option records to which observers add options of their own.

    class StreamOptions(ViewOptions, ExtensibleOptions, by="run"): `by` is the subject in HEARS.
    """

    def __init_subclass__(cls, by: str = "") -> None:
        super().__init_subclass__()
        RECORDS.append((cls, by))
        for part in find_observers(by) if by else ():
            _add_options(cls, part)

    def __init__(self, **values: object) -> None:
        if values.keys() - {entry.name for entry in fields(self)}:
            add_external_options()
        super().__init__(**values)

    def select_observers(self, subject: str, always: bool = False) -> Iterator[tuple[Part, dict[str, Any]]]:
        """Yield each observer (plug-in part) that must be called for a subject, with the values of its options.

        An observer without options is always called; one with options only if one of them is given, or if `always` is
        set.
        """
        for part in find_observers(subject):
            values = self.get_part_options(part)
            if (
                always
                or not values
                or any(values[entry.name] not in (entry.default, ()) for entry in _list_part_options(part))
            ):
                yield part, values

    def get_part_options(self, part: Part) -> dict[str, Any]:
        """Return the values that an option record has for the options of a plug-in part, by name."""
        return {entry.name: vars(self).get(entry.name, entry.default) for entry in _list_part_options(part)}

    def call_observers(self, subject: str, *arguments: object, always: bool = False) -> list[Any]:
        """Call the `hear` function of each active observer (plug-in part); return the objects that they create."""
        return [
            entry
            for part, values in self.select_observers(subject, always)
            for entry in part.load("hear")(*arguments, **values)
        ]


def _add_options(record: type[ExtensibleOptions], part: Part) -> None:
    """Add the options of a plug-in part as fields to an option record and to all its subclasses."""
    types = get_type_hints(part.load(part.options)) if part.options else {}
    declared = {entry.name: entry for entry in _list_part_options(part)}
    record.__annotations__ = {**record.__annotations__, **{name: types[name] for name in declared}}
    for subclass, _ in RECORDS:
        if issubclass(subclass, record):
            subclass.__dataclass_fields__ |= declared


def _list_part_options(part: Part) -> list[Field[Any]]:
    return list_options(part.load(part.options)) if part.options else []
