"""Motion capture becomes the joints that it holds, pictures of somebody seen from the side that was asked for, and recordings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.events import events_sha256, open_source, read_events
from runtime.datasets.motion.joints import JOINTS, J, Motion, facing_angle, list_actors, read_motions
from runtime.datasets.motion.people import MotionClip, MotionPainter, MotionSequence, Viewpoint
from runtime.datasets.motion.simulate_motion import record_painted, record_people, simulate_motion, split_actors
from runtime.datasets.performers.performer import draw_performer
from tests.recorded import SHARED
from tests.runtime.datasets.motion.motions import BODY, OTHER_PROGRAMS, acclaim, bvh, waving, write_collection


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who waves and moves towards +X, 1.5 s."""
    path = tmp_path_factory.mktemp("motion") / "walk.bvh"
    path.write_text(bvh(waving(90), places=[(k * 1.0, 92, 0) for k in range(90)]))
    return path


def events_of(spec: str) -> np.ndarray:
    return np.concatenate(list(open_source(spec).packets()))


# --- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", OTHER_PROGRAMS)
def test_a_bvh_file_holds_a_body_in_metres_whatever_its_joints_are_called(tmp_path: Path, program: str) -> None:
    (tmp_path / "body.bvh").write_text(bvh([{}, {"LeftHand": (-90, 0, 0)}, {"LeftForeArm": (90, 0, 0)}], 50, program))
    (motion,) = read_motions(tmp_path / "body.bvh")
    assert motion.fps == pytest.approx(50) and motion.joints.shape == (3, 21, 3)
    spread, bent, raised = motion.joints
    wrist = (
        np.array(BODY["Spine"][1])
        + BODY["LeftArm"][1]
        + BODY["LeftForeArm"][1]
        + BODY["LeftHand"][1]
        + np.array([0, 92, 0])
    )
    assert spread[J["Lwri"]] == pytest.approx(wrist / 100, abs=1e-5)  # a leg of 82 cm: a metre is a metre
    assert raised[J["Lwri"]] - raised[J["Lelb"]] == pytest.approx([0, 0.26, 0], abs=1e-5)  # the forearm is upright
    assert raised[J["Ltip"]] - raised[J["Lwri"]] == pytest.approx([0, 0.12, 0], abs=1e-5)
    assert bent[J["Ltip"]] - bent[J["Lwri"]] == pytest.approx([0, -0.12, 0], abs=1e-5)  # the hand hangs from the wrist
    assert np.array_equal(raised[J["Rwri"]], spread[J["Rwri"]])


def test_a_pose_that_was_put_before_the_motion_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "body.bvh").write_text(bvh([{}, *[{"LeftArm": (-80, 0, 0)}] * 3]))
    (motion,) = read_motions(tmp_path / "body.bvh")
    assert len(motion.joints) == 3 and np.ptp(motion.joints, axis=0).max() < 1e-6


def test_acclaim_and_bvh_of_one_motion_agree(tmp_path: Path) -> None:
    (tmp_path / "body_01.bvh").write_text(bvh(waving(30)))
    acclaim(waving(30), tmp_path / "body.asf", tmp_path / "body_01.amc")
    one, other = (read_motions(tmp_path / f"body_01.{kind}")[0].joints for kind in ("bvh", "amc"))
    assert np.abs(one - other).max() < 1e-4 and np.ptp(one[:, J["Lwri"], 1]) > 0.2


