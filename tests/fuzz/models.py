"""Damaged and hostile model files by the thousand: whatever a reader gets, it gives a model or one clear line.

    python -m tests.fuzz.models onnx --minutes 10        also torch, engine, nir

A child process reads mutated files under a limit of memory and of time for each file. One that makes it die, hang, or raise
anything but a PlifError of one line is kept beside the corpus and named; the exit code is then 1. Each target is a list of
seeds, which are written here, and a function that reads a file and checks what the reader promises.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.artifacts.tensorrt_plan import file as engine_file
from runtime.core.base.errors import PlifError
from runtime.core.model.card import encode_card, read_card
from runtime.formats.hdf5 import decode as hdf5_decode
from runtime.formats.hdf5 import tree as hdf5

SECONDS = 5  # of processor time for one file
MEMORY = 2 << 30  # bytes that reading may add to what the process has after its imports
Rng = np.random.Generator


@dataclass(frozen=True)
class Target:
    """seeds: makes the corpus; read: what is tested; mutate: (rng, one seed, another) -> a file."""

    suffix: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], None]
    mutate: Callable[[Rng, bytes, bytes], bytes]


# --- mutations -------------------------------------------------------------------------------------------------------

EDGES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)


def mutate(rng: Rng, data: bytes, other: bytes) -> bytes:
    """A few random changes of bytes: flipped, overwritten with numbers at the edge, cut, repeated, taken from another."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, length = int(rng.integers(len(out) + 1)), int(rng.integers(1, 17))
        match int(rng.integers(8)):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << int(rng.integers(8))
            case 2 if at < len(out):
                out[at] = int(rng.integers(256))
            case 3:
                size = int(rng.choice((1, 2, 4, 8)))
                number = int(EDGES[rng.integers(len(EDGES))]) % (1 << 8 * size)
                out[at : at + size] = number.to_bytes(size, "little")
            case 4:
                del out[at : at + length]
            case 5:
                out[at:at] = out[at : at + length]
            case 6:
                start = int(rng.integers(len(other) + 1))
                out[at : at + length] = other[start : start + length]
            case 7 if rng.integers(8) == 0:
                del out[at:]
    return bytes(out)


def mutate_index(rng: Rng, data: bytes, other: bytes) -> bytes:
    """Mutates bytes anywhere, or the pickle within a zip that is otherwise whole."""
    if rng.integers(3) == 0:
        return mutate(rng, data, other)
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(io.BytesIO(other)) as second:
        content = {name: old.read(name) for name in old.namelist()}
        index, donor = (next(n for n in z.namelist() if n.endswith("data.pkl")) for z in (old, second))
        content[index] = mutate(rng, content[index], second.read(donor))
    return zip_of(content)


def zip_of(content: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in content.items():
            archive.writestr(name, member)
    return file.getvalue()


# --- targets ---------------------------------------------------------------------------------------------------------


def card() -> dict[str, Any]:
    state = {"name": "v.a", "input": "v.a", "output": "v.a.next", "shape": [3], "dtype": "float32"}
    facts: dict[str, Any] = {
        "format": "plif-artifact",
        "format_version": 1,
        "T": 2,
        "classes": ["a", "b"],
        "framing": None,
    }
    facts |= {"input": {"kind": "events", "shape": [1, 2, 2]}, "normalisation": None, "versions": {}, "notation": None}
    facts |= {"form": "step", "precision": "fp32", "math": "exact", "batch": None, "taus": {"a": 2.0}}
    facts |= {"v_threshold": 1.0, "v_reset": 0.0, "output": {"kind": "spikes"}, "source_sha256": None, "parity": None}
    return {
        **facts,
        "states": [{**state, "initial": 0.0, "layer": "a"}],
        "graph": {"input": "x", "output": "y", "nodes": [{"name": "a"}]},
    }


def onnx_seeds() -> list[bytes]:
    """Plain models, and models that lead to other files in each place where ONNX has room for that."""
    import onnx
    from onnx import helper

    def tensor(name: str, outside: bool = False) -> Any:
        made = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), name)
        if outside:
            onnx.external_data_helper.set_external_data(made, "weights.bin")
            made.ClearField("raw_data")
        return made

    def model(outside: bool, where: str = "initializer") -> bytes:
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [], [], [tensor("w")])
        constant = helper.make_node("Constant", [], ["c"], value=tensor("c", outside))
        inner = helper.make_graph([constant], "inner", [], [], [])
        functions = []
        if where == "initializer":
            graph.initializer.append(tensor("v", outside))
        elif where == "constant":
            graph.node.append(constant)
        elif where == "body":
            graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
        elif where == "function":
            functions = [helper.make_function("own", "F", ["x"], ["c"], [constant], [helper.make_opsetid("", 17)])]
        made = helper.make_model(graph, functions=functions)
        helper.set_model_props(made, {"plif.card": encode_card(card())})
        return bytes(made.SerializeToString())

    places = ("initializer", "constant", "body", "function")
    return [model(outside, where) for where in places for outside in (False, True)]


