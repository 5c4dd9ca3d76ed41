"""Live streams: several cameras on one engine, overload, loss and return, resets by policy, an account that always adds up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.events import make_events, open_source
from runtime.core.stream.observe import Observer
from runtime.core.stream.options import LIVE_RULES, RECORDING_RULES
from runtime.core.stream.source_framer import SourceFramer
from tests.conftest import interruptible
from tests.live import SOURCES, FedSource, SlowObserver, balanced, free_port, packets_of, said
from tests.networks import digits_network


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "m.onnx"
    export(digits_network("duration:10ms"), path, verify=False)
    return path


@pytest.fixture(scope="module")
def model(artifact: Path) -> Model:
    return runtime.load(artifact)


# --- several sources ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decide", ("sum", "leak:100ms,margin=0.1,idle=500", "kofn:2/3"))
def test_each_source_of_several_decides_exactly_as_it_does_alone(model: Model, decide: str) -> None:
    options: dict[str, Any] = {"decide": decide, "reset": "silence:50"}
    together = model.stream(SOURCES, **options)
    decisions = list(together)
    assert {d.source for d in decisions} == set(SOURCES)
    for i, spec in enumerate(SOURCES):
        alone = model.stream(spec, **options)
        assert said([d for d in decisions if d.source == spec]) == said(list(alone))
        for name, v in alone.session.state.items():
            np.testing.assert_array_equal(together.session.state[name][i : i + 1], v)
        mine = together.summary()["sources"][spec]
        assert {k: v for k, v in mine.items() if "_ms" not in k} == {
            k: v for k, v in alone.summary().items() if "_ms" not in k
        }
    total = together.summary()
    assert balanced(total) and total["frames"] == len(decisions)


def test_the_same_source_twice_has_two_names(model: Model) -> None:
    running = model.stream([SOURCES[1], SOURCES[1]])
    decisions = list(running)
    assert running.names == [SOURCES[1], f"{SOURCES[1]} #2"]
    assert said([d for d in decisions if d.source == running.names[0]]) == said(
        [d for d in decisions if d.source == running.names[1]]
    )


def test_recordings_paced_side_by_side_decide_as_alone(model: Model) -> None:
    running = model.stream(SOURCES[:2], speed="real", overload="drop:1000")
    decisions = list(running)
    for spec in SOURCES[:2]:
        assert said([d for d in decisions if d.source == spec]) == said(list(model.stream(spec)))
    assert running.summary()["frames_merged"] == running.summary()["frames_dropped"] == 0


def test_json_lines_of_several_sources_say_whose_they_are(artifact: Path, capsys: Any) -> None:
    assert run(["stream", str(artifact), *SOURCES[:2], "--json", "--filter", "refractory:1ms"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["source"] for line in lines[:-1]} == set(SOURCES[:2])
    summary = lines[-1]["summary"]
    assert set(summary["sources"]) == set(SOURCES[:2]) and balanced(summary) and summary["events_filtered"] > 0
    for key in ("events_in", "events_filtered", "frames"):
        assert summary[key] == sum(one[key] for one in summary["sources"].values())
    assert run(["stream", str(artifact), *SOURCES[:2]]) == 0
    assert SOURCES[1][:24] in capsys.readouterr().out


# --- overload ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overload", ("merge:4", "drop:4"))
def test_an_overload_loses_time_resolution_or_events_as_stated_and_counts_them(model: Model, overload: str) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=3", each=200)
    slow = SlowObserver(0.004)
    running = model.stream(FedSource(packets, each_s=0.0002), overload=overload, observers=[slow])
    decisions = list(running)
    summary = running.summary()
    total = sum(len(packet) for packet in packets)
    assert balanced(summary) and summary["events_in"] == total and summary["waiting_most"] == 4
    assert sum(events for _, _, events in slow.frames) == summary["events_used"]
    made = sum(merged + skipped for merged, skipped, _ in slow.frames)
    plain = len(list(model.stream("sim:digits?seed=1&seconds=3")))
    assert made == plain > len(decisions)  # no frame of the grid is missing without a word
    if overload.startswith("merge"):
        assert summary["events_dropped"] == 0 and summary["frames_merged"] == plain - len(decisions) > 20
    else:
        assert summary["events_dropped"] > 0 and summary["frames_dropped"] == plain - len(decisions) > 20
    assert any("does not keep up" in note for note in slow.notes)


def test_what_an_overload_drops_is_in_the_account_at_once_and_not_only_at_the_end(model: Model) -> None:
    dropped: list[int] = []

    class Looks(SlowObserver):
        def on_decision(self, decision: Any) -> None:
            dropped.append(running.streams[0].account.dropped)

    packets = packets_of("sim:digits?seed=1&seconds=2", each=200)
    running = model.stream(FedSource(packets), overload="drop:2", observers=[Looks(0.01)])
    list(running)
    assert 0 < dropped[-1] == running.summary()["events_dropped"], (
        "the feed ended in order, so nothing is dropped at its end"
    )


def test_merged_frames_hold_the_sum_of_what_they_replace(model: Model) -> None:
    seen: list[np.ndarray] = []

    class Sum(SlowObserver):
        def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
            seen.append(frame.x.copy())
            super().on_frame(source, frame, y, rates, latency_ms)

    packets = packets_of("sim:digits?seed=1&seconds=1", each=200)
    list(model.stream(FedSource(packets), overload="merge:2", observers=[Sum(0.005)]))
    events = np.concatenate(packets)
    assert len(seen) < 60
    np.testing.assert_array_equal(sum(x.sum(0) for x in seen), np.histogram2d(
        events["y"], events["x"], bins=(34, 34), range=((0, 34), (0, 34)))[0])  # fmt: skip


@pytest.mark.parametrize("overload", ("merge:2", "drop:2"))
def test_a_reset_that_falls_into_an_overload_is_not_forgotten(model: Model, overload: str) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=0.6", each=200)
    feed: list[np.ndarray | None] = [*packets[:10], None, *packets[10:]]
    whys: list[str] = []

    class Resets(Observer):
        def on_reset(self, source: str, step: int, why: str) -> None:
            whys.append(why)

    running = model.stream(
        FedSource(feed), overload=overload, on_return="reset", observers=[Resets(), SlowObserver(0.1)]
    )
    decisions = list(running)
    assert whys == ["return"] and len(decisions) < 20 and balanced(running.summary())


def test_frames_are_not_merged_across_a_gap(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=0.3", each=200)
    later = [packet.copy() for packet in packets]
    for packet in later:
        packet["t"] += 20_000_000
    slow = SlowObserver(0.02)
    flags: list[bool] = []

    class Flags(Observer):
        def on_frame(self, source: str, frame: Any, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
            flags.append(frame.discontinuity)
            assert frame.t_end_us - frame.t_start_us < 1_000_000

    running = model.stream(FedSource([*packets, *later]), overload="merge:3", observers=[Flags(), slow])
    list(running)
    assert sum(flags) == 1 and balanced(running.summary())


def test_after_an_overload_the_decisions_are_up_to_date_at_once(model: Model) -> None:
    """A burst far beyond what can be stepped, then a feed half as fast as the steps: in event time, so no clock matters."""
    burst = packets_of("sim:digits?seed=1&seconds=4", each=100)
    last_us = int(burst[-1]["t"][-1])
    rng = np.random.default_rng(0)
    stepped = threading.Semaphore(0)

    class Paced(FedSource):
        sent_us = last_us
        decided_us = 0

        def all_decided(self) -> bool:
            """Every frame of 20 ms that is closed; one is always open."""
            return not running.streams[0].queue.has_frames and self.decided_us > self.sent_us - 20_000

        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            self.begin(max_events)
            yield from burst
            while stepped.acquire(blocking=False):
                pass
            for i in range(1, 61):
                for _ in range(2):  # two steps for a frame, or no frame is left
                    while not stepped.acquire(timeout=0.005) and not self.all_decided():
                        pass
                self.sent_us = last_us + 10_000 * i
                yield make_events([self.sent_us], rng.integers(0, 34, 1), rng.integers(0, 34, 1), [True])

    source = Paced([])
    behind: list[int] = []

    class Lag(Observer):
        def on_decision(self, decision: Any) -> None:
            source.decided_us = decision.t_us
            if decision.t_us > last_us:
                behind.append(source.sent_us - decision.t_us)
            time.sleep(0.001)
            stepped.release()

    running = model.stream(source, overload="merge:8", observers=[Lag()])
    list(running)
    summary = running.summary()
    assert summary["frames_merged"] > 50 and summary["waiting_most"] <= 8 and balanced(summary)
    assert len(behind) > 30 and max(behind[2:]) <= 20_000  # two frames


def test_a_pipe_and_a_file_wait_instead(model: Model) -> None:
    class Pipe(FedSource):
        waits = True

    packets = packets_of("sim:digits?seed=1&seconds=0.5", each=200)
    running = model.stream([Pipe(packets), SOURCES[1]], overload="drop:2", observers=[SlowObserver(0.002)])
    decisions = list(running)
    assert running.summary()["frames_dropped"] == 0 and running.summary()["events_dropped"] == 0
    assert said([d for d in decisions if d.source == SOURCES[1]]) == said(list(model.stream(SOURCES[1])))


# --- loss and return ------------------------------------------------------------------------------------------------


def test_held_over_a_loss_without_lost_events_is_as_if_there_had_been_none(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=1")
    whole = list(model.stream(FedSource(list(packets)), overload="drop:1000"))
    cut: list[np.ndarray | None] = [*packets[:5], None, *packets[5:]]
    running = model.stream(FedSource(cut), overload="drop:1000", on_return="hold")
    assert said(list(running)) == said(whole) and running.summary()["returns"] == 1


def test_a_sender_whose_clock_began_again_is_not_late_for_ever(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=0.5")
    again = FedSource([*packets, None, *packets])
    running = model.stream(again, overload="drop:1000", on_return="hold")
    decisions = list(running)
    summary = running.summary()
    assert summary["events_late"] == 0 and summary["events_used"] == 2 * sum(len(packet) for packet in packets)
    assert decisions[-1].t_us == decisions[len(decisions) // 2 - 1].t_us
    without = model.stream(
        FedSource([*packets, *packets]), overload="drop:1000"
    )  # a step back of less than a second: late
    list(without)
    assert without.summary()["events_late"] > 0


def test_memory_stays_where_it_is(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=4", each=2000)
    length_us = 5_000_000
    rss: list[int] = []

    class Endless(FedSource):
        waits = True

        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            for turn in range(10):
                for packet in packets:
                    moved = packet.copy()
                    moved["t"] += turn * length_us
                    yield moved
                rss.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)

    running = model.stream(Endless([]), filters="refractory:500us,background:10ms", decide="leak:100ms,margin=0.1")
    steps = sum(1 for _ in running)
    assert steps > 3500 and balanced(running.summary())
    assert rss[-1] - rss[2] < 5_000_000


def test_reset_on_return_begins_afresh_and_says_so(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=1")
    resets: list[tuple[int, str]] = []

    class Resets(Observer):
        def on_reset(self, source: str, step: int, why: str) -> None:
            resets.append((step, why))

    cut: list[np.ndarray | None] = [*packets[:5], None, *packets[5:]]
    running = model.stream(FedSource(cut), overload="drop:1000", on_return="reset", observers=[Resets()])
    decisions = list(running)
    assert [why for _, why in resets] == ["return"]
    after = decisions[resets[0][0] :]
    fresh = list(model.stream(FedSource(list(packets[5:])), overload="drop:1000"))
    assert [d.votes for d in after] == [d.votes for d in fresh]


@pytest.mark.parametrize(("decide", "advised"), (("sum", True), ("leak:100ms", False)))
def test_a_sum_without_an_end_is_done_and_advised_against(model: Model, decide: str, advised: bool) -> None:
    slow = SlowObserver(0)
    running = model.stream(FedSource(packets_of(SOURCES[1])), overload="drop:1000", decide=decide, observers=[slow])
    assert [d.votes for d in running] == [d.votes for d in model.stream(SOURCES[1], decide=decide)]
    assert any("without an end" in note for note in slow.notes) is advised


# --- resets ---------------------------------------------------------------------------------------------------------


def test_staggered_copies_never_answer_just_after_a_reset(model: Model) -> None:
    """every:8/4 is four networks, reset two steps after each other: the answer has 6 to 8 steps behind it, always."""
    spec = "sim:digits?seed=1&seconds=1"
    staggered = [d.votes for d in model.stream(spec, reset="every:8/4")]
    x = [f.x for f in _frames(model, spec)]
    session = model.session()
    for step in range(20, 40):
        begun = max(s for s in range(step + 1) if s % 2 == 0 and step - s >= 6) if step >= 8 else 0
        session.reset()
        votes = sum(np.rint(10 * session.step(x[s][None])[0].astype(float)) for s in range(begun, step + 1))
        np.testing.assert_array_equal(staggered[step], votes, err_msg=f"step {step}")


def _frames(model: Model, spec: str) -> list[Any]:
    return list(SourceFramer(open_source(spec), "duration:10ms", model.input_shape))


def test_decay_fades_the_membranes_over_a_gap_and_only_then(model: Model) -> None:
    packets = packets_of("sim:digits?seed=1&seconds=0.4")
    later = [packet.copy() for packet in packets]
    for packet in later:
        packet["t"] += 5_000_000
    feed = [*packets, *later]
    decay = model.stream(FedSource(list(feed)), overload="drop:1000", reset="decay:1s")
    hold = model.stream(FedSource(list(feed)), overload="drop:1000", reset="never")
    reset = model.stream(FedSource(list(feed)), overload="drop:1000", reset="silence:1000")
    votes = [[d.votes for d in running] for running in (decay, hold, reset)]
    steps = len(_frames(model, "sim:digits?seed=1&seconds=0.4"))
    assert votes[0][:steps] == votes[1][:steps] == votes[2][:steps]
    assert votes[0] != votes[1] and votes[0] != votes[2]
    session = model.session()
    before = session.snapshot()
    session.step(np.ones((1, 2, 34, 34), np.float32))
    stepped = session.snapshot()
    session.fade(0.5)
    for v, was, start in zip(session.snapshot(), stepped, before, strict=True):
        np.testing.assert_allclose(v, start + (was - start) / 2, rtol=1e-6, atol=1e-7)


# --- the account under interruption -----------------------------------------------------------------------------------


def test_an_early_end_leaves_an_account_that_adds_up(model: Model) -> None:
    for source in (FedSource(packets_of("sim:digits?seed=1&seconds=2"), each_s=0.001), SOURCES[0]):
        running = model.stream(source, observers=[SlowObserver(0.002)])
        for decision in running:
            if decision.step == 5:
                break
        running.close()
        assert balanced(running.summary()) and running.summary()["events_in"] > 0
    assert threading.active_count() < 5


def test_stopped_means_no_steps_and_what_comes_meanwhile_is_counted_as_dropped(model: Model) -> None:
    class Stop(Observer):
        def on_start(self, run: Any) -> None:
            self.controls = run.controls

        def on_decision(self, decision: Any) -> None:
            if decision.step == 3:
                self.controls.stop()
                threading.Timer(0.1, self.controls.start).start()

    feed = FedSource(packets_of("sim:digits?seed=1&seconds=1", each=100), each_s=0.002)
    running = model.stream(feed, observers=[Stop()])
    list(running)
    summary = running.summary()
    assert balanced(summary) and summary["events_dropped"] > 100 and summary["frames"] > 4


def test_a_stream_that_is_refused_or_never_read_leaves_no_port_open(model: Model) -> None:
    pytest.importorskip("runtime.sources.udp")
    spec = f"udp://127.0.0.1:{free_port()}?sensor=34x34"
    with pytest.raises(PlifError, match="cannot serve a live source"):
        model.stream(spec, framing="count:T=4")
    model.stream(spec).close()
    with model.stream(spec) as running:
        assert balanced(running.summary())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("how", (signal.SIGINT, signal.SIGTERM))
def test_an_interrupt_prints_the_summary_and_ends_with_130(artifact: Path, how: signal.Signals) -> None:
    port = free_port()
    sending = pytest.importorskip("runtime.commands.send.recording")
    spec = f"udp://127.0.0.1:{port}?sensor=34x34"
    command = [
        sys.executable,
        "-c",
        "from runtime.core.cli.main import main; main()",
        "stream",
        str(artifact),
        spec,
        "--json",
    ]
    process = interruptible(command)
    assert process.stdout is not None
    stop = threading.Event()

    def feed() -> None:
        while not stop.is_set():
            sending.send("sim:digits?seed=1&seconds=2", f"udp://127.0.0.1:{port}", speed="100000")

    sender = threading.Thread(target=feed)
    sender.start()
    try:
        lines = [process.stdout.readline() for _ in range(20)]
        process.send_signal(how)
        rest, err = process.communicate(timeout=20)
    finally:
        stop.set()
        sender.join()
    assert process.returncode == 130 and "Traceback" not in err
    summary = json.loads(rest.splitlines()[-1])["summary"]
    assert json.loads(lines[0])["step"] == 0 and balanced(summary) and summary["frames"] >= 20
    assert summary["lag_ms"]["p50"] is not None


def test_a_pipe_among_the_sources_does_not_keep_an_interrupted_stream_from_ending(artifact: Path) -> None:
    pytest.importorskip("runtime.sources.udp")
    spec = f"udp://127.0.0.1:{free_port()}?sensor=34x34"
    command = [
        sys.executable,
        "-c",
        "from runtime.core.cli.main import main; main()",
        "stream",
        str(artifact),
        "-",
        spec,
    ]
    process = interruptible(
        [*command, "--sensor", "34x34", "--json", "--decide", "sum", "--reset", "never"], stdin=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("".join(f"{1000 * i},{i % 34},5,1\n" for i in range(100)))
    process.stdin.flush()
    lines = [json.loads(process.stdout.readline()) for _ in range(9)]
    began_s = time.perf_counter()
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=20)
    assert process.returncode == 130 and time.perf_counter() - began_s < 4, err
    assert {line["source"] for line in lines} == {"-"} and balanced(json.loads(rest.splitlines()[-1])["summary"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"overload": "wait"}, "expected merge"),
        ({"overload": "drop:1"}, "at least 2"),
        ({"on_return": "forget"}, "expected hold or reset"),
        ({"filters": "warm"}, "'warm' is no filter"),
        ({"decide": "leak,margin=2"}, "margin= from 0 to 1"),
        ({"decide": "leak,margin=0.1,release=0.2"}, "release= not above it"),
        ({"decide": "kofn:2/3,release=3"}, "from 0 to 2"),
        ({"decide": "sum,often=1"}, "'often=1' is not understood"),
        ({"decide": "sum,margin=x"}, "margin=x: expected a number"),
        ({"reset": "every:4/5"}, "expected 1 to 4"),
        ({"reset": "decay:soon"}, "is not a time"),
        ({"decide": "sum,idle=5k", "framing": "count:T=4"}, "has no silence"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(model: Model, options: dict[str, str], says: str) -> None:
    with pytest.raises(PlifError) as error:
        model.stream(SOURCES[0], **options)
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "framing", "rules"),
    (
        (SOURCES[0], None, LIVE_RULES),
        (SOURCES[0], "count:T=8", RECORDING_RULES),  # divides a whole recording, so the feed has an end
        ("recording", None, RECORDING_RULES),
        ("udp", None, LIVE_RULES),
    ),
)
def test_feeds_and_recordings_are_decided_by_rules_of_their_own(
    model: Model, tmp_path: Path, source: str, framing: str | None, rules: tuple[str, str]
) -> None:
    if source == "recording":
        (tmp_path / "r.csv").write_text("t,x,y,p\n1,2,3,1\n20000,4,5,0\n")
        source = str(tmp_path / "r.csv")
    if source == "udp":
        pytest.importorskip("runtime.sources.udp")
        source = f"udp://127.0.0.1:{free_port()}?format=t64&sensor=34x34"
    running = model.stream(source, framing=framing, sensor=(34, 34) if source.endswith("csv") else None)
    running.close()
    assert (running.options.decide, running.options.reset) == rules
    kept = model.stream(SOURCES[0], decide="kofn", reset="never")
    kept.close()
    assert (kept.options.decide, kept.options.reset) == ("kofn", "never"), "what is asked for is done"


def test_a_recording_beside_a_feed_is_not_decided_by_a_rule_that_nobody_chose(model: Model, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("t,x,y,p\n1,2,3,1\n20000,4,5,0\n")
    both = [str(tmp_path / "r.csv"), SOURCES[0]]
    with pytest.raises(PlifError, match="say --decide and --reset"):
        model.stream(both, sensor=(34, 34), reset="never")
    model.stream(both, sensor=(34, 34), reset="never", decide="sum").close()


def test_a_reset_of_a_stream_that_has_no_frame_is_that_of_its_next_one(model: Model) -> None:
    """Two feeds; the second begins when the first has made more steps after the reset was asked for."""
    begun = threading.Event()

    class Later(FedSource):
        def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
            assert begun.wait(30)
            yield from super().packets(max_events)

    class Resets(Observer):
        told: ClassVar[list[tuple[str, str]]] = []

        def on_decision(self, decision: Any) -> None:
            if decision.source == running.names[0] and decision.step == 2:
                running.controls.reset(running.names[1])
            if decision.source == running.names[0] and decision.step == 5:
                begun.set()

        def on_reset(self, source: str, step: int, why: str) -> None:
            self.told.append((source, why))

    packets = packets_of("sim:digits?seed=5&seconds=0.3")
    running = model.stream([FedSource(packets, each_s=0.01), Later(packets)], observers=[Resets()])
    first, second = running.names
    assert {decision.source for decision in running} == {first, second}
    assert Resets.told == [(second, "control")]
