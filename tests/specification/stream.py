"""All of it together: events -> frames -> votes of the network -> decisions (docs/events.md, docs/live-rules.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tests.specification import decide, filters, framer, framing, reset
from tests.specification.follow import View
from tests.specification.text import require
from tests.specification.view import Cell, Event, cell_of, is_valid

# (membranes, what each cell of the frame holds) -> (membranes, votes of each class). Membranes begin empty, which is 0.
Network = Callable[[dict[Cell, float], Counter[Cell]], tuple[dict[Cell, float], list[float]]]


class Decision(NamedTuple):
    t_us: int  # end of the frame
    events: int  # in it
    discontinuity: bool  # before it
    index: int | None  # the class, or None
    why: str | None  # where there is none: idle, or not sure
    score: float
    votes: list[float]  # of each class since the reset
    is_final: bool | None  # an early exit; None where that is not told
    soft: int | None  # the class that leads at once, or None


@dataclass
class Row:
    """One row of the network: its membranes and evidence, and what came since its last reset."""

    evidence: decide.Sum | decide.KofN
    votes: list[float]
    v: dict[Cell, float] = field(default_factory=dict)
    v_view: dict[Cell, float] = field(default_factory=dict)  # of the second row, with follow=on
    steps: int = 0


def frames_of(
    text: str,
    events: list[Event],
    shape: tuple[int, int, int],
    sensor: tuple[int, int],
    upright: str = "identity",
    filtered_by: str | None = None,
) -> tuple[list[framer.Frame], Counter[str]]:
    """The frames of a recording, and its account:   in == used + filtered + late + invalid (+ dropped, of a live feed)

    not_shown: of the filtered, those that no filter removed and that have no cell.

    Time goes on with an event that a filter removes, but a framing that divides a whole recording does not count it.
    """
    line = framing.parse(text)
    valid = [event for event in events if is_valid(event, sensor)]
    passed, size = filters.apply(filtered_by, sensor, valid) if filtered_by else (list[Event | None](valid), sensor)
    came = [
        (event.t, moved)
        for event, moved in zip(valid, passed, strict=True)
        if moved is not None or line.kind not in ("count", "time")
    ]
    landed = [(t, None if moved is None else cell_of(moved, line, shape, size, upright)) for t, moved in came]
    view = View(shape) if line.follow == "on" else None
    lights = [partial(seen_in, event=moved, line=line, size=size, upright=upright) for _, moved in came]
    frames, fates = framer.frames_of(line, landed, view, lights)
    account = Counter(fates)
    account["not_shown"] = sum(
        fate == "filtered" and moved is not None and cell is None
        for fate, (_, moved), (_, cell) in zip(fates, came, landed, strict=True)
    )
    account["invalid"] += len(events) - len(valid)
    account["filtered"] += len(valid) - len(came)
    return frames, account


def seen_in(view: View, event: Event | None, line: framing.Framing, size: tuple[int, int], upright: str) -> list[Cell]:
    """The cells of the view that an event lights; none where a filter removed it."""
    return [] if event is None else view.cells(event, line, size, upright)


def picture(x: Counter[Cell], number: int, channels: int) -> Counter[Cell]:
    """One picture of a frame that has several of so many channels each; channels 0: it has one."""
    if not channels:
        return x
    return Counter({(p % channels, row, column): n for (p, row, column), n in x.items() if p // channels == number})


def since_last(frames: list[framer.Frame], n: int) -> tuple[int, int, bool]:
    """dt: from the end of the frame before to the end of this one.   gap: from there to its beginning, which no frame covers.

    A gap of more than a second is a discontinuity, whatever caused it. Of the first frame dt is its length, and gap 0.
    """
    frame = frames[n]
    before_us = frames[n - 1].end_us if n else frame.start_us
    gap_us = frame.start_us - before_us
    return frame.end_us - before_us, gap_us, frame.discontinuity or gap_us > framer.GAP_US


def require_silence(framing_text: str, rule_text: str, reset_text: str) -> None:
    """A framing that divides a whole recording has no silence: it goes with no idle=RATE, silence:MS or decay:TAU."""
    is_whole = framing.parse(framing_text).kind in ("count", "time")
    needs_it = isinstance(decide.parse(rule_text).idle, float) or reset.parse(reset_text).kind in ("silence", "decay")
    require(not (is_whole and needs_it), "no silence")


def decisions_of(
    frames: list[framer.Frame],
    rule_text: str,
    reset_text: str,
    network: Network,
    classes: list[str],
    voters: int,
    T: int,
    channels: int = 0,
) -> list[Decision]:
    """For each frame: ask whether the scene is idle, reset or fade each row, step it, add its votes; the oldest row answers.

    With every:T/K a stream has K rows, and the answer is that of the row with most steps since its reset, of equals the first.
    With follow=on there are two rows with one evidence, c_i = max(c_i whole, c_i view) while the view counts, else c_i whole;
    channels: of each picture. The soft answer is that row's, too. Without an answer `why` says idle or not sure, and the score
    is 0. idle=auto hides an answer and clears nothing.
    """
    rule, policy = decide.parse(rule_text), reset.parse(reset_text)
    other = next((i for i, name in enumerate(classes) if name in decide.OTHERS), None)
    kind = {"kofn": decide.KofN, "cusum": decide.Cusum}.get(rule.kind, decide.Sum)

    def afresh() -> Row:
        return Row(kind(rule, len(classes), voters, T, other), [0.0] * len(classes))

    rows, steps, said = [afresh() for _ in range(policy.K)], list[reset.Step](), list[Decision]()
    rate, noise, is_idle = decide.Rate(), decide.Noise(), False
    for n, frame in enumerate(frames):
        dt_us, gap_us, jumps = since_last(frames, n)
        per_s = rate.after(frame.events, frame.end_us - frame.start_us)
        was_idle, is_idle = is_idle, isinstance(rule.idle, float) and per_s < rule.idle
        is_quiet = rule.idle == "auto" and noise.is_quiet(per_s, frame.events, frame.end_us - frame.start_us)
        steps.append(reset.Step(dt_us, gap_us, is_idle or not frame.events, jumps))
        for i in range(policy.K):
            factor = reset.factor(policy, i, steps)
            row = rows[i] = rows[i] if factor else afresh()
            if factor < 1:
                row.v, row.v_view = ({cell: v * factor for cell, v in vs.items()} for vs in (row.v, row.v_view))
                row.evidence.fade(factor)
            if is_idle and not was_idle:
                row.evidence = afresh().evidence
            row.v, c = network(row.v, picture(frame.x, 0, channels))
            if channels:
                row.v_view, more = network(row.v_view, picture(frame.x, 1, channels))
                c = [max(pair) for pair in zip(c, more, strict=True)] if frame.followed else c
            row.votes = [votes + more for votes, more in zip(row.votes, c, strict=True)]
            row.steps += 1
            if not is_idle:
                row.evidence.add(c, dt_us)
        oldest = max(rows, key=lambda row: row.steps)
        idle = is_idle or (is_quiet and not oldest.evidence.says_something)
        index = None if idle else oldest.evidence.answer
        why = None if index is not None else "idle" if idle else "not sure"
        score = 0.0 if index is None else oldest.evidence.score
        soft = None if idle else oldest.evidence.soft
        final = bool(oldest.evidence.is_final)
        said.append(Decision(frame.end_us, frame.events, jumps, index, why, score, oldest.votes, final, soft))
    return said
