"""HDF5 files that lead to other files, claim what they do not hold, or are made to crash its library: refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from plif_export import check_file, export
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import read_card
from runtime.formats.hdf5 import tree as hdf5
from runtime.formats.hdf5.tree import FREE_BYTES, MOST_DEPTH, MOST_HEADER, MOST_OBJECTS, read_hdf5

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("warm_child")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Two inputs, two neurons: input, affine, LIF, output."""
    neuron = nir.LIF(*(np.full(2, value) for value in (1e-3, 1.0, 0.0, 1.0)))
    ends = nir.Input({"input": np.array([2])}), nir.Output({"output": np.array([2])})
    graph = nir.NIRGraph.from_list(ends[0], nir.Affine(np.eye(2) * 2, np.ones(2)), neuron, ends[1])
    path = tmp_path / "net.nir"
    nir.write(path, graph)
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
    assert any(name.endswith("weight") for name in names), names
    return path


def weights_of(file: Any) -> str:
    names: list[str] = []
    file.visit(names.append)
    return next(name for name in names if name.endswith("/weight"))


def secret(path: Path) -> Path:
    """A file beside the model that nobody should read: as many bytes as the weights have."""
    other = path.with_name("secret")
    other.write_bytes(np.full(4, 4711.0).tobytes())
    return other


def external_storage(file: Any, name: str, path: Path) -> None:
    del file[name]
    file.create_dataset(name, (2, 2), "<f8", external=[(str(secret(path)), 0, 32)])


def external_link(file: Any, name: str, path: Path) -> None:
    other = path.with_name("other.h5")
    with h5py.File(other, "w") as made:
        made["secret"] = np.full((2, 2), 4711.0)
    del file[name]
    file[name] = h5py.ExternalLink(str(other), "/secret")


def virtual(file: Any, name: str, path: Path) -> None:
    external_link(file, name, path)
    del file[name]
    layout = h5py.VirtualLayout((2, 2), "<f8")
    layout[:] = h5py.VirtualSource(str(path.with_name("other.h5")), "secret", (2, 2))
    file.create_virtual_dataset(name, layout)


def soft_link(file: Any, name: str, path: Path) -> None:
    del file[name]
    file[name] = h5py.SoftLink("/node/nodes")


def reference(file: Any, name: str, path: Path) -> None:
    del file[name]
    file.create_dataset(name, data=file["node"].ref, dtype=h5py.ref_dtype)


def lists(file: Any, name: str, path: Path) -> None:
    del file[name]
    file.create_dataset(name, (2,), h5py.vlen_dtype(np.float64))


def unstored(file: Any, name: str, path: Path) -> None:
    del file[name]
    file.create_dataset(name, (1 << 20, 1 << 20), "<f8", chunks=(1, 1 << 10))


def packed(file: Any, name: str, data: bytes, **options: Any) -> None:
    del file[name]
    made = file.create_dataset(name, (2, 2), "<f8", chunks=(2, 2), compression="gzip", **options)
    made.id.write_direct_chunk((0, 0), data)


def inflated(file: Any, name: str, path: Path) -> None:
    packed(file, name, zlib.compress(bytes(256 << 20)))


def inflated_large(file: Any, name: str, path: Path) -> None:
    """A chunk of 256 kB that inflates to 256 MB."""
    del file[name]
    made = file.create_dataset(name, (1 << 15,), "<f8", chunks=(1 << 15,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(256 << 20)))


def one_text_many_times(file: Any, name: str, path: Path) -> None:
    """10,000 texts that are one of 100 kB: 1 GB when they are read."""
    many, length = 10_000, 100_000
    made = file.create_dataset("texts", (many,), h5py.string_dtype())
    made[0] = "x" * length
    for i in range(1, many):  # each has a place for 16 bytes: length, heap, number
        made[i] = "y"
    file.flush()
    place = made.id.get_offset()
    file.close()
    data = bytearray(path.read_bytes())
    data[place : place + 16 * many] = data[place : place + 16] * many
    path.write_bytes(data)


def circle(file: Any, name: str, path: Path) -> None:
    file["node/again"] = file["node"]


def deep(file: Any, name: str, path: Path) -> None:
    file.create_group("/".join("x" * (MOST_DEPTH + 2)))


def many(file: Any, name: str, path: Path) -> None:
    """Ten groups that hold one another's next, ten times each."""
    below = file.create_group("level0")
    below["x"] = 1
    for level in range(1, 7):
        group = file.create_group(f"level{level}")
        for i in range(10):
            group[str(i)] = below
        below = group