def test_a_collection_holds_the_motions_of_actors(tmp_path: Path) -> None:
    """A small one with names as of CMU and HDM05, and the real one where it is on this machine: 25 minutes of both."""
    write_collection(tmp_path / "small.npz", ["01", "001", "02", "HDM_bd", "HDM_bk"], waving(31))
    collections = {tmp_path / "small.npz": (5, 2.5, ["1", "2", "HDM_bd", "HDM_bk"])}
    if (real := SHARED / "motions" / "motions.npz").is_file():
        actors = ["1", "2", "3", "5", "6", "7", "HDM_bd", "HDM_bk", "HDM_dg", "HDM_mm", "HDM_tr"]
        collections[real] = (363, 25.1 * 60, actors)
    for path, (count, seconds, actors) in collections.items():
        motions = read_motions(path)
        assert len(motions) == count and sum(m.seconds for m in motions) == pytest.approx(seconds, rel=0.01)
        assert list_actors(motions) == actors
        held, others = (split_actors(motions, half) for half in (True, False))
        assert not {m.actor for m in held} & {m.actor for m in others} and len(held) + len(others) == count
        for motion in motions[::20]:
            thigh, shin = motion.joints[:, [J["Lhip"], J["Lkne"]]], motion.joints[:, [J["Lkne"], J["Lank"]]]
            leg = sum(np.median(np.linalg.norm(bone[:, 0] - bone[:, 1], axis=1)) for bone in (thigh, shin))
            assert leg == pytest.approx(0.82, abs=0.03)


def test_between_frames_joints_move_smoothly_and_a_mirror_swaps_the_sides() -> None:
    t = np.arange(31) / 30
    joints = np.zeros((31, 21, 3), np.float32)
    joints[:, J["Lwri"], 0] = np.sin(2 * np.pi * t)
    motion = Motion("m", 30, joints)
    fine = np.linspace(0.05, 0.95, 500)
    assert np.abs(motion.joints_at(fine)[:, J["Lwri"], 0] - np.sin(2 * np.pi * fine)).max() < 0.005
    assert np.array_equal(motion.mirror().joints[:, J["Rwri"], 0], -joints[:, J["Lwri"], 0])
    assert motion.joints_at(np.array([-1.0, 9.0])) == pytest.approx(joints[[0, -1]], abs=1e-6)


GOOD = bvh(waving(4))
AT = GOOD.index("MOTION")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the end of the file', expected MOTION"),
        ("solid stl\n", r"line 1: 'solid stl', expected the HIERARCHY of a BVH file"),
        (GOOD[:AT], "expected MOTION"),
        (GOOD[: AT + 40], "expected"),
        (GOOD[: len(GOOD) // 2], "expected"),
        (GOOD[:-60], r"numbers, the values of one frame"),
        (GOOD + "1 2 3\n", "expected the end of the file after 4 frames"),
        (GOOD.replace("Frames: 4", "Frames: 900"), "after 4 frames', expected 900 frames"),
        (GOOD.replace("Frames: 4", "Frames: 4.5"), "expected 2 frames or more"),
        (GOOD.replace("Frame Time: 0.01", "Frame Time: 1e-9 0.01"), "expected Frame Time: NUMBER"),
        (GOOD.replace("92.00000", "nan"), "numbers, the values of one frame"),
        (GOOD.replace("92.00000", "1e300"), "numbers, the values of one frame"),
        (GOOD.replace("CHANNELS 6 X", "CHANNELS 6 W"), "up to six channels, as Xposition"),
        (GOOD.replace("CHANNELS 3", "CHANNELS 4"), "the HIERARCHY of a BVH file"),
        (GOOD.replace("  JOINT Spine", "  ROOT Spine"), "the HIERARCHY of a BVH file"),
        (GOOD.replace("}", "", 1), "expected"),
        (GOOD.replace("OFFSET 0 20 0", "OFFSET 0 20"), "3 numbers, the offset of a joint"),
        (GOOD.replace("JOINT LeftForeArm", "JOINT Wing"), "no joint for left elb"),
        (GOOD.replace("JOINT Neck", "JOINT " + "N" * 70_000), "lines of less than 65536 characters"),
        ("HIERARCHY\n" + "ROOT a\n{\nOFFSET 0 0 0\n" + "JOINT b\n{\nOFFSET 0 0 0\n" * 2000, "one tree of at most 1000 joints"),
        (GOOD.replace("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 0"), "channels of most joints"),
        (GOOD.replace(" -41 ", " 0 "), "somebody with legs"),
    ],
)  # fmt: skip
def test_a_damaged_bvh_file_is_one_line_that_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.bvh"
    path.write_text(text)
    with pytest.raises(PlifError, match=words) as error:
        read_motions(path)
    assert "\n" not in str(error.value) and str(error.value).startswith(str(path)) and len(str(error.value)) < 500


