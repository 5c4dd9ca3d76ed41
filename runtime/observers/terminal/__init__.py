"""A stream in the terminal: a line for each new answer, and below it one status line that is redrawn.

       2.310 s  step 57     seven          64.0 %
    seven          ################--------  64.0 %   48.2 k events/s   0.15 ms   0 dropped   0:04.1

The answers go to stdout, also into a pipe. A label is printed at once; that there is none, when it lasted for HOLD_US.
The status line is for a terminal only (stderr): redrawn ten times a second at most, never wider than the terminal, and
removed at the end. It changes no setting of the terminal and hides no cursor, so there is nothing to restore after any
end of the program.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import numpy as np

from runtime.core.base.text import display_width, fit_columns, format_count, printable, say
from runtime.core.events.fit import UNLIKE_TRAINING
from runtime.core.events.frame import render_text
from runtime.core.events.sources.base import ASK, is_rotated_by_format
from runtime.core.stream.observe import Observer
from runtime.observers.terminal.event_rate import EventRate

if TYPE_CHECKING:
    from runtime.core.events.frame import Frame
    from runtime.core.events.lines import StreamSummary
    from runtime.core.stream.decide import Decision
    from runtime.core.stream.run import Run
    from runtime.core.stream.stream import Stream

DRAW_S = 0.1
REASONS = ("idle", "not sure")  # for no label
HOLD_US = 500_000  # of the stream: a label that comes back sooner was not gone
PREVIEW_COUNTS = 20_000  # the counts of all frames that make a picture
BAR = (8, 24)  # shortest and longest, in columns
FACT_COLUMNS = 54  # columns for rate, latency, drops and clock
CLEAR = "\r\033[K"


class Terminal(Observer):
    """The observer that prints the decisions of a stream in the terminal; `close` removes the status line."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self.moving = self.err.isatty() and os.environ.get("TERM") != "dumb"
        colour = self.moving and not os.environ.get("NO_COLOR")
        self._bold, self._red, self._plain = ("\033[1m", "\033[31m", "\033[0m") if colour else ("", "", "")
        self._blocks = ("█", "░") if (self.err.encoding or "").lower().startswith("utf") else ("#", "-")
        self._label_width = 8
        self._shown: dict[str, str] = {}  # the last answer of each source that was printed
        self._unlabelled: dict[str, tuple[str, int]] = {}  # of each source without a label: why, since when in us
        self._last: dict[str, Decision] = {}
        self._rates: dict[str, EventRate] = {}
        self._lock = threading.Lock()  # notes come from the threads that read
        self._drawn_s = 0.0
        self._line_visible = False  # the moving line is on the screen
        self._streams: dict[str, Stream] = {}

    def on_start(self, run: Run) -> None:
        self._streams = {stream.name: stream for stream in run.streams}
        self._label_width = min(
            max(8, *(display_width(printable(name)) for name in run.model.classes), len(REASONS[1])), 24
        )
        self._rates = {name: EventRate() for name in run.names}

    def on_decision(self, decision: Decision) -> None:
        with self._lock:
            self._show(decision)

    def _show(self, decision: Decision) -> None:
        name = decision.source
        self._last[name] = decision
        self._rates[name].update(decision.t_us, self._streams[name].account.events_in)
        if self._is_new(decision):
            self._shown[name] = answer_text(decision)
            self.print_answer(
                f"{decision.t_us / 1e6:9.3f} s  step {decision.step:<6} {fit_columns(answer_text(decision), self._label_width)}"
                f"  {100 * decision.score:5.1f} %" + (f"  {name}" if len(self._rates) > 1 else "")
            )
        elif time.monotonic() - self._drawn_s >= DRAW_S:
            self._draw()

    def _is_new(self, decision: Decision) -> bool:
        """Return whether the answer of a source is another one than the last that was printed, and no flicker."""
        name, text = decision.source, answer_text(decision)
        if decision.label is not None or name not in self._shown:
            self._unlabelled.pop(name, None)
            return text != self._shown.get(name)
        why, since_us = self._unlabelled.get(name, ("", decision.t_us))
        if why != text and self._shown[name] in REASONS:
            since_us = decision.t_us
        self._unlabelled[name] = text, since_us
        return text != self._shown[name] and decision.t_us - since_us >= HOLD_US

    def on_note(self, source: str, text: str) -> None:
        with self._lock:
            self._clear()
            _print_note(source, text, self.err)

    def print_lines(self, *lines: str) -> None:
        """Print lines that are not answers of the stream, such as notes, on stderr."""
        with self._lock:
            self._clear()
            say(*lines, file=self.err)

    def print_answer(self, text: str) -> None:
        """Print a new answer of the stream as a line that stays on the screen."""
        self._clear()
        say(text.rstrip(), file=self.out)
        if self.moving:
            self._draw()

    def on_summary(self, summary: StreamSummary) -> None:
        with suppress(OSError):  # the terminal was closed
            self.close()

    def close(self) -> None:
        self._clear()

    # --- the line that moves ----------------------------------------------------------------------------------------

    def _clear(self) -> None:
        if self._line_visible:
            self._line_visible = False
            self.err.write(CLEAR)
            self.err.flush()

    def _draw(self) -> None:
        if not self.moving or not self._last:
            return
        self._drawn_s, self._line_visible = time.monotonic(), True
        self.err.write(CLEAR + self._compose_line(_columns(self.err) - 1))
        self.err.flush()

    def _compose_line(self, columns: int) -> str:
        """Build the terminal's status line, at most `columns` wide: the answer first, then the most important facts."""
        last = max(self._last.values(), key=lambda decision: decision.t_us)
        rate = sum(meter.per_s or 0.0 for meter in self._rates.values())
        dropped = sum(stream.account.dropped for stream in self._streams.values())
        p50 = self._streams[last.source].latency.percentile(50)
        facts = [
            (f"{format_count(rate)} events/s", ""),
            (f"{p50:.3g} ms" if p50 is not None else "", ""),
            (f"{format_count(dropped)} dropped", self._red if dropped else ""),
            (format_clock(last.t_us), ""),
        ]
        if len(self._rates) > 1:
            answers = "  ".join(f"{printable(name)}: {answer_text(d)}" for name, d in self._last.items())
            head, head_width = (
                fit_columns(answers, min(display_width(answers), columns)).rstrip(),
                min(display_width(answers), columns),
            )
        else:
            head, head_width = self._format_answer(last, columns)
        parts, free = [head], columns - head_width
        for text, colour in facts:
            if text and free >= 3 + len(text):
                parts.append(f"{colour}{text}{self._plain if colour else ''}")
                free -= 3 + len(text)
        return "   ".join(parts)

    def _format_answer(self, decision: Decision, columns: int) -> tuple[str, int]:
        """Format an answer for the terminal's status line: (label, bar and percentage as text; its width in columns)."""
        label_width = min(self._label_width, max(columns, 1))
        label = f"{self._bold}{fit_columns(answer_text(decision), label_width)}{self._plain}"
        share, percent = min(max(decision.score, 0.0), 1.0), f"{100 * decision.score:5.1f} %"
        room = columns - label_width - 2 - len(percent)
        if room < 0:
            return label, label_width
        bar = min(BAR[1], room - 2 - FACT_COLUMNS if room - 2 - FACT_COLUMNS >= BAR[0] else room - 2)
        if bar < BAR[0]:
            return f"{label}  {percent}", label_width + 2 + len(percent)
        filled = round(bar * share)
        drawn = self._blocks[0] * filled + self._blocks[1] * (bar - filled)
        return f"{label}  {drawn}  {percent}", label_width + bar + 4 + len(percent)


