"""Random lines that are nearly right: pieces of the grammars in any order, with slips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.specification.framing import FOLLOW, OWN, PAD, VIEW

CHOICES = {"pad": PAD, "follow": FOLLOW, **VIEW}
NUMBERS = "0 1 3 5 16 4096 4097 007 -1 1e3 0.5 0.1 1.0 99999 12345678901234567"
RULES = (
    "sum leak kofn own last sum: leak: kofn: own: sum:3 leak:500ms kofn:3/5 kofn:5/3 kofn:0/3 own:80ms cusum cusum:9ms"
)
EDGES = """
    duration:20ms,follow=on duration:40ms,every=20ms,follow=on duration:20ms,follow=on,T=2 duration:40ms,every=10ms,follow=on
    duration:20ms,follow=on,resize=crop duration:10ms,follow=off,T=2 events:n=9,max=20ms,follow=on duration:20ms,follow=auto
    count:T=4096 count:T=4097 time:T=1 time:T=0 duration:1s,every=10ms duration:1010ms,every=10ms
    duration:10ms,every=10ms duration:20ms,every=10ms duration:1125899906842624us duration:1125899906842625us
    duration:9223372037.000000000us events:n=1099511627776,max=1s events:n=1099511627777,max=1s
    events:n=000000000000001,max=1s events:n=0000000000000001,max=1s leak:0.5us leak:1.000000001s kofn:9999/9999
    kofn:10000/10000 kofn:1/1,release=1 kofn:1/1,release=2 kofn:3/5,release=1.5 kofn:3/5,release=3 kofn:3/5,release=4
    sum,margin=1 sum,margin=1.000000001 sum,margin=0.5,release=0.5 sum,release=0 own,release=1 own,release=2
    own:120ms,margin=0.4,release=0.1,other=100ms sum,exit=0.2 sum,exit=0 sum,exit=999999999 leak,exit=1 kofn,other=1s
    sum,idle=2k every:64/64 every:65/65 every:63/64 every:999999999 every:1000000000 silence:999999999ms
    sum,margin=0.5/0.2/1 leak,margin=0.2/0.3,release=0.2 own,margin=1/1.1 kofn,margin=/0.1 leak,margin=0.1/ sum,soft=1
    leak,soft=0 own,soft=1.1 kofn,soft=0.1 sum,margin=0.1/0.2,release=0.15
    cusum,most=0 cusum,most=1 cusum,most=1.1 cusum,most=0.1,drift=0.2 leak,most=0.5 own,most=0.5
    cusum,drift=1 cusum,drift=1.1 own,drift=0 cusum:9ms,margin=0,release=0.9,other=1s,soft=1 cusum,exit=1
    silence:1000000000 decay:1us : never duration:1us own,margin=0,release=0.9
"""  # what is just right, and just not
FILTERS = """
    hot hot:2s refractory:1ms background:5ms roi:square down:2 flip:x flip:y rotate:90 rotate:180 rotate:270 swap
    hot: flip flip:z rotate:45 swap:x swap: refractory background"""


@dataclass
class Words:
    rng: np.random.Generator

    def one(self, *choices: str) -> str:
        return choices[self.rng.integers(len(choices))]

    def number(self) -> str:
        rng = self.rng
        return self.one(
            *NUMBERS.split(),
            "",
            str(rng.integers(1, 60)),
            f"{rng.random():.9f}",
            f"{rng.random() * 10 ** rng.integers(1, 9):.{rng.integers(1, 9)}f}",
        )

    def time(self) -> str:
        return f"{self.number()}{self.one('', '', '', ' ', '  ')}{self.one('us', 'ms', 'ms', 's', 's', 'm', '', 'MS', 'ns')}"

    def slip(self, text: str) -> str:
        if self.rng.random() < 0.15 and text:
            at = int(self.rng.integers(len(text)))
            return text[:at] + self.one("", " ", ",", "=", ":", "x", "\t", text[at] * 2) + text[at + 1 :]
        return text

    def framing(self) -> str:
        kind = self.one("count", "duration", "events", "duration", "frames", "time")
        needed = {"count": ["T=7"], "time": ["T=7"], "duration": ["20ms"], "events": ["n=500", "max=20ms"]}.get(
            kind, []
        )
        parts = [part for part in needed if self.rng.random() < 0.8]
        own = OWN.get(kind, ()) if self.rng.random() < 0.8 else ("T", "n", "max", "every", "pad", "follow")
        for _ in range(self.rng.integers(0, 4)):
            name = self.one(*own, *VIEW)
            right = {"T": "16", "n": "30", "max": "7ms", "every": "5ms"}.get(name) or self.one(*CHOICES[name])
            wrong = self.one(self.time(), self.number(), "repeat", "")
            value = right if self.rng.random() < 0.7 else wrong
            parts.append(f"{self.one('', '', ' ')}{name}{self.one('=', '=', ' = ')}{value}")
        return self.slip(f"{kind}{self.one(':', ':', ':', ':', '', ' :')}{','.join(parts)}")

    def decide(self) -> str:
        first = self.one(
            *RULES.split(),
            f"leak:{self.time()}",
            f"own:{self.time()}",
            f"cusum:{self.time()}",
            f"kofn:{self.number()}/{self.number()}",
        )
        values = (
            self.number,
            self.number,
            self.number,
            self.time,
            lambda: self.one("auto", "inf", "", "0.1/0.25/0.5", "0.5/1/"),
        )
        options = [
            f"{self.one('', ' ')}{self.one('margin', 'release', 'idle', 'tau', 'other', 'exit', 'soft', 'drift', 'most')}="
            f"{values[self.rng.integers(len(values))]()}{self.one('', '', 'k')}"
            for _ in range(self.rng.integers(0, 4))
        ]
        return self.slip(",".join([first, *options]))

    def reset(self) -> str:
        return self.slip(
            self.one(
                *("never", "recording", "every", "silence", "never:"),
                f"every:{self.number()}",
                f"every:{self.number()}/{self.number()}",
                f"silence:{self.number()}{self.one('', 'ms', 's')}",
                f"decay:{self.time()}",
            )
        )

    def filter(self) -> str:
        number = self.one("0", "1", "2", "3", "20", "x", "")
        slips = f"down:{number} roi:0:0:{number}:5 roi:1:{number}:9:9".split()
        timed = f"{self.one('refractory', 'background', 'hot')}:{self.time()}"
        parts = [self.one(*FILTERS.split(), *slips, timed) for _ in range(self.rng.integers(1, 4))]
        return self.slip(self.one(",", ", ", " ,").join(parts))