def test_damage_anywhere_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    acclaim(waving(3), tmp_path / "good.asf", tmp_path / "good_1.amc")
    files = {
        "a.bvh": GOOD,
        "s.amc": (tmp_path / "good_1.amc").read_text(),
        "s.asf": (tmp_path / "good.asf").read_text(),
    }
    for name, text in files.items():
        for other, whole in files.items():
            (tmp_path / other).write_text(whole)
        refused = 0
        for _ in range(60):
            data = bytearray(text.encode())
            for at in rng.integers(0, len(data), 3):
                data[at] = rng.choice(np.frombuffer(b"0 9-.}{XZ\n\xffe:", np.uint8))
            (tmp_path / name).write_bytes(
                data[: rng.integers(len(data) // 2, len(data))] if rng.random() < 0.3 else data
            )
            try:
                (motion,) = read_motions(tmp_path / ("a.bvh" if name == "a.bvh" else "s.amc"))
                assert np.isfinite(motion.joints).all()
            except PlifError as error:
                refused += 1
                assert "\n" not in str(error)
        assert refused > 10, name


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", "strange"])
def test_a_collection_that_is_none_is_one_line(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "motions.npz"
    if isinstance(content, str):
        np.savez(path, names=["a"], fps=60.0, starts=[0, 9], delta_mm=np.zeros((4, 21, 3), np.int16))
    else:
        path.write_bytes(content)
    with pytest.raises(PlifError, match="expected a collection of motions") as error:
        read_motions(path)
    assert "\n" not in str(error.value)


# --- people -------------------------------------------------------------------------------------------------------------


def test_motions_join_at_the_place_and_in_the_direction_of_the_one_before(walk: Path) -> None:
    (motion,) = read_motions(walk)
    turned = Motion("turned", motion.fps, motion.joints @ np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32))
    course = MotionSequence(
        [MotionClip(motion), MotionClip(turned, hold_s=0.2), MotionClip(motion, 0.5, 0.5, speed=2.0)]
    )
    assert course.seconds == pytest.approx(2 * motion.seconds + 0.25 + 0.2 + 2 * 0.35)
    joints = course.joints_at(np.arange(0, course.seconds, 0.005))
    assert np.abs(np.diff(joints[:, J["hips"]], axis=0)).max() < 0.02 and np.abs(np.diff(joints, axis=0)).max() < 0.06
    assert np.ptp(facing_angle(joints)) < 0.1  # the second one looks where the first one did
    again = MotionSequence([MotionClip(motion)], repeat=True)
    later = again.joints_at(np.array([0.3]) + 3 * again.duration_s(2) - 3 * again.seconds)
    assert later == pytest.approx(again.joints_at(np.array([0.3])), abs=1e-4)


@pytest.mark.parametrize(("yaw", "way"), [(0, 1), (180, -1), (90, 0)])
def test_yaw_says_from_which_side_the_person_is_seen(walk: Path, yaw: float, way: int) -> None:
    """Who looks into the camera has the left hand on the picture's right, who looks to the right has it farther away."""
    (motion,) = read_motions(walk)
    painter = MotionPainter(draw_performer((3,)), motion, Viewpoint(yaw, 4.0, (64.0, 50.0)))
    limbs = painter.place_limbs(np.array([0]))[0]
    hands = limbs[limbs[:, 10] == 1]
    far = hands[np.abs(hands[:, 3] - hands[0, 3]).argmax(), 3] - hands[0, 3]
    assert len(hands) == 2 and (abs(far) < 15 if way == 0 else abs(far) > 60)
    left, right = hands[hands[:, 4].argsort()]  # the left one is higher: Y points down
    assert (np.sign(left[3]) == way) if way else left[5] < right[5] - 30


def test_a_person_who_is_farther_away_is_smaller_and_only_an_arm_may_be_seen(walk: Path) -> None:
    (motion,) = read_motions(walk)
    performer = draw_performer((3,))
    wall = performer.look.background

    def covered(view: Viewpoint) -> int:
        return int((np.abs(next(MotionPainter(performer, motion, view).paint(np.array([0]))) - wall) > 0.01).sum())

    whole, far, arm = (
        covered(Viewpoint(0, d, (64, 40), visible=only)) for d, only in ((2.5, "all"), (5.0, "all"), (2.5, "left"))
    )
    assert 0.15 < far / whole < 0.4 and 0.03 < arm / whole < 0.2


@pytest.mark.parametrize("only", ["all", "arms", "left", "right"])
def test_what_is_farther_is_painted_first(walk: Path, only: str) -> None:
    (motion,) = read_motions(walk)
    limbs = MotionPainter(draw_performer((1,)), motion, Viewpoint(40, visible=only)).place_limbs(np.array([0, 300_000]))
    depth = limbs[:, :, 2] + limbs[:, :, 5]
    assert (np.diff(depth, axis=1) > -0.08 * 93).all() and len(limbs) == 2


# --- the source ---------------------------------------------------------------------------------------------------------


def test_a_motion_is_a_source_that_is_always_the_same(walk: Path) -> None:
    spec = f"sim:motion?file={walk}&yaw=30&seed=7&distance=3"
    events = events_of(spec)
    assert (
        events_sha256(events) == events_sha256(np.concatenate(list(open_source(spec).packets(99))))
        and len(events) > 3000
    )
    assert (
        events["t"][-1] == pytest.approx(read_motions(walk)[0].seconds * 1e6, abs=6000)
        and (np.diff(events["t"]) >= 0).all()
    )
    others = [
        events_of(spec.replace(*change))
        for change in (("yaw=30", "yaw=-30"), ("seed=7", "seed=8"), ("distance=3", "distance=3&mirror=yes"))
    ]
    assert len({events_sha256(one) for one in (events, *others)}) == 4
    assert events_of(f"{spec}&loops=2")["t"][-1] > 2 * events["t"][-1]
    assert events_of(f"{spec}&seconds=0.2")["t"][-1] <= 200_000


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "no file named, expected sim:motion"),
        ("file=/nowhere/walk.bvh", "no such file"),
        ("file=/nowhere/walk.mp4", r"expected a file of motion capture: .bvh, .amc, .npz"),
        ("file=x.bvh&yaw=front", "yaw='front', expected a number from -360 to 360"),
        ("file=x.bvh&distance=0", "expected a number from 0.3 to 30"),
        ("file=x.bvh&look=dim", "expected usual or faint or lamps or texture"),
        ("file=x.bvh&gesture=1", "'gesture' is not understood"),
    ],
)
def test_a_spec_of_a_motion_that_is_not_understood_is_one_line(query: str, words: str) -> None:
    with pytest.raises(PlifError, match=words) as error:
        open_source(f"sim:motion?{query}")
    assert "\n" not in str(error.value)