class OrientationPreview(Observer):
    """The observer that prints a picture of a source's first events, so that the user can confirm the orientation.

    It prints sources with a format that rotates images, as the network gets them.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell  # prints lines
        self._sums: dict[str, np.ndarray] = {}  # sums of frames [H, W]

    def on_start(self, run: Run) -> None:
        shape = run.model.input_shape[1:]
        self._sums = {
            s.name: np.zeros(shape, np.float32) for s in run.streams if is_rotated_by_format(s.source, run.framing)
        }

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """Add a frame to the terminal picture of its source's first events; frame.x is float32 [C, H, W]."""
        if source in self._sums:
            self._sums[source] += frame.x.sum(0)
            if self._sums[source].sum() >= PREVIEW_COUNTS:
                self._show(source)

    def on_summary(self, summary: StreamSummary) -> None:
        for source in [name for name, counts in self._sums.items() if counts.any()]:
            self._show(source)

    def _show(self, source: str) -> None:
        self._tell(*render_text(self._sums.pop(source)), f"plif: {printable(source)}: {ASK}")


class NotePrinter(Observer):
    """An observer that prints only the notes of a stream, on stderr, for the output format --json."""

    def on_note(self, source: str, text: str) -> None:
        _print_note(source, text, sys.stderr)


def hear(as_json: bool) -> list[Observer]:
    if as_json:
        return [NotePrinter()]
    shown = Terminal()
    return [shown, OrientationPreview(shown.print_lines)]


def _print_note(source: str, text: str, err: TextIO) -> None:
    say(f"plif: {'warning' if UNLIKE_TRAINING in text else 'note'}: {source}: {text}", file=err)


def answer_text(decision: Decision) -> str:
    return printable(decision.label) if decision.label is not None else decision.why or REASONS[1]


def format_clock(t_us: int) -> str:
    seconds = abs(t_us) / 1e6
    hours, minutes = int(seconds // 3600), int(seconds // 60) % 60
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{'-' if t_us < 0 else ''}{head}:{seconds % 60:04.1f}"


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
