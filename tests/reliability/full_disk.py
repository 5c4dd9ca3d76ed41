"""A disk that is full at the n-th write, for every n: LD_PRELOAD=full_disk.so python -m tests.reliability.full_disk NAME FOLDER.

NAME is one of WRITERS. It writes once; then it writes again and again, each time with one more call that works, until it has
all it needs. Each time in between there has to be an error of one line, and every file is as it was. Of several tables each is
as it was or as it becomes. Prints how many calls there were.
"""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import plif_train
from plif_export import export
from runtime.commands.record.guide import record
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from tests.conftest import REPOSITORY
from tests.recordings import nmnist_bytes, some_events

DIGITS = REPOSITORY / "models" / "nmnist-digits.pt"
MOST = 400  # calls of one writer
Files = dict[str, bytes]
Write = Callable[[int], object]


def read(folder: Path) -> Files:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def call(words: list[str]) -> None:
    """Run a command; its last line on stderr becomes a PlifError where it fails."""
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        status = run(words)
    if status:
        lines = [line for line in said.getvalue().splitlines() if "error" in line]
        assert len(lines) == 1 and "Traceback" not in said.getvalue(), said.getvalue()
        raise PlifError(lines[0])


def write_export(target: str, name: str) -> Callable[[Path], Write]:
    def prepare(folder: Path) -> Write:
        precisions = ("fp32", "int8")
        return lambda i: export(DIGITS, folder / name, to=target, precision=precisions[i], verify=False)

    return prepare


def write_evaluation(folder: Path) -> Write:
    model = folder.with_suffix(".onnx")
    export(DIGITS, model, verify=False)

    def write(i: int) -> None:
        shutil.rmtree(folder / "shards", ignore_errors=True)  # of the run that failed; --resume would go on with it
        call(["eval", str(model), "--data", "digits:20", "--limit", str(10 + 10 * i), "--out", str(folder)])

    return write


def write_predictions(folder: Path) -> Write:
    model, recordings = folder.with_suffix(".onnx"), folder.with_suffix(".recordings")
    export(DIGITS, model, verify=False)
    recordings.mkdir()
    for i in range(4):
        (recordings / f"{i}.bin").write_bytes(nmnist_bytes(some_events(2000, i)))
    files = [str(path) for path in sorted(recordings.iterdir())]
    return lambda i: call(["predict", str(model), *files[: 2 + i], "--out", str(folder / "table.csv")])


def write_network(folder: Path) -> Write:
    out, options = folder / "m.pt", {"T": 4, "overwrite": True, "device": "cpu"}
    return lambda i: plif_train.train(
        "c2k3s2-PLIF-FC20-PLIF-APk2s2", data="digits:12", out=out, epochs=1 + i, seed=i, **options
    )


def write_gestures(folder: Path) -> Write:
    options = {"classes": ("a", "b"), "rounds": 2, "seconds": 0.5, "pause": 0.1}
    return lambda i: record(f"sim:digits?seed={i}&seconds=20", out=folder / str(i), **options)


WRITERS = {
    "onnx": write_export("onnx", "m.onnx"),
    "plif": write_export("plif", "m.plif"),
    "c": write_export("c", "m.c"),
    "evaluation": write_evaluation,
    "predictions": write_predictions,
    "network": write_network,
    "gestures": write_gestures,
}


def main(name: str, folder: Path) -> None:
    folder.mkdir()
    disk, within = ctypes.CDLL(None), os.fsencode(folder)
    write = WRITERS[name](folder)
    write(0)
    old = read(folder)
    for number in range(0, MOST, 4 if name == "evaluation" else 1):  # it writes 60 times
        disk.fill_disk(within, ctypes.c_long(number))
        error = None
        try:
            write(1)
        except PlifError as raised:
            error = str(raised)
        finally:
            calls = disk.count_calls()
            disk.fill_disk(b"", ctypes.c_long(0))
        if calls <= number:
            assert error is None, f"all {calls} calls worked, and there is an error: {error}"
            print(calls)
            return
        found = read(folder)
        if error is None:
            raise AssertionError(f"call {number} failed, and nothing is said")
        assert "\n" not in error and "space" in error, f"call {number}: {error}"
        check_files(name, number, old, found)
        old = found if name in ("network", "gestures") else old  # what is finished before the end stays
    raise AssertionError(f"more than {MOST} calls")


def check_files(name: str, number: int, old: Files, found: Files) -> None:
    """Require that all files are as they were; what is finished may be kept: samples, an epoch, a gesture."""
    if name == "network":
        assert old.keys() <= found.keys() <= {*old, "m.weights.csv"}, f"call {number}: {sorted(found)}"
        plif_train.load(Path(sys.argv[2]) / "m.pt")
        return
    old, found = ({path: data for path, data in one.items() if "shards/" not in path} for one in (old, found))
    if name == "gestures":
        assert old.items() <= found.items(), f"call {number}: a gesture that was finished is gone"
        assert not [path for path in found if path.endswith(".part")], f"call {number}: {sorted(found)}"
        return
    changed = [path for path in old.keys() | found.keys() if old.get(path) != found.get(path)]
    if name != "evaluation":
        assert not changed, f"call {number}: not as before: {changed}"
    for path in changed:
        if path.startswith("figures/") and path not in found:  # a new evaluation begins without the old figures
            continue
        whole = found[path].endswith((b"\n", b"</html>", b"IEND\xaeB`\x82"))
        assert path in old and whole, f"call {number}: {path} is cut"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
