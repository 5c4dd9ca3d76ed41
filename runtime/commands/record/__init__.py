"""`plif record SOURCE --guide`: record one's own gestures, labelled and split.

The Python call is runtime.commands.record.guide.record, and plif.record.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

from runtime.commands.record.options import RecordingOptions
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json

if TYPE_CHECKING:
    from runtime.commands.record.guide import Prompt


class GuideOptions(OptionRecord):
    """The command-line option that asks a person for gestures."""

    guide: bool = option("Say which gesture to make, and when.", "--guide", default=False)


def command(
    source: Annotated[str, Argument("usb://, udp://.., tcp://.., or a simulation.")],
    how: GuideOptions,
    options: RecordingOptions,
    output: Output,
) -> None:
    from runtime.commands.record.guide import record

    if not how.guide:
        raise PlifError(
            "record: expected --guide; what a network answers is recorded by plif stream MODEL SOURCE --record DIR"
        )

    def tell(prompt: Prompt) -> None:
        take = prompt.take
        if output.as_json:
            number = {"gesture": take.number + 1, "of": take.of, "class": take.label, "split": take.split}
            print_json({**number, "phase": prompt.phase, "events": prompt.events}, compact=True)
        elif prompt.phase == "get ready":
            say(f"{take.number + 1}/{take.of}  next: {take.label}")
        elif prompt.phase == "go":
            say(f"         {take.label}: now, for {options.seconds:g} s\a")
        else:
            say(f"         {prompt.phase}, {prompt.events} events")

    try:
        found = record(source, tell=tell, **vars(options))
    except KeyboardInterrupt:
        raise Interrupted(f"{options.out}: what was recorded stays; the same command goes on") from None
    if output.as_json:
        print_json(found, compact=True)
        return
    say(f"{options.out}: {found['train']} gestures to train, {found['test']} to test")
    say(f"next: plif train --like MODEL.pt --from MODEL.pt --data {shlex.quote(f'folder:{options.out}')} --out mine.pt")