HOSTILE: dict[Callable[[Any, str, Path], None], str] = {
    external_storage: "weight keeps its data in another file",
    external_link: "weight is a link to another place or file",
    virtual: "weight keeps its data in another file",
    soft_link: "weight is a link to another place or file",
    reference: "weight is of dtype object",
    lists: "weight is of dtype object",
    unstored: "weight makes it more than",
    inflated: "damaged",
    inflated_large: "damaged",
    one_text_many_times: "texts makes it more than",
    circle: f"lies in more than {MOST_DEPTH} groups",
    deep: f"lies in more than {MOST_DEPTH} groups",
    many: f"makes it more than {MOST_OBJECTS} objects",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_what_leads_out_of_the_file_or_is_not_in_it_is_refused(
    change: Callable[[Any, str, Path], None], net: Path, capsys: Any
) -> None:
    with h5py.File(net, "r+") as file:
        change(file, weights_of(file), net)
    before = sorted(net.parent.iterdir())
    for call in (read_card, check_file):
        with pytest.raises(PlifError, match=HOSTILE[change]) as error:
            call(net)
        assert str(error.value).isprintable() and str(net) in str(error.value)
    assert run(["export", str(net), "--no-verify"]) == 2
    assert "4711" not in capsys.readouterr().err and sorted(net.parent.iterdir()) == before


def edge_to_nobody(file: Any, name: str) -> None:
    edges = file["node/edges"][()]
    edges[0, 1] = "nobody"
    file["node/edges"][...] = edges


def not_a_number(file: Any, name: str) -> None:
    file[name][0, 0] = np.nan


def no_graph(file: Any, name: str) -> None:
    file.move("node", "old")
    file.move(name.replace("node", "old", 1).rpartition("/")[0], "node")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (edge_to_nobody, "an edge leads to nobody, which is none of its nodes"),
        (not_a_number, "weight of .* has numbers that are NaN"),
        (no_graph, "not a NIR file"),
    ],
)
def test_a_graph_that_is_none_is_refused(change: Callable[[Any, str], None], says: str, net: Path) -> None:
    with h5py.File(net, "r+") as file:
        change(file, weights_of(file))
    with pytest.raises(PlifError, match=says):
        export(net)


def test_a_file_that_makes_the_library_turn_in_a_circle_is_refused(net: Path) -> None:
    """A heap whose free place is of no size: HDF5 2.0 looks for the next place for ever."""
    data = bytearray(net.read_bytes())
    heap = data.index(b"GCOL")
    at = heap + 16
    while data[at : at + 2] != b"\0\0":  # an object: number, uses, 4 bytes, size, and the text, in steps of 8
        at += 16 + (int.from_bytes(data[at + 8 : at + 16], "little") + 7) // 8 * 8
    data[at + 8 : at + 16] = bytes(8)
    net.write_bytes(data)
    program = "import sys; from runtime.formats.child import children; children.FREE_SECONDS = 2; "
    program += "from runtime.core.cli.main import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", program, "info", str(net)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and str(net) in done.stderr, done
    assert any(why in done.stderr for why in ("of processor time", "not come to an end", "damaged"))


