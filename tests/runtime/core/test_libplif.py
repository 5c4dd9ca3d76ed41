"""libplif decides what `plif stream` decides, bit for bit, on every CPU path; its state can be kept; what is wrong is said."""

from __future__ import annotations

import hashlib
import struct
import threading
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from runtime.artifacts.plif_file.program import hash_contents
from runtime.core.base.errors import PlifError
from runtime.core.events import make_events, open_source
from runtime.core.events.framer import Framer
from runtime.native.interface import IDLE
from tests.libplif import CRecording, CSession, Handle, Said, library
from tests.networks import digits_network
from tests.recorded import real_or_shipped

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

PATHS = native.cpu_paths() if native.is_built() else ()
FRAMINGS = (
    *(
        "duration:20ms",
        "duration:1ms,value=binary",
        "duration:40ms,every=10ms",
        "duration:40ms,every=10ms,value=binary",
    ),
    *("events:n=500,max=5ms", "events:n=300,max=3ms,orientation=upright", "count:T=7", "count:T=300"),
    *("time:T=16", "time:T=7,polarity=swapped", "time:T=200,value=binary"),
    *("duration:30ms,T=9,pad=zero", "duration:30ms,T=50", "duration:30ms,T=50,pad=zero,polarity=swapped"),
    *(
        "duration:7ms,orientation=sj,resize=crop",
        "duration:7ms,resize=nearest,shape=square",
        "duration:7ms,orientation=paper",
        "duration:40ms,every=10ms,T=200",
    ),
)
RULES = (
    *(("sum", "recording"), ("leak:50ms,margin=0.02,release=0.01", "every:7"), ("kofn:3/5,margin=0.02", "never")),
    *(("leak,idle=20k", "decay:20ms"), ("kofn:2/4,release=1", "silence:3")),
    *(
        ("own:40ms,margin=0.02,release=0.01,other=60ms", "every:20/3"),
        ("own:50ms,margin=0.01,other=8ms,idle=auto", "silence:30"),
    ),
    *(("kofn:3/5,idle=auto", "decay:20ms"), ("sum,exit=0.05", "every:30")),
    *(("cusum:50ms,drift=0.05,margin=0.02,idle=auto", "every:20/3"), ("cusum,other=60ms,release=0.01", "decay:20ms")),
)
REAL = (
    *(*RULES[:5], ("own", "silence:200"), ("own:120ms,margin=0.1,idle=auto,other=100ms", "every:20/3")),
    *(("own:500ms,margin=0.05,other=1s", "every:5/2"), ("sum,exit=0.1", "every:9")),
)
OTHER = ("0", "1", "2", "3", "other", "5", "6", "7", "8", "9")


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(
        digits_network(classes=OTHER), tmp_path_factory.mktemp("plif") / "m.plif", to="plif", verify=False
    ).path