# --- sets ---------------------------------------------------------------------------------------------------------------


def test_a_folder_of_motions_becomes_recordings_labelled_by_folder(walk: Path, tmp_path: Path) -> None:
    for folder in ("train/wave", "test/wave", "test/other"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "one.bvh").write_bytes(walk.read_bytes())
    how = {"bvh": tmp_path / "in", "views": 2, "seconds": 0.3, "workers": 1}
    assert simulate_motion(tmp_path / "out", **how)["motions"] == 3
    names = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.aedat"))
    assert names == [
        f"{folder}/one_{view}.aedat" for folder in ("test/other", "test/wave", "train/wave") for view in (0, 1)
    ]
    data = open_dataset(f"folder:{tmp_path / 'out'}", "test", framing="duration:20ms", shape=(2, 128, 128))
    assert data.classes == ("other", "wave") and len(data) == 4 and data.sample(0).sum() > 300
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    assert len(set(before.values())) == 6  # another person each time
    (tmp_path / "out" / names[1]).unlink()
    simulate_motion(tmp_path / "out", **how)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == before
    with pytest.raises(PlifError, match="another seed or other parameters"):
        simulate_motion(tmp_path / "out", **{**how, "views": 3})


def test_a_damaged_motion_is_named_and_leaves_nothing_half_written(walk: Path, tmp_path: Path) -> None:
    (tmp_path / "in/wave").mkdir(parents=True)
    (tmp_path / "in/wave/one.bvh").write_text(GOOD[:-80])
    with pytest.raises(PlifError, match=r"one\.bvh, line \d+"):
        simulate_motion(tmp_path / "out", bvh=tmp_path / "in", workers=1)
    assert not list((tmp_path / "out").rglob("*.aedat*"))
    (tmp_path / "in/wave/one.amc").write_text("")
    with pytest.raises(PlifError, match="several motions are called one"):
        simulate_motion(tmp_path / "out", bvh=tmp_path / "in", workers=1)
    for folder, words in (("nowhere", "no such folder"), ("in/wave", "no folders")):
        with pytest.raises(PlifError, match=words):
            simulate_motion(tmp_path / "new", bvh=tmp_path / folder, workers=1)
    assert not (tmp_path / "new").exists()


