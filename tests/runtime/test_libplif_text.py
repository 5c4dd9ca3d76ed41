"""The grammars of framing, decisions and resets read the same in C and in Python, on thousands of right and wrong lines."""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from runtime import native
from runtime.base.errors import PlifError
from runtime.events.framing import CHOICES, OWN, VIEW, Framing
from runtime.stream.decide import DecisionRule
from runtime.stream.reset import ResetPolicy

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)


class CFraming(c.Structure):
    """Framing of framing.h."""

    _fields_ = (
        ("kind", c.c_int),
        *((name, c.c_int64) for name in ("T", "duration_us", "every_us", "n", "max_us")),
        *((name, c.c_int) for name in ("pad", "value", "polarity", "orientation", "resize")),
    )


class CRule(c.Structure):
    """DecisionRule of decide.h."""

    _fields_ = (
        *(("kind", c.c_int), ("tau_us", c.c_int64), ("k", c.c_int), ("n", c.c_int)),
        *((name, c.c_double) for name in ("margin", "release", "idle_per_s")),
        *(("idle_auto", c.c_int), ("other_us", c.c_int64), ("exit_margin", c.c_double)),
        *(("other", c.c_int), ("exit_lead", c.c_double)),  # of a network
    )


class CPolicy(c.Structure):
    """ResetPolicy of resetting.h."""

    _fields_ = (
        *(("kind", c.c_int), *((name, c.c_int64) for name in ("every", "silence_us", "tau_us"))),
        ("rows", c.c_int),
    )


def in_c(function: str, text: str, out: c.Structure) -> bool:
    """Whether C reads the text, into `out`."""
    parse = native.library()[function]
    parse.argtypes = [c.c_char_p, c.c_void_p]
    code = parse(text.encode(), c.byref(out))
    assert code in (0, -5)
    return bool(code == 0)


def in_python(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except PlifError:
        return None


@dataclass
class Words:
    """Makes lines that are nearly right: pieces of the grammar, in any order, with slips."""

    rng: np.random.Generator

    def one(self, *choices: str) -> str:
        return choices[self.rng.integers(len(choices))]

    def number(self) -> str:
        rng = self.rng
        return self.one(
            *(
                "0",
                "1",
                "3",
                "5",
                "16",
                "4096",
                "4097",
                "007",
                "-1",
                "",
                "1e3",
                "0.5",
                "0.1",
                "1.0",
                "99999",
                "12345678901234567",
            ),
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
        own = OWN.get(kind, ()) if self.rng.random() < 0.8 else ("T", "n", "max", "every", "pad")
        for _ in range(self.rng.integers(0, 4)):
            name = self.one(*own, *VIEW)
            right = {"T": "16", "n": "30", "max": "7ms", "every": "5ms"}.get(name) or self.one(*CHOICES[name])
            wrong = self.one(self.time(), self.number(), "repeat", "")
            value = right if self.rng.random() < 0.7 else wrong
            parts.append(f"{self.one('', '', ' ')}{name}{self.one('=', '=', ' = ')}{value}")
        return self.slip(f"{kind}{self.one(':', ':', ':', ':', '', ' :')}{','.join(parts)}")

    def decide(self) -> str:
        first = self.one(
            *(
                "sum",
                "leak",
                "kofn",
                "sum:",
                "leak:",
                "kofn:",
                "sum:3",
                "leak:500ms",
                "kofn:3/5",
                "kofn:5/3",
                "kofn:0/3",
                "last",
                "own",
                "own:80ms",
            ),
            f"leak:{self.time()}",
            f"own:{self.time()}",
            f"kofn:{self.number()}/{self.number()}",
        )
        values = (self.number, self.number, self.number, self.time, lambda: self.one("auto", "inf", ""))
        options = [
            f"{self.one('', ' ')}{self.one('margin', 'release', 'idle', 'tau', 'other', 'exit')}="
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


@pytest.mark.parametrize("seed", range(2))
def test_framings_read_the_same(seed: int) -> None:
    words, right = Words(np.random.default_rng(seed)), 0
    lines = [words.framing() for _ in range(6000)]
    lines += [
        "duration:40ms,every=10ms",
        "count:T=20",
        "events:n=5000,max=20ms",
        "duration:9223372037.000000000us",
        "",
        ":",
    ]
    for line in lines:
        found, expected = CFraming(), in_python(Framing.parse, line)
        got = in_c("plif_framing_parse", line, found)
        assert got == (expected is not None), line
        if expected is not None:
            right += 1
            assert ("count", "duration", "events", "time")[found.kind] == expected.kind, line
            for name in ("T", "duration_us", "every_us", "n", "max_us"):
                assert getattr(found, name) == (getattr(expected, name) or 0), line
            for name, choices in CHOICES.items():
                assert choices[getattr(found, name)] == getattr(expected, name), line
    assert right > 200


@pytest.mark.parametrize("seed", range(2))
def test_decision_rules_read_the_same(seed: int) -> None:
    words, right, kinds = Words(np.random.default_rng(seed)), 0, set()
    for line in (words.decide() for _ in range(6000)):
        found, expected = CRule(), in_python(DecisionRule.parse, line)
        got = in_c("plif_decide_parse", line, found)
        assert got == (expected is not None), line
        if expected is None:
            continue
        right += 1
        kinds.add(expected.kind)
        assert ("sum", "leak", "kofn", "own")[found.kind] == expected.kind, line
        assert (found.tau_us or np.inf, found.k, found.n) == (expected.tau_us, expected.k, expected.n), line
        usual = 0.0 if expected.kind == "kofn" else expected.margin
        release = usual if expected.release is None else expected.release
        idle = -1.0 if expected.idle_per_s is None else expected.idle_per_s
        assert (found.margin, found.release, found.idle_per_s) == (expected.margin, release, idle), line  # to the bit
        own = (bool(found.idle_auto), found.other_us or np.inf, found.exit_margin or None)
        assert own == (expected.idle_auto, expected.other_us, expected.exit_margin), line
    assert right > 500 and kinds == {"sum", "leak", "kofn", "own"}


def test_reset_policies_read_the_same() -> None:
    words, right = Words(np.random.default_rng(3)), 0
    for line in (words.reset() for _ in range(6000)):
        found, expected = CPolicy(), in_python(ResetPolicy.parse, line)
        got = in_c("plif_reset_parse", line, found)
        assert got == (expected is not None), line
        if expected is not None:
            right += 1
            kind = "never" if expected.kind == "recording" else expected.kind
            assert ("never", "every", "silence", "decay")[found.kind] == kind, line
            values = (found.every, found.silence_us, found.tau_us, found.rows)
            assert values == (expected.every, expected.silence_us, expected.tau_us, expected.rows), line
    assert right > 500