def read_onnx(path: Path) -> None:
    """What is let through has no tensor elsewhere, in the eyes of protobuf itself."""
    import onnx

    from runtime.core.model.readers.onnx_contents import read_initializers, read_model

    refused = (PlifError,)
    try:
        read_card(path)
    except refused as error:
        check(error)
    read_initializers(path, ["w", "v"])
    try:
        proto = onnx.load_model_from_string(read_model(path))
    except PlifError:
        raise
    except Exception:  # protobuf refuses more than the walk does, for example text that is not UTF-8
        return
    assert b"weights.bin" not in b"".join(_texts(proto)), "a tensor in another file was let through"


def _texts(message: Any) -> list[bytes]:
    """What the tensors of a message, and of those in it, say of other files."""
    found = []
    for field, value in message.ListFields():
        if field.name in ("external_data", "data_location"):
            found.append(b"weights.bin")
        if field.message_type is not None:
            for each in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
                found += _texts(each)
    return found


def torch_seeds() -> list[bytes]:
    import torch

    from plif_train import build
    from plif_train.core.loop.checkpoint import pack_checkpoint

    net = build("FC3-PLIF-FC2-PLIF", shape=(1, 2, 2), T=2)
    kept: list[bytes] = []
    optimizer = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]}
    for content in (
        pack_checkpoint(net),
        {**pack_checkpoint(net), "optimizer": optimizer},
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).state_dict(),
    ):
        file = io.BytesIO()
        torch.save(content, file)
        kept.append(file.getvalue())
    return kept


def read_torch(path: Path) -> None:
    from plif_export.readers.state_dict.reader import load_tensors
    from plif_train import load

    for read in (read_card, load_tensors):
        try:
            read(path)
        except PlifError as error:
            check(error)
    load(path)


def engine_seeds() -> list[bytes]:
    return [
        engine_file.pack_engine(encode_card(card()), b"ftrt" + bytes(100)),
        engine_file.pack_engine(encode_card(card()), b"vtrt"),
    ]


def read_engine(path: Path) -> None:
    try:
        engine_file.split_engine(path, path.read_bytes())
    except PlifError as error:
        check(error)
    read_card(path)


def nir_seeds() -> list[bytes]:
    import nir

    kept = []
    neuron = nir.LIF(*(np.full(2, value) for value in (1e-3, 1.0, 0.0, 1.0)))
    for middle in (
        [nir.Affine(np.eye(2), np.ones(2)), neuron],
        [nir.Linear(np.eye(2)), nir.IF(np.ones(2), np.ones(2))],
    ):
        ends = nir.Input({"input": np.array([2])}), nir.Output({"output": np.array([2])})
        file = io.BytesIO()
        nir.write(file, nir.NIRGraph.from_list(ends[0], *middle, ends[1]))
        kept.append(file.getvalue())
    return kept


