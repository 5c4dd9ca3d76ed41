"""Model files made to do harm: each is refused in one line, before it takes memory, time, or a look at other files."""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import plif_train
import runtime
from plif_export import export
from plif_export.core.targets.target import load_onnx
from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.model.card import read_card
from runtime.core.model.readers import onnx_wire
from runtime.core.model.readers.onnx_contents import read_model
from runtime.core.model.readers.torch_zip import read_card_text
from tests.networks import firing

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


def refused(call: Callable[[Any], Any], path: Path, says: str) -> None:
    with pytest.raises(PlifError, match=says) as error:
        call(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


# --- model.pt: the zip -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "model.pt"
    plif_train.save(firing(), path)
    return path


def content(model: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(model) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: list[tuple[str, bytes]], path: Path, deflated: str = "") -> bytearray:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            method = zipfile.ZIP_DEFLATED if deflated and name.endswith(deflated) else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return bytearray(path.read_bytes())


LIMITED = """
import resource, sys
import torch, plif_train, runtime.core.model.card
from runtime.core.base.errors import PlifError
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + (128 << 20),) * 2)
used = resource.getrusage(resource.RUSAGE_SELF)
resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 6,) * 2)
for path in sys.argv[1:]:
    for read in (runtime.core.model.card.read_card, plif_train.load):
        try:
            read(path)
            print("opened")
        except PlifError as error:
            print(error)
        except MemoryError:
            print("memory")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the limit of memory needs /proc")
def test_bombs_take_neither_memory_nor_time(model: Path, tmp_path: Path) -> None:
    """Files of 1 MB that would be 1 GB, in every member; pickles that claim memory, or never end."""
    members, paths = content(model), []
    for name in ("data.pkl", "version", ".format_version", "byteorder", "data/0"):
        paths.append(tmp_path / f"{len(paths)}.pt")
        full = f"{next(iter(members)).partition('/')[0]}/{name}"  # older PyTorch writes no .format_version
        paths[-1].write_bytes(bomb({**members, full: ZEROS}, full, paths[-1]))
        assert paths[-1].stat().st_size < 3 << 20
    nested = b"".join(b"q%c" % i + b"h%c" % i + b"h%c" % i + b"\x86" for i in range(60))
    for index in (b"\x80\x02}r\xff\xff\xff\x7f.", b"\x80\x02}q\xff)" + nested + b"h\xffh\x3bNs."):
        paths.append(tmp_path / f"{len(paths)}.pt")
        zipped([("m/data.pkl", index)], paths[-1])
    done = subprocess.run([sys.executable, "-c", LIMITED, *map(str, paths)], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 * len(paths), done
    assert all("torch.save never compresses" in line for line in lines[:10]), lines
    assert "without a plif card" in lines[10] and "without a card" in lines[11], lines
    assert all("its index cannot be read" in line for line in lines[12:]), lines


def test_a_key_that_is_a_tuple_of_the_same_tuple_twice_is_not_written_out(tmp_path: Path) -> None:
    """Its text is twice as long for each byte or two of the file."""
    nested = b"".join(b"q%c" % i + b"h%c" % i + b"\x86" for i in range(20))
    zipped([("m/data.pkl", b"\x80\x02(Nctorch\nFloatStorage\n)" + nested + b"NK\x01tQ.")], tmp_path / "1.pt")
    tracemalloc.start()
    refused(read_card_text, tmp_path / "1.pt", "its index cannot be read")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 20


def deflated_zeros(mega: int) -> bytes:
    """Zeros as deflate packs them: one packed MB, which ends so that it can be repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * mega + b"\x03\x00"


ZEROS = deflated_zeros(1 << 10)


def bomb(members: dict[str, bytes], full: str, path: Path) -> bytearray:
    """A zip in which one member, which is packed already, says so."""
    data = zipped(list(members.items()), path)
    with zipfile.ZipFile(path) as archive:
        local = archive.getinfo(full).header_offset
        central = next(
            at
            for at in range(end_of(data)[1], len(data))
            if data[at : at + 4] == b"PK\x01\x02" and data[at + 46 : at + 46 + len(full)] == full.encode()
        )
    for at, first in ((local, 8), (central, 10)):
        patched(patched(data, at + first, "H", 8), at + first + 14, "I", 1 << 30)
    return data


def end_of(data: bytearray) -> tuple[int, int]:
    """Where the end record and the directory of a zip begin."""
    end = len(data) - 22
    return end, struct.unpack("<I", data[end + 16 : end + 20])[0]


def patched(data: bytearray, at: int, form: str, value: int) -> bytearray:
    struct.pack_into(f"<{form}", data, at, value)
    return data


ZIPS: dict[str, tuple[Callable[[bytearray], bytes | bytearray], str]] = {
    "compressed": (lambda d: patched(d, end_of(d)[1] + 10, "H", 8), "is compressed"),
    "longer than stored": (lambda d: patched(d, end_of(d)[1] + 24, "I", 1 << 30), "is compressed to"),
    "encrypted": (lambda d: patched(d, end_of(d)[1] + 8, "H", 1), "encrypted"),
    "another name in its place": (lambda d: patched(d, 30, "B", ord("x")), "another in its place"),
    "another size in its place": (lambda d: patched(d, 18, "I", 5), "another in its place"),
    "compressed in its place": (lambda d: patched(d, 8, "H", 8), "another in its place"),
    "something behind": (lambda d: d + b"x", "does not end like a zip"),
    "a comment": (lambda d: patched(d, len(d) - 2, "H", 3) + b"abc", "does not end like a zip"),
    "something in front": (lambda d: b"xxxx" + d, "is not where it says"),
    "another number of members": (
        lambda d: patched(patched(d, len(d) - 14, "H", 2), len(d) - 12, "H", 2),
        "counts others",
    ),
    "a directory without an end": (lambda d: patched(d, len(d) - 10, "I", 1 << 30), "is not where it says"),
    "a place beyond the file": (lambda d: patched(d, end_of(d)[1] + 42, "I", 1 << 30), "not a valid torch.save file"),
    "a directory that is cut": (
        lambda d: patched(d, d.rindex(b"PK\x01\x02") + 32, "H", 9),  # a comment of its last member, and nothing there
        "its zip directory is damaged or cut short",
    ),
    "another record in its directory": (
        lambda d: patched(d, d.rindex(b"PK\x01\x02") + 2, "B", 3),
        "its zip directory is damaged or cut short",
    ),
    "a size in 64 bits that is missing": (
        lambda d: patched(patched(d, end_of(d)[1] + 20, "I", 2**32 - 1), end_of(d)[1] + 24, "I", 2**32 - 1),
        "is missing",
    ),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_whose_parts_contradict_each_other_is_refused(name: str, model: Path, tmp_path: Path) -> None:
    change, says = ZIPS[name]
    path = tmp_path / "m.pt"
    path.write_bytes(change(zipped(list(content(model).items()), path)))
    for read in (read_card_text, plif_train.load):
        refused(read, path, says)


def test_a_bit_that_changed_in_any_part_of_a_model_is_noticed(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    whole = zipped(list(content(model).items()), path)
    with zipfile.ZipFile(path) as archive:
        places = {
            info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist() if info.file_size
        }
    assert {name.partition("/")[2] for name in places} >= {"data.pkl", "version", "data/0"}
    for name, place in places.items():
        path.write_bytes(patched(bytearray(whole), place, "B", whole[place] ^ 0x40))
        refused(plif_train.load, path, f"{name} was damaged")
    index = next(name for name in places if name.endswith("data.pkl"))
    path.write_bytes(patched(bytearray(whole), places[index] + 100, "B", whole[places[index] + 100] ^ 1))
    refused(read_card_text, path, "data.pkl was damaged")


def test_a_model_whose_numbers_have_another_order_of_bytes_is_refused(model: Path, tmp_path: Path) -> None:
    members = content(model)
    name = f"{next(iter(members)).partition('/')[0]}/byteorder"
    zipped(list({**members, name: b"big"}.items()), tmp_path / "m.pt")
    refused(plif_train.load, tmp_path / "m.pt", "its byte order is b'big'; expected little")
    zipped([(each, data) for each, data in members.items() if each != name], tmp_path / "m.pt")
    assert plif_train.load(tmp_path / "m.pt")  # PyTorch before 2.1 said nothing of it


@pytest.mark.parametrize(
    ("back", "form", "says"),
    [
        (98 - 4, "Q", "its directory is not where it says"),  # the size of the record in 64 bits
        (42 - 8, "Q", "its directory is not where it says"),  # where that stands
        (22 - 8, "I", "it tells two places of its directory"),  # how many members, twice, in 16 bits
    ],
)
def test_a_directory_that_is_told_in_64_bits_otherwise_is_refused(
    back: int, form: str, says: str, model: Path, tmp_path: Path
) -> None:
    whole, path = bytearray(model.read_bytes()), tmp_path / "m.pt"
    assert whole[-98:-94] == b"PK\x06\x06"  # as torch.save writes each
    path.write_bytes(patched(whole, len(whole) - back, form, 0x0030003))
    for read in (read_card_text, plif_train.load):
        refused(read, path, says)


def test_members_in_one_place_twice_or_of_other_folders_are_refused(model: Path, tmp_path: Path) -> None:
    members = list(content(model).items())
    name, data = next((name, data) for name, data in members if name.endswith("data.pkl"))
    path, root = tmp_path / "m.pt", name.partition("/")[0]
    for more, says in (
        (f"{root}/x/data.pkl", "no index of its own"),
        (name, "twice"),
        (f"{root}/DATA.PKL", "twice"),
        ("other/version", "several folders"),
    ):
        zipped([*members, (more, data)], path)
        refused(read_card_text, path, says)
    whole = zipped([*members, (f"{root}/x", b"1234"), (f"{root}/y", b"1234")], path)
    end, directory = end_of(whole)
    places = [at for at in range(directory, end) if whole[at : at + 4] == b"PK\x01\x02"]
    first = struct.unpack_from("<I", whole, places[-2] + 42)[0]
    inner = bytes(whole[struct.unpack_from("<I", whole, places[-1] + 42)[0] :][: 34 + len(f"{root}/y")])
    zipped([*members, (f"{root}/x", inner + b"1234"), (f"{root}/y", b"1234")], path)  # y lies within x, with a header
    whole = bytearray(path.read_bytes())
    end, directory = end_of(whole)
    places = [at for at in range(directory, end) if whole[at : at + 4] == b"PK\x01\x02"]
    inside = first + 30 + len(f"{root}/x")
    path.write_bytes(patched(whole, places[-1] + 42, "I", inside))
    refused(read_card_text, path, "lie in one place")


def test_a_directory_or_an_index_of_too_many_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    zipped([("m/data.pkl", b"."), *((f"m/{i:04}{'x' * 4000}", b"") for i in range(1_100))], path)
    refused(read_card_text, path, "its directory claims 4[0-9]* bytes")
    zipped([("m/data.pkl", bytes(5 << 20))], path)
    refused(read_card_text, path, "its index claims 5[0-9]* bytes")


def test_a_file_of_torch_save_opens_as_it_is_and_with_its_members_written_again(model: Path, tmp_path: Path) -> None:
    zipped(list(content(model).items()), tmp_path / "again.pt")
    assert read_card(tmp_path / "again.pt") == read_card(model)
    expected = plif_train.load(model).state_dict()
    assert all(torch.equal(w, expected[key]) for key, w in plif_train.load(tmp_path / "again.pt").state_dict().items())


# --- model.pt: the pickle --------------------------------------------------------------------------------------------


def test_a_tensor_of_more_numbers_than_the_file_holds_is_refused(model: Path, tmp_path: Path) -> None:
    """A stride of zero makes a tensor of any size of one number: what compares it with a shape then takes the memory."""
    members = content(model)
    name = next(name for name in members if name.endswith("data.pkl"))
    card = read_card_text(model)
    for weight in (torch.zeros(1).expand(1 << 20, 1 << 10), torch.as_strided(torch.zeros(8), (4,), (2,))[:4]):
        torch.save({"card": card, "weights": {"w": weight}}, tmp_path / "m.pt")
        if weight.numel() == 4:
            assert read_card_text(tmp_path / "m.pt") == card  # a view of what is there
        else:
            refused(plif_train.load, tmp_path / "m.pt", "its index cannot be read")
    claim = members[name]
    at = claim.index(b"\x03\0\0\0cpuq") + 9  # the number of numbers in the first storage: BININT1 or BININT2
    assert claim[at : at + 1] in (b"K", b"M")
    members[name] = claim[: at + 1] + bytes([claim[at + 1] ^ 1]) + claim[at + 2 :]
    zipped(list(members.items()), tmp_path / "m.pt")
    refused(plif_train.load, tmp_path / "m.pt", "its index cannot be read")


@pytest.mark.parametrize(
    "claim",
    [
        *((-1, (2,), (1,), False), (7, (2,), (-1,), False), (0, (-2, -2), (1, 1), False), (0, (2, 2), (1,), False)),
        *((0.0, (2,), (1,), False), (0, (True,), (1,), False), (0, (1,) * 65, (1,) * 65, False), (0, (2,), (1,), 1)),
        *((0, (2,), (1,), False, {"hook": 1}), (0, (2,), (1,), False, {}, {"neg": True})),
    ],
)
def test_a_tensor_that_claims_what_none_has_is_refused(claim: tuple[Any, ...], model: Path, tmp_path: Path) -> None:
    class Claimed:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (torch.ones(8)._typed_storage(), *claim)

    torch.save({"card": read_card_text(model), "weights": {"w": Claimed()}}, tmp_path / "m.pt")
    for read in (read_card_text, plif_train.load):
        refused(read, tmp_path / "m.pt", "its index cannot be read")


def test_an_index_that_writes_into_a_tensor_is_refused(model: Path, tmp_path: Path) -> None:
    class Written:
        def __reduce__(self) -> tuple[Any, ...]:
            claim = (torch.ones(8)._typed_storage(), 0, (2,), (1,), False, {})
            return torch._utils._rebuild_tensor_v2, claim, None, None, iter([(0, 5.0), (1, 5.0)])

    torch.save({"card": read_card_text(model), "weights": {"w": Written()}}, tmp_path / "m.pt")
    refused(plif_train.load, tmp_path / "m.pt", "its index cannot be read")


@pytest.mark.parametrize("protocol", (0, 2, 4))
def test_a_pickle_that_would_run_code_leaves_no_mark(protocol: int, model: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    members = content(model)
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = pickle.dumps({"card": "{}", "weights": Touch()}, protocol)
    zipped(list(members.items()), tmp_path / "m.pt")
    for read in (read_card_text, plif_train.load, export):
        refused(read, tmp_path / "m.pt", "never run|cannot be read|never loaded")
    assert not marker.exists()


# --- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(firing(), tmp_path_factory.mktemp("hostile") / "a.onnx", verify=False).path


def elsewhere(name: str = "w") -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def number(value: int, more: int = 0) -> bytes:
    """A varint, with `more` bytes than it needs."""
    out = bytearray()
    while value > 0x7F or more > 0:
        more -= value <= 0x7F
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(tag: bytes, data: bytes) -> bytes:
    return tag + number(len(data)) + data


def hostile_onnx(name: str, proto: onnx.ModelProto, hidden: onnx.TensorProto | None = None) -> bytes:
    """The model with something in it that leads to another file, or may; `hidden` instead of a tensor in another file."""
    tensor = (hidden or elsewhere()).SerializeToString()
    constant = helper.make_node("Constant", [], ["c"], value=elsewhere())
    if name == "constant":
        proto.graph.node.append(constant)
    elif name == "constant of a body":
        body = helper.make_graph([constant], "body", [], [])
        proto.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body))
    elif name == "a loop without an end":
        ins = [("i", onnx.TensorProto.INT64), ("on", onnx.TensorProto.BOOL)]
        body = helper.make_graph(
            [helper.make_node("Identity", ["on"], ["on.next"])],
            "body",
            [helper.make_tensor_value_info(n, kind, []) for n, kind in ins],
            [helper.make_tensor_value_info("on.next", onnx.TensorProto.BOOL, [])],
        )
        proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
        proto.graph.node.append(helper.make_node("Loop", ["", "go"], [], body=body))
    elif name == "constant of a function":
        proto.functions.append(helper.make_function("own", "F", [], ["c"], [constant], proto.opset_import))
    elif name == "a sparse constant":
        sparse = helper.make_sparse_tensor(elsewhere(), numpy_helper.from_array(np.zeros(4, np.int64)), [9])
        proto.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    elif name == "training":
        proto.training_info.add().algorithm.initializer.append(elsewhere())
    elif name == "an operation of others":
        proto.graph.node.append(helper.make_node("EPContext", [], ["c"], domain="com.microsoft"))
    whole = bytes(proto.SerializeToString())
    initializer, graph = 5 << 3 | 2, 7 << 3 | 2
    tags = {
        "a tag of too many bytes": number(initializer, 2),
        "a tag of 33 bits": number(initializer | 1 << 32),
        "a tag of 64 bits": number(initializer | 1 << 63),
        "a group": b"\x2b" + tensor + b"\x2c",
    }
    if name in tags:
        whole += field(number(graph), tags[name] if name == "a group" else field(tags[name], tensor))
    if name == "a graph of too many bytes":
        whole += field(number(graph, 3), field(number(initializer), tensor))
    if name == "a length of too many bytes":
        whole += number(graph) + number(len(tensor) + 2, 2) + number(initializer) + number(len(tensor)) + tensor
    return whole


@pytest.mark.parametrize(
    "name",
    (
        *(
            "a loop without an end",
            "constant",
            "constant of a body",
            "constant of a function",
            "a sparse constant",
            "training",
        ),
        *("an operation of others", "a tag of too many bytes", "a tag of 33 bits", "a tag of 64 bits", "a group"),
        *("a graph of too many bytes", "a length of too many bytes"),
    ),
)
def test_no_tensor_hides_from_the_guard(name: str, artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    proto = onnx.load(artifact)
    card = next(entry for entry in proto.metadata_props if entry.key == "plif.card")
    card.value = json.dumps({key: value for key, value in json.loads(card.value).items() if key != "digest"})
    path.write_bytes(hostile_onnx(name, proto))
    for read in (
        lambda path: runtime.load(path, "onnxruntime"),
        lambda path: runtime.load(path, "event"),
        load_onnx,
    ):
        refused(read, path, "keeps its data in another file|does not write|not an ONNX file|another domain")


def test_an_onnx_file_of_more_bytes_than_any_or_with_a_length_behind_its_end_is_refused(
    artifact: Path, tmp_path: Path
) -> None:
    whole, path = artifact.read_bytes(), tmp_path / "m.onnx"
    doc = field(number(6 << 3 | 2), b"about")
    path.write_bytes(whole + doc)
    assert read_card(path)
    for cut in (doc[:-1], number(6 << 3 | 5) + b"abc", number(6 << 3 | 1) + b"seven b"):  # of 4 and of 8 bytes
        path.write_bytes(whole + cut)
        refused(read_card, path, "is not an ONNX file, or was cut short")
    os.truncate(path, onnx_wire.MAX_BYTES + 1)  # and no room on the disk
    refused(read_card, path, f"{onnx_wire.MAX_BYTES + 1} bytes; an ONNX file has at most")


@pytest.mark.parametrize("name", ("a tag of too many bytes", "a graph of too many bytes", "a length of too many bytes"))
def test_numbers_that_no_writer_writes_are_refused_where_they_hide_nothing_too(
    name: str, artifact: Path, tmp_path: Path
) -> None:
    harmless = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    (tmp_path / "m.onnx").write_bytes(hostile_onnx(name, onnx.load(artifact), harmless))
    refused(read_model, tmp_path / "m.onnx", "not an ONNX file")


def test_what_we_write_is_let_through_byte_for_byte(artifact: Path) -> None:
    assert read_model(artifact) == artifact.read_bytes()


# --- what is no file -------------------------------------------------------------------------------------------------


def test_no_command_waits_for_a_pipe(model: Path, artifact: Path, tmp_path: Path) -> None:
    """Nobody writes to it, so a command that opened it would wait for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    program = (
        "import sys\nfrom runtime.core.cli.main import run\nprint([run(words.split('|')) for words in sys.argv[1:]])"
    )
    commands = [
        *(f"info|{path}", f"export|{path}", f"check|{path}", f"eval|{path}|--data|digits", f"stream|{path}|x.bin"),
        *(f"verify|{path}|--against|{model}", f"verify|{artifact}|--against|{path}", f"bench|{path}"),
        *(f"export|{path}|--network|nmnist", f"stream|{artifact}|{path}"),
    ]
    done = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True, timeout=300)
    lines = done.stderr.splitlines()
    assert done.stdout.splitlines()[-1] == str([2] * len(commands)) and len(lines) == len(commands), done
    assert all(str(path) in line for line in lines), lines
    assert all("is a pipe, not a file" in line for line in lines[:-1]), lines  # the last is a recording


@pytest.mark.parametrize("what", ("pipe", "socket", "device", "folder"))
def test_what_is_no_file_is_refused_unopened(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("it")
    with socket.socket(socket.AF_UNIX) as server:
        if what == "pipe":
            os.mkfifo(path)
        elif what == "socket":
            server.bind(str(path))
        elif what == "folder":
            path.mkdir()
        else:
            path = Path("/dev/zero")
        refused(open_regular, path, f"is a {what}, not a file; expected a file")
        Path("link").symlink_to(path.absolute())
        refused(open_regular, Path("link"), f"is a {what}, not a file; expected a file")
    Path("link").unlink()
    Path("link").symlink_to("nowhere")
    refused(open_regular, Path("link"), "no such file")


def test_a_folder_or_a_card_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a_openvino").mkdir()
    (tmp_path / "a_openvino" / "model.xml").write_text("")
    os.mkfifo(tmp_path / "a_openvino" / "card.json")
    refused(read_card, tmp_path / "a_openvino", "card.json: is a pipe, not a file")
    refused(plif_train.load, tmp_path, "is a folder, not a file")


def test_a_name_in_a_file_cannot_write_on_the_terminal(artifact: Path, tmp_path: Path) -> None:
    proto = onnx.load(artifact)
    proto.graph.initializer.append(elsewhere("a\nplif: all is well \x1b[2J"))
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(PlifError) as error:
        runtime.load(tmp_path / "m.onnx", "onnxruntime")
    assert str(error.value).isprintable()


def test_an_empty_one_and_one_of_another_kind_are_named(tmp_path: Path) -> None:
    for name in ("m.pt", "m.onnx", "m.nir", "m.engine"):
        for data in (b"", b"\0" * 8, b"GIF89a", b"\x89HDF\r\n\x1a\n", b"PK\x05\x06" + bytes(18)):
            (tmp_path / name).write_bytes(data)
            refused(read_card, tmp_path / name, r"m\.")
            refused(plif_train.load, tmp_path / name, "torch.save")