def test_people_who_mean_nothing_are_the_same_for_a_key_and_rows_do_not_overlap(walk: Path) -> None:
    (motion,) = read_motions(walk)
    motions = [Motion(f"{actor}_1", motion.fps, motion.joints) for actor in ("a", "b")]
    events, rows = record_people((1, 0, 5), motions, seconds=0.5)
    again, same = record_people((1, 0, 5), motions, seconds=0.5)
    assert events_sha256(events) == events_sha256(again) and rows == same and (np.diff(events["t"]) >= 0).all()
    assert all(end + 200_000 == begin for (_, end), (begin, _) in pairwise(rows))
    assert sum(end - begin for begin, end in rows) >= 500_000 and len(JOINTS) == 21


def test_whoever_flickers_more_than_a_camera_gives_is_not_drawn_for_ever(walk: Path) -> None:
    """The lamps of this performer give three million events a second, whatever the scene."""
    (motion,) = read_motions(walk)
    motions, key = [Motion(f"{actor}_1", motion.fps, motion.joints[:8]) for actor in ("a", "b")], (1, 0, 19)
    flickering = draw_performer(key, varied="lamps")
    painter = MotionPainter(flickering, motions[0], Viewpoint())
    assert len(record_painted(flickering, painter, motion.seconds / 10, key)) > 2_000_000 * motion.seconds / 10
    events, ((_, end_us),) = record_people(key, motions, seconds=0.1, look="lamps")
    assert 0 < len(events) < 350_000 * end_us / 1e6


def test_the_command_makes_recordings_of_motion_capture(
    walk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtime.core.cli.main import run

    (tmp_path / "in/wave").mkdir(parents=True)
    (tmp_path / "in/wave/one.bvh").write_bytes(walk.read_bytes())
    words = [
        "data",
        "motion",
        "--bvh",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "out"),
        "--views",
        "1",
        "--seconds",
        "0.1",
    ]
    assert run(words) == 0 and "use it as --data folder:" in capsys.readouterr().out
    assert len(read_events(tmp_path / "out/wave/one_0.aedat")) > 10
    assert run(words[:4]) == 2 and "expected --bvh DIR --out DIR" in capsys.readouterr().err
    assert run(["data", "gesture-sim", "--part", "people", "--out", str(tmp_path / "more")]) == 2
    assert "expected --motions FILE with --part people alone" in capsys.readouterr().err