class Fork:
    """What runtime.formats.hdf5 asks a new Python for, of a fork of this one: the same code, at fifty times as many files."""

    def __init__(self, _: Path, memory: str, *, size: int, stdin: int) -> None:
        ours, theirs = os.pipe()
        self.pipe, self.child = os.fdopen(ours, "rb"), os.fork()
        if not self.child:
            try:
                with os.fdopen(theirs, "wb") as out:
                    hdf5_decode.decode(os.fdopen(os.dup(stdin), "rb"), out, SECONDS, int(memory))
            finally:
                os._exit(0)
        os.close(theirs)

    def __enter__(self) -> Fork:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            self.end()

    def read(self, count: int) -> bytes:
        return self.pipe.read(count)

    def end(self) -> tuple[int, str | None]:
        child, self.child = self.child, 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), None


def read_nir(path: Path) -> None:
    from plif_export.readers.nir_file.reader import read_nir_graph

    hdf5.Child = Fork  # type: ignore[misc, assignment]
    try:
        read_card(path)
    except PlifError as error:
        check(error)
    read_nir_graph(path)


TARGETS = {
    "onnx": Target(".onnx", onnx_seeds, read_onnx, mutate),
    "torch": Target(".pt", torch_seeds, read_torch, mutate_index),
    "engine": Target(".engine", engine_seeds, read_engine, mutate),
    "nir": Target(".nir", nir_seeds, read_nir, mutate),
}


def check(error: PlifError) -> None:
    assert "\n" not in str(error) and len(str(error)) < 1000 and error.exit_code == 2, error


# --- the driver ------------------------------------------------------------------------------------------------------


def read_many(name: str, folder: Path, seed: int, files: int | None, seconds: float | None) -> None:
    """The child: reads `files` mutated files, or for `seconds`. It dies with the first that breaks a promise."""
    target, rng = TARGETS[name], np.random.default_rng(seed)
    warnings.simplefilter("ignore")
    seeds = target.seeds()
    path = folder / f"current{target.suffix}"
    for data in seeds:  # what the readers import is imported before memory is limited
        path.write_bytes(data)
        one(target, path)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    end, done = time.monotonic() + (seconds or 0), 0
    while done < files if files is not None else time.monotonic() < end:
        data, other = (seeds[rng.integers(len(seeds))] for _ in range(2))
        path.write_bytes(target.mutate(rng, data, other))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        one(target, path)
        signal.setitimer(signal.ITIMER_PROF, 0)
        done += 1
    print(done)


def one(target: Target, path: Path) -> None:
    try:
        target.read(path)
    except PlifError as error:
        check(error)


def fuzz(name: str, folder: Path, seed: int = 0, files: int | None = None, minutes: float | None = None) -> list[str]:
    """Reads files in children until their number, or the time, is over. What was found, a line each."""
    found: list[str] = []
    end = time.monotonic() + 60 * (minutes or 0)
    while not found or time.monotonic() < end:
        rest = ["--files", str(files)] if files is not None else ["--seconds", str(max(end - time.monotonic(), 1))]
        command = [sys.executable, "-m", "tests.fuzz.models", name, "--child", str(folder), "--seed", str(seed), *rest]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        if done.returncode == 0:
            print(f"{name}: {done.stdout.strip()} files with seed {seed}")
            break
        kept = folder / f"{name}-{seed}{TARGETS[name].suffix}"
        shutil.copy(folder / f"current{TARGETS[name].suffix}", kept)
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        found.append(f"{kept}: exit code {done.returncode}, {last}")
        print(found[-1], flush=True)
        seed += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", type=int)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        read_many(given.target, given.child, given.seed, given.files, given.seconds)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="plif-fuzz-"))
    return 1 if fuzz(given.target, folder, given.seed, given.files, given.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
