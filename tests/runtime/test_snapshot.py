"""Snapshots on disk: a session that another process goes on with, bit for bit, and files that are none."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
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
from runtime.base.errors import PlifError
from runtime.native import is_built
from tests.networks import digits_network, firing, frames

GO_ON = """
import sys, numpy as np, runtime
path, engine, snapshot, x, y = sys.argv[1:]
session = runtime.load(path, engine).session(2)
session.restore(snapshot)
np.savez(y, session.run(np.load(x)), session.steps, *session.snapshot())
"""
ENGINES = {
    "event": is_built(),
    "onnxruntime": True,
    "openvino": find_spec("openvino") is not None,
    "openvino, stateful": find_spec("openvino") is not None,
    "torch": True,
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("engine", ENGINES)
def test_another_process_goes_on_bit_for_bit(tmp_path: Path, engine: str) -> None:
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
    x = frames(net, np.random.default_rng(0), T=8)
    session = runtime.load(path, name).session(2)
    session.run(x[:4])
    session.reset([1])
    session.run(x[4:5])
    session.save(tmp_path / "s.npz")
    np.save(tmp_path / "x.npy", x[5:])
    files = [str(path), name, *(str(tmp_path / file) for file in ("s.npz", "x.npy", "y.npz"))]
    subprocess.run([sys.executable, "-c", GO_ON, *files], check=True, timeout=120)
    y = session.run(x[5:])
    assert y.any() and session.steps.tolist() == [8, 4]
    with np.load(tmp_path / "y.npz") as found:
        for mine, other in zip((y, session.steps, *session.snapshot()), found.values(), strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.fixture(scope="module")
def saved(digits_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots") / "s.npz"
    session = runtime.load(digits_onnx, "onnxruntime").session(2)
    session.run(frames(digits_network(), np.random.default_rng(0), T=3))
    session.save(path)
    return path


def test_the_file_is_what_numpy_reads_and_equal_snapshots_are_equal_bytes(
    digits_onnx: Path, saved: Path, tmp_path: Path
) -> None:
    session = runtime.load(digits_onnx, "onnxruntime").session(2)
    session.restore(saved)
    session.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()
    with np.load(saved) as found:
        header = json.loads(found["header.json"])
        assert header["format"] == "plif-snapshot" and header["digest"] == session.model.card["digest"]["sha256"]
        assert found["steps"].tolist() == [3, 3]
        for i, v in enumerate(session.snapshot()):
            np.testing.assert_array_equal(found[f"state.{i}"], v)
            assert header["states"][i] == [session.model.card["states"][i]["name"], list(v.shape[1:])]


def test_a_snapshot_of_another_artifact_or_another_session_is_refused(saved: Path, tmp_path: Path) -> None:
    same_shapes = export(digits_network(seed=1), tmp_path / "other.onnx", verify=False).path
    with pytest.raises(PlifError, match=r"s\.npz: is of another artifact: the digests differ"):
        runtime.load(same_shapes, "onnxruntime").session(2).restore(saved)
    with pytest.raises(PlifError, match=r"s\.npz: is of another artifact"):
        runtime.load(export(firing(), tmp_path / "m.onnx", verify=False).path, "onnxruntime").session(2).restore(saved)


def rewritten(
    change: Callable[[dict[str, bytes]], Any], compress: int = zipfile.ZIP_STORED
) -> Callable[[bytes], bytes]:
    """The snapshot with other files in it: change gets {name: bytes}."""

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
    return rewritten(lambda files: files.update({"state.1.npy": data(files["state.1.npy"])}))


class Runs:
    def __reduce__(self) -> Any:
        return print, ("code of the file ran",)


HOSTILE: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "empty": ("no snapshot", lambda w: b""),
    "a pickle": ("no snapshot", lambda w: pickle.dumps(Runs())),
    "cut": ("no snapshot", lambda w: w[: len(w) // 2]),
    "a flipped bit": ("no snapshot", lambda w: w[:5000] + bytes([w[5000] ^ 1]) + w[5001:]),
    "no header": ("has no header", rewritten(lambda files: files.pop("header.json"))),
    "no state": ("has no state.1.npy", rewritten(lambda files: files.pop("state.1.npy"))),
    "not JSON": ("no snapshot", rewritten(lambda files: files.update({"header.json": b"{"}))),
    "deep JSON": ("no object", rewritten(lambda files: files.update({"header.json": b"[" * 100_000}))),
    "another format": ("no snapshot of plif", header(format="other")),
    "a later version": ("of another version of plif", header(format_version=2)),
    "no digest": ("the digests differ", header(digest=None)),
    "other streams": ("another number of streams", header(streams=3)),
    "compressed": ("or is compressed", rewritten(lambda files: None, zipfile.ZIP_DEFLATED)),
    "objects": ("no snapshot", state(lambda data: npy(np.array([Runs()], object)))),
    "another shape": ("state.1.npy is float32 \\[1\\]", state(lambda data: npy(np.zeros(1, np.float32)))),
    "another type": ("state.1.npy", state(lambda data: npy(np.zeros((2, 8, 17, 17))))),
    "a shape that lies": ("state.1.npy", state(lambda data: data.replace(b"(2, 8, 17, 17)", b"(2, 8, 17, 99)"))),
    "a huge shape": ("state.1.npy", state(lambda data: data.replace(b"(2, 8, 17, 17)", b"(2, 9999999999)"))),
    "nan": ("v.conv2 holds numbers", state(lambda data: data[:-4] + np.float32(np.nan).tobytes())),
    "steps that would overflow": (
        "expected at most 4611686018427387904",
        rewritten(lambda f: f.update({"steps.npy": npy(np.array([0, np.iinfo(np.int64).max]))})),
    ),
    "steps below 0": ("expected none below 0", rewritten(lambda f: f.update({"steps.npy": npy(np.array([-1, 0]))}))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_and_leaves_the_session_as_it_is(
    digits_onnx: Path, saved: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message, change = HOSTILE[name]
    path = tmp_path / "bad.npz"
    path.write_bytes(change(saved.read_bytes()))
    session = runtime.load(digits_onnx, "onnxruntime").session(2)
    with pytest.raises(PlifError, match=message) as error:
        session.restore(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert session.steps.tolist() == [0, 0] and not any(v.any() for v in session.snapshot())
    assert "ran" not in capsys.readouterr().out


def test_a_snapshot_is_written_whole_or_not_at_all(digits_onnx: Path, saved: Path, tmp_path: Path) -> None:
    session = runtime.load(digits_onnx, "onnxruntime").session(2)
    with pytest.raises(PlifError, match="cannot be written"):
        session.save(tmp_path / "nowhere" / "s.npz")
    with pytest.raises(PlifError, match="no such file"):
        session.restore(tmp_path / "missing.npz")
    assert list(tmp_path.iterdir()) == []