def test_what_nir_and_its_like_write_is_read(net: Path, tmp_path: Path) -> None:
    assert export(net).passed
    large = tmp_path / "large.h5"
    with h5py.File(large, "w") as file:  # all equal, so a thousandth in the file
        for i, options in enumerate(({"compression": "gzip"}, {"compression": "lzf"}, {"shuffle": True}, {})):
            file.create_dataset(f"x{i}", data=np.zeros(FREE_BYTES // 64), **options)
        file["text"], file["nothing"] = "a", h5py.Empty("f4")
        file["texts"] = ["a", "b"]
        file["scalar"], file["empty"], file["whether"] = np.float32(3), np.zeros((2, 0), "i2"), True
        file["fixed"] = np.array([b"ab", b"c"])
        file["text"].attrs["by"] = "somebody"
    with h5py.File(large) as file:
        expected = {name: file[name][()] for name in file if name != "nothing"}
    found = read_hdf5(large, "a test")
    assert found["text"] == (b"a", {"by": "'somebody'"}) and np.shape(found.pop("nothing").values) == (0,)
    for name, values in expected.items():
        assert type(found[name].values) is type(values) and np.array_equal(found[name].values, values)
        assert np.asarray(found[name].values).dtype == np.asarray(values).dtype


def said(*pieces: bytes | dict[str, Any]) -> bytes:
    """What a child may write: each piece after its length."""
    out = b""
    for piece in pieces:
        data = json.dumps({"attributes": {}, **piece}).encode() if isinstance(piece, dict) else piece
        out += len(data).to_bytes(8, "little") + data
    return out


def numbers(shape: list[int], dtype: str = "<f8", at: str = "node") -> dict[str, Any]:
    return {"at": at, "dtype": dtype, "shape": shape}


END, NO_RECORD = said(b""), "its contents are invalid"
LIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "it cannot be read"),
    "half a length": (b"123", "it cannot be read"),
    "a piece that is cut": (said({"at": "node"})[:-1], "it cannot be read"),
    "no JSON": (said(b"{"), NO_RECORD),
    "another JSON": (said(b"[]"), NO_RECORD),
    "deep JSON": (said(b"[" * 100_000), NO_RECORD),
    "a name that is none": (said({"at": 5}) + END, NO_RECORD),
    "an attribute that is no text": (said({"at": "node", "attributes": {"by": [1]}}) + END, NO_RECORD),
    "a long record": (said({"at": "x" * MOST_HEADER}) + END, NO_RECORD),
    "one name twice": (said({"at": "node"}, {"at": "node"}) + END, NO_RECORD),
    "a group that is not there": (said({"at": "node/x"}) + END, NO_RECORD),
    "a group that is data": (said(numbers([]), bytes(8), {"at": "node/x"}) + END, NO_RECORD),
    "objects": (said(numbers([1], "|O"), bytes(8)) + END, NO_RECORD),
    "a structure": (said(numbers([1], "i4,i4"), bytes(8)) + END, NO_RECORD),
    "a shape that is none": (said(numbers([-1]), b"") + END, NO_RECORD),
    "a shape of many dimensions": (said(numbers([2] * 99_999), bytes(8)) + END, NO_RECORD),
    "fewer bytes than its shape says": (said(numbers([2]), bytes(8)) + END, NO_RECORD),
    "more bytes than its shape says": (said(numbers([2]), bytes(24)) + END, NO_RECORD),
    "numbers without an end": (said(numbers([1 << 40])) + bytes(64), "/node makes it more than"),
    "a text without an end": (said(numbers([1], "text")) + (1 << 62).to_bytes(8, "little"), "/node makes it more than"),
    "texts without an end": (said(numbers([1 << 40], "text")) + bytes(64), "/node makes it more than"),
    "attributes without an end": (said({"at": "n", "attributes": dict.fromkeys(map(str, range(30_000)), "")}), "makes"),
    "a failure that never ends": (b"\xff" * 100_000, NO_RECORD),
    "a long reason": (b"\xff" * 8 + said(b"/x \x1b[2J" * 999_999), r"net.nir: /x .{1,600}$"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_the_process_says_that_reads_the_file_is_not_believed(
    name: str, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have taken it over: here a process that writes what it was given in the place of ours."""
    lie, says = LIES[name]
    program = tmp_path / "child.py"
    program.write_text(f"import sys; sys.stdout.buffer.write({lie!r})")
    monkeypatch.setattr(hdf5, "DECODE", program)
    with pytest.raises(PlifError, match=says) as error:
        read_hdf5(net, "a NIR file")
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


def test_a_file_of_others_is_opened_in_another_process_alone(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = ModuleType("h5py")  # all that this process has of it
    nothing.__spec__ = h5py.__spec__
    monkeypatch.setitem(sys.modules, "h5py", nothing)
    assert check_file(net).supported


def test_a_file_that_has_changed_is_looked_at_again(net: Path) -> None:
    check_file(net)
    with h5py.File(net, "r+") as file:
        external_storage(file, weights_of(file), net)
    with pytest.raises(PlifError, match="in another file"):
        check_file(net)


def test_a_file_cut_or_changed_anywhere_is_refused_or_read(net: Path, tmp_path: Path) -> None:
    whole, rng, path = net.read_bytes(), np.random.default_rng(0), tmp_path / "cut.nir"
    cut = [whole[:end] for end in np.linspace(0, len(whole) - 1, 6).astype(int)]
    for data in [*cut, *(flipped(whole, rng) for _ in range(8))]:
        path.write_bytes(data)
        try:
            check_file(path)
            assert data not in cut
        except PlifError as error:
            assert str(error).isprintable()


def flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(whole)
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(data)