@pytest.fixture(scope="module")
def events() -> np.ndarray:
    """1.1 s of a camera that sees digits, with a pause, and with events that come late, as cameras have them."""
    source = open_source("sim:digits?seed=3&seconds=1.1")
    found = np.concatenate([packet.copy() for packet in source.packets()])
    found["t"][len(found) // 2 :] += 1_500_000
    late = np.random.default_rng(0).integers(100, len(found), 300)
    found["t"][late] -= 4_000
    return found


@pytest.fixture(scope="module")
def recording(events: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file."""
    return saved(events, tmp_path_factory.mktemp("recording"))


def saved(events: np.ndarray, folder: Path) -> Path:
    np.savez(folder / "digits.npz", **{name: events[name] for name in ("t", "x", "y", "p")})
    return folder / "digits.npz"


def in_python(model: runtime.Model, recording: Path, **options: Any) -> list[Said]:
    run = model.stream(str(recording), sensor=(34, 34), **options)
    return [(d.t_us, d.step, d.label, d.score, [float(v) for v in d.votes]) for d in run]


def in_c(handle: Handle, events: np.ndarray, packet: int = 700, **options: Any) -> list[Said]:
    extent = {"total_events": len(events), "first_us": int(events["t"][0]), "last_us": int(events["t"][-1])}
    session = CSession(handle, **extent, **options)
    found = [said for at in range(0, len(events), packet) for said in session.feed(events[at : at + packet])]
    found += session.finish()
    account = session.account()
    assert account["events_in"] == len(events) == sum(account.values()) - account["events_in"]
    session.free()
    return found


@pytest.mark.one_in(2)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_decisions_are_those_of_plif_stream(
    framing: str, digits_plif: Path, events: np.ndarray, tmp_path: Path
) -> None:
    events = (
        events[:200] if framing == "count:T=300" else events[:2500] if "1ms" in framing else events
    )  # fewer events than slices
    recording = saved(events, tmp_path)
    model, handle = runtime.load(digits_plif), Handle(digits_plif)
    labels: list[str] = []
    for i, (decide, reset) in enumerate(RULES):
        if framing[:4] in ("coun", "time") and ("idle=2" in decide or reset[0] in "sd"):
            with pytest.raises(PlifError, match="has no silence"):
                CSession(handle, framing=framing, decide=decide, reset=reset, total_events=len(events))
            continue
        said = in_python(model, recording, framing=framing, decide=decide, reset=reset)
        assert in_c(handle, events, 1 + 997 * i, framing=framing, decide=decide, reset=reset) == said
        labels += [label for _, _, label, _, _ in said if label]
        assert len(said) > 5
    assert len(labels) > 5 or framing == "count:T=300"
    handle.close()


def test_real_recordings_are_decided_by_every_rule_as_by_plif_stream(clips: Path, nmnist: Path, tmp_path: Path) -> None:
    models = Path(__file__).parents[3] / "models"
    gesture = export(models / "gesture-sim.pt", tmp_path / "g.plif", to="plif", verify=False).path
    digits = export(models / "nmnist-digits.pt", tmp_path / "d.plif", to="plif", verify=False).path
    person = real_or_shipped("alex_walking_again.aedat", "aedat2.aedat")
    seven = next(iter(sorted((nmnist / "Test/7").glob("*.bin"))))
    found: set[int | str | None] = set()
    for artifact, recording, framing, rules in (
        (gesture, clips / "0_hand_clapping.bs2", "duration:20ms,value=binary", (0, 5, 6)),
        (gesture, clips / "7_arm_roll.bs2", "time:T=16,value=binary", (7, 8)),
        (gesture, person, "duration:40ms,every=20ms,value=binary", (5, 6)),
        (digits, seven, "time:T=10", (0, 7, 8)),
    ):
        model, handle, read = runtime.load(artifact), Handle(artifact), CRecording(recording)
        events, extent = read.events(), read.describe()
        facts = {name: getattr(extent, name) for name, _ in extent._fields_ if getattr(extent, name) and name != "size"}
        for decide, reset in (REAL[rule] for rule in rules):
            options = {"framing": framing, "decide": decide, "reset": reset}
            session = CSession(handle, **facts, **options)
            said = [*session.feed(events), *session.finish()]
            run = model.stream(str(recording), **options)
            expected = [(d.t_us, d.step, d.label, d.score, [float(v) for v in d.votes]) for d in run]
            assert said == expected and len(said) > 8, (recording, options)
            found |= {label for _, _, label, _, _ in said}
            session.free()
        handle.close()
        read.close()
    assert len(found) > 3 and None in found


@pytest.mark.parametrize("framing", ["duration:20ms", "duration:5ms", "events:n=500,max=5ms"])
def test_a_pause_is_decided_as_by_plif_stream_and_the_noise_after_it_is_idle(
    framing: str, digits_plif: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    t = rng.integers(0, 4_000_000, 12_000)
    t[t >= 2_000_000] += 3_000_000
    t = np.sort(np.append(t, [2_900_000, 3_800_000, 4_600_000]))  # a pause of more than a second has no frames
    noise = make_events(t, *rng.integers(0, 34, (2, len(t))), rng.random(len(t)) < 0.5)
    model, handle, recording = runtime.load(digits_plif), Handle(digits_plif), saved(noise, tmp_path)
    for decide, reset in (("own:50ms,margin=0.01,idle=auto", "silence:30"), ("kofn:3/5,margin=0.9,idle=auto", "never")):
        options = {"framing": framing, "decide": decide, "reset": reset}
        session = CSession(handle, **options)
        said, idle = [], []
        for one in chain(session.feed(noise), session.finish()):
            said.append(one)
            idle.append(session.decision.index == IDLE)
        decisions = list(model.stream(str(recording), sensor=(34, 34), **options))
        assert said == [(d.t_us, d.step, d.label, d.score, [float(v) for v in d.votes]) for d in decisions]
        assert idle == [d.why == "idle" for d in decisions] and len(said) > 300
        session.free()
    assert all(d.why == "idle" for d in decisions if d.t_us > 1_200_000)  # of kofn, for which nothing is evidence here
    handle.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_thousand_steps_are_the_same_bits_on_every_path(
    path: str, precision: str, tmp_path: Path, events: np.ndarray, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLIF_CPU", path)
    flat = export(digits_network(), tmp_path / "m.plif", to="plif", precision=precision, verify=False).path
    model, handle = runtime.load(flat), Handle(flat)
    said = in_python(model, recording, framing="duration:1ms")
    assert len(said) > 1_000 and in_c(handle, events, framing="duration:1ms", threads=2) == said

    framer = Framer("duration:1ms", model.input_shape, (34, 34))
    session, twin = model.session(), CSession(handle)
    for frame in framer.push(events):
        assert session.step(frame.x[None])[0].tobytes() == twin.step(frame.x).tobytes()
    twin.free()
    handle.close()


def test_a_snapshot_goes_on_where_it_was_made(digits_plif: Path, events: np.ndarray) -> None:
    handle = Handle(digits_plif)
    for framing, decide, reset in (
        ("duration:40ms,every=10ms", "kofn:2/6,margin=0.02", "every:9"),
        ("events:n=500,max=5ms", "own:50ms,margin=0.01,idle=auto", "every:20/3"),
        ("duration:30ms,T=100", "leak:50ms", "never"),
        ("time:T=30", "sum,exit=0.05", "every:9"),
    ):
        options = {"framing": framing, "decide": decide, "reset": reset}
        whole, middle = in_c(handle, events, **options), len(events) // 3
        extent = {"total_events": len(events), "first_us": int(events["t"][0]), "last_us": int(events["t"][-1])}
        first, second = CSession(handle, **extent, **options), CSession(handle, **extent, **options)
        before = list(first.feed(events[:middle]))
        kept = first.snapshot()
        list(second.feed(events[2 * middle :]))  # somewhere else entirely
        second.restore(kept)
        assert before + list(second.feed(events[middle:])) + list(second.finish()) == whole
        with pytest.raises(PlifError, match="another file, or of a session with other options"):
            CSession(handle, framing="duration:20ms", reset="every:9").restore(
                kept[: len(CSession(handle, framing="duration:20ms").snapshot())]
            )
        turned = [CSession(handle, framing="duration:20ms,orientation=upright", upright=way) for way in (1, 2)]
        with pytest.raises(PlifError, match="of a session with other options"):
            turned[1].restore(turned[0].snapshot())
        for at in range(0, 900, 8):  # the header, the framer's numbers, the evidence's
            damaged = bytearray(kept)
            damaged[at : at + 8] = b"\xff" * 7 + b"\x7f"
            try:
                second.restore(bytes(damaged))
                list(second.feed(events[middle : middle + 500]))
            except PlifError:
                pass
        for session in (first, second, *turned):
            session.free()
    handle.close()


def test_a_reset_that_is_asked_for_begins_membranes_evidence_and_counting_anew(
    digits_plif: Path, events: np.ndarray
) -> None:
    handle = Handle(digits_plif)
    frames = Framer("duration:20ms", (2, 34, 34), (34, 34)).push(events)[:40]
    for reset in ("every:10/3", "every:7", "never"):
        used, fresh = (CSession(handle, decide="own:50ms,margin=0.01", reset=reset) for _ in range(2))
        before = [used.frame(frame) for frame in frames[:12]]
        native.library().plif_reset_network(used.at)
        after, expected = ([one.frame(frame) for frame in frames[12:]] for one in (used, fresh))
        assert [said[2:] for said in after] == [said[2:] for said in expected] and any(said[2] for said in after)
        assert [said[1] for said in before + after] == list(range(40))
        used.free()
        fresh.free()
    handle.close()


def test_sessions_of_several_threads_share_a_model(digits_plif: Path, events: np.ndarray) -> None:
    handle = Handle(digits_plif)
    alone = in_c(handle, events, framing="duration:5ms")
    found: list[list[Said]] = []
    workers = [
        threading.Thread(target=lambda n=n: found.append(in_c(handle, events, framing="duration:5ms", threads=n)))
        for n in (1, 2, 1)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [alone] * 3
    handle.close()


def test_time_goes_on_without_events(digits_plif: Path, events: np.ndarray) -> None:
    handle = Handle(digits_plif)
    session = CSession(handle, framing="duration:20ms")
    list(session.feed(events[:2000]))
    framer = Framer("duration:20ms", (2, 34, 34), (34, 34))
    framer.push(events[:2000])
    now = int(events["t"][:2000].max()) + 105_000
    assert [t for t, *_ in session.tick(now)] == [frame.t_end_us for frame in framer.tick(now)]
    framer.resume(int(events["t"][2000]))
    ends = [frame.t_end_us for frame in framer.push(events[2000:4000])]
    assert [t for t, *_ in session.feed(events[2000:4000])] == ends and ends
    session.free()
    handle.close()


def test_a_session_shows_the_frame_of_its_decision_and_the_share_of_neurons_that_fired(
    digits_plif: Path, events: np.ndarray
) -> None:
    handle, model = Handle(digits_plif), runtime.load(digits_plif, rates=True)
    session, states = CSession(handle, framing="duration:20ms"), len(model.card["states"])
    assert not session.seen((2, 34, 34)).any() and session.rates(states) == [0.0] * states
    framer, python = Framer("duration:20ms", (2, 34, 34), (34, 34)), model.session()
    said, fired = session.feed(events[:4000]), 0.0
    for frame in framer.push(events[:4000]):
        next(said)
        python.step(frame.x[None])
        assert np.array_equal(session.seen((2, 34, 34)), frame.x) and frame.x.any()
        assert session.rates(states) == [python.rates[state["layer"]] for state in model.card["states"]]
        fired += sum(session.rates(states))
    assert fired > 0.1
    library().plif_reset(session.at)
    assert not session.seen((2, 34, 34)).any() and not any(session.rates(states))
    session.free()
    handle.close()


def test_what_is_wrong_is_said(digits_plif: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, why in (
        (tmp_path / "none.plif", "No such file"),
        (tmp_path, "not a .plif file"),
        (Path(__file__), "not a .plif file"),
    ):
        with pytest.raises(PlifError, match=why) as refused:
            Handle(path)
        assert str(path)[:60] in str(refused.value)
    handle = Handle(digits_plif)
    for options, why in (
        ({"framing": "duration:fast"}, "is not a time"),
        ({"framing": "count:T=5", "total_events": -1}, "need the number of events"),
        ({"framing": "time:T=5", "total_events": 9, "last_us": 1 << 62}, "are no times"),
        ({"decide": "best"}, "expected sum, leak"),
        ({"reset": "every:8/9"}, "9 rows; expected 1 to 8"),
        ({"threads": 0}, "0 threads"),
        ({"sensor_width": -5, "framing": "duration:20ms"}, "a sensor of -5"),
        ({"size": 0}, "begin with PLIF_OPTIONS"),
    ):
        with pytest.raises(PlifError, match=why):
            CSession(handle, **options)
    session = CSession(handle)
    list(session.finish())
    with pytest.raises(PlifError, match="the recording was ended"):
        list(session.feed(np.zeros(3, [("t", "i8"), ("x", "u2"), ("y", "u2"), ("p", "?")])))
    handle.close()
    monkeypatch.setenv("PLIF_CPU", "fast")
    with pytest.raises(PlifError, match="PLIF_CPU=fast"):
        Handle(digits_plif)


def test_an_empty_plif_cpu_is_none_in_c_and_in_python(digits_plif: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fastest = native.choose_cpu_path()
    monkeypatch.setenv("PLIF_CPU", "")
    assert native.choose_cpu_path() == fastest
    Handle(digits_plif).close()


def test_a_network_that_needs_an_upright_view_gets_one(tmp_path: Path, digits_plif: Path, events: np.ndarray) -> None:
    data = bytearray(digits_plif.read_bytes())
    at = 136 + 4 * plif_file.FACTS.index("upright")  # the facts of the header
    data[at] = 1
    body = bytes(data[: plif_file.SHA256_AT]) + bytes(data[plif_file.HEADER.size :])
    data[plif_file.SHA256_AT : plif_file.HEADER.size] = hashlib.sha256(body).digest()
    (tmp_path / "upright.plif").write_bytes(data)
    handle, stored = Handle(tmp_path / "upright.plif"), Handle(digits_plif)
    expected = in_c(stored, events, framing="duration:20ms,orientation=upright", upright=1)
    assert in_c(handle, events, framing="duration:20ms", upright=1) == expected == in_c(handle, events, upright=1)
    assert expected != in_c(stored, events, framing="duration:20ms", upright=1)
    with pytest.raises(PlifError, match="needs an upright one"):
        CSession(handle, framing="duration:20ms,orientation=sj")


def test_the_digest_of_a_file_without_an_early_exit_or_a_rule_is_that_of_files_from_before_there_was_one(
    digits_plif: Path,
) -> None:
    sections, facts = plif_file.split_file(digits_plif, digits_plif.read_bytes())
    assert (
        plif_file.FACTS[-4:] == ("exit", "decide", "native", "keeps")
        and facts[-4:] == (0, 0, 0, 0)
        and len(facts) == 15
    )
    for kept, added in (
        (11, (0, 0, 0, 0)),
        (12, (7, 0, 0, 0)),
        (13, (0, 1, 0, 0)),
        (14, (0, 0, 1, 0)),
        (15, (0, 0, 0, 1)),
    ):
        said = (*facts[:-4], *added)
        packed = struct.pack(f"<{kept}i", *said[:kept])
        old = hashlib.sha256(sections["strings"] + sections["states"] + packed).hexdigest()
        assert hash_contents(digits_plif, sections, said).parts["facts"] == old
