"""The line that says how events become frames (docs/events.md, Framing).

    count:T=20                                  T slices of equal event count
    time:T=16                                   T slices of equal time
    duration:10ms[,T=16][,pad=repeat|zero]      a time grid from the first event
    duration:40ms,every=10ms                    frames that overlap
    duration:40ms,every=20ms,follow=on          and have two pictures: the whole, and a view that follows (follow.py)
    events:n=5000,max=20ms                      n events or the time, whichever comes first

What such frames hold is in framer.py, where an event lands in them in view.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tests.specification.text import options, require, time_us, whole

VIEW = {  # options of every kind; the first choice holds where none is given
    "value": ("count", "binary"),
    "polarity": ("stored", "swapped"),
    "orientation": ("stored", "upright", "sj", "paper"),
    "resize": ("auto", "nearest", "sum", "crop"),
    "shape": ("stretch", "square"),
}
PAD, FOLLOW = ("repeat", "zero"), ("off", "on")
OWN = {"count": ("T",), "time": ("T",), "duration": ("every", "T", "pad", "follow"), "events": ("n", "max")}
NEEDED = {"count": ("T",), "time": ("T",), "duration": (), "events": ("n", "max")}


@dataclass(frozen=True)
class Framing:
    """What a line says; 0 where it says nothing."""

    kind: str
    T: int = 0
    duration_us: int = 0
    every_us: int = 0
    n: int = 0
    max_us: int = 0
    pad: str = "repeat"
    value: str = "count"
    polarity: str = "stored"
    orientation: str = "stored"
    resize: str = "auto"
    shape: str = "stretch"
    follow: str = "off"

    @property
    def pieces(self) -> int:
        """duration / every: how many steps of time each frame shows; 1 where frames do not overlap."""
        return self.duration_us // self.every_us if self.every_us else 1


def parse(text: str) -> Framing:
    """`kind:`, of duration the length of a frame, then options in any order, with commas between them. Blanks do not matter.

    T is at most 4096 and n at most 2^40. `pad` needs T. `every` divides the length of a frame into 2 to 100 parts. `follow=on`
    takes a step of 20 ms, no T and no resize=crop.
    """
    kind, _, rest = text.strip().partition(":")
    require(kind in OWN, kind)
    parts = [re.sub(r"\s*=\s*", "=", part.strip()) for part in rest.split(",")] if rest.strip() else []
    require(parts or kind != "duration", "the length of a frame is missing")
    length_us = time_us(parts.pop(0)) if kind == "duration" else 0
    given = options(parts, (*OWN[kind], *VIEW))
    require(all(name in given for name in NEEDED[kind]), f"{kind} needs {NEEDED[kind]}")
    require("pad" not in given or "T" in given, "pad needs T")
    for name, choices in {"pad": PAD, "follow": FOLLOW, **VIEW}.items():
        require(given.get(name, choices[0]) in choices, f"{name} is one of {choices}")
    every_us = time_us(given["every"]) if "every" in given else 0
    if every_us:
        require(length_us % every_us == 0 and 2 <= length_us // every_us <= 100, "every divides the length")
    follows = given.get("follow") == "on"
    require(not follows or (every_us or length_us) == 20_000, "follow=on takes a step of 20 ms")
    require(not follows or not ("T" in given or given.get("resize") == "crop"), "follow=on takes no T and no crop")
    return Framing(
        kind,
        T=whole(given["T"], 4096) if "T" in given else 0,
        duration_us=length_us,
        every_us=every_us,
        n=whole(given["n"], 2**40) if "n" in given else 0,
        max_us=time_us(given["max"]) if "max" in given else 0,
        **{name: given[name] for name in ("pad", "follow", *VIEW) if name in given},
    )


def settled(framing: Framing, native: bool) -> Framing:
    """auto: nearest where value=binary and the sensor of the training was as large as the network's input (native), else sum."""
    how = "nearest" if framing.value == "binary" and native else "sum"
    return replace(framing, resize=how) if framing.resize == "auto" else framing
