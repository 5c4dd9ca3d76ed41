"""Files of --state that none wrote, or that were damaged; and that one goes on with each engine."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plif_train
import runtime
from plif_export import export
from runtime.core.base.errors import PlifError
from runtime.core.stream.observe import Observer
from runtime.native import is_built
from tests.networks import digits_network, firing

FRAMING = "duration:10ms"
FIRST, LATER = (f"sim:digits?seed={seed}&seconds=0.3" for seed in (3, 4))
ENGINES = {
    "event": is_built(),
    "onnxruntime": True,
    "openvino": find_spec("openvino") is not None,
    "openvino, stateful": find_spec("openvino") is not None,
    "torch": True,
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_membranes_of_each_engine_are_in_the_file_and_come_back(tmp_path: Path, engine: str) -> None:
    if not ENGINES[engine]:
        pytest.skip(f"engine {engine} is not installed")
    net, path = digits_network(), tmp_path / "m.onnx"
    name, _, stateful = engine.partition(", ")
    if name == "torch":
        plif_train.save(net, path := tmp_path / "m.pt")
    elif name == "openvino":
        options = {"stateful": "true"} if stateful else {}
        path = export(net, tmp_path / "m_openvino", to="openvino", options=options, verify=False).path
    else:
        export(net, path, verify=False)
    first = runtime.load(path, name).stream(FIRST, framing=FRAMING, state=str(tmp_path / "s.npz"))
    assert list(first)
    then = runtime.load(path, name).stream(LATER, framing=FRAMING, state=str(tmp_path / "s.npz"))
    left, found = first.session.snapshot(), then.session.snapshot()
    assert any(v.any() for v in left) and then.session.steps.tolist() == first.session.steps.tolist()
    for mine, other in zip(left, found, strict=True):
        np.testing.assert_array_equal(mine, other)
    then.close()


@pytest.fixture(scope="module")
def saved(digits_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("states") / "s.npz"
    list(runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(path)))
    return path


def test_the_file_is_what_numpy_reads_and_equal_states_are_equal_bytes(
    digits_onnx: Path, saved: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.npz"
    run = runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(again))
    list(run)
    assert again.read_bytes() == saved.read_bytes()
    with np.load(saved) as found:
        header = json.loads(found["header.json"])
        assert header["format"] == "plif-stream" and header["digest"] == run.model.card["digest"]["sha256"]
        for i, v in enumerate(run.session.snapshot()):
            np.testing.assert_array_equal(found[f"session.{i}"], v)
            assert header["states"][i] == [run.model.card["states"][i]["name"], list(v.shape[1:])]


def test_a_state_of_another_artifact_is_refused(saved: Path, tmp_path: Path) -> None:
    same_shapes = export(digits_network(seed=1), tmp_path / "other.onnx", verify=False).path
    with pytest.raises(PlifError, match=r"s\.npz: is of another artifact: the digests differ"):
        runtime.load(same_shapes, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(saved))
    other = export(firing(), tmp_path / "m.onnx", verify=False).path
    with pytest.raises(PlifError, match=r"s\.npz: is of another artifact"):
        runtime.load(other, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(saved))


def rewritten(
    change: Callable[[dict[str, bytes]], Any], compress: int = zipfile.ZIP_STORED
) -> Callable[[bytes], bytes]:
    """The file with other files in it: change gets {name: bytes}."""

    def write(whole: bytes) -> bytes:
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compress) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return out.getvalue()

    return write


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def header(**changed: Any) -> Callable[[bytes], bytes]:
    def change(files: dict[str, bytes]) -> None:
        files["header.json"] = json.dumps({**json.loads(files["header.json"]), **changed}).encode()

    return rewritten(change)


def state(data: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return rewritten(lambda files: files.update({"session.1.npy": data(files["session.1.npy"])}))


class Runs:
    def __reduce__(self) -> Any:
        return print, ("code of the file ran",)


HOSTILE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a pickle": ("no state", lambda w: pickle.dumps(Runs())),
    "cut": ("no state", lambda w: w[: len(w) // 2]),
    "a flipped bit": ("no state", lambda w: w[:5000] + bytes([w[5000] ^ 1]) + w[5001:]),
    "no header": ("has no header", rewritten(lambda files: files.pop("header.json"))),
    "no state": ("has no session.1.npy", rewritten(lambda files: files.pop("session.1.npy"))),
    "not JSON": ("no state", rewritten(lambda files: files.update({"header.json": b"{"}))),
    "deep JSON": ("no object", rewritten(lambda files: files.update({"header.json": b"[" * 100_000}))),
    "another format": ("no state of a stream of plif", header(format="other")),
    "a later version": ("of another version of plif", header(format_version=5)),
    "no digest": ("the digests differ", header(digest=None)),
    "compressed": ("or is compressed", rewritten(lambda files: None, zipfile.ZIP_DEFLATED)),
    "objects": ("no state", state(lambda data: npy(np.array([Runs()], object)))),
    "another shape": ("session.1.npy is float32 \\[1\\]", state(lambda data: npy(np.zeros(1, np.float32)))),
    "another type": ("session.1.npy", state(lambda data: npy(np.zeros((1, 8, 17, 17))))),
    "a shape that lies": ("session.1.npy", state(lambda data: data.replace(b"(1, 8, 17, 17)", b"(1, 8, 17, 99)"))),
    "a huge shape": ("session.1.npy", state(lambda data: data.replace(b"(1, 8, 17, 17)", b"(1, 9999999999)"))),
    "nan": ("v.conv2 holds numbers", state(lambda data: data[:-4] + np.float32(np.nan).tobytes())),
    "steps that would overflow": (
        "expected at most 4611686018427387904",
        rewritten(lambda f: f.update({"session.steps.npy": npy(np.array([np.iinfo(np.int64).max]))})),
    ),
    "steps below 0": (
        "expected none below 0",
        rewritten(lambda f: f.update({"session.steps.npy": npy(np.array([-1]))})),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_and_nothing_begins(
    digits_onnx: Path, saved: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message, change = HOSTILE[name]
    path = tmp_path / "bad.npz"
    path.write_bytes(change(saved.read_bytes()))
    with pytest.raises(PlifError, match=message) as error:
        runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert "ran" not in capsys.readouterr().out


def test_a_state_is_written_whole_or_not_at_all(digits_onnx: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "nowhere" / "s.npz")
    run = runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=place)
    with pytest.raises(PlifError, match="cannot be written"):
        list(run)
    assert list(tmp_path.iterdir()) == []


class Notes(Observer):
    def __init__(self) -> None:
        self.notes = list[str]()

    def on_note(self, source: str, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("damage", ["empty", "cut", "a flipped bit"])
def test_a_damaged_state_gives_way_to_the_one_before_it(digits_onnx: Path, tmp_path: Path, damage: str) -> None:
    path, last, model = tmp_path / "s.npz", tmp_path / "s.npz.last", runtime.load(digits_onnx, "onnxruntime")
    list(model.stream(FIRST, framing=FRAMING, state=str(path)))
    first = path.read_bytes()
    assert not last.exists()
    list(model.stream(LATER, framing=FRAMING, state=str(path)))
    assert last.read_bytes() == first != path.read_bytes()
    path.write_bytes(b"" if damage == "empty" else HOSTILE[damage][1](path.read_bytes()))
    said = Notes()
    run = model.stream(LATER, framing=FRAMING, state=str(path), observers=[said])
    with zipfile.ZipFile(last) as archive:
        steps = np.load(io.BytesIO(archive.read("session.steps.npy")))
    assert np.array_equal(run.session.steps, steps) and "goes on from" in said.notes[0] and str(last) in said.notes[0]
    list(run)
    assert last.read_bytes() == first  # what was damaged never takes its place
    assert runtime.load(digits_onnx, "onnxruntime").stream(LATER, framing=FRAMING, state=str(path)).session.steps[0] > 0


def test_an_empty_state_stops_no_service(digits_onnx: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    path.touch()
    list(runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(path)))
    assert path.stat().st_size > 1000
    path.write_bytes(b"PK")
    with pytest.raises(PlifError, match="no state"):  # without one before it nothing is guessed
        runtime.load(digits_onnx, "onnxruntime").stream(FIRST, framing=FRAMING, state=str(path))
