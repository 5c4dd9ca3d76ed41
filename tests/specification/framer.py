"""Which frame an event belongs to, when frames begin and end, and what became of each event (docs/events.md).

Every event has one fate: used, filtered, late or invalid. The account is how many have each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.specification.follow import View
from tests.specification.framing import Framing
from tests.specification.view import Cell

GAP_US = 1_000_000  # more than this, forward or backward, is a discontinuity
LATE, BEYOND = "late", "beyond"  # in the place of the number of a frame

Landed = tuple[int, Cell | None]  # time and cell of a valid event; None: not shown, or removed by a filter
Lights = Callable[[View], list[Cell]]
Place = int | str  # the number of the event's frame, or LATE, or BEYOND the last one


@dataclass
class Frame:
    start_us: int
    end_us: int
    discontinuity: bool = False  # a gap in time came before it
    events: int = 0  # used in it
    x: Counter[Cell] = field(default_factory=Counter)  # how many events are in each cell, or with value=binary 1
    followed: bool = False  # with follow=on: the votes of the view count


def frames_of(
    framing: Framing, events: list[Landed], view: View | None = None, lights: Sequence[Lights] = ()
) -> tuple[list[Frame], list[str]]:
    """The frames of a recording, and the fate of each of its valid events: late before filtered before used.

    With follow=on an event is also used where it lands in the view alone; lights: the cells there of each event, by the view.
    """
    times = [t for t, _ in events]
    if framing.kind in ("count", "time"):
        places: list[Place] = list((by_count if framing.kind == "count" else by_time)(framing.T, times))
        frames = slices(framing.T, times, places)
    elif framing.kind == "duration":
        frames, places = by_duration(framing.every_us or framing.duration_us, times)
    else:
        frames, places = by_events(framing.n, framing.max_us, events)
    padding = 0
    if framing.kind == "duration" and framing.T:
        frames, places, padding = exactly(framing, frames, places)
    fates = []
    enlarged = follow(frames, events, places, view, lights) if view else [()] * len(events)
    for (_, cell), place, more in zip(events, places, enlarged, strict=True):
        cell = cell or next(iter(more), None)
        fates.append("late" if place == LATE else "filtered" if place == BEYOND or cell is None else "used")
        if fates[-1] == "used":
            frames[int(place)].events += 1
            frames[int(place)].x += Counter({*more, cell})
    show(framing, frames)
    for frame in frames[len(frames) - padding :]:  # pad=repeat
        frame.x = frames[len(frames) - padding - 1].x
    return frames, fates


def follow(
    frames: list[Frame], events: list[Landed], places: list[Place], view: View, lights: Sequence[Lights]
) -> list[list[Cell]]:
    """The cells of the view that each event lights, frame by frame: the view moves when a frame has ended.

    A frame says whether the view's votes count. After a discontinuity nothing is known, but that is said of the next frame.
    """
    enlarged: list[list[Cell]] = [[] for _ in events]
    for n, frame in enumerate(frames):
        here = [k for k, place in enumerate(places) if place == n]
        frame.followed = view.counts and not frame.discontinuity
        for k in here:
            enlarged[k] = lights[k](view)
        if frame.discontinuity:
            view.begin()
        view.see(Counter(cell for k in here if (cell := events[k][1]) is not None))
    return enlarged


def by_count(T: int, times: list[int]) -> list[int]:
    """q = floor(N / T): slice j holds the events [q j, q (j + 1)), the last slice the rest.

    Events count in file order, and none is late. N is that of the valid events that pass the filters.
    """
    q = len(times) // T
    return [min(i // q, T - 1) if q else T - 1 for i in range(len(times))]


def by_time(T: int, times: list[int]) -> list[int]:
    """d = floor((t_N - t_1) / T): slice j holds the events of [t_1 + d j, t_1 + d (j + 1)), the last slice the rest.

    An event that steps back in time counts as at the latest time before it, so none is late. Where d is 0 the last slice has all.
    """
    d = max(0, times[-1] - times[0]) // T if times else 0
    return [min((latest - times[0]) // d, T - 1) if d else T - 1 for latest in accumulate(times, max)]


def slices(T: int, times: list[int], places: list[Place]) -> list[Frame]:
    """A slice lasts from its first event to its last; an empty one is at the time of the event before it, or the first."""
    frames, before = [], times[0] if times else 0
    for j in range(T):
        own = [t for t, place in zip(times, places, strict=True) if place == j] or [before]
        frames.append(Frame(own[0], own[-1]))
        before = own[-1]
    return frames


def runs(times: list[int]) -> list[list[int]]:
    """|t - latest| > 1 s begins a new run of events: a discontinuity. latest: the latest time of the run so far."""
    found: list[list[int]] = []
    for t in times:
        if not found or abs(t - max(found[-1])) > GAP_US:
            found.append([])
        found[-1].append(t)
    return found


def by_duration(step_us: int, times: list[int]) -> tuple[list[Frame], list[Place]]:
    """k = floor((latest - t_1) / step): in each run frame k is open, of [t_1 + step k, t_1 + step (k + 1)).

    latest is the latest time of the run up to this event. An event before the open frame is late; others that step back are used.
    All frames up to the last one are there, empty ones too; the last one ends where the grid says.
    """
    frames: list[Frame] = []
    places: list[Place] = []
    for number, run in enumerate(runs(times)):
        first, before = run[0], len(frames)
        for t, latest in zip(run, accumulate(run, max), strict=True):
            k = (latest - first) // step_us
            places.append(before + k if t >= first + step_us * k else LATE)
        for k in range((max(run) - first) // step_us + 1):
            start = first + step_us * k
            frames.append(Frame(start, start + step_us, discontinuity=number > 0 and k == 0))
    return frames, places


def by_events(n: int, max_us: int, events: list[Landed]) -> tuple[list[Frame], list[Place]]:
    """A frame ends at the time of its n-th used event, or max after its start, whichever comes first; the next one begins there.

    The grid starts again after a discontinuity, as with duration, and an event before the open frame is late. A frame that is
    open at the end of a run is given if an event came into it, and ends at the latest time.
    """
    frames: list[Frame] = []
    places: list[Place] = []
    start = latest = came = used = 0
    is_open = gap = False

    def end(at_us: int) -> None:
        nonlocal start, came, used, gap
        frames.append(Frame(start, at_us, discontinuity=gap))
        start, came, used, gap = at_us, 0, 0, False

    for t, cell in events:
        if is_open and abs(t - latest) > GAP_US:
            if came:
                end(max(start, latest))
            is_open, gap = False, True
        if not is_open:
            is_open, start, latest = True, t, t
        latest = max(latest, t)
        while t >= start + max_us:
            end(start + max_us)
        if t < start:
            places.append(LATE)
            continue
        places.append(len(frames))
        came, used = came + 1, used + (cell is not None)
        if used == n:
            end(t)
    if came:
        end(max(start, latest))
    return frames, places


def exactly(framing: Framing, frames: list[Frame], places: list[Place]) -> tuple[list[Frame], list[Place], int]:
    """duration with T: exactly T frames, and how many of them repeat the one before.

    The first event beyond T frames and all after it are filtered. With fewer frames, pad=zero adds empty ones. pad=repeat leaves
    the last frame out, since it may be partial (its events are filtered), and repeats the one before it; if it is the only one,
    that is what is repeated. The grid goes on. Without events there are T empty frames from time 0.
    """
    T, step_us, padding = framing.T, framing.every_us or framing.duration_us, 0
    if len(frames) > T:
        cut = next(i for i, place in enumerate(places) if isinstance(place, int) and place >= T)
        return frames[:T], places[:cut] + [BEYOND] * (len(places) - cut), 0
    frames = frames or [Frame(0, step_us)]
    at_us = frames[-1].end_us
    if framing.pad == "repeat":
        if len(frames) > 1:
            at_us = frames.pop().start_us
        places = [BEYOND if place == len(frames) else place for place in places]
        padding = T - len(frames)
    for k in range(T - len(frames)):
        frames.append(Frame(at_us + step_us * k, at_us + step_us * (k + 1)))
    return frames, places, padding


def show(framing: Framing, frames: list[Frame]) -> None:
    """x_n = c_n + c_(n-1) + ... + c_(n-k+1), binary: at most 1.     c_n: the events of piece n, k = duration / every

    Without `every` k is 1. Times and number of events of a frame are those of its newest piece, so that every event counts once.
    What was before a discontinuity is not shown.
    """
    pieces, run = [frame.x for frame in frames], 0
    for n, frame in enumerate(frames):
        run = n if frame.discontinuity else run
        shown = sum(pieces[max(run, n - framing.pieces + 1) : n + 1], Counter())
        frame.x = Counter(dict.fromkeys(shown, 1)) if framing.value == "binary" else shown
